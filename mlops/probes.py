"""Planted faults: a model that flags nothing has no false events, and finds none of these. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mlops.detection import FittedEngine
from sensors.readings import Batch, Channel, Floats, Ints

MOST_MOTES = 24
LEAST_FAULTS = 8  # a single mote is asked again, with another channel each time
LENGTH_S = 2 * 3600.0
SHARE_OF_BAND = 0.6  # how far a planted offset moves a channel, in widths of its normal band
DIRECTIONS = (1.0, -1.0)


def probe(fitted: FittedEngine, clean: Batch) -> dict[str, Any]:
    """How many planted faults the engine notices while they last; each mote gets one, in turn by channel."""
    motes = _spread(np.unique(clean.mote), MOST_MOTES)
    chosen = clean.take(np.isin(clean.mote, motes))
    rounds = -(-LEAST_FAULTS // max(len(motes), 1))
    found = [is_found for turn in range(rounds) for is_found in _noticed(fitted, chosen, turn * len(motes))]
    return {
        "n_planted": len(found),
        "n_found": sum(found),
        "found_share": sum(found) / len(found) if found else None,
    }


def _noticed(fitted: FittedEngine, clean: Batch, turn: int) -> list[bool]:
    planted, faults = _plant(clean, turn)
    _, _, changes = fitted.step(fitted.start(), planted)
    noticed: dict[int, list[int]] = {}
    for change in changes:
        noticed.setdefault(change.mote, []).append(change.noticed_at)
    return [any(begin <= at <= end for at in noticed.get(mote, [])) for mote, (begin, end) in faults.items()]


def _spread(motes: Ints, most: int) -> Ints:
    if len(motes) <= most:
        return motes
    return motes[np.linspace(0, len(motes) - 1, most).astype(np.int64)]


def _plant(clean: Batch, first: int) -> tuple[Batch, dict[int, tuple[int, int]]]:
    """The batch with one fault a mote in its last third, and from when to when each lasts."""
    values = clean.values.copy()
    faults = {}
    for turn, mote in enumerate(np.unique(clean.mote).tolist(), start=first):
        rows = np.flatnonzero(clean.mote == mote)
        begin = int(clean.at[rows[len(rows) * 2 // 3]])
        end = begin + int(LENGTH_S * 1e6)
        ill = rows[(clean.at[rows] >= begin) & (clean.at[rows] < end)]
        channel = turn % values.shape[1]
        direction = DIRECTIONS[turn // values.shape[1] % len(DIRECTIONS)]
        values[ill, channel] = _moved(values[ill, channel], clean.profile.channels[channel], direction)
        faults[mote] = (begin, end)
    return replace(clean, values=values), faults


def _moved(values: Floats, channel: Channel, direction: float) -> Floats:
    """Off by a part of the normal band, on the sensor's own grid and within its range, as a sensor that went wrong.

    Whatever is beyond the range or off the grid would be found without any model.
    """
    (low, high), (least, most) = channel.normal, channel.physical
    offset = direction * SHARE_OF_BAND * (high - low)
    moved: Floats = np.round((values + offset) / channel.resolution) * channel.resolution
    return np.clip(moved, least, most)
