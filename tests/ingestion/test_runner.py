"""The reading path as it runs, on the embedded parts: what arrives is stored hot and cold, once, whatever dies."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import polars as pl
import pytest

from alerts.models import Alert, Event
from ingestion.checkpoints import Fenced
from ingestion.models import Checkpoint, LedgerHour, Quarantined, StateSnapshot
from ingestion.runner import Pace
from ingestion.slow_cycle import SlowCycle
from ingestion.streams import StreamClosed, stream
from mlops.serving import Serving
from sensors import registry
from sensors.models import Mote, ProcessHeartbeat
from sensors.readings import Profile, micros
from sensors.stores import StoreRefused, StoreUnavailable, hot
from tests.builders import install_fleet
from tests.ingestion.path import Failing, Heard, drain, in_hot, reading, send, start_us, stored

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_reading_reaches_hot_store_lake_books_checkpoint_and_live_channel(
    fleet: None, make: Any, heard: Heard
) -> None:
    at = start_us()
    send(reading(at), b"garbage", reading(at, code="99"))

    drain(make())

    assert in_hot()["temperature"].to_list() == [21.5]
    assert stored()["temperature"].to_list() == [21.5]
    assert sorted(stored("bronze")["offset"].to_list()) == [0, 1, 2]
    assert Checkpoint.objects.get().next_offset == 3
    line = LedgerHour.objects.get(profile="indoor")
    assert (line.received, line.stored) == (1, 1)
    assert sum(line.received for line in LedgerHour.objects.all()) == 3
    assert {(one.reason, one.status) for one in Quarantined.objects.all()} == {
        ("malformed", "quarantined"), ("unknown_mote", "held"),
    }  # fmt: skip
    assert [len(batch) for batch in heard.batches] == [1]
    assert micros(Mote.objects.get(code="7").last_seen_at) == at
    assert ProcessHeartbeat.objects.get(kind="consumer").detail["state"] == "stopped"


def test_a_fault_opens_an_alert_that_is_announced(fleet: None, make: Any, heard: Heard) -> None:
    at = start_us()
    send(
        *[reading(at + i * 30_000_000) for i in range(5)],
        *[reading(at + i * 30_000_000, temperature=49.5) for i in range(5, 9)],
    )

    drain(make())

    event = Event.objects.get()
    assert event.peak_channel == "temperature"
    assert event.message.startswith("sensor-readings/0@"), "its messages' place follows it as correlation id"
    assert Alert.objects.get().subject == "mote:main/7"
    assert heard.alerts[-1].severity == "high"
    assert in_hot()["is_anomaly"].sum() > 0


def test_history_scores_and_keeps_events_and_tells_nobody(fleet: None, make: Any) -> None:
    at = start_us()
    stream("history").ensure()
    stream("history").append([reading(at + i * 30_000_000, temperature=49.5) for i in range(5)], [None] * 5)

    drain(make(stream=stream("history"), announce=None, is_history=True, group="test-history"))

    assert Event.objects.get().is_history
    assert not Alert.objects.exists()
    assert Mote.objects.get(code="7").last_seen_at is None
    assert len(in_hot()) == 5


def test_a_restart_goes_on_from_the_checkpoint_with_its_state(fleet: None, make: Any) -> None:
    at = start_us()
    send(reading(at), reading(at + 60_000_000))
    drain(make())
    send(reading(at + 30_000_000))

    drain(make())

    assert in_hot().sort("at")["flags"].to_list() == [0, 8, 0], "the second run knows what the first saw: 8 is late"
    assert len(stored()) == 3
    assert StateSnapshot.objects.count() <= 3


def test_dying_between_lake_and_checkpoint_leaves_nothing_twice(fleet: None, make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * 30_000_000) for i in range(4)])

    class Dies(SlowCycle):
        def _save(self, *arguments: Any) -> None:
            raise KeyboardInterrupt

    dying = make()
    dying.cycle.__class__ = Dies
    with pytest.raises(KeyboardInterrupt):
        drain(dying)
    assert Checkpoint.objects.get().next_offset == 0
    send(*[reading(at + i * 30_000_000) for i in range(4, 6)])
    drain(make())

    assert sorted(stored("bronze")["offset"].to_list()) == list(range(6))
    assert sorted(stored()["offset"].to_list()) == list(range(6))
    assert len(in_hot()) == 6
    assert sum(line.received for line in LedgerHour.objects.all()) == 6


def test_a_sink_that_is_away_stops_the_path_loses_nothing_and_is_told(fleet: None, make: Any, heard: Heard) -> None:
    at = start_us()
    send(*[reading(at + i * 30_000_000) for i in range(3)])

    drain(make(hot=Failing(hot(), StoreUnavailable("InfluxDB at http://x does not answer"), times=3)))

    assert len(in_hot()) == 3
    assert len(stored()) == 3
    alert = Alert.objects.get(subject="sink:hot_store")
    assert (alert.kind, alert.status) == ("sink_down", "resolved")
    assert "does not answer" in alert.words
    assert [one.status for one in heard.alerts] == ["open", "open", "open", "resolved"]


def test_being_stopped_while_a_sink_is_away_saves_nothing_and_everything_comes_again(fleet: None, make: Any) -> None:
    send(reading(start_us()))
    stop = threading.Event()

    class Away(Failing):
        def write(self, profile: Profile, table: pl.DataFrame) -> None:
            stop.set()
            raise StoreUnavailable("away")

    make(hot=Away(hot(), StoreUnavailable("away"), 1)).run(stop)
    assert Checkpoint.objects.get().next_offset == 0

    drain(make())
    assert len(in_hot()) == len(stored()) == 1


def test_what_the_hot_store_refuses_is_quarantined_and_the_path_goes_on(fleet: None, make: Any) -> None:
    at = start_us()
    send(reading(at))

    drain(make(hot=Failing(hot(), StoreRefused("field type conflict"), times=1)))
    send(reading(at + 30_000_000))
    drain(make())

    assert Quarantined.objects.get().reason == "refused"
    assert len(in_hot()) == 1
    totals = [(line.stored, line.quarantined) for line in LedgerHour.objects.all()]
    assert (sum(stored for stored, _ in totals), sum(aside for _, aside in totals)) == (1, 1)


def test_one_reading_that_the_hot_store_refuses_takes_none_of_its_neighbours_along(fleet: None, make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * 30_000_000, temperature=33.3 if i == 3 else 21.5) for i in range(8)])

    class Picky(Failing):
        def write(self, profile: Profile, table: pl.DataFrame) -> None:
            if (table["temperature"] == 33.3).any():
                raise StoreRefused("33.3 is not for me")
            self._store.write(profile, table)

    drain(make(hot=Picky(hot(), StoreRefused(""), 0)))

    assert Quarantined.objects.get().detail == "33.3 is not for me"
    assert stored()["offset"].sort().to_list() == [0, 1, 2, 4, 5, 6, 7]
    assert in_hot()["offset"].to_list() == [0, 1, 2, 4, 5, 6, 7]


def test_what_a_crash_left_unsaved_is_judged_by_the_model_of_its_checkpoint(fleet: None, make: Any) -> None:
    class Remembers(Serving):
        asked: ClassVar[list[tuple[str, int]]] = []

        def go_back_to(self, profile: Profile, number: int, own: Any = None) -> None:
            self.asked.append((profile.code, number))

    send(reading(start_us()))
    drain(make())
    Checkpoint.objects.update(configuration={"models": {"indoor": 3}})

    drain(make(serving=Remembers()))

    assert Remembers.asked == [("indoor", 3)]


def test_a_batch_of_only_garbage_moves_the_checkpoint_on(fleet: None, make: Any) -> None:
    send(*[b"\xff" * n for n in range(1, 50)])

    drain(make())

    assert Quarantined.objects.count() == 49
    assert Checkpoint.objects.get().next_offset == 49


def test_whoever_lost_the_partition_cannot_save(fleet: None, make: Any) -> None:
    send(reading(start_us()))

    class Overtaken(SlowCycle):
        def begin(self, *arguments: Any) -> None:
            if self.gathered.n_messages:
                row = Checkpoint.objects.get()
                Checkpoint.objects.filter(pk=row.pk).update(epoch=row.epoch + 1)
            super().begin(*arguments)

    zombie = make()
    zombie.cycle.__class__ = Overtaken
    with pytest.raises(Fenced):
        drain(zombie)

    assert Checkpoint.objects.get().next_offset == 0
    assert not LedgerHour.objects.exists()


def test_a_recreated_topic_is_refused_with_a_sentence(fleet: None, make: Any) -> None:
    send(reading(start_us()))
    drain(make())
    Checkpoint.objects.update(topic_id="another")

    with pytest.raises(StreamClosed, match="created again"):
        drain(make())


def test_a_mote_added_while_it_runs_is_known_once_the_runner_has_looked_around(fleet: None, make: Any) -> None:
    at = start_us()
    send(reading(at, code="9"))
    runner = make(pace=Pace(batch_max=1, batch_wait_s=0.0, look_s=0.0, slow_cycle_s=0.0))
    stop, polls = threading.Event(), []

    def progress(n: int) -> None:
        polls.append(n)
        if len(polls) == 1:
            install_fleet(motes=("9",))
        if len(polls) == 2:
            send(reading(at + 30_000_000, code="9"))
        if n == 2:
            stop.set()

    runner.run(stop, progress=progress)

    assert Quarantined.objects.get().reason == "unknown_mote"
    assert len(in_hot()) == 1
    assert Checkpoint.objects.get().configuration["fleet"] == registry.revision()
