"""The readings behind a verdict: found again in the lake, a page at a time, by where the page begins. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import polars as pl

from ingestion.validation import figures
from ingestion.validation.limits import Limits
from ingestion.validation.rows import Scope, days, excluded, last_before, walk
from sensors import quality
from sensors.readings import Profile, micros

CHUNK = 200_000
WAITING = ("missing", "dates")  # checks that ask how long the mote had not spoken before
FLAGS = {name: bit for bit, name in quality.NAMES.items()}


class Hot(Protocol):
    """What is asked of the hot store here."""

    def between(self, profile: Profile, motes: Any, start: datetime, end: datetime) -> pl.DataFrame: ...

    def count(self, profile: Profile, start: datetime, end: datetime, *, motes: Any) -> int: ...


class NoReadings(Exception):
    """The check speaks of readings that are not there, or there is no such check."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind the reading of this instant and mote."""

    at_us: int
    mote: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """ValueError for what `str` did not write."""
        at, _, mote = text.partition("-")
        return cls(int(at), int(mote))

    def __str__(self) -> str:
        return f"{self.at_us}-{self.mote}"


@dataclass(frozen=True, slots=True)
class Page:
    """Stored rows with `waited_s`, in order of time; `following` begins the next page, None on the last."""

    rows: pl.DataFrame
    following: Place | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page shall show: a check's readings, of one mote, with one flag, behind a place."""

    check: str
    flag: str = ""
    behind: Place | None = None
    limit: int = 100


def page(
    source: pl.LazyFrame, scope: Scope, asked: Asked, *, limits: Limits, expected_s: Mapping[int, float], hot: Hot
) -> Page:
    """`expected_s` is the interval that each mote was judged by. `scope` has the motes that are asked for."""
    begin = scope
    if asked.behind is not None:
        at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=asked.behind.at_us)
        begin = replace(scope, start=at if scope.start is None else max(at, scope.start))
    before = last_before(source, scope, begin.start) if begin.start and asked.check in WAITING else {}
    fails = _fails(scope, asked.check, limits, expected_s)
    if asked.flag:
        fails &= pl.col("flags") & FLAGS[asked.flag] != 0
    if asked.behind is not None:
        at_us, mote = pl.col("at").cast(pl.Int64), pl.col("mote")
        fails &= (at_us > asked.behind.at_us) | ((at_us == asked.behind.at_us) & (mote > asked.behind.mote))
    parts: list[pl.DataFrame] = []
    n = 0
    for _, rows in walk(source, begin, days(source, begin), chunk=CHUNK, before=before):
        rows = _absent(rows, scope, hot) if asked.check == "hot" else rows
        parts.append(rows.filter(fails).sort("at", "mote").head(asked.limit + 1))
        n += len(parts[-1])
        if n > asked.limit:
            break
    shown = pl.concat(parts) if parts else pl.DataFrame(schema={"mote": pl.Int64, "at": pl.Int64})
    return Page(shown.head(asked.limit), _last(shown.head(asked.limit)) if n > asked.limit else None)


def _last(rows: pl.DataFrame) -> Place:
    at, mote = rows.select("at", "mote").row(-1)
    return Place(micros(at), mote)


def _fails(scope: Scope, check: str, limits: Limits, expected_s: Mapping[int, float]) -> pl.Expr:
    kind, _, code = check.partition(":")
    channels = {channel.code: channel for channel in scope.profile.channels}
    if kind == "range" and code in channels:
        return figures.outside(scope, channels[code])
    if kind == "missing":  # more than half an interval late: at least one reading is missing before it
        expected = pl.col("mote").replace_strict(dict(expected_s), default=None, return_dtype=pl.Float64)
        return (pl.col("waited_s") > 1.5 * expected).fill_null(False)
    if kind == "nulls":
        measured = [channel for channel in scope.profile.channels if channel.formula is None]
        return pl.any_horizontal(pl.col(one.code).is_null() & ~excluded(scope.overlays, one) for one in measured)
    simple = {
        "duplicates": pl.col("is_repeat"),
        "dates": (pl.col("waited_s") > limits.gap_h * 3600).fill_null(False),
        "times": figures.impossible(int(limits.future_s * 1e6)),
        "battery": figures.is_low(scope),
        "hot": pl.lit(True),
    }
    if kind not in simple:
        raise NoReadings(f"There is no list of readings for “{check}”; there are lists for {', '.join(listed(scope))}.")
    return simple[kind]


def listed(scope: Scope) -> list[str]:
    """The checks whose readings can be shown."""
    ranges = [f"range:{channel.code}" for channel in scope.profile.channels]
    return ["duplicates", "dates", *ranges, "missing", "nulls", "hot", "times", "battery"]


def _absent(rows: pl.DataFrame, scope: Scope, hot: Hot) -> pl.DataFrame:
    """Those that the hot store lacks; it is asked for the readings only where it has another number of them."""
    if rows.is_empty():
        return rows
    start: Any = rows["at"].min()
    end: Any = rows["at"].max() + timedelta(microseconds=1)  # type: ignore[operator]
    rows = rows.filter(~pl.col("is_repeat"))
    if hot.count(scope.profile, start, end, motes=scope.motes) == len(rows):
        return rows.clear()
    known = hot.between(scope.profile, scope.motes, start, end).select("mote", "at")
    return rows.join(known, on=["mote", "at"], how="anti")
