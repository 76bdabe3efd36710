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
LOW_BATTERY = 1 << 6  # the mote's battery is so low that its other channels may lie
GAP = 1 << 7  # the first reading after a silence
EXCLUDED = 1 << 8  # a person took the stretch out; added at read, never stored
CORRECTED = 1 << 9  # a person recalibrated the stretch; added at read, never stored
IMPUTED = 1 << 10  # nobody measured this; added at read, never stored

NAMES = {
    OUT_OF_RANGE: "out_of_range",
    UNREADABLE: "unreadable",
    MISSING: "missing",
    LATE: "late",
    STUCK: "stuck",
    JUMP: "jump",
    LOW_BATTERY: "low_battery",
    GAP: "gap",
    EXCLUDED: "excluded",
    CORRECTED: "corrected",
    IMPUTED: "imputed",
}
# What says that a value is no measurement of the world: not learnt from, not in any statistic. A late reading is one.
UNCLEAN = (OUT_OF_RANGE, UNREADABLE, STUCK, JUMP, LOW_BATTERY, EXCLUDED, IMPUTED)
# Kinds that mark the channels concerned; the others speak of the reading as a whole.
OF_CHANNELS = OUT_OF_RANGE | UNREADABLE | MISSING | STUCK | JUMP | LOW_BATTERY | EXCLUDED | IMPUTED
CHANNEL_SHIFT = 32
KINDS = (1 << CHANNEL_SHIFT) - 1
MAX_CHANNELS = 31  # what fits above the kinds in a signed 64-bit integer


def flag(kind: int, channels: Bools) -> Ints:
    """Flags of one kind for every row, from a (rows, channels) mask of where it occurs."""
    places = np.int64(1) << (np.arange(channels.shape[1], dtype=np.int64) + CHANNEL_SHIFT)
    marks = np.where(channels, places, 0).sum(axis=1, dtype=np.int64)
    return np.where(marks != 0, marks | kind, 0)


def suspects(flags: Ints, n_channels: int) -> Bools:
    """(rows, channels): which values are in any trouble."""
    return ((flags[:, None] >> (np.arange(n_channels, dtype=np.int64) + CHANNEL_SHIFT)) & 1) != 0


def battery_flags(profile: Profile, values: Floats) -> Ints:
    """Flags the other channels of readings whose battery is low; the battery's own value is what says so."""
    if profile.battery is None:
        return np.zeros(len(values), dtype=np.int64)
    place = profile.names.index(profile.battery.channel)
    with np.errstate(invalid="ignore"):
        is_low = values[:, place] < profile.battery.low
    others = np.arange(len(profile.names)) != place
    return flag(LOW_BATTERY, is_low[:, None] & others & ~np.isnan(values))


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


def quality(profile: Profile, flags: Ints, values: Floats) -> Floats:
    """The share of a reading's measured channels that can be trusted, 0..1; a missing value cannot."""
    trusted = ~suspects(flags, values.shape[1]) & ~np.isnan(values)
    return trusted[:, profile.is_measured].sum(axis=1) / max(profile.is_measured.sum(), 1)
