"""A site whose lake, hot store and books agree until a test makes them differ."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from ingestion.models import LedgerHour, QualityReport
from ingestion.validation import failing, reports
from ingestion.validation.limits import Limits
from sensors import quality, registry
from sensors.lake import lake
from sensors.models import Mote, Profile, Site
from sensors.readings import Battery, micros
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON

LIMITS = Limits()
INDOOR = builders.profile(
    builders.channel(),
    builders.channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%"),
    builders.channel("voltage", physical=(2.0, 3.0), normal=(2.4, 3.0), unit="V"),
    battery=Battery("voltage", 2.4, 2.0),
)
GOOD = (21.0, 45.0, 2.8)
HOUR = 120  # readings, one every 30 s


def table(mote: int, values, *, start: datetime = NOON, step_s: float = 30.0, profile=INDOOR) -> pl.DataFrame:
    batch = builders.batch(profile, values, mote=mote, start_us=micros(start), step_s=step_s)
    return replace(batch, flags=quality.range_flags(profile, batch.values)).to_table()


def good(mote: int, n: int = HOUR, **options) -> pl.DataFrame:
    return table(mote, [GOOD] * n, **options)


class Place:
    """A site with a lake, a hot store and books that agree until a test makes them differ."""

    def __init__(self) -> None:
        self.keys = dict(Mote.objects.values_list("code", "pk"))
        self.offset = 0

    def keep(self, *tables: pl.DataFrame, in_lake=True, in_hot=True, in_books=True) -> None:
        rows = pl.concat(tables).with_columns(offset=pl.int_range(pl.len(), dtype=pl.Int64) + self.offset)
        self.offset += len(rows)
        if in_lake:
            lake().append("silver/indoor", rows, app_ids={0: "t/0"}, next_offsets={0: self.offset})
        if in_hot:
            hot().write(INDOOR, rows)
        if in_books:
            self.book(rows)

    def book(self, rows: pl.DataFrame, **more: int) -> None:
        for (hour,), part in rows.group_by(pl.col("at").dt.truncate("1h")):
            line, _ = LedgerHour.objects.get_or_create(hour=hour, profile="indoor", topic="t", partition=0)
            for mote, n in part.group_by("mote").len().iter_rows():
                line.motes[str(mote)] = line.motes.get(str(mote), 0) + n
            line.stored += len(part)
            line.received += len(part)
            line.save()

    def ask(
        self, span: reports.Span | None = None, *, site: str = "main", now: datetime | None = None
    ) -> QualityReport:
        scope = Profile.objects.get(code="indoor"), Site.objects.get(code=site)
        moment = now or NOON + timedelta(days=90)
        return reports.ask(scope, span or reports.Span(), trigger="person", who=None, now=moment)

    def report(self, span: reports.Span | None = None, **options) -> QualityReport:
        return self.made(self.ask(span, **options))

    def made(self, report: QualityReport, **parts) -> QualityReport:
        given = {"lake": lake(), "hot": hot(), "fleet": registry.current_fleet(), "limits": LIMITS}
        return reports.make_report(report, **{**given, "now": report.asked_at, **parts})

    def behind(self, report: QualityReport, check: str, **asked) -> failing.Page:
        mote = asked.pop("mote", "")
        return reports.failing_readings(
            report, failing.Asked(check, **asked), mote=mote, lake=lake(), hot=hot(), fleet=registry.current_fleet()
        )


@pytest.fixture(name="place")
def quality_site(db) -> Place:
    builders.install_fleet(motes=("7", "8"), profile=INDOOR)
    return Place()
