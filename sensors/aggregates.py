"""Hourly aggregates up to this minute, kept at hand: gold for what is past, the hot store for what it has not yet.

A process keeps each profile's gold table in memory and asks the lake only whether there is a newer version; what came
since is aggregated from the hot store, the less often the longer that takes. So a view of years is a look at a table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from django.core.signals import setting_changed

from sensors import gold
from sensors.corrections import standing
from sensors.lake import Lake, NoSuchTable, lake
from sensors.models import Mote
from sensors.readings import Profile
from sensors.stores import HotStore, StoreUnavailable, hot
from sensors.tiers import BOTH, LAKE, readings_of

FRESH_S = 10.0
SHARE = 20.0  # at most one part in so many of a process's time goes into keeping up
TAIL = timedelta(days=2)  # what gold has not, and is older, waits for its next run
AHEAD = timedelta(days=1)  # a clock may run ahead
KEYS = ["mote", "channel", "hour"]


@dataclass(frozen=True, slots=True)
class Hours:
    """The table has the columns of gold; `missing` says in words what could not be read, `tier` who told it."""

    table: pl.DataFrame
    missing: tuple[str, ...] = ()
    tier: str = BOTH


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema=gold.SCHEMA)


@dataclass(slots=True)
class _Kept:
    version: int = -1
    past: pl.DataFrame = field(default_factory=_nothing)
    since: datetime | None = None  # from here on the tail is fresher than gold
    tail: pl.DataFrame = field(default_factory=_nothing)
    missing: tuple[str, ...] = ()
    tier: str = BOTH
    stale_at: float = float("-inf")


class Aggregates:
    def __init__(self, *, lake: Lake, store: HotStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._lake, self._store, self._clock = lake, store, clock
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def between(
        self, profile: Profile, motes: Collection[int], start: datetime, end: datetime, *, now: datetime
    ) -> Hours:
        """The hours that begin in the range, sorted by mote, channel and hour."""
        kept = self._fresh(profile, now)
        wanted = pl.col("mote").is_in(list(motes)) & (pl.col("hour") >= start) & (pl.col("hour") < end)
        past, tail = kept.past.filter(wanted), kept.tail.filter(wanted)
        if len(tail):
            is_past = pl.col("hour") < kept.since
            past = pl.concat([past.filter(is_past), past.filter(~is_past).join(tail, on=KEYS, how="anti")])
            past = pl.concat([past, tail]).sort(KEYS)
        return Hours(past, kept.missing, kept.tier)

    def ends(self, profile: Profile, motes: Collection[int], *, now: datetime) -> tuple[datetime, datetime] | None:
        """The first and the last hour in which any of them was heard; None where none ever was."""
        kept = self._fresh(profile, now)
        hours = pl.concat([kept.past.select("mote", "hour"), kept.tail.select("mote", "hour")])
        first, last = (
            hours.filter(pl.col("mote").is_in(list(motes)) & (pl.col("hour") <= now))
            .select(pl.col("hour").min().alias("first"), pl.col("hour").max().alias("last"))
            .row(0)
        )
        return None if first is None else (first, last)

    def _fresh(self, profile: Profile, now: datetime) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(profile.code, _Kept())
            began = self._clock()
            if began >= kept.stale_at:
                missing = (self._read_gold(profile, kept), self._read_tail(profile, kept, now))
                kept.missing = tuple(words for words in missing if words)
                took = self._clock() - began
                kept.stale_at = began + max(FRESH_S, SHARE * took)
            return kept

    def _read_gold(self, profile: Profile, kept: _Kept) -> str:
        name = gold.table_of(profile.code)
        try:
            version = self._lake.version(name)
            if version != kept.version:
                kept.past = gold.all_hours(self._lake, profile)
                kept.version = version
        except NoSuchTable:
            kept.past = kept.past.clear()
        except StoreUnavailable as error:
            return f"The lake cannot be read, so what it learnt lately is missing here: {error}"
        return ""

    def _read_tail(self, profile: Profile, kept: _Kept, now: datetime) -> str:
        """What was measured since gold's newest hour, which may have been running when it was aggregated."""
        known: Any = kept.past.filter(pl.col("hour") <= now)["hour"].max()
        since = max(known, now - TAIL) if known is not None else now - TAIL
        since = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        motes = list(Mote.objects.filter(profile__code=profile.code, is_probe=False).values_list("pk", flat=True))
        if not motes:
            return ""
        try:
            rows, words = self._stored(kept, profile, motes, since, now + AHEAD)
        except StoreUnavailable as error:
            kept.tail = kept.tail.clear()
            return f"Neither store can be read, so what was measured lately is missing here: {error}"
        kept.tail, kept.since = gold.aggregated(profile, rows, standing(motes, since, now + AHEAD)), since
        return words

    def _stored(
        self, kept: _Kept, profile: Profile, motes: Sequence[int], start: datetime, end: datetime
    ) -> tuple[pl.DataFrame, str]:
        """From the hot store, or from the lake where that is away, and then in words so."""
        try:
            rows, kept.tier, words = self._store.between(profile, motes, start, end), BOTH, ""
        except StoreUnavailable as error:
            rows, kept.tier = readings_of(self._lake, profile, motes, start, end), LAKE
            words = f"The hot store does not answer, so the lake tells what it has kept up to its last save: {error}"
        return rows, words


_aggregates: Aggregates | None = None


def aggregates() -> Aggregates:
    """Of the configured stores, one a process, built at first use."""
    global _aggregates
    if _aggregates is None:
        _aggregates = Aggregates(lake=lake(), store=hot())
    return _aggregates


def _forget(*, setting: str, **kwargs: object) -> None:
    global _aggregates
    if setting in ("SIEIS_LAKE", "SIEIS_HOT_STORE"):
        _aggregates = None


setting_changed.connect(_forget)
