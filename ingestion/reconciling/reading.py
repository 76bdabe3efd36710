"""Counts what the books, the lake and the hot store have. Columns and counts only; rows where an hour differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from ingestion.models import Booked, LedgerHour
from ingestion.reconciling import comparison
from ingestion.reconciling.comparison import HOUR, KEYS
from sensors import models
from sensors.lake import Lake, NoSuchTable
from sensors.readings import INSTANT, Profile, stored_schema
from sensors.stores import HotStore, StoreUnavailable

MICROSECOND = timedelta(microseconds=1)
ORIGIN = ["partition", "offset", "received_at"]
TRIES = 20


@dataclass(frozen=True, slots=True)
class Scope:
    """The motes of a profile at a site, the retired among them, and the full hours to look at; None: all."""

    profile: Profile
    kind: models.Profile
    site: models.Site
    codes: dict[int, str]
    start: datetime | None = None
    end: datetime | None = None
    version: int | None = None  # of the lake's table, so that a look counts one and the same; None: the newest

    @property
    def table(self) -> str:
        return f"silver/{self.profile.code}"

    @property
    def motes(self) -> list[int]:
        return list(self.codes)

    @property
    def mending_id(self) -> str:
        """What the lake counts mendings of these motes under, apart from the partitions' offsets."""
        return f"reconcile/{self.profile.code}/{self.site.code}"

    def within(self, start: datetime, end: datetime) -> Scope:
        return replace(self, start=start, end=end)


@dataclass(frozen=True, slots=True)
class Look:
    """What was counted in one go. `marks` say until where the books went then, `mended` how often the lake was."""

    lines: pl.DataFrame
    boundary: datetime | None
    marks: Sequence[Booked]
    mended: int


def look(scope: Scope, *, lake: Lake, hot: HotStore, keep: timedelta) -> Look:
    """Books first, then the lake, then the hot store: what comes meanwhile is under way and counts nowhere."""
    marks, booked = _books(scope)
    mended = lake.recorded(scope.table, scope.mending_id) or 0
    if lake.exists(scope.table):
        scope = replace(scope, version=lake.version(scope.table))
    cold, newest_cold = _cold(scope, lake)
    newest = max(filter(None, (newest_cold, _newest_hot(scope, hot))), default=None)
    boundary = newest - keep if newest else None
    counted = comparison.due(cold, boundary, _at_boundary(scope, lake, boundary))
    found = comparison.beside(booked, counted, _hot(scope, hot, boundary, newest))
    lines = _without_under_way(scope, found, marks, lake, hot, boundary)
    return Look(lines, boundary, marks, mended)


def _books(scope: Scope) -> tuple[list[Booked], pl.DataFrame]:
    """Until where the books go, and what they say, of one moment: a checkpoint between the two asks again."""
    for _ in range(TRIES):
        marks = list(Booked.objects.order_by("pk"))
        booked = _booked(scope)
        if [(one.pk, one.next_offset) for one in marks] == list(
            Booked.objects.order_by("pk").values_list("pk", "next_offset")
        ):
            return marks, booked
    raise StoreUnavailable("the books are written faster than they can be read; try again")


def _booked(scope: Scope) -> pl.DataFrame:
    lines = LedgerHour.objects.filter(profile=scope.profile.code)
    if scope.start:
        lines = lines.filter(hour__gte=scope.start)
    if scope.end:
        lines = lines.filter(hour__lt=scope.end)
    sums: Counter[tuple[datetime, int]] = Counter()
    ours = {str(mote): mote for mote in scope.motes}
    for hour, motes in lines.values_list("hour", "motes").iterator():
        for key in motes.keys() & ours.keys():
            sums[hour, ours[key]] += motes[key]
    rows = [(hour, mote, n) for (hour, mote), n in sums.items() if n]
    return pl.DataFrame(rows, {"hour": INSTANT, "mote": pl.Int64, "booked": pl.Int64}, orient="row")


def silver(scope: Scope, lake: Lake) -> pl.LazyFrame | None:
    """The scope's rows in the lake, with their hour; None where the lake has no table of the profile."""
    try:
        rows = lake.scan(scope.table, scope.version)
    except NoSuchTable:
        return None
    rows = rows.filter(pl.col("mote").is_in(scope.motes))
    if scope.start:
        rows = rows.filter(pl.col("date") >= scope.start.date(), pl.col("at") >= scope.start)
    if scope.end:
        rows = rows.filter(pl.col("date") <= scope.end.date(), pl.col("at") < scope.end)
    return rows.with_columns(hour=pl.col("at").dt.truncate("1h"))


def collected(rows: pl.LazyFrame) -> pl.DataFrame:
    try:
        return rows.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreUnavailable(f"the lake cannot be read now: {error}") from error


def _cold(scope: Scope, lake: Lake) -> tuple[pl.DataFrame, datetime | None]:
    rows = silver(scope, lake)
    if rows is None:
        return pl.DataFrame(schema={"hour": INSTANT, "mote": pl.Int64, "cold": pl.Int64}), None
    counts = collected(rows.group_by(KEYS).agg(cold=pl.len().cast(pl.Int64), newest=pl.col("at").max()))
    newest: datetime | None = counts.select(pl.col("newest").max()).item()
    if scope.start or scope.end:  # the boundary does not depend on what is asked for
        everything = silver(replace(scope, start=None, end=None), lake)
        newest = collected(everything.select(pl.col("at").max())).item() if everything is not None else None
    return counts.drop("newest"), newest


def _newest_hot(scope: Scope, hot: HotStore) -> datetime | None:
    newest: datetime | None = hot.latest(scope.profile, scope.motes).select(pl.col("at").max()).item()
    return newest


def _at_boundary(scope: Scope, lake: Lake, boundary: datetime | None) -> pl.DataFrame:
    """By mote, what the lake has in the boundary's hour and not before it."""
    rows = silver(scope, lake) if boundary else None
    if boundary is None or rows is None:
        return pl.DataFrame(schema={"mote": pl.Int64, "n": pl.Int64})
    within = rows.filter(
        pl.col("date") == boundary.date(), pl.col("hour") == _full_hour(boundary), pl.col("at") >= boundary
    )
    return collected(within.group_by("mote").agg(n=pl.len().cast(pl.Int64)))


def _hot(scope: Scope, hot: HotStore, boundary: datetime | None, newest: datetime | None) -> pl.DataFrame:
    """What lies before the boundary may still be there until the next night, and is not asked for."""
    none = pl.DataFrame(schema={"hour": INSTANT, "mote": pl.Int64, "hot": pl.Int64})
    if boundary is None or newest is None:
        return none
    start = max(boundary, scope.start) if scope.start else boundary
    end = min(newest + MICROSECOND, scope.end) if scope.end else newest + MICROSECOND
    return hot.counts(scope.profile, scope.motes, start, end).rename({"n": "hot"}) if start < end else none


# ---- what is under way: stored, and not yet in the books ------------------------------------------------------


def _without_under_way(
    scope: Scope, lines: pl.DataFrame, marks: Sequence[Booked], lake: Lake, hot: HotStore, boundary: datetime | None
) -> pl.DataFrame:
    if not len(comparison.differing(lines)):
        return lines
    rows = silver(scope, lake)
    cold = empty(scope) if rows is None else collected(rows.filter(_beyond(marks)).select("mote", "at", *ORIGIN))
    cold = under_way(cold, marks, lake)
    recent = pl.col("at") >= boundary if boundary else pl.lit(False)
    lines = comparison.less(lines, cold=_counted(cold), due=_counted(cold.filter(recent)))
    ahead = comparison.differing(lines).filter(pl.col("hot") > pl.col("due"))
    warm = pl.concat([empty(scope), *(keys(hot_rows(scope, day, hot)) for day in by_day(ahead))]).filter(recent)
    # Counted again instead of subtracted: what has come since the first count must not be taken off it.
    settled = warm.join(under_way(warm, marks, lake), on=["mote", "at"], how="anti")
    return comparison.recounted(lines, ahead, _counted(settled))


def _beyond(marks: Sequence[Booked]) -> pl.Expr:
    """Rows that may be beyond what is booked: a place alone may also be another topic's."""
    here = [
        (pl.col("partition") == one.partition)
        & (pl.col("offset") >= one.next_offset)
        & (pl.col("received_at") >= one.received_at)
        for one in marks
    ]
    return pl.any_horizontal(here) if here else pl.lit(False)


def under_way(rows: pl.DataFrame, marks: Sequence[Booked], lake: Lake) -> pl.DataFrame:
    """Of rows with their origin those whose messages are not booked yet; bronze knows which topic they came by."""
    rows = rows.filter(_beyond(marks))
    first: datetime | None = rows.select(pl.col("received_at").min()).item()
    if first is None:
        return rows
    try:
        bronze = lake.scan("bronze")
    except NoSuchTable:
        return rows
    came = collected(
        bronze.filter(pl.col("date") >= first.date(), pl.col("received_at") >= first).select("topic", *ORIGIN)
    )
    return rows.join(came.filter(is_booked(marks)), on=ORIGIN, how="anti")


def is_booked(marks: Sequence[Booked]) -> pl.Expr:
    """Whether the books know a message of bronze."""
    known = [
        (pl.col("topic") == one.topic)
        & (pl.col("partition") == one.partition)
        & (pl.col("offset") < one.next_offset)
        & (pl.col("received_at") <= one.received_at)
        for one in marks
    ]
    return pl.any_horizontal(known) if known else pl.lit(False)


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by(pl.col("at").dt.truncate("1h").alias("hour"), "mote").agg(n=pl.len().cast(pl.Int64))


# ---- rows of the hours that differ ----------------------------------------------------------------------------


def by_day(wrong: pl.DataFrame) -> list[pl.DataFrame]:
    """Lines a day at a time: a month of rows is more than memory should hold."""
    return wrong.with_columns(date=pl.col("hour").dt.date()).partition_by("date", maintain_order=True)


def hot_rows(scope: Scope, day: pl.DataFrame, hot: HotStore) -> pl.DataFrame:
    """The hot store's readings in these hours of these motes."""
    first, last = day["hour"].min(), day["hour"].max()
    found = hot.between(scope.profile, day["mote"].unique().to_list(), first, last + HOUR)  # type: ignore[arg-type,operator]
    return found.with_columns(hour=pl.col("at").dt.truncate("1h")).join(day, on=KEYS, how="semi").drop("hour")


def cold_rows(scope: Scope, day: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """The lake's readings in these hours of these motes, as they are stored."""
    rows = silver(scope, lake)
    if rows is None:
        return pl.DataFrame(schema=stored_schema(scope.profile))
    found = collected(rows.filter(pl.col("date") == day["date"][0]).join(day.lazy(), on=KEYS, how="semi"))
    return found.select(
        pl.col(name).cast(dtype) if name in found.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in stored_schema(scope.profile).items()
    )


def keys(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("mote", "at", *ORIGIN)


def empty(scope: Scope) -> pl.DataFrame:
    return keys(pl.DataFrame(schema=stored_schema(scope.profile)))


def _full_hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)
