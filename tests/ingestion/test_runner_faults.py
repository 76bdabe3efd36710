"""The reading path at its worst moments: what dies, moves or changes between two steps loses and doubles nothing."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import threading
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import OperationalError
from structlog.testing import capture_logs

from alerts.models import Alert, Event
from ingestion import checkpoints
from ingestion.models import Checkpoint, LedgerHour, StateSnapshot
from ingestion.pipeline import PartitionState
from ingestion.records import Records
from ingestion.runner import Pace
from ingestion.streams import OnAssign, OnRevoke, StreamClosed, stream
from ingestion.streams.segments import SegmentConsumer, SegmentStream
from mlops.detection import FittedEngine, fallback
from sensors import registry
from sensors.fleet import Fleet
from sensors.models import ProfileVersion
from sensors.readings import Profile
from sensors.stores import StoreUnavailable, hot
from tests.builders import channel, install_fleet, profile
from tests.ingestion.path import STEP_US, Failing, drain, in_hot, reading, send, start_us, stored

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
INDOOR = profile(channel(), channel("humidity", physical=(0.0, 100.0)), channel("light"), channel("voltage"))


def test_a_profile_that_gains_a_channel_keeps_what_was_known_of_its_motes(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US, temperature=49.5) for i in range(5)])
    drain(make())

    ProfileVersion.objects.update(is_current=False)
    install_fleet(motes=(), profile=profile(*INDOOR.channels, channel("co2"), channel("noise"), version=2))
    send(*[reading(at + i * STEP_US, temperature=49.5, co2=20.0) for i in range(5, 10)])
    drain(make())
    drain(make())

    assert in_hot()["profile_version"].to_list() == [1] * 5 + [2] * 5
    assert Event.objects.get().n_readings == 10, "the event goes on through the change"


class Fails(Failing):
    """A hot store that takes `times` writes and then meets a fault that no waiting cures."""

    def write(self, profile: Profile, table: pl.DataFrame) -> None:
        if not self._left:
            raise self._error
        self._left -= 1
        self._store.write(profile, table)


def test_a_fault_in_the_middle_of_a_batch_saves_no_state_that_knows_more_than_its_offset(make: Any) -> None:
    at = start_us()
    for i in range(4):
        send(reading(at + i * STEP_US))
    pace = Pace(batch_max=1, batch_wait_s=0.0, look_s=100.0, slow_cycle_s=100.0)

    with pytest.raises(RuntimeError, match="a fault"):
        drain(make(hot=Fails(hot(), RuntimeError("a fault"), times=3), pace=pace))
    drain(make())

    assert in_hot()["flags"].to_list() == [0] * 4, "none is late, however often it was begun"
    assert stored()["flags"].to_list() == [0] * 4


def test_the_alert_about_a_sink_ends_although_the_process_that_raised_it_died(make: Any) -> None:
    send(reading(start_us()))
    stop = threading.Event()

    class Away(Failing):
        def write(self, profile: Profile, table: pl.DataFrame) -> None:
            stop.set()
            raise self._error

    make(hot=Away(hot(), StoreUnavailable("away"), times=1)).run(stop)
    assert Alert.objects.get(subject="sink:hot_store").status == "open"

    drain(make())

    assert Alert.objects.get(subject="sink:hot_store").status == "resolved"


class Reassigned(SegmentConsumer):
    """A consumer that loses its partitions and gets them again in the first poll that keeps its membership."""

    has_moved = False

    def poll(self, max_records: int, wait_s: float) -> Records:
        if self._is_paused and not self.has_moved:
            self.has_moved = True
            self._on_revoke([0])
            self._leave()
        return super().poll(max_records, wait_s)


class ReassigningStream(SegmentStream):
    def consumer(self, group: str, *, on_assign: OnAssign, on_revoke: OnRevoke) -> SegmentConsumer:
        return Reassigned(self, group, on_assign, on_revoke)


class LosesWrites(FileSystemStorage):
    """An artefact storage that is away for one write after so many."""

    def __init__(self, after: int) -> None:
        super().__init__(location=default_storage.location, allow_overwrite=True)
        self.left = after

    def save(self, name: Any, content: Any, max_length: Any = None) -> str:
        self.left -= 1
        if self.left == 0:
            raise OSError("away")
        return super().save(name, content, max_length)


def test_a_partition_that_came_back_while_its_checkpoint_waited_is_saved_with_its_own_state(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(3)])
    readings = ReassigningStream(stream().topic, stream().folder.parent)

    drain(make(stream=readings, storage=LosesWrites(after=2)))

    assert sum(line.received for line in LedgerHour.objects.all()) == 3, "booked once"
    held = checkpoints.claim(readings.topic, 0, owner="next", identity=readings.identity())
    checkpoints.restore(held, default_storage)
    assert held.next_offset == 3
    assert list(held.state.newest.values()) == [at + 2 * STEP_US], "the state is the one at that offset"
    assert len(stored()) == len(in_hot()) == 3


class Swaps:
    """A serving whose engine 2 takes the place of engine 1 at the first refresh."""

    def __init__(self) -> None:
        self.number = 1
        self.engines: dict[tuple[Profile, int], FittedEngine] = {}

    def engine_for(self, profile: Profile) -> FittedEngine:
        key = profile, self.number
        if key not in self.engines:
            self.engines[key] = fallback(profile).numbered(self.number)
        return self.engines[key]

    def version_for(self, profile: Profile) -> None:
        return None

    def versions_for(self, profile: Profile) -> list[Any]:
        return []

    def go_back_to(self, profile: Any, number: int, own: Any = None) -> None:
        """There is one engine only."""

    def refresh(self, now: datetime) -> list[str]:
        before, self.number = self.number, 2
        return ["swapped"] if before == 1 else []


def test_a_new_model_takes_effect_although_the_database_went_away_in_the_middle_of_the_swap(make: Any) -> None:
    at, stop, asked = start_us(), threading.Event(), []

    def fleet_or_not() -> Fleet:
        asked.append(1)
        if len(asked) == 2:
            raise OperationalError("the server closed the connection")
        return registry.current_fleet()

    def progress(n: int) -> None:
        turns.append(n)
        if len(turns) == 5:
            send(reading(at))
        if n == 1 or len(turns) > 100:
            stop.set()

    turns: list[int] = []
    make(fleet=fleet_or_not, serving=Swaps()).run(stop, progress=progress)

    assert in_hot()["model_version"].to_list() == [2]


def test_a_database_that_is_away_when_the_process_starts_is_waited_for(make: Any) -> None:
    asked: list[int] = []

    def fleet_or_not() -> Fleet:
        asked.append(1)
        if len(asked) == 1:
            raise OperationalError("the server does not answer")
        return registry.current_fleet()

    send(reading(start_us()))

    drain(make(fleet=fleet_or_not))

    assert len(in_hot()) == 1


def test_after_a_topic_was_made_anew_and_its_checkpoint_deleted_its_messages_reach_the_lake(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(4)], b"garbage")
    drain(make())
    shutil.rmtree(stream().folder)
    stream().ensure()
    send(*[reading(at + i * STEP_US) for i in range(4, 6)])
    with pytest.raises(StreamClosed, match="delete the checkpoint"):
        drain(make())

    Checkpoint.objects.all().delete()
    drain(make())

    assert stored()["at"].dt.epoch("us").sort().to_list() == [at + i * STEP_US for i in range(6)]


def test_a_state_that_is_gone_is_said_and_not_waited_for(make: Any) -> None:
    send(reading(start_us()))
    drain(make())
    default_storage.delete(StateSnapshot.objects.latest("pk").blob)

    with pytest.raises(StreamClosed, match="delete the checkpoint"):
        make().run(stopped_after(1.0), until_end=True)


def test_an_engine_state_of_an_older_release_is_begun_anew_and_the_stream_goes_on(make: Any) -> None:
    send(reading(start_us()))
    drain(make())
    kept = StateSnapshot.objects.latest("pk")
    older = io.BytesIO()
    with default_storage.open(kept.blob) as file:
        parts = PartitionState.from_bytes(file.read()).parts()
    engine = re.sub(rb'"schema": \d+', b'"schema": 0', parts["engine/indoor"].tobytes())
    np.savez(older, newest=parts["newest"], **{"engine/indoor": np.frombuffer(engine, np.uint8)})
    blob = default_storage.save(kept.blob, ContentFile(older.getvalue()))
    StateSnapshot.objects.filter(pk=kept.pk).update(blob=blob, sha256=hashlib.sha256(older.getvalue()).hexdigest())
    send(reading(start_us() + 30_000_000))

    with capture_logs() as said:
        drain(make())

    assert Checkpoint.objects.get().next_offset == 2
    assert [line["profiles"] for line in said if line["event"] == "engine_state_begun_anew"] == [["indoor"]]


def stopped_after(seconds: float) -> threading.Event:
    """For a run that should have ended by itself long before."""
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    return stop
