"""Scoring a mote's readings once more from the state that the engine had, to the bit.

What a mote's neighbours say of it is not repeated: it took the memory of all of them, and of theirs. Where they were
the loudest, the score that is stored must be the one that their vote says, and all other votes the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mlops.detection import EngineState, FittedEngine
from mlops.detection.layers import VOTE_BITS, VOTE_UNIT, VOTES, peers
from sensors import quality
from sensors.readings import Batch, Bools, Floats, concat

SAME = 1e-9
NEIGHBOURS = VOTE_BITS * VOTES.index(peers.NAME)  # where their vote begins
LOUDEST = (1 << VOTE_BITS) - 1
Engines = Callable[[int], FittedEngine]  # by the number that readings carry


class CannotLoad(Exception):
    """A version that judged the readings cannot be used here; says which and why."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """The readings as judged again, and how far that is from what was stored; NaN on both sides is equal.

    `by_neighbours` are those of which the neighbours said more than the mote's own past.
    """

    batch: Batch
    worst: float
    by_neighbours: Bools

    @property
    def is_same(self) -> bool:
        return self.worst <= SAME


def only(state: EngineState, mote: int) -> EngineState:
    """What the engine remembers of one mote."""
    alone = EngineState(state.n_channels)
    places = np.flatnonzero(state.motes == mote)
    if not len(places):
        return alone
    place = int(places[0])
    header = state.to_bytes()
    kept = EngineState.from_bytes(header)
    kept.memory = {
        layer: {name: array[place : place + 1].copy() for name, array in arrays.items()}
        for layer, arrays in kept.memory.items()
    }
    kept.n_motes = kept._capacity = 1
    kept._index()
    return kept


def rescore(state: bytes, stored: Batch, engines: Engines) -> Rescored:
    """Judges the readings in their order, each by the version that judged it, beginning with that state."""
    known = EngineState.from_bytes(state) if state else EngineState(len(stored.profile.channels))
    fresh = replace(
        stored,
        flags=stored.flags & quality.LATE,
        surprise=np.full(len(stored), np.nan),
        votes=np.zeros(len(stored), dtype=np.int64),
        is_anomaly=np.zeros(len(stored), dtype=np.bool_),
        event_id=np.zeros(len(stored), dtype=np.int64),
    )
    parts = []
    for start, end in _runs(stored.model_version):
        number = int(stored.model_version[start])
        try:
            known, judged, _ = engines(number).step(known, fresh.take(slice(start, end)))
        except (KeyError, IndexError) as error:  # a model of another release lacks what a layer now asks of it
            raise CannotLoad(f"Version {number} was made by another release of the engine ({error}).") from error
        parts.append(judged)
    if not parts:
        return Rescored(stored, float("nan"), np.zeros(0, dtype=np.bool_))
    batch = concat(parts)
    by_neighbours = _said_by_neighbours(batch, stored)
    own = np.where(by_neighbours, stored.surprise, batch.surprise)
    return Rescored(batch, _difference(own, stored.surprise), by_neighbours)


def _said_by_neighbours(again: Batch, stored: Batch) -> Bools:
    theirs = stored.votes >> NEIGHBOURS & LOUDEST
    others_are_same = (again.votes ^ stored.votes) & ~(LOUDEST << NEIGHBOURS) == 0
    is_theirs = np.minimum(np.floor(np.nan_to_num(stored.surprise) / VOTE_UNIT + 0.5), LOUDEST) == theirs
    found: Bools = (stored.surprise > again.surprise) & others_are_same & is_theirs
    return found


def _runs(numbers: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of rows that one version judged."""
    if not len(numbers):
        return []
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return list(pairwise(edges))


def _difference(one: Floats, other: Floats) -> float:
    if (np.isnan(one) != np.isnan(other)).any():
        return float("inf")
    known = ~np.isnan(one)
    return float(np.max(np.abs(one[known] - other[known]), initial=0.0))
