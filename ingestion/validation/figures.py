"""What a walk over readings adds up to, by mote and channel, whatever the chunks it comes in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from ingestion.validation.limits import Limits
from ingestion.validation.rows import Scope, excluded
from sensors import delivery, quality
from sensors.readings import INSTANT, MISSED_INTERVALS, Channel, Profile, micros

HOUR_S = 3600.0
COUNTS = ("excluded", "null", "below", "above", "far", "abnormal", "suspect", "trusted", "outside_low")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is asked of each reading beside its values: instants in microseconds."""

    hot_from: Mapping[int, int]  # by mote: from here on the hot store must have its readings
    booked_from: int | None
    booked_until: int | None  # the books count whole hours
    settling_from: int
    future_us: int

    @classmethod
    def of(cls, scope: Scope, limits: Limits, hot_from: Mapping[int, int], now: datetime) -> Bounds:
        hour = int(HOUR_S * 1e6)
        return cls(
            hot_from=hot_from,
            booked_from=None if scope.start is None else -(-micros(scope.start) // hour) * hour,
            booked_until=None if scope.end is None else micros(scope.end) // hour * hour,
            settling_from=micros(now) - int(limits.settling_s * 1e6),
            future_us=int(limits.future_s * 1e6),
        )


@dataclass(slots=True)
class Tally:
    """Takes the tables of a walk one after the other and remembers only sums."""

    scope: Scope
    bounds: Bounds
    _motes: list[pl.DataFrame] = field(default_factory=list)
    _rhythm: list[pl.DataFrame] = field(default_factory=list)
    _hours: list[pl.DataFrame] = field(default_factory=list)
    _gaps: list[pl.DataFrame] = field(default_factory=list)
    _silence: tuple[float, datetime, datetime] | None = None
    _newest: datetime | None = None

    def take(self, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        profile = self.scope.profile
        first = rows.filter(~pl.col("is_repeat")) if rows["is_repeat"].any() else rows
        counted = rows.group_by("mote").agg(_row_counts(self.scope, self.bounds))
        valued = first.group_by("mote").agg(_value_counts(self.scope))
        self._motes.append(counted.join(valued, on="mote"))
        self._rhythm.append(delivery.rhythm(first, profile))
        self._hours.append(_hours(first, profile))
        self._gaps.append(first.select("mote", "at", "waited_s").sort("waited_s").group_by("mote").tail(1))
        self._listen(first["at"].sort())

    def _listen(self, instants: pl.Series) -> None:
        """The longest time in which nobody spoke, also across the border of two chunks."""
        heard = instants if self._newest is None else pl.concat([pl.Series("at", [self._newest], INSTANT), instants])
        waits = heard.diff()
        place = waits.arg_max()
        if place is not None and place > 0:
            longest = waits[place].total_seconds()
            if self._silence is None or longest > self._silence[0]:
                self._silence = (longest, heard[place - 1], heard[place])
        self._newest = instants[-1]

    def found(self) -> Found | None:
        """All that was taken; None for nothing."""
        if not self._motes:
            return None
        rhythm = pl.concat(self._rhythm).group_by("mote", "bin").agg(pl.col("n", "seconds").sum())
        return Found(
            motes=_merged(self._motes, self.scope.profile),
            own_s=delivery.own_intervals(rhythm),
            hours=pl.concat(self._hours).group_by("mote", "n").agg(pl.col("hours").sum()),
            gaps=pl.concat(self._gaps).drop_nulls("waited_s").sort("waited_s").group_by("mote").tail(1),
            silence=self._silence,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a scope holds. `motes` has a row a mote, with a column "channel/count" for each of COUNTS."""

    motes: pl.DataFrame
    own_s: Mapping[int, float]  # the interval that a mote itself keeps most often
    hours: pl.DataFrame
    gaps: pl.DataFrame
    silence: tuple[float, datetime, datetime] | None

    def total(self, column: str) -> int:
        return int(self.motes[column].sum())

    @property
    def n(self) -> int:
        return self.total("n")

    @property
    def first_at(self) -> datetime:
        at: datetime = self.motes["first"].min()  # type: ignore[assignment]
        return at

    @property
    def last_at(self) -> datetime:
        at: datetime = self.motes["last"].max()  # type: ignore[assignment]
        return at

    def channel(self, code: str) -> dict[str, int]:
        """The counts of a channel over all motes."""
        return {name: self.total(f"{code}/{name}") for name in COUNTS}

    def extremes(self, code: str) -> tuple[float | None, float | None]:
        return self.motes[f"{code}/min"].min(), self.motes[f"{code}/max"].max()  # type: ignore[return-value]

    def delivery(self, profile: Profile, asked_s: float | None = None) -> dict[int, Delivery]:
        """How much of what it owed each mote delivered, from its first to its last reading."""
        counts: dict[int, list[tuple[int, int]]] = {}
        for mote, n, hours in self.hours.iter_rows():
            counts.setdefault(mote, []).append((n, hours))
        return {
            row["mote"]: Delivery.of(row, counts[row["mote"]], profile, self.own_s.get(row["mote"]), asked_s)
            for row in self.motes.iter_rows(named=True)
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a mote owed and brought, judged by `interval_s`, and the share by its profile's interval beside it."""

    own_s: float | None
    interval_s: float
    expected: float
    delivered: float
    by_profile: float

    @property
    def share(self) -> float:
        return self.delivered / self.expected

    @classmethod
    def of(
        cls, row: Mapping[str, Any], counts: list[tuple[int, int]], profile: Profile, own_s: float | None,
        asked_s: float | None,
    ) -> Delivery:  # fmt: skip
        """By the rule of sensors.delivery, or by the interval that was asked for."""
        span_s = (row["last"] - row["first"]).total_seconds()
        hours = [(n, times, _window_s(profile)) for n, times in counts]
        interval_s = asked_s or delivery.expected_interval_s(profile, own_s)
        expected, promised = (delivery.owed(span_s, one) for one in (interval_s, profile.interval_s))
        kept = delivery.delivered(promised, hours, profile.interval_s)
        return cls(own_s, interval_s, expected, delivery.delivered(expected, hours, interval_s), kept / promised)


def _window_s(profile: Profile) -> float:
    return max(HOUR_S, MISSED_INTERVALS * profile.interval_s)


# ---- what is counted of a chunk -----------------------------------------------------------------------------


def _row_counts(scope: Scope, bounds: Bounds) -> list[pl.Expr]:
    at, received = pl.col("at").cast(pl.Int64), pl.col("received_at").cast(pl.Int64)
    booked = pl.lit(True)
    if bounds.booked_from is not None:
        booked &= at >= bounds.booked_from
    if bounds.booked_until is not None:
        booked &= at < bounds.booked_until
    hot_from = pl.col("mote").replace_strict(dict(bounds.hot_from), default=None, return_dtype=pl.Int64)
    return [
        pl.len().alias("n"),
        pl.col("is_repeat").sum().alias("repeated"),
        impossible(bounds.future_us).sum().alias("impossible"),
        (pl.col("flags") & quality.CORRECTED != 0).sum().alias("corrected"),
        (booked & (received >= bounds.settling_from)).sum().alias("settling"),
        booked.sum().alias("booked") if bounds.booked_from or bounds.booked_until else pl.len().alias("booked"),
        (~pl.col("is_repeat") & (at >= hot_from)).sum().alias("hot"),
        (pl.col("waited_s") > scope.profile.silent_after_s).sum().alias("silences"),
        pl.col("at").min().alias("first"),
        pl.col("at").max().alias("last"),
    ]


def _value_counts(scope: Scope) -> list[pl.Expr]:
    profile = scope.profile
    battery = profile.battery
    counts: list[pl.Expr] = []
    for place, channel in enumerate(profile.channels):
        counts += _channel_counts(scope, channel, place)
    low = is_low(scope)
    there = pl.col(battery.channel).is_not_null() if battery else pl.lit(False)
    return [
        *counts,
        (low & pl.lit(True)).sum().alias("low"),
        pl.col("at").filter(low).min().alias("first_low"),
        pl.col("at").filter(there & ~low).max().alias("last_not_low"),
    ]


def _channel_counts(scope: Scope, channel: Channel, place: int) -> list[pl.Expr]:
    """Each value is in exactly one of excluded, null, below, above, suspect and trusted; the rest lies across them."""
    value, kept = pl.col(channel.code), ~excluded(scope.overlays, channel)
    (low, high), normal = channel.physical, channel.normal
    reach = max(abs(low), abs(high))
    is_inside = value.is_between(low, high).fill_null(False)
    is_marked = pl.col("flags") & (1 << (place + quality.CHANNEL_SHIFT)) != 0
    is_outside = outside(scope, channel)
    counts = {
        "excluded": ~kept,
        "null": value.is_null() & kept,
        "below": (value < low) & kept,
        "above": (value > high) & kept,
        "far": ((value < low - reach) | (value > high + reach)) & kept,
        "abnormal": ~value.is_between(*normal) & kept,
        "suspect": is_inside & is_marked & kept,
        "trusted": is_inside & ~is_marked & kept,
        "outside_low": is_outside & is_low(scope),
    }
    shown = value.filter(kept)
    return [
        *(mask.sum().alias(f"{channel.code}/{name}") for name, mask in counts.items()),
        shown.min().alias(f"{channel.code}/min"),
        shown.max().alias(f"{channel.code}/max"),
        pl.col("at").filter(is_outside).min().alias(f"{channel.code}/first_outside"),
    ]


def outside(scope: Scope, channel: Channel) -> pl.Expr:
    """Values beyond the channel's physical range that nobody took out."""
    is_outside = ~pl.col(channel.code).is_between(*channel.physical)
    return (is_outside & ~excluded(scope.overlays, channel)).fill_null(False)


def is_low(scope: Scope) -> pl.Expr:
    """Readings made on a battery that is low."""
    battery = scope.profile.battery
    if battery is None:
        return pl.lit(False)
    channel = next(one for one in scope.profile.channels if one.code == battery.channel)
    return ((pl.col(channel.code) < battery.low) & ~excluded(scope.overlays, channel)).fill_null(False)


def impossible(future_us: int) -> pl.Expr:
    """Measured well after it arrived."""
    return pl.col("at").cast(pl.Int64) > pl.col("received_at").cast(pl.Int64) + future_us


def _hours(rows: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """How many windows of time had how many readings; an hour, or longer where readings are rare."""
    window = pl.col("at").cast(pl.Int64) // int(_window_s(profile) * 1e6)
    counted = rows.lazy().group_by("mote", window.alias("window")).agg(pl.len().alias("n"))
    return counted.group_by("mote", "n").agg(pl.len().alias("hours")).collect()


# ---- putting chunks together --------------------------------------------------------------------------------


def _merged(parts: list[pl.DataFrame], profile: Profile) -> pl.DataFrame:
    lows = ["first", "first_low", *(f"{code}/{name}" for code in profile.names for name in ("min", "first_outside"))]
    highs = ["last", "last_not_low", *(f"{code}/max" for code in profile.names)]
    sums = [name for name in parts[0].columns if name not in ("mote", *lows, *highs)]
    merged = pl.concat(parts, how="vertical_relaxed").group_by("mote")
    return merged.agg(pl.col(sums).sum(), pl.col(lows).min(), pl.col(highs).max()).sort("mote")
