"""Which model scored this? Answered for a reading, an alert and a day, by what is stored with each reading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from alerts.models import Alert
from mlops.models import ModelVersion
from sensors.lake import Lake, NoSuchTable
from sensors.models import Mote
from sensors.readings import Profile
from sensors.tiers import Tiers

FALLBACK = "the fallback: the pack's limits and each mote's last readings"


@dataclass(frozen=True, slots=True)
class Scored:
    """A version and how much of what was asked it scored; without a version the number says more."""

    number: int
    version: ModelVersion | None
    n: int
    first_at: datetime
    last_at: datetime

    @property
    def name(self) -> str:
        if self.version is not None:
            return self.version.name
        return FALLBACK if self.number == 0 else f"version {self.number}, which is no longer in the registry"


def of_reading(mote: Mote, profile: Profile, at: datetime, *, tiers: Tiers, now: datetime) -> Scored | None:
    """What scored the mote's reading at that instant, or its last one in the minute before; None: there is none."""
    found = tiers.between(profile, [mote.pk], at - timedelta(minutes=1), at + timedelta(microseconds=1), now=now)
    if found.table.is_empty():
        return None
    last = found.table.sort("at").tail(1)
    (one,) = _counted(last, profile.code)
    return one


def of_alert(alert: Alert) -> list[Scored]:
    """What scored the readings of its events, the version that noticed each."""
    events = alert.events.select_related("mote__profile").order_by("noticed_at")
    found = [
        (event.model_version, event.n_readings, event.started_at, event.last_at, event.mote.profile.code)
        for event in events
    ]
    if not found:
        return []
    schema = ["number", "n", "first_at", "last_at", "profile"]
    table = pl.DataFrame(found, schema=schema, orient="row").group_by("number", "profile").agg(
        pl.col("n").sum(), pl.col("first_at").min(), pl.col("last_at").max()
    )  # fmt: skip
    return [
        scored
        for code in table["profile"].unique().sort()
        for scored in _told(table.filter(pl.col("profile") == code), code)
    ]


def of_day(profile: Profile, day: date, *, lake: Lake) -> list[Scored]:
    """What scored the readings of a UTC day, by the lake, which has all of them."""
    try:
        source = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return []
    return _counted(source.filter(pl.col("date") == day).select("model_version", "at").collect(), profile.code)


def _counted(readings: pl.DataFrame, profile: str) -> list[Scored]:
    counted = readings.group_by(pl.col("model_version").alias("number")).agg(
        pl.len().alias("n"), pl.col("at").min().alias("first_at"), pl.col("at").max().alias("last_at")
    )
    return _told(counted, profile)


def _told(counted: pl.DataFrame, profile: str) -> list[Scored]:
    numbers = counted["number"].to_list()
    versions = {
        one.number: one
        for one in ModelVersion.objects.filter(profile__code=profile, number__in=numbers).select_related(
            "profile", "mote__site"
        )
    }
    return [
        Scored(row["number"], versions.get(row["number"]), row["n"], _utc(row["first_at"]), _utc(row["last_at"]))
        for row in counted.sort("first_at").iter_rows(named=True)
    ]


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
