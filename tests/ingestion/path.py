"""The reading path on the embedded parts, for the tests of what it does: built, fed, drained, and looked at."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import polars as pl
from django.utils import timezone

from alerts.models import Alert
from ingestion.runner import Runner
from ingestion.streams import stream
from sensors import registry
from sensors.fleet import HOUR_US
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import Profile, micros
from sensors.stores import HotStore, hot

STEP_US = 30_000_000


class Heard:
    """What the live channel was told."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.alerts: list[Alert] = []

    def announce_readings(self, batch: Any, fleet: Any) -> None:
        self.batches.append(batch)

    def announce_alert(self, alert: Alert) -> None:
        self.alerts.append(alert)


class Failing:
    """A hot store in front of the real one that is away, or refuses, for so many writes."""

    def __init__(self, store: HotStore, error: Exception, times: int) -> None:
        self._store, self._error, self._left = store, error, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, profile: Profile, table: pl.DataFrame) -> None:
        if self._left:
            self._left -= 1
            raise self._error
        self._store.write(profile, table)


def start_us() -> int:
    """The beginning of an hour, so that what follows within it is one line of the books, whenever the test runs."""
    return micros(timezone.now() - timedelta(minutes=30)) // HOUR_US * HOUR_US


def reading(at_us: int, code: str = "7", **channels: Any) -> bytes:
    values = {"temperature": 21.5, "humidity": 40.0, "light": 120.0, "voltage": 2.7, **channels}
    return json.dumps({"mote_id": code, "timestamp": at_us / 1e6, **values}).encode()


def send(*payloads: bytes) -> None:
    stream().append(list(payloads), [b"main/lab"] * len(payloads))


def drain(runner: Runner) -> None:
    runner.run(threading.Event(), until_end=True)


def stored(table: str = "silver/indoor") -> pl.DataFrame:
    return lake().scan(table).collect()


def in_hot() -> pl.DataFrame:
    profile = registry.profiles()["indoor"]
    motes = list(Mote.objects.values_list("pk", flat=True))
    return hot().between(profile, motes, timezone.now() - timedelta(days=1), timezone.now() + timedelta(hours=1))
