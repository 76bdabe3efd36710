"""Collects what the checks look at: the lake's readings, the books, the hot store, and what people corrected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import polars as pl
from django.conf import settings

from ingestion.models import LedgerHour, QualityReport, Quarantined
from ingestion.validation.checks import Books, Evidence
from ingestion.validation.figures import Bounds, Found, Tally
from ingestion.validation.limits import Limits
from ingestion.validation.rows import Scope, days, walk
from sensors.corrections import standing
from sensors.fleet import HOUR_US, Fleet
from sensors.lake import NoSuchTable
from sensors.models import Mote
from sensors.readings import micros
from sensors.stores import HotStore

INSTANT = timedelta(microseconds=1)
IMPOSSIBLE = ("bad_timestamp", "future_timestamp")
Tell = Callable[[float], None]


class Lake(Protocol):
    """What is asked of the lake here."""

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame: ...

    def version(self, table: str) -> int: ...


def scope_of(report: QualityReport, fleet: Fleet) -> tuple[Scope, dict[int, str]]:
    """The report's scope, and the codes of its motes; retired ones are none of it."""
    site = report.site.code if report.site else None
    found = [mote for mote in fleet.motes if mote.profile == report.profile.code and site in (None, mote.site)]
    keys = tuple(mote.id for mote in found)
    overlays = tuple(standing(keys, report.starts_at, report.ends_at))
    scope = Scope(fleet.profiles[report.profile.code], keys, report.starts_at, report.ends_at, overlays)
    return scope, {mote.id: mote.code for mote in found}


def gather(
    report: QualityReport, *, lake: Lake, hot: HotStore, fleet: Fleet, now: datetime, limits: Limits, tell: Tell
) -> Evidence:
    """Reads the books first: whatever they know by then, the lake knows already."""
    scope, codes = scope_of(report, fleet)
    books = books_of(scope)
    planned, found, hot_from = _walked(report, scope, lake, hot, now, limits, tell)
    return Evidence(
        scope=scope,
        codes=codes,
        found=found,
        books=books,
        n_hot=_n_hot(hot, scope, hot_from, found) if found and hot_from else 0,
        n_days=planned["date"].n_unique() if planned is not None else 0,
        limits=limits,
        asked_interval_s=report.interval_s,
        n_times_refused=_n_times_refused(report, codes),
        hot_from=hot_from,
    )


def _walked(
    report: QualityReport, scope: Scope, lake: Lake, hot: HotStore, now: datetime, limits: Limits, tell: Tell
) -> tuple[pl.DataFrame | None, Found | None, datetime | None]:
    table = f"silver/{scope.profile.code}"
    try:
        source = lake.scan(table, lake.version(table))
    except NoSuchTable:
        return None, None, None
    planned = days(source, scope)
    hot_from = _hot_from(report, scope, hot, planned, limits)
    hot_us = micros(hot_from) if hot_from else 0
    tally = Tally(scope, Bounds.of(scope, limits, dict.fromkeys(scope.motes, hot_us), now))
    for share, rows in walk(source, scope, planned):
        tally.take(rows)
        tell(share)
    return planned, tally.found(), hot_from


def _hot_from(
    report: QualityReport, scope: Scope, hot: HotStore, planned: pl.DataFrame, limits: Limits
) -> datetime | None:
    """The hot store keeps its days back from the newest reading of all motes of a site, the retired among them."""
    members = Mote.objects.filter(profile=report.profile)
    keys = list((members.filter(site=report.site) if report.site else members).values_list("pk", flat=True))
    instants = [*hot.latest(scope.profile, keys)["at"].to_list(), *planned["newest"].to_list()]
    if not instants:
        return None
    first: datetime = max(instants) - limits.hot_keeps
    return max(first, scope.start) if scope.start else first


def _n_hot(hot: HotStore, scope: Scope, hot_from: datetime, found: Found) -> int:
    """Up to the newest reading that the lake has: what came later is in the hot store alone for some seconds."""
    until = found.last_at + INSTANT
    return hot.count(scope.profile, hot_from, until, motes=scope.motes) if hot_from < until else 0


def books_of(scope: Scope) -> Books:
    """What the books say of the scope's motes, in the full hours of its time."""
    hours = LedgerHour.objects.filter(profile=scope.profile.code)
    if scope.start is not None:
        hours = hours.filter(hour__gte=_full_hour(scope.start))
    if scope.end is not None:
        hours = hours.filter(hour__lt=scope.end - timedelta(microseconds=micros(scope.end) % HOUR_US))
    ours, sums, stored = set(map(str, scope.motes)), Counter[str](), Counter[int]()
    is_shared = False
    for hour in hours.iterator():
        there = _own(hour.motes, ours)
        if hour.motes and not there:
            continue
        stored.update(there)
        is_shared |= len(there) < len(hour.motes)
        for name in ("received", "duplicate", "quarantined", "held"):
            sums[name] += getattr(hour, name)
        sums["imported_again"] += hour.duplicate if hour.topic == settings.SIEIS_TOPICS["history"] else 0
        sums["unbalanced"] += hour.received != hour.stored + hour.quarantined + hour.duplicate + hour.held
    return Books(
        stored=dict(stored), received=sums["received"], duplicate=sums["duplicate"],
        imported_again=sums["imported_again"], quarantined=sums["quarantined"], held=sums["held"],
        n_unbalanced=sums["unbalanced"], is_shared=is_shared,
    )  # fmt: skip


def _own(motes: Mapping[str, int], ours: set[str]) -> dict[int, int]:
    return {int(mote): n for mote, n in motes.items() if mote in ours}


def _full_hour(instant: datetime) -> datetime:
    """The first full hour from an instant on."""
    past = micros(instant) % HOUR_US
    return instant + timedelta(microseconds=HOUR_US - past if past else 0)


def _n_times_refused(report: QualityReport, codes: Mapping[int, str]) -> int:
    refused = Quarantined.objects.filter(reason__in=IMPOSSIBLE, mote_code__in=list(codes.values()))
    if report.site:
        refused = refused.filter(site=report.site.code)  # codes are unique within a site only
    if report.starts_at:
        refused = refused.filter(received_at__gte=report.starts_at)
    if report.ends_at:
        refused = refused.filter(received_at__lt=report.ends_at)
    return refused.count()
