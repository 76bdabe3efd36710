"""Kafka as the stream: confluent-kafka where it is hot, kafka-python where a topic is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import confluent_kafka
import kafka.errors
import numpy as np
import structlog
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from ingestion.records import Records
from ingestion.streams import OnAssign, OnRevoke, StreamClosed, StreamRefused, StreamUnavailable
from ingestion.streams.starts import starting_offsets

log = structlog.get_logger(__name__)

ANSWER_S = 3.0
# The broker's own limit is 1,048,588 bytes for a batch with its framing.
LARGEST_MESSAGE = 1_048_000
COMMON: dict[str, str | int | float | bool] = {
    "log_level": 2,  # librdkafka repeats itself on stderr; what matters reaches us as errors
    "reconnect.backoff.max.ms": 1000,
    "socket.keepalive.enable": True,
}
PRODUCER = {
    "partitioner": "murmur2_random",
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 2,
    "message.timeout.ms": 10_000,
    "message.max.bytes": 1 << 20,
    "queue.buffering.max.messages": 1_000_000,
}
AHEAD = 50_000  # messages, of all partitions together
CONSUMER = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",  # where to start is the checkpoint's word; a wrong one must not be guessed over
    "allow.auto.create.topics": False,
    # All partitions stop at a rebalance and start again from their checkpoints: one path, taken at every change.
    # The cooperative protocol would spare those that stay, but rebalances are rare and a restart costs milliseconds.
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 2_000,
    # With its default of 1,000 ms the fetcher sleeps whenever the queue was full: a fifth of the rate.
    "fetch.queue.backoff.ms": 5,
    # Enough for the next batches: more of both is no faster for one who does more than consume, and costs the process
    # hundreds of megabytes while it catches up.
    "queued.min.messages": AHEAD,
    "max.partition.fetch.bytes": 2 << 20,
}
# A partition that is being created, or whose leader moves, answers so for some milliseconds.
ON_THE_MOVE = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
# Blocking in the driver ends at least this often: signals are served and a rebalance does not wait.
SLICE_S = 0.1
REST_S = 0.3  # for the rest of a batch that is larger than what the driver holds ahead
LOOK_EVERY_S = 2.0
SETTLED_S = 1.0


class KafkaStream:
    """A topic of a Kafka cluster; see `ingestion.streams.Stream` for what it promises."""

    def __init__(self, topic: str, servers: str, n_partitions: int = 4) -> None:
        self.topic = topic
        self.servers = servers
        self.n_partitions = n_partitions
        self._mutex = threading.Lock()
        self._is_ensured = False
        self._clients: dict[str, Any] = {}

    # ---- the hot side ---------------------------------------------------------------------------------------

    def append(self, values: Sequence[bytes], keys: Sequence[bytes | None]) -> None:
        self._refuse_too_large(values, keys)
        self.ensure()
        producer = self._client("producer")
        receipts: list[KafkaError | None] = []

        def receive(error: KafkaError | None, message: Message) -> None:
            receipts.append(error)

        try:
            for value, key in zip(values, keys, strict=True):
                while True:
                    try:
                        producer.produce(self.topic, value, key, on_delivery=receive)
                        break
                    except BufferError:
                        producer.poll(SLICE_S)
            while len(receipts) < len(values):
                producer.poll(0.005)  # another thread's poll may have brought our receipts
        except KafkaException as failure:
            receipts.append(failure.args[0])
        for error in receipts:
            if error is not None:
                self._raise(error)

    def _refuse_too_large(self, values: Sequence[bytes], keys: Sequence[bytes | None]) -> None:
        sizes = [len(value) + len(key or b"") for value, key in zip(values, keys, strict=True)]
        if sizes and max(sizes) > LARGEST_MESSAGE:
            raise StreamRefused(
                f"a message of {max(sizes):,} bytes is too large for {self.topic}: Kafka takes {LARGEST_MESSAGE:,}"
            )

    def _raise(self, error: KafkaError) -> NoReturn:
        if error.fatal() or error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            with self._mutex:  # the next append builds anew
                self._clients.pop("producer", None)
            self._is_ensured = False
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise StreamRefused(f"{self.topic} takes no message that large: raise its max.message.bytes")
        raise StreamUnavailable(f"Kafka at {self.servers} did not take the messages for {self.topic}: {error.str()}")

    def consumer(self, group: str, *, on_assign: OnAssign, on_revoke: OnRevoke) -> KafkaConsumer:
        return KafkaConsumer(self, group, on_assign, on_revoke)

    def _client(self, name: str) -> Any:
        with self._mutex:
            if name not in self._clients:
                common = {**COMMON, "bootstrap.servers": self.servers}
                self._clients[name] = (
                    confluent_kafka.Producer({**common, **PRODUCER}) if name == "producer" else AdminClient(common)
                )
            return self._clients[name]

    def close(self) -> None:
        with self._mutex:
            clients, self._clients = self._clients, {}
        if "producer" in clients:
            clients["producer"].flush(ANSWER_S)

    # ---- what is asked now and then -------------------------------------------------------------------------

    def ensure(self) -> None:
        if self._is_ensured:
            return
        self.ping()  # kafka-python leaves a thread behind for every connection that fails
        with self._translated(), self._kafka_python() as admin:
            try:
                admin.create_topics({self.topic: self._wanted()}, timeout_ms=int(ANSWER_S * 1000))
                admin.wait_for_topics([self.topic], timeout_ms=int(ANSWER_S * 1000))
            except kafka.errors.TopicAlreadyExistsError:
                self._look_at_clock(admin)
        self._is_ensured = True

    def _wanted(self) -> dict[str, Any]:
        return {"num_partitions": self.n_partitions, "configs": {"message.timestamp.type": "LogAppendTime"}}

    def _look_at_clock(self, admin: KafkaAdminClient) -> None:
        asked = ConfigResource(ConfigResourceType.TOPIC, self.topic)
        settings = admin.describe_configs([asked], config_filter="all")["topic"][self.topic]
        kind = settings["message.timestamp.type"]["value"]
        if kind != "LogAppendTime":
            log.warning(
                "messages of this topic carry their sender's clock as time of arrival",
                topic=self.topic,
                found=kind,
                cure=f"kafka-configs.sh --bootstrap-server {self.servers} --alter --entity-type topics "
                f"--entity-name {self.topic} --add-config message.timestamp.type=LogAppendTime",
            )

    @contextmanager
    def _kafka_python(self) -> Iterator[KafkaAdminClient]:
        admin = KafkaAdminClient(
            bootstrap_servers=self.servers.split(","),
            request_timeout_ms=int(ANSWER_S * 1000),
            bootstrap_timeout_ms=int(ANSWER_S * 1000),
        )
        try:
            yield admin
        finally:
            admin.close()

    def identity(self) -> str:
        return str(self._description().topic_id)

    def is_still(self, identity: str) -> bool:
        """Whether the topic is there and the same one; never creates it."""
        found = self._found()
        return found is not None and str(found.topic_id) == identity

    def _description(self) -> Any:
        self.ensure()
        found = self._found()
        if found is None:  # deleted since this process saw it
            self._is_ensured = False
            self.ensure()
            found = self._found()
        if found is None:
            raise StreamUnavailable(f"Kafka at {self.servers} does not show {self.topic} yet, which was just created")
        return found

    def _found(self) -> Any:
        """The topic's description; None after a second of them only, since a broker that starts knows no topics yet."""
        deadline = time.monotonic() + SETTLED_S
        while (found := self._describe()) is None and time.monotonic() < deadline:
            time.sleep(SLICE_S)
        return found

    def _describe(self) -> Any:
        with self._translated():
            answer = self._client("admin").describe_topics(TopicCollection([self.topic]), request_timeout=ANSWER_S)
            try:
                return answer[self.topic].result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                raise

    def bounds(self) -> dict[int, tuple[int, int]]:
        partitions = [TopicPartition(self.topic, each.id) for each in self._description().partitions]
        firsts, ends = (self._offsets(partitions, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
        return {number: (firsts[number], ends[number]) for number in sorted(firsts)}

    def _offsets(self, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        deadline = time.monotonic() + ANSWER_S
        with self._translated():
            while True:
                asked = dict.fromkeys(partitions, spec)
                found = self._client("admin").list_offsets(asked, request_timeout=ANSWER_S)
                try:
                    return {each.partition: answer.result().offset for each, answer in found.items()}
                except KafkaException as error:
                    if error.args[0].code() not in ON_THE_MOVE or time.monotonic() > deadline:
                        raise
                time.sleep(0.05)

    def lag(self, group: str) -> dict[int, int]:
        with self._translated():
            asked = [ConsumerGroupTopicPartitions(group)]
            found = self._client("admin").list_consumer_group_offsets(asked, request_timeout=ANSWER_S)
            committed = {
                each.partition: each.offset
                for each in found[group].result().topic_partitions
                if each.topic == self.topic
            }
        return {number: end - max(committed.get(number, 0), first) for number, (first, end) in self.bounds().items()}

    def ping(self) -> None:
        with self._translated():
            self._client("admin").list_topics(timeout=ANSWER_S)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise StreamUnavailable(
                f"Kafka at {self.servers} cannot serve {self.topic}: {error.args[0].str()}"
            ) from error
        except kafka.errors.KafkaError as error:
            raise StreamUnavailable(f"Kafka at {self.servers} cannot serve {self.topic}: {error}") from error


class KafkaConsumer:
    """A member of a consumer group whose start offsets come from on_assign, never from the broker."""

    def __init__(self, stream: KafkaStream, group: str, on_assign: OnAssign, on_revoke: OnRevoke) -> None:
        self._stream = stream
        self._group = group
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._client: confluent_kafka.Consumer | None = None
        self._topic_id = ""
        self._look_at = 0.0
        self._given: list[int] | None = None  # by the last rebalance, not yet taken
        self._starts: dict[int, int] = {}
        self._has_changed = False
        self._failure: Exception | None = None
        self._doubt: KafkaError | None = None
        self._is_paused = False
        self._is_closed = False

    def poll(self, max_records: int, wait_s: float) -> Records:
        deadline = time.monotonic() + wait_s
        client = self._joined()
        while True:
            self._settle(client)
            messages = self._consume(client, max_records, min(SLICE_S, max(deadline - time.monotonic(), 0.0)))
            if messages or time.monotonic() >= deadline:
                return _records(messages)

    def _joined(self) -> confluent_kafka.Consumer:
        if self._is_closed:
            raise StreamClosed("this consumer was closed; make a new one")
        if self._client is None:
            self._topic_id = self._stream.identity()
            self._client = confluent_kafka.Consumer(
                {
                    **COMMON,
                    **CONSUMER,
                    "bootstrap.servers": self._stream.servers,
                    "group.id": self._group,
                    "error_cb": self._doubted,
                    "on_commit": self._committed,
                }
            )
            self._client.subscribe([self._stream.topic], on_assign=self._assigned, on_revoke=self._revoked)
        return self._client

    def _consume(self, client: confluent_kafka.Consumer, max_records: int, wait_s: float) -> list[Message]:
        """Waits for the first message only, then takes what has come: the driver would wait for all of max_records."""
        messages = client.consume(1, wait_s)
        if messages and max_records > 1:
            messages += client.consume(max_records - 1, 0)
        until = time.monotonic() + REST_S
        while AHEAD <= len(messages) < max_records and time.monotonic() < until:
            messages += client.consume(max_records - len(messages), SLICE_S)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._has_changed:  # they may be another consumer's by now, or come again from where on_assign says
            self._has_changed = False
            return []
        errors = [error for error in map(Message.error, messages) if error is not None]
        for error in errors:
            self._doubted(error)
        return [message for message in messages if message.error() is None] if errors else messages

    # Called by the driver from within consume(). An assignment is taken in the next round of poll, outside of it,
    # so that on_assign may ask the broker and raise.
    def _assigned(self, client: confluent_kafka.Consumer, partitions: Sequence[TopicPartition]) -> None:
        client.assign([])
        self._given = sorted(each.partition for each in partitions)
        self._has_changed = True

    def _revoked(self, client: confluent_kafka.Consumer, partitions: Sequence[TopicPartition]) -> None:
        held = sorted(self._starts)
        self._starts, self._given, self._has_changed = {}, None, True
        try:
            if held:
                self._on_revoke(held)
        except Exception as error:  # raised by the poll that is under way; the driver must get its answer
            self._failure = error
        client.unassign()

    def _doubted(self, error: KafkaError) -> None:
        self._doubt = error

    def _committed(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        if error is not None:
            log.warning("the group's lag is out of date", topic=self._stream.topic, reason=error.str())

    def _settle(self, client: confluent_kafka.Consumer) -> None:
        """Takes what a rebalance gave, and looks into what the driver complained about."""
        if self._doubt is not None or time.monotonic() > self._look_at:
            self._look(client)
        if self._given is not None:
            bounds = self._stream.bounds()
            starts = self._on_assign(self._given) if self._given else {}
            self._start(client, {number: starts.get(number) for number in self._given}, bounds)
            self._given = None

    def _start(
        self,
        client: confluent_kafka.Consumer,
        wanted: Mapping[int, int | None],
        bounds: Mapping[int, tuple[int, int]],
    ) -> None:
        topic = self._stream.topic
        offsets = starting_offsets(topic, wanted, {number: bounds[number] for number in wanted})
        client.assign([TopicPartition(topic, number, offset) for number, offset in offsets.items()])
        if self._is_paused:
            client.pause(client.assignment())
        self._starts = offsets

    def _look(self, client: confluent_kafka.Consumer) -> None:
        """Asks whether the broker answers and whether the topic is still the same.

        The driver's complaints say neither: it reports idle connections that were closed, and goes on reading in a
        topic that was deleted and created anew, at the old one's offset.
        """
        if not self._stream.is_still(self._topic_id):
            raise StreamClosed(
                f"{self._stream.topic} was deleted or created anew while it was read, so its checkpoints mean nothing: "
                "delete the checkpoints of this topic (Admin, Checkpoints), then start again"
            )
        error, self._doubt, self._look_at = self._doubt, None, time.monotonic() + LOOK_EVERY_S
        if error is not None and error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            consumed = {
                each.partition: each.offset for each in client.position(client.assignment()) if each.offset >= 0
            }
            self._start(client, self._starts | consumed, self._stream.bounds())

    def pause(self) -> None:
        self._is_paused = True
        if self._client is not None:
            self._client.pause(self._client.assignment())

    def resume(self) -> None:
        self._is_paused = False
        if self._client is not None:
            self._client.resume(self._client.assignment())

    def acknowledge(self, next_offsets: Mapping[int, int]) -> None:
        if self._client is None or not next_offsets:
            return
        offsets = [TopicPartition(self._stream.topic, number, offset) for number, offset in next_offsets.items()]
        try:
            self._client.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._committed(error.args[0], offsets)

    def close(self) -> None:
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            client.close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


def _records(messages: Sequence[Message]) -> Records:
    n = len(messages)
    times = np.fromiter((at for _, at in map(Message.timestamp, messages)), dtype=np.int64, count=n)
    return Records(
        values=[value or b"" for value in map(Message.value, messages)],
        partition=np.fromiter(map(Message.partition, messages), dtype=np.int64, count=n),
        offset=np.fromiter(map(Message.offset, messages), dtype=np.int64, count=n),
        received_at=times * 1000,
    )
