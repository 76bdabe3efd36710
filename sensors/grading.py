"""Sensor grades as they are kept: read from the lake, graded, one row a mote and channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import polars as pl
from django.db import transaction

from sensors.corrections import standing
from sensors.fleet import MoteRef
from sensors.grades import Grade, grades
from sensors.lake import NoSuchTable
from sensors.models import SensorGrade
from sensors.overlay import Overlay, corrected
from sensors.readings import INSTANT, Profile, micros, stored_schema
from sensors.registry import current_fleet

DAYS = 7.0


class Lake(Protocol):
    """What is asked of the lake here."""

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame: ...


class Newest(Protocol):
    """What is asked of the hot store here."""

    def latest(self, profile: Profile, motes: Sequence[int]) -> pl.DataFrame: ...


def grade_motes(
    *, lake: Lake, store: Newest, now: datetime, days: float = DAYS, profile: str | None = None, site: str | None = None
) -> list[SensorGrade]:
    """Grades the last days of every mote, of all profiles and sites or of those named, and keeps the grades.

    A site whose data ended before these days is graded by the last days that it has; one that never spoke is not.
    """
    fleet = current_fleet()
    kept: list[SensorGrade] = []
    for kind in fleet.profiles.values():
        if profile not in (None, kind.code):
            continue
        members: dict[str, list[MoteRef]] = {}
        for mote in fleet.motes:
            if mote.profile == kind.code and site in (None, mote.site):
                members.setdefault(mote.site, []).append(mote)
        for motes in members.values():
            kept += _grade_site(kind, motes, lake=lake, store=store, now=now, length=timedelta(days=days))
    return kept


def _grade_site(
    profile: Profile, motes: Sequence[MoteRef], *, lake: Lake, store: Newest, now: datetime, length: timedelta
) -> list[SensorGrade]:
    keys = [mote.id for mote in motes]
    newest = store.latest(profile, keys)["at"].max()
    if not isinstance(newest, datetime):
        return []
    end = now if newest > now - length else newest + timedelta(microseconds=1)
    start = end - length
    table = readings(lake, profile, keys, start, end)
    neighbours = {mote.id: mote.group_key for mote in motes}
    found = grades(profile, table, neighbours, micros(start), micros(end))
    return _keep(found, keys, profile=profile, start=start, end=end, now=now)


@transaction.atomic
def _keep(
    found: Sequence[Grade], motes: Sequence[int], *, profile: Profile, start: datetime, end: datetime, now: datetime
) -> list[SensorGrade]:
    """In place of what these motes had before; who grades the same at the same time does no harm."""
    rows = [
        SensorGrade(
            mote_id=one.mote, channel=one.channel, grade=one.letter, reasons=list(one.reasons),
            figures=dict(one.figures), profile_version=profile.version, starts_at=start, ends_at=end, graded_at=now,
        )
        for one in found
    ]  # fmt: skip
    told = ("grade", "reasons", "figures", "profile_version", "starts_at", "ends_at", "graded_at")
    kept = SensorGrade.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=("mote", "channel"), update_fields=told
    )
    SensorGrade.objects.filter(mote__in=motes).exclude(graded_at=now).delete()
    return kept


# ---- reading ------------------------------------------------------------------------------------------------


def readings(lake: Lake, profile: Profile, motes: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
    """The range as it is to be read, at most two readings an interval: all that grades look at."""
    columns = ("mote", "at", *profile.names, "flags")
    empty = pl.DataFrame(schema={name: stored_schema(profile)[name] for name in columns})
    try:
        source = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return empty
    overlays = standing(motes, start, end)
    days = (_day(source, profile, motes, columns, overlays, *bounds) for bounds in _days(start, end))
    return pl.concat([empty, *days])


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A UTC day at a time, as the lake is cut, so that a fleet that reports every second never lies in memory whole."""
    begin = start
    while begin < end:
        midnight = begin.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        until = min(midnight + timedelta(days=1), end)
        yield begin, until
        begin = until


def _day(
    source: pl.LazyFrame, profile: Profile, motes: Sequence[int], columns: Sequence[str], overlays: Sequence[Overlay],
    begin: datetime, until: datetime,
) -> pl.DataFrame:  # fmt: skip
    """The first reading in each half interval, corrected; a channel that the lake does not know yet is null."""
    known = set(source.collect_schema().names())
    slot = (pl.col("at").cast(pl.Int64) // int(profile.interval_s * 0.5e6)).alias("slot")
    wanted = [
        pl.col(name) if name in known else pl.lit(None, stored_schema(profile)[name]).alias(name) for name in columns
    ]
    today = (pl.col("date") == begin.astimezone(UTC).date()) & (pl.col("at") >= begin) & (pl.col("at") < until)
    rows = (
        source.filter(today & pl.col("mote").is_in(list(motes)))
        .select(*wanted, "partition", "offset", slot)
        .sort("mote", "at", "partition", "offset")
        .unique(["mote", "slot"], keep="first", maintain_order=True)
        .select(columns)
        .collect()
    )
    return corrected(profile, rows.with_columns(pl.col("at").cast(INSTANT)), overlays)
