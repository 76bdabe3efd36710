"""What only a real broker does to a consumer: rebalances, expired offsets, topics made by others or made anew."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

from ingestion.records import Records
from ingestion.streams import Consumer, StreamClosed, StreamRefused, kafka
from ingestion.streams.kafka import KafkaStream

pytestmark = pytest.mark.service
PATIENCE_S = 20.0


@pytest.fixture
def servers(addresses) -> str:
    return str(addresses["KAFKA_BOOTSTRAP_SERVERS"])


@pytest.fixture
def admin(servers) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers, "log_level": 2})


@pytest.fixture
def stream(servers, admin) -> Iterator[KafkaStream]:
    made = KafkaStream(f"kafka-{uuid.uuid4().hex}", servers, n_partitions=2)
    made.ensure()
    yield made
    made.close()
    delete(admin, made.topic)


def delete(admin: AdminClient, topic: str) -> None:
    admin.delete_topics([topic])[topic].result()


def create(admin: AdminClient, topic: str, **config: str) -> None:
    admin.create_topics([NewTopic(topic, num_partitions=1, config=config)])[topic].result()


def member(stream: KafkaStream, starts: dict[int, int | None] | None = None) -> Consumer:
    return stream.consumer("sieis", on_assign=lambda given: starts or {}, on_revoke=lambda given: None)


def first_of(consumer: Consumer) -> Records:
    deadline = time.monotonic() + PATIENCE_S
    while not len(records := consumer.poll(1000, 0.5)):
        assert time.monotonic() < deadline
    return records


def test_two_consumers_share_the_partitions_and_one_takes_over_from_the_other(stream):
    held: dict[str, set[int]] = {"alice": set(), "bob": set()}

    def join(name: str) -> Consumer:
        return stream.consumer(
            "sieis",
            on_assign=lambda given: held[name].update(given) or {},
            on_revoke=lambda given: held[name].difference_update(given),
        )

    def poll_until(shares: tuple[int, int], *consumers: Consumer) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (len(held["alice"]), len(held["bob"])) != shares:
            assert time.monotonic() < deadline
            for consumer in consumers:
                consumer.poll(10, 0.05)

    alice, bob = join("alice"), join("bob")
    poll_until((2, 0), alice)
    poll_until((1, 1), alice, bob)
    alice.close()
    poll_until((0, 2), bob)
    bob.close()

    assert held == {"alice": set(), "bob": set()}


def test_a_group_that_never_read_begins_with_what_came_before_it(stream):
    stream.append([b"before", b"it", b"came"], [b"main/lab"] * 3)

    consumer = member(stream)
    records = first_of(consumer)

    assert (records.values[0], records.offset[0]) == (b"before", 0)
    consumer.close()


def test_a_start_that_has_expired_begins_at_the_first_message_kept(stream, admin):
    stream.append([f"{i}".encode() for i in range(100)], [b"lab"] * 100)
    partition = next(number for number, (_, end) in stream.bounds().items() if end)
    for purged in admin.delete_records([TopicPartition(stream.topic, partition, 60)]).values():
        purged.result()

    consumer = member(stream, {partition: 10})
    records = first_of(consumer)
    consumer.close()

    assert stream.bounds()[partition] == (60, 100)
    assert records.offset[0] == 60


def test_messages_that_expire_under_a_paused_consumer_are_passed_over(stream, admin):
    stream.append([b"x"], [b"lab"])
    consumer = member(stream)
    partition = int(first_of(consumer).partition[0])
    consumer.pause()
    stream.append([f"{i}".encode() for i in range(1, 100)], [b"lab"] * 99)
    for purged in admin.delete_records([TopicPartition(stream.topic, partition, 60)]).values():
        purged.result()
    consumer.resume()

    records = first_of(consumer)
    consumer.close()

    assert (records.offset[0], records.values[0]) == (60, b"60")


def test_a_topic_made_anew_under_its_reader_is_told(stream, admin, monkeypatch):
    monkeypatch.setattr(kafka, "LOOK_EVERY_S", 0.0)
    stream.append([b"old"], [b"lab"])
    consumer = member(stream)
    first_of(consumer)

    delete(admin, stream.topic)
    KafkaStream(stream.topic, stream.servers).append([b"new"] * 20, [b"lab"] * 20)

    with pytest.raises(StreamClosed, match="created anew"):
        first_of(consumer)
    consumer.close()


def test_a_message_of_a_plain_kafka_python_producer_is_read_and_one_without_a_value_is_empty(stream):
    producer = KafkaProducer(bootstrap_servers=stream.servers)
    producer.send(stream.topic, value=b'{"mote_id": 7}', key=b"lab")
    producer.send(stream.topic, value=None, key=b"lab")
    producer.close()
    consumer = member(stream)

    values: list[bytes] = []
    while len(values) < 2:
        values += first_of(consumer).values
    consumer.close()

    assert values == [b'{"mote_id": 7}', b""]


def test_a_topic_with_its_senders_clock_is_taken_with_a_warning_that_says_how_to_mend_it(servers, admin, caplog):
    topic = f"kafka-{uuid.uuid4().hex}"
    create(admin, topic, **{"message.timestamp.type": "CreateTime"})
    caplog.set_level("WARNING", logger="ingestion.streams.kafka")

    KafkaStream(topic, servers).ensure()
    delete(admin, topic)

    assert "message.timestamp.type=LogAppendTime" in caplog.text


def test_a_message_that_the_topic_does_not_take_is_refused(servers, admin):
    topic = f"kafka-{uuid.uuid4().hex}"
    create(admin, topic, **{"max.message.bytes": "1000"})

    with pytest.raises(StreamRefused, match=r"max\.message\.bytes"):
        KafkaStream(topic, servers).append([random.Random(7).randbytes(5000)], [b"lab"])
    delete(admin, topic)


def test_a_failing_on_revoke_is_heard(stream):
    def on_revoke(given):
        raise ZeroDivisionError("the database is away")

    stream.append([b"x"], [b"lab"])
    consumer = stream.consumer("sieis", on_assign=lambda given: {}, on_revoke=on_revoke)
    first_of(consumer)

    with pytest.raises(ZeroDivisionError):
        consumer.close()


def test_pausing_before_the_partitions_come_holds_too(stream):
    stream.append([b"x"], [b"lab"])
    consumer = member(stream)
    consumer.pause()

    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        assert len(consumer.poll(10, 0.1)) == 0
    consumer.resume()
    records = first_of(consumer)
    consumer.close()

    assert records.values == [b"x"]


def test_a_batch_larger_than_what_the_driver_holds_ahead_is_taken_whole(stream, monkeypatch):
    monkeypatch.setattr(kafka, "AHEAD", 50)
    monkeypatch.setitem(kafka.CONSUMER, "queued.min.messages", 50)
    monkeypatch.setitem(kafka.CONSUMER, "max.partition.fetch.bytes", 4_000)  # some twenty messages
    monkeypatch.setattr(kafka, "REST_S", PATIENCE_S)
    for _ in range(200):
        stream.append([b"x" * 200] * 20, [b"7", b"8"] * 10)
    consumer = member(stream)
    n = len(first_of(consumer))
    time.sleep(1.0)  # the driver fetches as far ahead as it may

    sizes = []
    while n + sum(sizes) < 4_000:
        sizes.append(len(consumer.poll(4_000 - n - sum(sizes), 0.5)))

    assert max(sizes) > 1_000
    consumer.close()
