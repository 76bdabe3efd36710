"""What is told of faults reaches the table of labels once, and what is no label is put aside with its reason."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
from django.utils import timezone

from ingestion.labels import LabelReader
from ingestion.models import Checkpoint, Quarantined
from ingestion.running import build_label_reader
from ingestion.simulating.simulation import tell_truth
from ingestion.simulating.simulator import US, Simulator
from ingestion.streams import stream
from ingestion.streams.kafka import KafkaStream
from ingestion.wire import REASONS
from mlops.models import Label
from sensors import registry
from sensors.packs import read_pack
from sensors.readings import micros
from tests.builders import install_fleet
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
START = micros(NOON)
FINE = {
    "site": "main", "mote_id": 7, "channel": "temperature", "kind": "drift", "starts_at": START / 1e6 + 0.25,
    "ends_at": "2026-03-02T12:15:00Z", "source": "simulator",
}  # fmt: skip


def told(*messages, to=None):
    values = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in messages]
    (to or stream("labels")).append(values, [None] * len(values))


def read(reader=None):
    (reader or build_label_reader()).run(threading.Event(), until_end=True)


def kept():
    return list(Label.objects.order_by("starts_at", "channel").values_list("mote__code", "channel", "kind", "source"))


def test_a_label_that_is_told_lies_in_the_table_to_the_microsecond():
    install_fleet()
    told({**FINE, "note": "the fan was off"})

    read()

    label = Label.objects.get()
    assert (label.mote.code, label.channel, label.kind, label.source) == ("7", "temperature", "drift", "simulator")
    assert (micros(label.starts_at), micros(label.ends_at)) == (START + 250_000, START + 900 * US)
    assert label.note == "the fan was off"


def test_a_label_told_twice_is_kept_once_and_so_is_one_that_is_read_again():
    install_fleet()
    told(FINE, FINE, {**FINE, "channel": "humidity"})

    read()
    told(FINE)
    Checkpoint.objects.all().delete()  # as after a crash before the checkpoint
    read()

    assert kept() == [("7", "humidity", "drift", "simulator"), ("7", "temperature", "drift", "simulator")]


def test_reading_goes_on_where_it_stopped():
    install_fleet()
    told(FINE)
    read()
    Label.objects.all().delete()
    told({**FINE, "kind": "bias"})

    read()

    assert [kind for _, _, kind, _ in kept()] == ["bias"]


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (b"\xff", "malformed", ""),
        (b"{", "malformed", "truncated"),
        (b'"drift"', "bad_label", "Expected `object`"),
        (b"x" * ((1 << 20) + 1), "too_large", "1,048,577 bytes"),
        ({**FINE, "mote_id": None}, "no_mote", "expected one of mote_id"),
        ({**FINE, "kind": ""}, "bad_label", "kind"),
        ({**FINE, "kind": "drift\x00"}, "bad_label", "kind"),
        ({**FINE, "kind": "x" * 33}, "bad_label", "length <= 32"),
        ({key: value for key, value in FINE.items() if key != "ends_at"}, "bad_label", "required field `ends_at`"),
        ({**FINE, "ends_at": "tomorrow"}, "bad_timestamp", "to tomorrow: expected two instants"),
        ({**FINE, "ends_at": FINE["starts_at"]}, "bad_timestamp", "the second after the first"),
        ({**FINE, "channel": "pressure"}, "bad_label", "channel is “pressure”, expected one of temperature, humidity"),
    ],
)
def test_what_is_no_label_is_put_aside_with_its_reason_and_holds_nobody_up(message, reason, words):
    install_fleet()
    told(message, FINE)

    read()

    aside = Quarantined.objects.get()
    assert (aside.topic, aside.reason, aside.status) == (stream("labels").topic, reason, "quarantined")
    assert words in aside.detail
    assert reason in REASONS
    assert len(kept()) == 1


def test_a_label_of_an_unknown_mote_is_held_and_kept_once_the_mote_is_there():
    install_fleet()
    told({**FINE, "mote_id": "8"}, {**FINE, "mote_id": "9"})
    read()
    assert set(Quarantined.objects.values_list("reason", "status")) == {("unknown_mote", "held")}
    assert kept() == []

    install_fleet(motes=("8",))
    told({**FINE, "kind": "bias"})
    read()

    assert sorted(kept()) == [("7", "temperature", "bias", "simulator"), ("8", "temperature", "drift", "simulator")]
    assert dict(Quarantined.objects.values_list("mote_code", "status")) == {"8": "replayed", "9": "held"}


def test_a_mote_that_comes_while_the_reader_runs_is_noticed():
    """The clock is handed in: five seconds pass between two looks at the fleet."""
    install_fleet()
    told({**FINE, "mote_id": "8"})
    seconds = iter(range(0, 1000, 6))
    reader = LabelReader(
        stream=stream("labels"), group="test", owner="alice", fleet=registry.current_fleet,
        fleet_revision=registry.revision, now=timezone.now, clock=lambda: next(seconds),
    )  # fmt: skip
    read(reader)

    install_fleet(motes=("8",))
    told(FINE)
    read(reader)

    assert {code for code, *_ in kept()} == {"7", "8"}


def test_a_topic_made_anew_is_read_from_its_start():
    install_fleet()
    told(FINE, FINE)
    read()
    Checkpoint.objects.update(topic_id="another", next_offset=1_000)
    told({**FINE, "kind": "bias"})

    read()

    assert {kind for _, _, kind, _ in kept()} == {"drift", "bias"}


def test_every_fault_of_a_simulated_day_is_kept_as_it_was_injected():
    pack = read_pack("indoor")
    install_fleet(motes=tuple(mote.code for mote in pack.motes))
    simulator = Simulator.of(pack, site="main", seed=3)

    n = tell_truth(simulator, START, START + 86_400 * US, labels=stream("labels"), site="main")
    read()

    faults = simulator.faults(START, START + 86_400 * US, simulator.profile.interval_s)
    assert len(faults) == n > 1_000
    rows = Label.objects.values_list("mote__code", "channel", "kind", "starts_at", "ends_at")
    assert {(*row[:3], micros(row[3]), micros(row[4])) for row in rows} == {
        (fault.mote, fault.channel, fault.kind, fault.starts_us, fault.ends_us) for fault in faults
    }
    assert Quarantined.objects.count() == 0


@pytest.mark.service
def test_labels_come_through_kafka_once_whoever_reads_them(addresses):
    """Two readers share the group; each label, told twice over four partitions, is one row."""
    install_fleet()
    topic = f"labels-{uuid.uuid4().hex}"
    kafka = KafkaStream(topic, addresses["KAFKA_BOOTSTRAP_SERVERS"])
    told(*[{**FINE, "kind": f"kind {i % 50}"} for i in range(100)], b"no label", to=kafka)

    def reader():
        return LabelReader(
            stream=kafka, group=f"{topic}-group", owner="alice", fleet=registry.current_fleet,
            fleet_revision=registry.revision, now=timezone.now,
        )  # fmt: skip

    try:
        read(reader())
        told({**FINE, "kind": "later"}, to=kafka)
        read(reader())
        lag = kafka.lag(f"{topic}-group")
    finally:
        kafka.close()
        _forget(addresses, topic)

    assert {kind for _, _, kind, _ in kept()} == {*(f"kind {i}" for i in range(50)), "later"}
    assert len(kept()) == 51
    assert Quarantined.objects.get().reason == "malformed"
    assert sum(lag.values()) == 0


def _forget(addresses, topic):
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": addresses["KAFKA_BOOTSTRAP_SERVERS"], "log_level": 2})
    admin.delete_topics([topic])[topic].result(10)
