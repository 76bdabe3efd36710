"""What the fleet measured lately, on the grid of its forecasts: read once, then followed reading by reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops.forecasting.panel import NEVER, Panel
from mlops.forecasts.learnt import series_name
from sensors import corrections, overlay, quality
from sensors.fleet import Fleet, MoteRef
from sensors.lake import Lake, NoSuchTable
from sensors.readings import INSTANT, Profile
from sensors.stores import HotStore

TAIL = timedelta(minutes=5)  # the lake is some seconds behind; what is younger, the hot store says
FRESH_S = 5.0
WHOLE_S = 3600.0  # after that long all is read anew, with what came late or was corrected since
LATE = timedelta(seconds=15)  # behind the newest, at each look
DAY = timedelta(days=1)
FAULTS = sum(quality.UNCLEAN)


@dataclass
class _Kept:
    """`far` is on the grid already, `tail` are readings."""

    far: pl.DataFrame
    tail: pl.DataFrame
    newest: datetime
    whole_at: float
    looked_at: float
    panels: dict[str, Panel] = field(default_factory=dict)


class Recent:
    """The last steps of every mote of a profile."""

    def __init__(
        self, profile: Profile, step_s: float, n_steps: int, *, lake: Lake, store: HotStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._profile, self._step, self._span = profile, round(step_s * 1e6), timedelta(seconds=step_s * n_steps)
        self._lake, self._store, self._clock = lake, store, clock
        self._kept: _Kept | None = None
        self._lock = threading.Lock()

    def panel(self, channel: str, fleet: Fleet) -> Panel | None:
        """A channel of all motes, without what is flagged; None where none of them has said anything."""
        with self._lock:
            kept = self._fresh(fleet)
            if kept is None:
                return None
            if channel not in kept.panels:
                kept.panels[channel] = self._panel(kept, channel, fleet)
            return kept.panels[channel]

    def _fresh(self, fleet: Fleet) -> _Kept | None:
        now, kept = self._clock(), self._kept
        if kept is None or now - kept.whole_at > WHOLE_S:
            self._kept = self._whole(fleet, now)
        elif now - kept.looked_at > FRESH_S:
            self._kept = self._followed(kept, fleet, now)
        return self._kept

    def _motes(self, fleet: Fleet) -> list[int]:
        return [mote.id for mote in fleet.motes if mote.profile == self._profile.code]

    def _whole(self, fleet: Fleet, now: float) -> _Kept | None:
        newest = dict(self._store.latest(self._profile, self._motes(fleet)).select("mote", "at").iter_rows())
        if not newest:
            return None
        parts = [self._stretch(motes, start, end) for motes, start, end in spans(newest, self._span)]
        far, tail = (pl.concat(each) for each in zip(*parts, strict=True))
        return _Kept(far, tail, max(newest.values()), now, now)

    def _stretch(self, motes: list[int], start: datetime, end: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
        """From the lake as far as it goes, the rest from the hot store."""
        far = self._gridded(self._empty())
        for begin, until in _days(start, end - TAIL):
            far = pl.concat([far, self._gridded(self._from_lake(motes, begin, until))])
        if len(far):  # its last step may go on in the hot store
            border = int(far["row"].max())  # type: ignore[arg-type]
            far = far.filter(pl.col("row") < border)
            start = datetime.fromtimestamp(border * self._step / 1e6, UTC)
        return far, self._from_hot(motes, start, end)

    def _followed(self, kept: _Kept, fleet: Fleet, now: float) -> _Kept:
        end = kept.newest + timedelta(days=3650)
        rows = self._from_hot(self._motes(fleet), kept.newest - LATE, end)
        if rows.is_empty():
            return replace(kept, looked_at=now)
        tail = pl.concat([kept.tail, rows]).unique(["mote", "at"], keep="last")
        return _Kept(kept.far, tail, rows["at"].max(), kept.whole_at, now)  # type: ignore[arg-type]

    def _from_hot(self, motes: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
        return self._clean(
            corrections.between(self._store, self._profile, motes, start, end + timedelta(microseconds=1))
        )

    def _from_lake(self, motes: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
        try:
            silver = self._lake.scan(f"silver/{self._profile.code}")
        except NoSuchTable:
            return self._empty()
        known = silver.collect_schema().names()
        columns = ["mote", "at", "flags", *(name for name in self._profile.names if name in known)]
        within = (pl.col("date") == start.date()) & (pl.col("at") >= start) & (pl.col("at") < end)
        rows = silver.filter(within & pl.col("mote").is_in(list(motes))).select(columns).collect()
        absent = [pl.lit(None, pl.Float64).alias(name) for name in self._profile.names if name not in known]
        rows = rows.with_columns(absent).unique(["mote", "at"], keep="first").sort("mote", "at")
        return self._clean(overlay.corrected(self._profile, rows, corrections.standing(motes, start, end)))

    def _clean(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What was measured of each channel; what is flagged was not."""
        return rows.select("mote", "at", *clean_channels(self._profile))

    def _empty(self) -> pl.DataFrame:
        schema: dict[str, Any] = {"mote": pl.Int64, "at": INSTANT, **dict.fromkeys(self._profile.names, pl.Float64)}
        return pl.DataFrame(schema=schema)

    def _gridded(self, rows: pl.DataFrame) -> pl.DataFrame:
        return gridded(rows, self._profile.names, self._step)

    def _panel(self, kept: _Kept, channel: str, fleet: Fleet) -> Panel:
        motes = self._motes(fleet)
        rows = pl.concat([kept.far, self._gridded(kept.tail)])
        return panel_of_grid(rows, motes, self._profile, channel, self._step, fleet)


def clean_channels(profile: Profile) -> Iterator[pl.Expr]:
    """Each channel of stored rows, null where a flag says that it is no measurement."""
    for place, name in enumerate(profile.names):
        mark = 1 << (quality.CHANNEL_SHIFT + place)
        is_bad = (pl.col("flags") & FAULTS != 0) & (pl.col("flags") & mark != 0)
        yield pl.when(is_bad).then(None).otherwise(pl.col(name)).alias(name)


def gridded(rows: pl.DataFrame, channels: Sequence[str], step: int) -> pl.DataFrame:
    """One row a mote and step: the mean of each channel, and when it was measured last."""
    at = pl.col("at").cast(pl.Int64)
    means = [pl.col(name).mean() for name in channels]
    lasts = [at.filter(pl.col(name).is_not_null()).max().alias(f"{name} at") for name in channels]
    return rows.group_by("mote", (at // step).alias("row"), maintain_order=False).agg(*means, *lasts)


def panel_of_grid(
    rows: pl.DataFrame, motes: Sequence[int], profile: Profile, channel: str, step: int, fleet: Fleet
) -> Panel:
    """A channel of these motes, from the first step in which any of them was heard."""
    first = int(rows["row"].min())  # type: ignore[arg-type]
    values = np.full((int(rows["row"].max()) - first + 1, len(motes)), np.nan)  # type: ignore[arg-type]
    last = np.full(len(motes), NEVER)
    known = rows.filter(pl.col(channel).is_not_null() & pl.col("mote").is_in(list(motes)))
    order = np.argsort(motes)
    series = order[np.searchsorted(np.asarray(motes)[order], known["mote"].to_numpy())]
    values[known["row"].to_numpy() - first, series] = known[channel].to_numpy()
    np.maximum.at(last, series, known[f"{channel} at"].to_numpy())
    (limits,) = [one.physical for one in profile.channels if one.code == channel]
    of = [fleet.by_id[mote] for mote in motes]
    names = tuple(series_name(name_of(mote), channel) for mote in of)
    bounds = np.array([limits] * len(motes), dtype=np.float64)
    # The time zone of the first of them: a profile's motes share the course of a day, if anything.
    return Panel(names, first * step, step, values, last, bounds, of[0].time_zone)


def name_of(mote: MoteRef) -> str:
    return f"{mote.site}/{mote.code}"


def spans(newest: dict[int, datetime], span: timedelta) -> list[tuple[list[int], datetime, datetime]]:
    """Motes that ended about together, with the stretch to read of them: a site may have ended years ago."""
    found: list[tuple[list[int], datetime, datetime]] = []
    for mote, at in sorted(newest.items(), key=lambda item: item[1], reverse=True):
        if found and at > found[-1][2] - span:
            found[-1] = ([*found[-1][0], mote], at - span, found[-1][2])
        else:
            found.append(([mote], at - span, at))
    return found


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretch a UTC day at a time."""
    begin: Any = start.astimezone(UTC)
    while begin < end:
        until = min(begin.replace(hour=0, minute=0, second=0, microsecond=0) + DAY, end)
        yield begin, until
        begin = until
