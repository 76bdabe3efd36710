"""The engine of a profile that has no model yet: the pack's limits, and each mote's own last readings. Pure.

A reading counts as anomalous where it lies further than `threshold` robust scales from the median of its mote's last
WINDOW steps: |z| with the median absolute deviation in the place of the standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from mlops.detection.compiled import Array, compiled
from mlops.detection.engine import FIELDS, FittedEngine, fallback
from mlops.detection.layers import VOTES, level
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.state import EngineState
from mlops.detection.tails import line
from sensors.readings import Bools, Floats, Ints, Profile

NAME = "recent"
WINDOW = 1000  # steps
LEAST = 60  # steps, before which only the pack's band judges
THRESHOLD = 3.0
# A mote that hardly moves is not infinitely precise, and days begin: its scale is at least this part of half its band.
LEAST_SCALE = 0.5
MEMORY: Mapping[str, Field] = {
    "ring": Field("channel", np.float32, np.nan, width=WINDOW),
    "ordered": Field("channel", np.float32, np.inf, width=WINDOW),
    "seen": Field("channel", np.int64),
}
FOLD = 1.2  # of the pack's level: its raw output at onset


@dataclass(frozen=True, eq=False)
class StandIn(FittedEngine):
    """`fallback(profile)` that also looks at what each mote showed of late. Its number is 0, as that one's is."""

    threshold: float = THRESHOLD
    remembered = FIELDS | {NAME: MEMORY}

    def listen(
        self, state: EngineState, mote: Ints, at: Ints, local_s: Ints, values: Floats, is_late: Bools, flags: Ints
    ) -> tuple[Rows, list[Said]]:
        rows, said = super().listen(state, mote, at, local_s, values, is_late, flags)
        place = VOTES.index(level.NAME)
        judged = said[place]
        raw, middle, scale = (np.array(part, dtype=np.float64) for part in (judged.raw, rows.usual, rows.spread))
        recent(rows, state.memory[NAME], self.floors, self.threshold, raw, middle, scale)
        said[place] = Said(raw, middle, scale)
        return rows, said

    @cached_property
    def floors(self) -> Floats:
        low, high = self.profile.bounds("normal")
        finest = np.array([channel.resolution for channel in self.profile.channels], dtype=np.float64)
        return np.maximum((high - low) / 2.0 * LEAST_SCALE, np.maximum(finest, 1e-9))


def recent(
    rows: Rows,
    memory: Mapping[str, Array],
    floors: Floats,
    threshold: float,
    raw: Floats,
    middle: Floats,
    scale: Floats,
) -> None:
    _recent(
        rows.slot, rows.is_step, rows.values, memory["ring"], memory["ordered"], memory["seen"], floors, threshold,
        raw, middle, scale,
    )  # fmt: skip


@compiled
def _recent(
    slot: Array, is_step: Array, values: Array, ring: Array, ordered: Array, seen: Array, floors: Array,
    threshold: float, raw: Array, middle: Array, scale: Array,
) -> None:  # fmt: skip
    """Where the mote's own past is more surprised than the pack, its opinion takes the pack's place."""
    for i in range(len(slot)):
        s = slot[i]
        if s < 0:
            continue
        for c in range(values.shape[1]):
            x = values[i, c]
            if np.isnan(x):
                continue
            n = min(seen[s, c], WINDOW)
            if n >= LEAST:
                usual = (float(ordered[s, c, (n - 1) // 2]) + float(ordered[s, c, n // 2])) / 2.0
                spread = max(level.MAD * _deviation(ordered[s, c], n, usual), floors[c])
                z = abs(x - usual) / spread / threshold
                if z > raw[i, c]:
                    raw[i, c], middle[i, c], scale[i, c] = z, usual, spread * threshold * FOLD
            if is_step[i, c]:
                _remember(ring[s, c], ordered[s, c], seen[s, c], n, np.float32(x))
                seen[s, c] += 1


@compiled
def _deviation(ordered: Array, n: int, usual: float) -> float:
    """The median distance from the middle of an ordered row: walked from there outward."""
    left = 0
    while left < n and ordered[left] < usual:
        left += 1
    right, left, distance = left, left - 1, 0.0
    for _ in range(n // 2 + 1):
        if left < 0 or (right < n and ordered[right] - usual <= usual - ordered[left]):
            distance = ordered[right] - usual
            right += 1
        else:
            distance = usual - ordered[left]
            left -= 1
    return distance


@compiled
def _remember(ring: Array, ordered: Array, seen: int, n: int, x: Any) -> None:
    """Puts the value into its order, the oldest one's place being freed where the row is full."""
    place = n
    if n == WINDOW:
        oldest = ring[seen % WINDOW]
        place = 0
        while ordered[place] < oldest:
            place += 1
    ring[seen % WINDOW] = x
    while place + 1 < n and ordered[place + 1] < x:
        ordered[place] = ordered[place + 1]
        place += 1
    while place > 0 and ordered[place - 1] > x:
        ordered[place] = ordered[place - 1]
        place -= 1
    ordered[place] = x


def stand_in(profile: Profile, *, threshold: float = THRESHOLD) -> StandIn:
    """Judges until there is a model: verdicts of version 0."""
    base = fallback(profile)
    # The pack's level, told in units of its own onset, so that both opinions can be compared.
    own, onset = base.arrays[level.NAME], profile.onset
    raw, surprise = line(
        [(0.0, 0.0), (0.7 / FOLD, 0.05 * onset), (1.0 / FOLD, 0.3 * onset), (1.0, onset),
         (2.2 / FOLD, 2 * onset), (5.0 / FOLD, 12.0)], len(profile.channels)
    )  # fmt: skip
    folded = {
        **own, "scale": (own["scale"] * FOLD).astype(np.float32), "raw": raw, "surprise": surprise,
        "limit": np.full(len(profile.channels), 1.0 / FOLD),  # what is expected ends where the pack says
    }  # fmt: skip
    given = {one.name: getattr(base, one.name) for one in fields(FittedEngine)}
    return StandIn(**{**given, "arrays": {**base.arrays, level.NAME: folded}}, threshold=threshold)


def marked(words: str, model_version: int) -> str:
    """An event's words, with a mark where no model has judged."""
    return f"{words} (fallback: no model serves yet)" if model_version == 0 else words
