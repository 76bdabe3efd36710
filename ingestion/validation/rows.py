"""The readings of a scope out of a silver table, a few days at a time and never all at once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from sensors.overlay import Overlay, corrected
from sensors.readings import INSTANT, Channel, Profile, micros

CHUNK = 500_000  # rows in memory at once, about 100 bytes each
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose readings, of which time (start <= at < end, where one is named), with what people have corrected."""

    profile: Profile
    motes: tuple[int, ...]
    start: datetime | None = None
    end: datetime | None = None
    overlays: tuple[Overlay, ...] = ()

    def within(self) -> pl.Expr:
        """The stored rows of the scope; dates let the reader skip whole files."""
        inside = pl.col("mote").is_in(self.motes)
        if self.start is not None:
            inside &= (pl.col("date") >= self.start.astimezone(UTC).date()) & (pl.col("at") >= self.start)
        if self.end is not None:
            inside &= (pl.col("date") <= self.end.astimezone(UTC).date()) & (pl.col("at") < self.end)
        return inside


def days(source: pl.LazyFrame, scope: Scope) -> pl.DataFrame:
    """How many rows each mote has on each UTC day, and its newest instant: what a walk is planned by."""
    found = source.filter(scope.within()).group_by("date", "mote").agg(n=pl.len(), newest=pl.col("at").max())
    return found.collect().sort("date", "mote")


def walk(
    source: pl.LazyFrame,
    scope: Scope,
    planned: pl.DataFrame,
    *,
    chunk: int = CHUNK,
    before: Mapping[int, int] | None = None,
) -> Iterator[tuple[float, pl.DataFrame]]:
    """The scope's rows in order of time, in tables sorted by mote and instant, with the share walked so far.

    Added to what is stored: `is_repeat`, a further row of the same mote and instant, and `waited_s`, how long the
    mote had not spoken (null for its first). `before` knows each mote's last instant ahead of the start.
    """
    last = dict(before or {})
    there = source.collect_schema().names()
    spans = _spans(planned, chunk)
    for i, (begin, until) in enumerate(spans):
        part = replace(
            scope,
            start=begin if scope.start is None else max(begin, scope.start),
            end=until if scope.end is None else min(until, scope.end),
        )
        rows = source.filter(part.within()).select(_columns(scope.profile, there)).collect()
        rows = _with_order(rows.sort("mote", "at", maintain_order=True), last)
        rows = corrected(scope.profile, rows, _touching(scope.overlays, part))
        last |= dict(rows.group_by("mote").agg(pl.col("at").max().cast(pl.Int64)).iter_rows())
        yield (i + 1) / len(spans), rows


def last_before(source: pl.LazyFrame, scope: Scope, instant: datetime) -> dict[int, int]:
    """Each mote's last instant ahead of this one."""
    past = replace(scope, end=instant)
    found = source.filter(past.within()).group_by("mote").agg(pl.col("at").max().cast(pl.Int64)).collect()
    return dict(found.iter_rows())


def excluded(overlays: Sequence[Overlay], channel: Channel) -> pl.Expr:
    """Which rows' value of the channel a person took out, or one that it follows from.

    Flags cannot say: another channel may have other trouble.
    """
    names = ("", channel.code, *(channel.formula.of if channel.formula else ()))
    at = pl.col("at").cast(pl.Int64)
    stretches = [
        (pl.col("mote") == one.mote) & (at >= one.starts_us) & (at < one.ends_us)
        for one in overlays
        if one.is_excluded and one.channel in names
    ]
    return pl.any_horizontal(stretches) if stretches else pl.lit(False)


def _spans(planned: pl.DataFrame, chunk: int) -> list[tuple[datetime, datetime]]:
    """Days with rows, gathered while they are few; a day of too many is cut at full hours."""
    spans: list[tuple[datetime, datetime]] = []
    gathered = 0
    for day, n in planned.group_by("date", maintain_order=True).agg(pl.col("n").sum()).iter_rows():
        begin = datetime.combine(day, time(), UTC)
        if gathered and gathered + n <= chunk:
            spans[-1] = (spans[-1][0], begin + DAY)
            gathered += n
        elif n > chunk:
            spans += _hours(day, -(-n // chunk))
            gathered = 0
        else:
            spans.append((begin, begin + DAY))
            gathered = n
    return spans


def _hours(day: date, n_parts: int) -> Iterator[tuple[datetime, datetime]]:
    midnight = datetime.combine(day, time(), UTC)
    step = max(1, 24 // min(n_parts, 24))
    for hour in range(0, 24, step):
        yield midnight + timedelta(hours=hour), midnight + timedelta(hours=min(hour + step, 24))


def _columns(profile: Profile, there: Sequence[str]) -> list[pl.Expr]:
    """A channel that came with a newer version of the profile may not be in the table yet."""
    channels = [
        pl.col(name).fill_nan(None) if name in there else pl.lit(None, pl.Float64).alias(name) for name in profile.names
    ]
    return [pl.col("mote", "at"), *channels, pl.col("flags", "received_at")]


def _with_order(rows: pl.DataFrame, last: Mapping[int, int]) -> pl.DataFrame:
    is_same = (pl.col("mote") == pl.col("mote").shift(1)).fill_null(False)
    carried = pl.col("mote").replace_strict(dict(last), default=None, return_dtype=pl.Int64).cast(INSTANT)
    previous = pl.when(is_same).then(pl.col("at").shift(1)).otherwise(carried)
    return rows.with_columns(waited_s=(pl.col("at") - previous).dt.total_microseconds() / 1e6).with_columns(
        is_repeat=is_same & (pl.col("waited_s") == 0)
    )


def _touching(overlays: Sequence[Overlay], part: Scope) -> list[Overlay]:
    assert part.start is not None
    assert part.end is not None
    begin, until = micros(part.start), micros(part.end)
    return [one for one in overlays if one.starts_us < until and one.ends_us > begin]
