"""Which partition a key belongs to: Kafka's own murmur2, so that every producer partitions alike. Pure."""

from __future__ import annotations

import struct
from functools import lru_cache

MASK = 0xFFFFFFFF
M = 0x5BD1E995
SEED = 0x9747B28C


def partition_of(key: bytes | None, n_partitions: int) -> int:
    """The partition of a key, as Kafka's Java client and librdkafka's murmur2_random choose it; no key: the first.

    >>> partition_of(b"lab/west", 4)
    0
    """
    if key is None or n_partitions == 1:
        return 0
    return (murmur2(key) & 0x7FFFFFFF) % n_partitions


@lru_cache(maxsize=65_536)  # keys are zones: few, and the same ones with every message
def murmur2(key: bytes) -> int:
    """The 32-bit hash of org.apache.kafka.common.utils.Utils.murmur2, unsigned."""
    whole = len(key) & ~3
    state = SEED ^ len(key)
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        word = (word * M) & MASK
        word = ((word ^ (word >> 24)) * M) & MASK
        state = ((state * M) & MASK) ^ word
    if whole < len(key):
        state = ((state ^ int.from_bytes(key[whole:], "little")) * M) & MASK
    state = ((state ^ (state >> 13)) * M) & MASK
    return state ^ (state >> 15)
