"""How the segment log lays messages down: blocks that are whole or not there at all. Pure.

A block is one append (or a slice of a large one): a head, the lengths, the values, the keys. Its checksum covers all
of it and starts from the topic's own seed, so that no message can pretend to be a block after a torn one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple
from zlib import crc32

MAGIC = b"\xabSb1"
HEAD = struct.Struct("<4sIIQqI")  # magic, checksum of all that follows, bytes of the body, first offset, time, messages
CHECKED_FROM = 8
NO_KEY = 0xFFFFFFFF
# A reader holds a block at a time: large appends are cut.
BLOCK_MESSAGES = 8192
BLOCK_BYTES = 1 << 20


class Block(NamedTuple):
    """Messages that were appended together; `end` is where the next block begins in the bytes it was found in."""

    first_offset: int
    appended_at: int
    values: list[bytes]
    end: int

    @property
    def next_offset(self) -> int:
        return self.first_offset + len(self.values)


def encode(
    values: Sequence[bytes], keys: Sequence[bytes | None], *, first_offset: int, appended_at: int, seed: int
) -> bytes:
    """The blocks of one append."""
    blocks = []
    for begin, end in _cuts(values):
        blocks.append(_block(values[begin:end], keys[begin:end], first_offset + begin, appended_at, seed))
    return b"".join(blocks)


def _cuts(values: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    begin = size = 0
    for i, value in enumerate(values):
        if i > begin and (i - begin >= BLOCK_MESSAGES or size + len(value) > BLOCK_BYTES):
            yield begin, i
            begin, size = i, 0
        size += len(value)
    if begin < len(values):
        yield begin, len(values)


def _block(
    values: Sequence[bytes], keys: Sequence[bytes | None], first_offset: int, appended_at: int, seed: int
) -> bytes:
    lengths = struct.pack(
        f"<{2 * len(values)}I", *map(len, values), *(NO_KEY if key is None else len(key) for key in keys)
    )
    body = b"".join((lengths, *values, *(key for key in keys if key)))
    head = HEAD.pack(MAGIC, 0, len(body), first_offset, appended_at, len(values))
    checksum = crc32(body, crc32(head[CHECKED_FROM:], seed))
    return b"".join((MAGIC, checksum.to_bytes(4, "little"), head[CHECKED_FROM:], body))


def size_at(data: bytes, position: int) -> int:
    """Bytes of the block that begins at `position` as its head says; 0 where no head can be read."""
    if len(data) - position < HEAD.size or not data.startswith(MAGIC, position):
        return 0
    return HEAD.size + int.from_bytes(data[position + CHECKED_FROM : position + CHECKED_FROM + 4], "little")


def decode(data: bytes, position: int, seed: int) -> Block | None:
    """The block that begins at `position`, or None: torn, damaged, or not all of it is in `data`."""
    begin = position + HEAD.size
    if begin > len(data):
        return None
    magic, checksum, size, first_offset, appended_at, n = HEAD.unpack_from(data, position)
    end = begin + size
    if magic != MAGIC or end > len(data) or crc32(data[position + CHECKED_FROM : end], seed) != checksum:
        return None
    ends = accumulate(struct.unpack_from(f"<{n}I", data, begin), initial=begin + 8 * n)
    return Block(first_offset, appended_at, [data[a:b] for a, b in pairwise(ends)], end)


def keys_of(data: bytes, position: int) -> list[bytes | None]:
    """The keys of a block that `decode` found good."""
    n = HEAD.unpack_from(data, position)[5]
    lengths = struct.unpack_from(f"<{2 * n}I", data, position + HEAD.size)
    begin = position + HEAD.size + 8 * n + sum(lengths[:n])
    keys: list[bytes | None] = []
    for length in lengths[n:]:
        keys.append(None if length == NO_KEY else data[begin : begin + length])
        begin += 0 if length == NO_KEY else length
    return keys


def next_whole(data: bytes, position: int, seed: int) -> int | None:
    """Where the next good block after `position` begins; None when none follows."""
    found = data.find(MAGIC, position + 1)
    while found >= 0:
        if decode(data, found, seed) is not None:
            return found
        found = data.find(MAGIC, found + 1)
    return None
