"""What every stream promises, held by the segment log and by Kafka alike."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from ingestion.records import Records
from ingestion.streams import Consumer, Stream, StreamClosed
from ingestion.streams.kafka import KafkaStream
from ingestion.streams.keys import partition_of
from ingestion.streams.segments import SegmentStream
from tests.environment import ADDRESSES

N_PARTITIONS = 4
PATIENCE_S = 20.0

# Appends batches of five as fast as it can, saying after each how many the stream has acknowledged.
WRITER = """
import json, sys
from importlib import import_module
backend, options, name, n_batches = json.loads(sys.argv[1])
module, _, kind = backend.rpartition(".")
stream = getattr(import_module(module), kind)(**options)
for batch in range(n_batches):
    stream.append([f"{name}-{batch * 5 + i}".encode() for i in range(5)], [b"lab"] * 5)
    print("acknowledged", batch * 5 + 5, flush=True)
"""


class World:
    """Makes streams of one kind, and knows how to reach them from another process."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.suffix = uuid.uuid4().hex
        self.streams: list[Stream] = []

    def options(self, name: str) -> dict[str, object]:
        where: dict[str, object] = (
            {"folder": str(self.folder)}
            if self.kind == "segments"
            else {"servers": ADDRESSES["KAFKA_BOOTSTRAP_SERVERS"]}
        )
        return {"topic": f"{name}-{self.suffix}", "n_partitions": N_PARTITIONS, **where}

    def stream(self, name: str = "readings") -> Stream:
        made: Stream = (SegmentStream if self.kind == "segments" else KafkaStream)(**self.options(name))
        made.ensure()
        self.streams.append(made)
        return made

    def delete_topic(self, stream: Stream) -> None:
        if self.kind == "segments":
            shutil.rmtree(self.folder / stream.topic)
        else:
            admin = AdminClient({"bootstrap.servers": ADDRESSES["KAFKA_BOOTSTRAP_SERVERS"]})
            for deleted in admin.delete_topics([stream.topic]).values():
                deleted.result()

    def writer(self, stream: Stream, name: str, n_batches: int) -> subprocess.Popen[str]:
        backend = f"{type(stream).__module__}.{type(stream).__name__}"
        told = json.dumps([backend, self.options(stream.topic.rpartition("-")[0]), name, n_batches])
        environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        return subprocess.Popen([sys.executable, "-c", WRITER, told], stdout=subprocess.PIPE, text=True, env=environ)

    def clean_up(self) -> None:
        for stream in self.streams:
            stream.close()
        for topic in {stream.topic: stream for stream in self.streams}.values():
            if self.kind == "kafka":
                self.delete_topic(topic)


@pytest.fixture(params=["segments", pytest.param("kafka", marks=pytest.mark.service)])
def world(request, tmp_path):
    if request.param == "kafka":
        request.getfixturevalue("addresses")
    made = World(request.param, tmp_path / "stream")
    yield made
    made.clean_up()


@pytest.fixture
def stream(world) -> Stream:
    return world.stream()


def consumer_of(stream: Stream, starts: dict[int, int | None] | None = None, group: str = "sieis") -> Consumer:
    return stream.consumer(group, on_assign=lambda partitions: starts or {}, on_revoke=lambda partitions: None)


def gather(consumer: Consumer, n: int, max_records: int = 1000) -> list[Records]:
    """Polls until n messages came."""
    polls: list[Records] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(map(len, polls)) < n and time.monotonic() < deadline:
        polls.append(consumer.poll(max_records, 0.5))
    assert sum(map(len, polls)) == n
    return [records for records in polls if len(records)]


def rows(polls: list[Records]) -> list[tuple[int, int, int, bytes]]:
    return [
        (int(partition), int(offset), int(at), value)
        for records in polls
        for value, partition, offset, at in zip(
            records.values, records.partition, records.offset, records.received_at, strict=True
        )
    ]


def read(stream: Stream, n: int, starts: dict[int, int | None] | None = None) -> list[tuple[int, int, int, bytes]]:
    """The stream from its starts on, by (partition, offset)."""
    consumer = consumer_of(stream, starts)
    try:
        return sorted(rows(gather(consumer, n)))
    finally:
        consumer.close()


def values_of(stream: Stream, n: int) -> list[bytes]:
    return [value for *_, value in read(stream, n)]


def test_a_partition_keeps_the_order_of_appends_and_counts_offsets_from_zero(stream):
    values = [f"{i}".encode() for i in range(500)]
    stream.append(values[:100], [b"lab"] * 100)
    stream.append(values[100:], [b"lab"] * 400)

    found = read(stream, 500)

    assert [value for *_, value in found] == values
    assert [offset for _, offset, *_ in found] == list(range(500))
    assert len({partition for partition, *_ in found}) == 1


def test_a_key_decides_the_partition_as_our_own_partitioner_says(stream):
    keys = [f"lab/zone-{i}".encode() for i in range(40)]
    stream.append(keys, keys)

    found = read(stream, 40)

    assert {value: partition for partition, *_, value in found} == {key: partition_of(key, 4) for key in keys}
    assert len({partition for partition, *_ in found}) == N_PARTITIONS


def test_a_message_without_a_key_is_kept_too(stream):
    stream.append([b"anonymous"], [None])

    assert values_of(stream, 1) == [b"anonymous"]


def test_a_consumer_starts_where_its_checkpoint_says(stream):
    stream.append([f"{i}".encode() for i in range(50)], [b"lab"] * 50)
    partition = partition_of(b"lab", N_PARTITIONS)

    found = read(stream, 20, {partition: 30})

    assert [offset for _, offset, *_ in found] == list(range(30, 50))


def test_reading_again_from_an_older_offset_gives_identical_messages(stream):
    for i in range(5):
        stream.append([f"{i}-{j}".encode() for j in range(20)], [f"zone-{j}".encode() for j in range(20)])
    first = read(stream, 100)

    again = read(stream, 100, dict.fromkeys(range(N_PARTITIONS), 0))

    assert again == first


def test_a_poll_brings_no_more_than_it_was_asked_for_and_the_next_one_goes_on(stream):
    stream.append([f"{i}".encode() for i in range(100)], [b"lab"] * 100)
    consumer = consumer_of(stream)

    polls = gather(consumer, 100, max_records=7)
    consumer.close()

    assert max(map(len, polls)) <= 7
    assert [offset for _, offset, *_ in rows(polls)] == list(range(100))


def test_a_poll_of_an_empty_stream_ends_after_its_wait(stream):
    consumer = consumer_of(stream)
    began = time.monotonic()

    records = consumer.poll(10, 0.05)
    consumer.close()

    assert len(records) == 0
    assert records.offset.dtype == records.partition.dtype == records.received_at.dtype == "int64"
    assert time.monotonic() - began < PATIENCE_S


def test_a_waiting_poll_answers_as_soon_as_a_message_comes(stream):
    consumer = consumer_of(stream)
    stream.append([b"first"], [b"lab"])
    gather(consumer, 1)
    stream.append([b"second"], [b"lab"])
    began = time.monotonic()

    records = consumer.poll(20_000, 5.0)
    took_s = time.monotonic() - began
    consumer.close()

    assert records.values == [b"second"]
    assert took_s < 2.0


def test_a_paused_consumer_gets_nothing_and_misses_nothing(stream):
    consumer = consumer_of(stream)
    stream.append([b"before"], [b"lab"])
    before = gather(consumer, 1)
    consumer.pause()
    stream.append([b"meanwhile"], [b"lab"])

    assert len(consumer.poll(10, 0.2)) == 0
    consumer.resume()
    after = gather(consumer, 1)
    consumer.close()

    assert [value for *_, value in rows(before + after)] == [b"before", b"meanwhile"]


def test_two_topics_stay_apart(world):
    readings, labels = world.stream("readings"), world.stream("labels")
    readings.append([b"a reading"], [b"lab"])
    labels.append([b"a label"], [b"lab"])

    assert (values_of(readings, 1), values_of(labels, 1)) == ([b"a reading"], [b"a label"])
    assert readings.identity() != labels.identity()


def test_bounds_tell_the_first_offset_kept_and_the_next_to_be_written(stream):
    partition = partition_of(b"lab", N_PARTITIONS)
    before = stream.bounds()

    stream.append([b"x"] * 3, [b"lab"] * 3)

    assert before == dict.fromkeys(range(N_PARTITIONS), (0, 0))
    assert stream.bounds() == before | {partition: (0, 3)}


def test_lag_counts_what_the_group_has_not_acknowledged(stream):
    partition = partition_of(b"lab", N_PARTITIONS)
    stream.append([b"x"] * 5, [b"lab"] * 5)
    consumer = consumer_of(stream)
    gather(consumer, 5)

    consumer.acknowledge({partition: 3})
    consumer.close()

    assert sum(stream.lag("sieis").values()) == 2
    assert sum(stream.lag("another group").values()) == 5


def test_empty_and_large_values_come_as_they_were(stream):
    values = [b"", b"\x00\xff" * 500_000, b'{"mote_id": 7}']
    stream.append(values, [b"lab"] * 3)

    assert values_of(stream, 3) == values


def test_the_append_time_never_goes_back_and_is_now(stream):
    began = time.time()
    for i in range(20):
        stream.append([f"{i}".encode()], [b"lab"])

    times = [at for _, _, at, _ in read(stream, 20)]

    assert times == sorted(times)
    assert began - 1 < times[0] / 1e6 <= times[-1] / 1e6 < time.time() + 1


def test_appending_nothing_changes_nothing(stream):
    stream.append([], [])

    assert stream.bounds() == dict.fromkeys(range(N_PARTITIONS), (0, 0))


def test_a_value_without_its_key_is_refused(stream):
    with pytest.raises(ValueError):
        stream.append([b"one", b"two"], [b"lab"])


def test_what_another_process_appends_is_seen_by_a_consumer_that_waits(world, stream):
    consumer = consumer_of(stream)
    consumer.poll(1, 0.0)

    with world.writer(stream, "other", 2) as writer:
        found = rows(gather(consumer, 10))
        writer.wait()
    consumer.close()

    assert [value for *_, value in found] == [f"other-{i}".encode() for i in range(10)]


def test_two_processes_that_append_at_once_lose_nothing(world, stream):
    with world.writer(stream, "one", 60) as one, world.writer(stream, "two", 60) as two:
        for writer in (one, two):
            writer.communicate()

    found = read(stream, 600)

    assert [offset for _, offset, *_ in found] == list(range(600))
    for name in ("one", "two"):
        own = [value for *_, value in found if value.startswith(name.encode())]
        assert own == [f"{name}-{i}".encode() for i in range(300)]


def test_a_killed_writer_loses_nothing_that_was_acknowledged(world, stream):
    with world.writer(stream, "doomed", 100_000) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            acknowledged = int(writer.stdout.readline().split()[1])
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line.split()[1]) for line in writer.stdout if line.endswith("\n"))])
    stream.append([b"after"], [b"lab"])
    n = sum(end for _, end in stream.bounds().values())

    values = values_of(stream, n)

    assert n > acknowledged >= 100
    assert values == [*(f"doomed-{i}".encode() for i in range(n - 1)), b"after"]


def test_a_topic_made_anew_has_another_identity(world, stream):
    first = stream.identity()
    assert world.stream().identity() == first

    world.delete_topic(stream)

    assert world.stream().identity() != first


def test_a_topic_made_anew_takes_messages_again(world, stream):
    stream.append([b"old"], [b"lab"])
    world.delete_topic(stream)
    stream.identity()

    stream.append([b"new"], [b"lab"])

    assert values_of(stream, 1) == [b"new"]


def test_a_checkpoint_beyond_the_end_is_refused_with_what_to_do(stream):
    partition = partition_of(b"lab", N_PARTITIONS)
    stream.append([b"x"], [b"lab"])
    consumer = consumer_of(stream, {partition: 9_000})

    with pytest.raises(StreamClosed, match=r"ends at offset 1, but its checkpoint says 9000.*checkpoints"):
        gather(consumer, 1)
    consumer.close()


def test_a_failing_on_assign_is_heard_and_asked_again(stream):
    stream.append([b"x"], [b"lab"])
    answers = [ZeroDivisionError("the database is away"), {}]

    def on_assign(partitions):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    consumer = stream.consumer("sieis", on_assign=on_assign, on_revoke=lambda partitions: None)

    with pytest.raises(ZeroDivisionError):
        gather(consumer, 1)
    found = gather(consumer, 1)
    consumer.close()

    assert rows(found)[0][3] == b"x"


def test_a_second_consumer_takes_over_when_the_first_one_closes(world):
    stream = world.stream() if world.kind == "segments" else _one_partition(world)
    stream.append([b"x"], [b"lab"])
    story: list[str] = []

    def member(name: str) -> Consumer:
        return stream.consumer(
            "sieis",
            on_assign=lambda partitions: story.append(f"{name} gets {len(partitions)}") or {},
            on_revoke=lambda partitions: story.append(f"{name} gives up {len(partitions)}"),
        )

    alice, bob = member("alice"), member("bob")
    gather(alice, 1)
    n = len(stream.bounds())
    if world.kind == "segments":
        assert len(bob.poll(10, 0.03)) == 0

    alice.close()
    gather(bob, 1)
    bob.close()

    assert story == [f"alice gets {n}", f"alice gives up {n}", f"bob gets {n}", f"bob gives up {n}"]


def _one_partition(world: World) -> Stream:
    made = KafkaStream(f"one-{world.suffix}", ADDRESSES["KAFKA_BOOTSTRAP_SERVERS"], n_partitions=1)
    made.ensure()
    world.streams.append(made)
    return made


def test_a_closed_consumer_says_so(stream):
    consumer = consumer_of(stream)
    consumer.close()

    with pytest.raises(StreamClosed, match="closed"):
        consumer.poll(1, 0.0)


def test_a_stream_that_is_there_answers_a_ping(stream):
    stream.ping()
