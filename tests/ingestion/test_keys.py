"""A mote's readings stay in one partition whoever produced them: all partitioners agree with ours."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka.partitioner import DefaultPartitioner, murmur2

from ingestion.streams.kafka import PRODUCER, KafkaStream
from ingestion.streams.keys import murmur2 as our_murmur2
from ingestion.streams.keys import partition_of

# From the tests of Kafka's own Java client (UtilsTest.testMurmur2), as signed 32-bit numbers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


class Cluster:
    """What kafka-python's partitioner asks of a cluster."""

    def __init__(self, n_partitions: int) -> None:
        self.partitions = set(range(n_partitions))

    def topics(self) -> set[str]:
        return {"readings"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self.partitions

    available_partitions_for_topic = partitions_for_topic


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_the_hash_is_the_one_of_kafkas_java_client(key, expected):
    assert our_murmur2(key) == expected & 0xFFFFFFFF


@settings(deadline=None)
@given(st.binary(max_size=40))
@example(b"")
def test_the_hash_is_the_one_of_kafka_python(key):
    assert our_murmur2(key) == murmur2(key) & 0xFFFFFFFF


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(1, 64))
def test_kafka_pythons_default_partitioner_chooses_as_we_do(key, n_partitions):
    theirs = DefaultPartitioner().partition("readings", key, key, b"", b"", Cluster(n_partitions))

    assert partition_of(key, n_partitions) == theirs


def test_without_a_key_the_first_partition_is_taken():
    assert {partition_of(None, n) for n in range(1, 9)} == {0}


@pytest.mark.service
def test_confluents_producer_chooses_as_we_do(addresses):
    servers = addresses["KAFKA_BOOTSTRAP_SERVERS"]
    stream = KafkaStream(f"keys-{uuid.uuid4().hex}", servers, n_partitions=7)
    stream.ensure()
    producer = Producer({**PRODUCER, "bootstrap.servers": servers, "log_level": 2})
    keys = [*JAVA, b"", b"lab", b"lab/west", *(f"site/{i}".encode() for i in range(50))]
    chosen: dict[bytes, int] = {}

    for key in keys:
        producer.produce(
            stream.topic,
            b"",
            key,
            on_delivery=lambda error, message: chosen.update({message.key(): message.partition()}),
        )
    producer.flush(10)
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([stream.topic])[stream.topic].result()

    assert chosen == {key: partition_of(key, 7) for key in keys}
