"""Periods and pairs of a selection of motes and channels, from the hourly aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops.analytics.correlation import Pair, pairs, without_day
from mlops.analytics.seasonality import Seasonality, seasonality
from sensors.aggregates import Aggregates
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Channel, Floats
from sensors.selection import HOUR, Selection, floor_hour, selection

SPAN = timedelta(days=28)
MOST_SERIES = 400  # some five seconds for periods, ten for pairs
MOST_SPAN = timedelta(days=366)
MOST_PAIRS = 200
PART_PAIRS = 10  # on the page


class TooMuch(ValueError):
    """More than can be looked at at once; `field` says which part of the question to narrow."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, slots=True)
class Series:
    """Hourly means of unmarked values; a column for each mote and channel that has any."""

    start: datetime
    end: datetime
    names: list[tuple[MoteRef, Channel]]
    values: Floats  # (hours, series), NaN where nothing was measured
    missing: tuple[str, ...]


def series(chosen: Selection, *, aggregates: Aggregates, now: datetime) -> Series:
    """The hours of the selection that are over. Raises TooMuch."""
    n_series = len(chosen.motes) * len(chosen.channels)
    if n_series > MOST_SERIES:
        raise TooMuch(
            "mote_id",
            f"{len(chosen.motes):,} motes × {len(chosen.channels)} channels are {n_series:,} series; at most "
            f"{MOST_SERIES} can be compared at once. Name motes (mote_id), a site or a channel.",
        )
    if chosen.end - chosen.start > MOST_SPAN:
        days = (chosen.end - chosen.start).days
        raise TooMuch("start", f"{days} days are more than can be looked at at once; at most {MOST_SPAN.days}.")
    end = min(chosen.end, floor_hour(now))
    found = aggregates.between(chosen.profile, chosen.ids, chosen.start, end, now=now)
    n_hours = max(int((end - chosen.start) / HOUR), 0)
    places = {
        (mote.id, channel.code): k
        for k, (mote, channel) in enumerate((mote, channel) for mote in chosen.motes for channel in chosen.channels)
    }
    values = np.full((n_hours, len(places)), np.nan)
    clean = found.table.filter(pl.col("n_clean") > 0)
    hour = ((clean["hour"] - chosen.start).dt.total_seconds() // 3600).to_numpy()
    for mote, channel, row, mean in zip(clean["mote"], clean["channel"], hour, clean["mean"], strict=True):
        if (mote, channel) in places:
            values[row, places[mote, channel]] = mean
    names = [(mote, channel) for mote in chosen.motes for channel in chosen.channels]
    return Series(chosen.start, end, names, values, found.missing)


def periods(found: Series) -> list[tuple[MoteRef, Channel, Seasonality]]:
    return [(mote, channel, seasonality(found.values[:, k])) for k, (mote, channel) in enumerate(found.names)]


def related(found: Series, *, most_lag_h: int, of: Sequence[str] = (), with_day: bool = False) -> list[Pair]:
    """The pairs that are surely alike; `of` names motes of which each pair must have one."""
    values = found.values if with_day else without_day(found.values)
    only = np.array([mote.code in of for mote, _ in found.names], dtype=np.bool_) if of else None
    return pairs(values, most_lag_h=most_lag_h, only=only)


# ---- the Insights page's part ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TwoOf:
    """A pair as the page names it."""

    first: tuple[MoteRef, Channel]
    second: tuple[MoteRef, Channel]
    pair: Pair

    @property
    def strength(self) -> str:
        return f"{self.pair.r:+.2f}"

    @property
    def lag(self) -> str:
        return f"{self.pair.lag_h} h later" if self.pair.lag_h else "within the hour"

    @property
    def change(self) -> str:
        """Whether the halves of the range surely differ."""
        pair = self.pair
        if pair.before is None or pair.after is None or pair.change_p is None:
            return "too little to say"
        moved = f"{pair.before:+.2f} → {pair.after:+.2f}"
        return f"{moved}, changed" if pair.change_p < 0.001 else moved


def context(query: Mapping[str, str], *, fleet: Fleet, aggregates: Aggregates, now: datetime) -> dict[str, Any]:
    """What `insights/_seasonality.html` shows: motes to choose from; once one is chosen, its periods and pairs."""
    motes = sorted(f"{mote.site}/{mote.code}" for mote in fleet.motes if mote.profile in fleet.profiles)
    site, _, code = query.get("patterns", "").partition("/")
    shown: dict[str, Any] = {"pattern_motes": motes, "pattern_of": f"{site}/{code}" if code else ""}
    mote = fleet.find(code, site) if code else None
    if mote is None or mote.profile not in fleet.profiles:
        return shown
    peers = [one.code for one in fleet.motes if (one.site, one.profile) == (mote.site, mote.profile)]
    near = [code, *[one for one in peers if one != code]][: MOST_SERIES // len(fleet.profiles[mote.profile].channels)]
    found = series(selection(fleet, start=now - SPAN, end=now, site=site, motes=near), aggregates=aggregates, now=now)
    own = Series(found.start, found.end, *_of_mote(found, code), found.missing)
    told = related(found, most_lag_h=6, of=[code])[:PART_PAIRS]
    return shown | {
        "pattern_periods": periods(own),
        "pattern_pairs": [TwoOf(found.names[pair.first], found.names[pair.second], pair) for pair in told],
        "pattern_days": SPAN.days,
        "pattern_peers": len(near) - 1,
        "pattern_missing": found.missing,
    }


def _of_mote(found: Series, code: str) -> tuple[list[tuple[MoteRef, Channel]], Floats]:
    places = [k for k, (mote, _) in enumerate(found.names) if mote.code == code]
    return [found.names[k] for k in places], found.values[:, places]
