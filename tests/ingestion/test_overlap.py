"""Large batches overlap on their way: nothing is lost, known too late, told out of turn or saved too early by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from django.core.files.storage import default_storage

from alerts.models import Alert, Event
from ingestion import checkpoints, runner
from ingestion.models import Checkpoint, LedgerHour, Quarantined
from ingestion.runner import Pace
from ingestion.streams import stream
from mlops.detection import FittedEngine, fallback
from sensors.lake import lake
from sensors.readings import Profile
from sensors.stores import HotStore, StoreUnavailable, hot
from tests.ingestion.path import STEP_US, Failing, drain, in_hot, reading, send, start_us, stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
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


class Asked(Waiting):
    """One that writes nothing before it was asked for what it has."""

    def existing(self, profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
        self._may_write.set()
        return self._store.existing(profile, keys)


def test_a_late_reading_is_looked_up_while_those_before_it_are_still_being_stored(make: Any) -> None:
    at = start_us()
    late = at + STEP_US // 2
    send(*[reading(at + i * STEP_US) for i in range(4)], reading(late), *[reading(at + i * STEP_US) for i in (4, 5, 6)])

    drain(make(hot=Asked(hot(), threading.Event()), pace=FULL))

    assert LedgerHour.objects.get().stored == len(in_hot()) == 8


def test_a_store_that_is_away_under_large_batches_loses_nothing(make: Any, heard: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US, temperature=21.5 if i < 6 else 49.5) for i in range(12)])

    drain(make(hot=Failing(hot(), StoreUnavailable("gone"), 5), pace=FULL))

    assert len(in_hot()) == len(stored()) == 12
    told = [offset for batch in heard.batches for offset in batch.offset.tolist()]
    assert told == sorted(set(told)), "told twice or out of turn"
    assert told[-1] == 11
    assert Event.objects.count() == 1


class Judge:
    """A serving whose engine first asks whether it may work."""

    def __init__(self, before_step: Callable[[], None]) -> None:
        self.before_step = before_step
        self.engines: dict[Profile, Any] = {}

    def engine_for(self, profile: Profile) -> Any:
        return self.engines.setdefault(profile, Asking(fallback(profile), self.before_step))

    def version_for(self, profile: Profile) -> None:
        return None

    def versions_for(self, profile: Profile) -> list[Any]:
        return []

    def go_back_to(self, profile: Any, number: int, own: Any = None) -> None:
        """There is one engine only."""

    def refresh(self, now: datetime) -> list[str]:
        return []


class Asking:
    def __init__(self, engine: FittedEngine, before_step: Callable[[], None]) -> None:
        self._engine, self._before_step = engine, before_step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self, state: Any, batch: Any) -> Any:
        self._before_step()
        return self._engine.step(state, batch)


def test_the_next_large_batch_is_fetched_while_the_engine_works_on_one(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(8)])
    source = Hastening(stream())

    def wait() -> None:
        assert source.polled.wait(20), "the path waited for the engine before it fetched more"

    drain(make(stream=source, serving=Judge(wait), pace=FULL))

    assert in_hot()["offset"].to_list() == stored()["offset"].sort().to_list() == list(range(8))


def test_a_fault_of_the_engine_stops_the_path_and_what_it_had_in_hand_comes_again(make: Any) -> None:
    at, steps = start_us(), []
    send(*[reading(at + i * STEP_US) for i in range(12)])

    def fail_at_third() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        drain(make(serving=Judge(fail_at_third), pace=replace(FULL, slow_cycle_readings=4)))
    drain(make(pace=FULL))

    assert in_hot()["flags"].to_list() == stored()["flags"].to_list() == [0] * 12, "none is known or late"


def test_what_is_saved_is_the_state_at_its_offset_although_the_engine_was_ahead(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(16)])

    class Fails(Failing):
        def write(self, profile: Profile, table: pl.DataFrame) -> None:
            if table["offset"].min() == 12:
                raise self._error
            self._store.write(profile, table)

    with pytest.raises(RuntimeError, match="a fault"):
        drain(make(hot=Fails(hot(), RuntimeError("a fault"), 0), pace=replace(FULL, slow_cycle_readings=4)))

    held = checkpoints.claim(stream().topic, 0, owner="next", identity=stream().identity())
    checkpoints.restore(held, default_storage)
    assert held.next_offset in (4, 8, 12)
    assert list(held.state.newest.values()) == [at + (held.next_offset - 1) * STEP_US]
    drain(make(pace=FULL))
    assert in_hot()["flags"].to_list() == stored()["flags"].to_list() == [0] * 16


class Away:
    """A lake that is away for so many appends."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(lake(), name)

    def append(self, table: str, data: pl.DataFrame, **told: Any) -> None:
        if self._left:
            self._left -= 1
            raise StoreUnavailable("the lake is away")
        lake().append(table, data, **told)


def test_a_lake_that_is_away_while_the_path_goes_on_is_told_waited_for_and_has_all_once(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(12)])

    drain(make(lake=Away(5), pace=replace(FULL, slow_cycle_readings=4)))

    assert stored()["offset"].sort().to_list() == stored("bronze")["offset"].sort().to_list() == list(range(12))
    assert Checkpoint.objects.get().next_offset == sum(line.stored for line in LedgerHour.objects.all()) == 12
    assert Alert.objects.get(subject="sink:lake").status == "resolved"


@pytest.mark.parametrize(
    ("n_motes", "n_readings"),
    [(0, 20_000), (42, 20_000), (9_999, 20_000), (15_000, 60_000), (42_000, 160_000), (10**6, 160_000)],
)
def test_a_large_fleet_is_taken_in_larger_batches_within_bounds(n_motes: int, n_readings: int) -> None:
    assert Pace().at_once(n_motes) == n_readings


def test_a_poll_takes_as_many_as_the_fleet_asks_for(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LARGE_FLEET", 1)  # the fleet has two motes
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(12)])
    source = Counting(stream())

    drain(make(stream=source, pace=FULL))

    assert set(source.asked) == {8}
    assert len(in_hot()) == 12


class Counting(Hastening):
    """A stream that notes how many messages each poll asks for."""

    def __init__(self, inner: Any, asked: list[int] | None = None) -> None:
        super().__init__(inner)
        self.asked = [] if asked is None else asked

    def consumer(self, group: str, **told: Any) -> Counting:
        return Counting(self._inner.consumer(group, **told), self.asked)

    def poll(self, max_records: int, wait_s: float) -> Any:
        self.asked.append(max_records)
        return self._inner.poll(max_records, wait_s)
