"""Quality flags: what is wrong with a reading as data, whatever it says about the world. Pure.

One integer a reading: the low 32 bits say which kinds of trouble there are, the bits above which channels have any.
"""

from __future__ import annotations

import numpy as np

from sensors.readings import Bools, Floats, Ints, Profile

OUT_OF_RANGE = 1 << 0  # beyond the channel's physical range
UNREADABLE = 1 << 1  # text, NaN or infinity where a number belongs; stored as null
MISSING = 1 << 2  # the message did not have the channel
LATE = 1 << 3  # measured no later than a reading of the mote that came before it
STUCK = 1 << 4  # the value has not moved for longer than the channel's flat-line duration
JUMP = 1 << 5  # moved faster than the channel plausibly can
LOW_BATTERY = 1 << 6
GAP = 1 << 7  # the first reading after a silence

NAMES = {
    OUT_OF_RANGE: "out_of_range",
    UNREADABLE: "unreadable",
    MISSING: "missing",
    LATE: "late",
    STUCK: "stuck",
    JUMP: "jump",
    LOW_BATTERY: "low_battery",
    GAP: "gap",
}
CHANNEL_SHIFT = 32
MAX_CHANNELS = 31  # what fits above the kinds in a signed 64-bit integer


def flag(kind: int, channels: Bools) -> Ints:
    """Flags of one kind for every row, from a (rows, channels) mask of where it occurs."""
    places = np.int64(1) << (np.arange(channels.shape[1], dtype=np.int64) + CHANNEL_SHIFT)
    marks = np.where(channels, places, 0).sum(axis=1, dtype=np.int64)
    return np.where(marks != 0, marks | kind, 0)


def range_flags(profile: Profile, values: Floats) -> Ints:
    """Flags readings beyond the physical range of a channel."""
    low, high = profile.bounds("physical")
    with np.errstate(invalid="ignore"):
        return flag(OUT_OF_RANGE, (values < low) | (values > high))


def names(flags: int) -> list[str]:
    """The kinds of trouble in words.

    >>> names(OUT_OF_RANGE | LATE)
    ['out_of_range', 'late']
    """
    return [name for bit, name in NAMES.items() if flags & bit]


def channels(flags: int, profile: Profile) -> list[str]:
    """The channels that have any trouble."""
    return [name for i, name in enumerate(profile.names) if flags >> (CHANNEL_SHIFT + i) & 1]


def quality(flags: Ints, values: Floats) -> Floats:
    """The share of a reading's channels that can be trusted, 0..1; a missing value cannot."""
    n = values.shape[1]
    marked = (flags[:, None] >> (np.arange(n, dtype=np.int64) + CHANNEL_SHIFT)) & 1
    return ((marked == 0) & ~np.isnan(values)).sum(axis=1) / n
