"""The batteries of motes: the newest voltage, and how long it will last, asked of a few minutes a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from django.core.cache import cache

from sensors import corrections
from sensors.battery import LOOKBACK_DAYS, Estimate, Unknown, outlook
from sensors.readings import Profile
from sensors.stores import HotStore

KEPT_S = 3600  # nothing that is told in days changes within an hour
MINUTES_OF_A_DAY = 3.0  # times the interval: what is read of each day


@dataclass(frozen=True, slots=True)
class Power:
    """How a mote stands for electricity; `is_low` casts doubt on its other channels."""

    volts: float | None
    unit: str
    is_low: bool
    outlook: Estimate | Unknown

    @property
    def left(self) -> str:
        """The band of days that were left at its newest reading, in words."""
        found = self.outlook
        if isinstance(found, Unknown):
            return ""
        if found.high < 1.0:
            return "empty" if found.high == 0.0 else "less than a day left"
        low, high = round(found.low), round(found.high)
        return f"{low} days left" if low == high else f"{low}–{high} days left"

    @property
    def why(self) -> str:
        return self.outlook.why if isinstance(self.outlook, Unknown) else ""


def powers(store: HotStore, profile: Profile, newest: dict[int, tuple[datetime, float | None]]) -> dict[int, Power]:
    """Of these motes, given when each was heard last and its voltage then; {} for a profile without batteries."""
    if profile.battery is None:
        return {}
    unit = next(channel.unit for channel in profile.channels if channel.code == profile.battery.channel)
    found = _outlooks(store, profile, {mote: at for mote, (at, _) in newest.items()})
    return {
        mote: Power(volts, unit, volts is not None and volts < profile.battery.low, found[mote])
        for mote, (_, volts) in newest.items()
    }


def _outlooks(store: HotStore, profile: Profile, newest: dict[int, datetime]) -> dict[int, Any]:
    keys = {f"battery/{profile.code}/{mote}/{at:%Y-%m-%dT%H}": mote for mote, at in newest.items()}
    kept = cache.get_many(keys)
    known = {keys[key]: value for key, value in kept.items()}
    missing = [mote for mote in newest if mote not in known]
    days: dict[int, list[int]] = {}
    for mote in missing:  # motes that were heard last at about the same time are asked together
        days.setdefault(int(newest[mote].timestamp() // KEPT_S), []).append(mote)
    for motes in days.values():
        known |= _asked(store, profile, motes, max(newest[mote] for mote in motes))
    cache.set_many({key: known[mote] for key, mote in keys.items() if key not in kept}, KEPT_S)
    return known


def _asked(store: HotStore, profile: Profile, motes: Sequence[int], end: datetime) -> dict[int, Estimate | Unknown]:
    assert profile.battery is not None
    width = timedelta(seconds=MINUTES_OF_A_DAY * profile.interval_s)
    ends = [end + timedelta(microseconds=1) - timedelta(days=day) for day in range(LOOKBACK_DAYS)]
    tables = [corrections.between(store, profile, motes, at - width, at) for at in ends]
    volts = pl.concat(tables).select("mote", pl.col("at").cast(pl.Int64), profile.battery.channel)
    found: dict[int, Estimate | Unknown] = {}
    for mote in motes:
        own = volts.filter(pl.col("mote") == mote)
        column = own[profile.battery.channel].fill_null(float("nan"))
        found[mote] = outlook(own["at"].to_numpy(), column.to_numpy(), profile.battery)
    return found
