"""The embedded stream: an append-only log in the data folder that any process of this machine appends to."""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import structlog

from ingestion.records import Records
from ingestion.streams import OnAssign, OnRevoke, StreamClosed, StreamUnavailable
from ingestion.streams.frames import Block
from ingestion.streams.keys import partition_of
from ingestion.streams.partitions import PartitionLog, PartitionReader, locked, sync_folder
from ingestion.streams.starts import starting_offsets

log = structlog.get_logger(__name__)

DAY_US = 24 * 3600 * 1_000_000
TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")  # what Kafka allows; a topic is also a folder's name
# Appends of this process wake a waiting consumer at once; those of others are seen at the next look.
LOOK_S = 0.015


def _now_us() -> int:
    return time.time_ns() // 1000


class SegmentStream:
    """Topics as folders of partitions under `folder`; see `ingestion.streams.Stream` for what it promises."""

    def __init__(
        self,
        topic: str,
        folder: Path | str,
        keep_days: float = 3.0,
        n_partitions: int = 1,
        segment_bytes: int = 64 << 20,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        if not TOPIC.fullmatch(topic):
            raise ValueError(f"“{topic}” cannot name a topic: use letters, digits, dots, dashes and underscores")
        self.topic = topic
        self.folder = Path(folder) / topic
        self.keep_us = int(keep_days * DAY_US)
        self.n_partitions = n_partitions
        self.segment_bytes = segment_bytes
        self.appended = threading.Condition()
        self.n_appends = 0
        self._now_us = now_us
        self._mutex = threading.Lock()
        self._partitions: dict[int, PartitionLog] = {}
        self._built_for = ""

    def ensure(self) -> None:
        with _translated(f"cannot create the stream in {self.folder}"):
            if self._id_file().exists():
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "lock"):
                if not self._id_file().exists():
                    self._create()

    def _create(self) -> None:
        for partition in range(self.n_partitions):
            (self.folder / str(partition)).mkdir(exist_ok=True)
        fresh = self.folder / "topic_id.new"
        fresh.write_text(str(uuid.uuid4()))
        fresh.replace(self._id_file())
        sync_folder(self.folder)

    def _id_file(self) -> Path:
        return self.folder / "topic_id"

    def identity(self) -> str:
        self.ensure()
        with _translated(f"cannot read {self._id_file()}"):
            return self._id_file().read_text()

    def is_still(self, identity: str) -> bool:
        try:
            return self._id_file().read_text() == identity
        except FileNotFoundError:
            return False

    def partitions(self) -> dict[int, PartitionLog]:
        """The partitions' logs, built again when the topic was deleted and created anew."""
        identity = self.identity()
        with self._mutex:
            if identity != self._built_for:
                numbers = sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())
                self._partitions = {number: self._partition(number, identity) for number in numbers}
                self._built_for = identity
            return self._partitions

    def _partition(self, number: int, identity: str) -> PartitionLog:
        return PartitionLog(
            self.folder / str(number),
            seed=uuid.UUID(identity).int & 0xFFFFFFFF,
            segment_bytes=self.segment_bytes,
            keep_us=self.keep_us,
        )

    def append(self, values: Sequence[bytes], keys: Sequence[bytes | None]) -> None:
        if len(values) != len(keys):
            raise ValueError(
                f"{len(values)} values came with {len(keys)} keys; give each value one, None where it has none"
            )
        with _translated(f"cannot append to {self.folder}"):
            partitions = self.partitions()
            for number, rows in _by_partition(keys, len(partitions)).items():
                partitions[number].append([values[i] for i in rows], [keys[i] for i in rows], self._now_us())
        with self.appended:
            self.n_appends += 1
            self.appended.notify_all()

    def consumer(self, group: str, *, on_assign: OnAssign, on_revoke: OnRevoke) -> SegmentConsumer:
        return SegmentConsumer(self, group, on_assign, on_revoke)

    def bounds(self) -> dict[int, tuple[int, int]]:
        with _translated(f"cannot read {self.folder}"):
            return {number: partition.bounds() for number, partition in self.partitions().items()}

    def lag(self, group: str) -> dict[int, int]:
        done = self.acknowledged(group)
        return {number: end - max(done.get(number, first), first) for number, (first, end) in self.bounds().items()}

    def acknowledged(self, group: str) -> dict[int, int]:
        path = self.group_file(group, "json")
        with _translated(f"cannot read {path}"):
            return (
                {int(number): offset for number, offset in json.loads(path.read_text()).items()}
                if path.exists()
                else {}
            )

    def set_acknowledged(self, group: str, next_offsets: Mapping[int, int]) -> None:
        done = self.acknowledged(group) | dict(next_offsets)
        path = self.group_file(group, "json")
        with _translated(f"cannot write {path}"):
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(done))
            fresh.replace(path)

    def group_file(self, group: str, suffix: str) -> Path:
        return self.folder / f"group-{quote(group, safe='')}.{suffix}"

    def ping(self) -> None:
        self.bounds()

    def close(self) -> None:
        """Nothing is held open between appends."""


class SegmentConsumer:
    """Gets all partitions or none: a group's second consumer waits until the first one closes or dies."""

    def __init__(self, stream: SegmentStream, group: str, on_assign: OnAssign, on_revoke: OnRevoke) -> None:
        self._stream = stream
        self._group = group
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._membership: int | None = None
        self._readers: dict[int, PartitionReader] = {}
        self._topic_id = ""
        self._is_paused = False
        self._is_closed = False

    def poll(self, max_records: int, wait_s: float) -> Records:
        if self._is_closed:
            raise StreamClosed("this consumer was closed; make a new one")
        deadline = time.monotonic() + wait_s
        while True:
            seen = self._stream.n_appends
            records = self._read(max_records) if self._join() and not self._is_paused else Records.empty()
            remaining = deadline - time.monotonic()
            if len(records) or remaining <= 0:
                return records
            self._await_append(seen, min(LOOK_S, remaining))

    def _await_append(self, seen: int, wait_s: float) -> None:
        if self._is_paused or self._membership is None:
            time.sleep(wait_s)
            return
        with self._stream.appended:
            self._stream.appended.wait_for(lambda: self._stream.n_appends != seen, wait_s)

    def _join(self) -> bool:
        """Whether this consumer holds the partitions; it asks for them if not."""
        if self._membership is not None:
            return True
        self._stream.ensure()
        with _translated("cannot join the group"):
            self._membership = _try_lock(self._stream.group_file(self._group, "lock"))
        if self._membership is None:
            return False
        try:
            self._take_over()
        except BaseException:
            self._leave()
            raise
        return True

    def _take_over(self) -> None:
        self._topic_id = self._stream.identity()
        bounds = self._stream.bounds()
        starts = starting_offsets(self._stream.topic, self._on_assign(sorted(bounds)), bounds)
        partitions = self._stream.partitions()
        self._readers = {number: PartitionReader(partitions[number], offset) for number, offset in starts.items()}

    def _leave(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers = {}
        if self._membership is not None:
            os.close(self._membership)
            self._membership = None

    def _read(self, max_records: int) -> Records:
        found: list[tuple[int, Block]] = []
        try:
            with _translated(f"cannot read {self._stream.folder}"):
                for number, reader in list(self._readers.items()):
                    try:
                        blocks = reader.read(max_records)
                    except OSError:
                        if not found:
                            raise
                        break  # what others have read is handed over first
                    found += [(number, block) for block in blocks]
                    max_records -= sum(len(block.values) for block in blocks)
                    if blocks:  # to the end of the line, so that a busy partition starves no other
                        self._readers[number] = self._readers.pop(number)
        finally:
            if not found:
                self._refuse_another_topic()
        return _records(found)

    def _refuse_another_topic(self) -> None:
        if not self._stream.is_still(self._topic_id):
            raise StreamClosed(
                f"{self._stream.topic} was deleted while it was read (its files lay in {self._stream.folder}). "
                "Bring the folder back, or delete the checkpoints of this topic (Admin, Checkpoints), then start again"
            )

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False

    def acknowledge(self, next_offsets: Mapping[int, int]) -> None:
        try:
            self._stream.set_acknowledged(self._group, next_offsets)
        except StreamUnavailable as error:
            log.warning("the group's lag is out of date", stream=self._stream.topic, reason=str(error))

    def close(self) -> None:
        if self._membership is not None:
            try:
                self._on_revoke(sorted(self._readers))
            finally:
                self._leave()
        self._is_closed = True


def _by_partition(keys: Sequence[bytes | None], n_partitions: int) -> dict[int, Sequence[int]]:
    if n_partitions == 1:
        return {0: range(len(keys))} if keys else {}
    rows: dict[int, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(partition_of(key, n_partitions), []).append(i)
    return dict(rows)


def _records(found: Sequence[tuple[int, Block]]) -> Records:
    if not found:
        return Records.empty()
    blocks = [block for _, block in found]
    n = np.array([len(block.values) for block in blocks])
    into_block = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    return Records(
        values=[value for block in blocks for value in block.values],
        partition=np.repeat(np.array([number for number, _ in found], dtype=np.int64), n),
        offset=np.repeat(np.array([block.first_offset for block in blocks], dtype=np.int64), n) + into_block,
        received_at=np.repeat(np.array([block.appended_at for block in blocks], dtype=np.int64), n),
    )


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StreamUnavailable(f"{what}: {error.strerror}; see to its disk and its access rights") from error
