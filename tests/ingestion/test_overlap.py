"""Large batches are stored while the next one is judged: nothing is lost, known too late or told out of turn by it."""

# ruff: noqa: F811  (the fixtures come from test_runner by import)
from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest

from alerts.models import Event
from ingestion.models import LedgerHour, Quarantined
from ingestion.runner import Pace
from ingestion.streams import stream
from sensors.readings import Profile
from sensors.stores import HotStore, StoreUnavailable, hot
from tests.ingestion.test_runner import (  # noqa: F401
    Failing,
    drain,
    fleet,
    heard,
    in_hot,
    make,
    reading,
    send,
    start_us,
    stored,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
STEP_US = 30_000_000
FULL = Pace(batch_max=4, batch_wait_s=0.0, retry_s=0.001, retry_max_s=0.002, look_s=1e9, slow_cycle_s=1e9)


class Hastening:
    """A stream whose second poll lets the store go on that waits for it."""

    def __init__(self, inner: Any, polled: threading.Event | None = None) -> None:
        self._inner, self.polls, self.polled = inner, 0, polled or threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def consumer(self, group: str, **told: Any) -> Hastening:
        return Hastening(self._inner.consumer(group, **told), self.polled)

    def poll(self, max_records: int, wait_s: float) -> Any:
        self.polls += 1
        if self.polls == 2:
            self.polled.set()
        return self._inner.poll(max_records, wait_s)


class Waiting:
    """A hot store in front of the real one that writes nothing before it may."""

    def __init__(self, store: HotStore, may_write: threading.Event) -> None:
        self._store, self._may_write = store, may_write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, profile: Profile, table: pl.DataFrame) -> None:
        assert self._may_write.wait(20), "the path waited for this writing before it went on"
        self._store.write(profile, table)


def test_the_next_large_batch_is_fetched_while_one_is_stored(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(8)])
    source = Hastening(stream())

    drain(make(stream=source, hot=Waiting(hot(), source.polled), pace=FULL))

    assert in_hot()["offset"].to_list() == stored()["offset"].sort().to_list() == list(range(8))


def test_a_repeat_in_the_next_large_batch_is_known_although_the_first_was_still_being_stored(make: Any) -> None:
    at = start_us()
    first = [reading(at + i * STEP_US) for i in range(4)]
    send(*first, *first[1:], reading(at, temperature=30.0))

    drain(make(pace=FULL))

    line = LedgerHour.objects.get()
    assert (line.stored, line.duplicate, line.quarantined) == (4, 3, 1)
    assert Quarantined.objects.get().reason == "conflict"
    assert in_hot()["temperature"].to_list() == [21.5] * 4


def test_a_store_that_is_away_under_large_batches_loses_nothing(make: Any, heard: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US, temperature=21.5 if i < 6 else 49.5) for i in range(12)])

    drain(make(hot=Failing(hot(), StoreUnavailable("gone"), 5), pace=FULL))

    assert len(in_hot()) == len(stored()) == 12
    assert [batch.offset.tolist() for batch in heard.batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert Event.objects.count() == 1
