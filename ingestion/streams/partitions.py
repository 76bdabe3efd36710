"""One partition of the segment log: files of blocks, appended under a lock, read without one."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import structlog

from ingestion.streams import frames
from ingestion.streams.frames import Block

log = structlog.get_logger(__name__)

CHUNK = 2 * frames.BLOCK_BYTES
RETIRE_EVERY_US = 60_000_000


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a file's lock against every other process and thread; a process that dies lets go of it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder as durable as what the files hold."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OpenSegment:
    """A segment file that is read block by block from a position on."""

    def __init__(self, path: Path, position: int, seed: int) -> None:
        self.path = path
        self.position = position
        self._seed = seed
        self._descriptor = os.open(path, os.O_RDONLY)
        self._data = b""
        self._data_at = position

    def next(self) -> Block | None:
        """The block at the position; None while no whole one is there."""
        # Of what was read before only whole blocks are used again: they never change, a torn tail does.
        block = frames.decode(self._data, self.position - self._data_at, self._seed)
        if block is None:
            self._fill()
            block = frames.decode(self._data, 0, self._seed)
        if block is not None:
            self.position = self._data_at + block.end
        return block

    def _fill(self) -> None:
        self._data = os.pread(self._descriptor, CHUNK, self.position)
        self._data_at = self.position
        size = frames.size_at(self._data, 0)
        if len(self._data) < size <= self.remaining():
            self._data = os.pread(self._descriptor, size, self.position)

    def remaining(self) -> int:
        return os.fstat(self._descriptor).st_size - self.position

    def leap(self) -> bool:
        """Moves over damage to the next good block, if there is one. Nobody may be writing meanwhile."""
        rest = os.pread(self._descriptor, max(self.remaining(), 0), self.position)
        if frames.decode(rest, 0, self._seed) is not None:
            return True
        found = frames.next_whole(rest, 0, self._seed)
        if found is None:
            return False
        log.error("the stream's file is damaged", file=str(self.path), at=self.position, skipped_bytes=found)
        self.position += found
        return True

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Tail:
    """Up to where a segment is known to be good, and what comes next there."""

    segment: int
    position: int
    next_offset: int
    last_at: int


class PartitionLog:
    """A folder of segments, each named by its first offset. Any thread of any process may append."""

    def __init__(self, folder: Path, *, seed: int, segment_bytes: int, keep_us: int) -> None:
        self.folder = folder
        self.seed = seed
        self.segment_bytes = segment_bytes
        self.keep_us = keep_us
        self._mutex = threading.Lock()
        self._tail: Tail | None = None
        self._retired_at = 0

    def segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.iterdir() if path.suffix == ".log")

    def path(self, segment: int) -> Path:
        return self.folder / f"{segment:020}.log"

    def open(self, segment: int, position: int) -> OpenSegment:
        return OpenSegment(self.path(segment), position, self.seed)

    def lock(self) -> Path:
        return self.folder / "lock"

    def append(self, values: Sequence[bytes], keys: Sequence[bytes | None], now_us: int) -> None:
        """Appends all in one write and one fsync; what a killed writer left torn is cut off first."""
        with self._mutex, locked(self.lock()):
            tail = self._find_tail(over_damage=True)
            self._cut_off(tail)
            at = max(now_us, tail.last_at)  # the wall clock may step back; the log's does not
            data = frames.encode(values, keys, first_offset=tail.next_offset, appended_at=at, seed=self.seed)
            if tail.position and tail.position + len(data) > self.segment_bytes:
                tail = Tail(tail.next_offset, 0, tail.next_offset, tail.last_at)
            self._write(tail, data)
            self._tail = Tail(tail.segment, tail.position + len(data), tail.next_offset + len(values), at)
            if tail.position == 0 or at - self._retired_at > RETIRE_EVERY_US:
                self._retire(at)

    def _cut_off(self, tail: Tail) -> None:
        path = self.path(tail.segment)
        size = path.stat().st_size if path.exists() else 0
        if size > tail.position:
            log.warning("cut off an append that was never finished", file=str(path), n_bytes=size - tail.position)
            os.truncate(path, tail.position)

    def _write(self, tail: Tail, data: bytes) -> None:
        descriptor = os.open(self.path(tail.segment), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, memoryview(data)[written:], tail.position + written)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if tail.position == 0:
            sync_folder(self.folder)

    def _retire(self, now_us: int) -> None:
        """Deletes segments whose newest message is too old: their successor begins with one that is too old already."""
        self._retired_at = now_us
        segments = self.segments()
        for old, newer in pairwise(segments):
            successor = self.open(newer, 0)
            first = successor.next()
            successor.close()
            if first is None or first.appended_at >= now_us - self.keep_us:
                return
            self.path(old).unlink()

    def bounds(self) -> tuple[int, int]:
        with self._mutex:
            tail = self._find_tail(over_damage=False)
            path = self.path(tail.segment)
            if path.exists() and path.stat().st_size > tail.position:  # being written, torn or damaged
                with locked(self.lock()):
                    tail = self._find_tail(over_damage=True)
        segments = self.segments()
        return (segments[0] if segments else 0), tail.next_offset

    def _find_tail(self, *, over_damage: bool) -> Tail:
        """The end of the last segment, looked for from where this process last saw it."""
        segments = self.segments()
        tail = self._tail
        if tail is None or tail.segment not in segments:
            # One segment early: an empty last one does not say when the message before it was appended.
            begin = segments[-2:][0] if segments else 0
            tail = Tail(begin, 0, begin, 0)
        for segment in [each for each in segments if each >= tail.segment]:
            if segment > tail.segment:
                tail = Tail(segment, 0, segment, tail.last_at)
            tail = self._read_on(tail, over_damage)
        self._tail = tail
        return tail

    def _read_on(self, tail: Tail, over_damage: bool) -> Tail:
        reading = self.open(tail.segment, tail.position)
        try:
            while True:
                while block := reading.next():
                    tail = Tail(tail.segment, reading.position, block.next_offset, block.appended_at)
                if not (over_damage and reading.remaining() > 0 and reading.leap()):
                    return tail
        finally:
            reading.close()


class PartitionReader:
    """Reads a partition from an offset on, through its segments. Never sees half a message."""

    def __init__(self, partition: PartitionLog, offset: int) -> None:
        self.partition = partition
        self.offset = offset
        self._segment = -1
        self._open: OpenSegment | None = None
        self._rest: Block | None = None
        self._torn_end = -1

    def read(self, max_records: int) -> list[Block]:
        """Up to max_records messages as blocks, the last one cut where it is too long."""
        blocks: list[Block] = []
        while max_records > 0:
            try:
                block = self._rest or self._next()
            except OSError:
                if not blocks:
                    raise
                break  # what came before the trouble is handed over first; the next read meets it again
            if block is None:
                break
            self._rest = None
            if len(block.values) > max_records:
                self._rest = _from(block, max_records)
                block = block._replace(values=block.values[:max_records])
            blocks.append(block)
            max_records -= len(block.values)
            self.offset = block.next_offset
        return blocks

    def _next(self) -> Block | None:
        """The next block with something from `offset` on."""
        while block := self._next_whole():
            if block.next_offset <= self.offset:
                continue
            if block.first_offset > self.offset:
                lost = block.first_offset - self.offset
                log.warning("messages expired or damaged before they were read", file=str(self.partition.folder),
                            offset=self.offset, lost=lost)  # fmt: skip
            return _from(block, max(self.offset - block.first_offset, 0))
        return None

    def _next_whole(self) -> Block | None:
        if self._open is None and not self._open_segment(self._at_or_before(self.offset)):
            return None
        assert self._open is not None
        while (block := self._open.next()) is None:
            newer = [segment for segment in self.partition.segments() if segment > self._segment]
            # Asked again after the list: the writer may have added a block just before it began a new segment.
            if block := self._open.next():
                return block
            if not self._leap() and not (newer and self._open_segment(newer[0])):
                return None
        return block

    def _at_or_before(self, offset: int) -> int | None:
        segments = self.partition.segments()
        return max((segment for segment in segments if segment <= offset), default=segments[0] if segments else None)

    def _open_segment(self, segment: int | None) -> bool:
        if segment is None:
            return False
        opened = self.partition.open(segment, 0)
        self.close()
        self._open, self._segment = opened, segment
        return True

    def _leap(self) -> bool:
        """Over damage; a tail without any good block after it is an append in flight or one that was killed."""
        assert self._open is not None
        end = self._open.position + self._open.remaining()
        if end <= self._open.position or end == self._torn_end:
            return False
        with locked(self.partition.lock()):
            has_leapt = self._open.leap()
        self._torn_end = -1 if has_leapt else end
        return has_leapt

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _from(block: Block, n: int) -> Block:
    return block._replace(first_offset=block.first_offset + n, values=block.values[n:]) if n else block
