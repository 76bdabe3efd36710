"""Stuck: a value that has not moved for longer than any sensor of the fleet rests by itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlops.detection.compiled import CAP, NEVER, NO_TIME, SILENT_STEPS, Array, compiled
from mlops.detection.history import Arrays, History
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors import quality
from sensors.readings import Floats, Ints, Profile

NAME = "stuck"
MEMORY = {
    "seen_at": Field("channel", np.int64, NO_TIME),
    "seen": Field("channel", np.float64, np.nan),
    "run_us": Field("channel", np.int64),
}
TAIL = None
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = False
ANY_DAY = True
MARGIN = 1.5
RESTING = 0.5  # a channel that rests for this share of its history cannot be called stuck
FLAG, SHIFT = quality.STUCK, quality.CHANNEL_SHIFT


def prior(profile: Profile) -> Arrays:
    after = np.array([channel.flat_after_s for channel in profile.channels], dtype=np.float64)
    flat = np.where((after > 0) & (after < 1e12), np.minimum(after, 1e12) * 1e6, NEVER / 2).astype(np.int64)
    onset, most = profile.onset, CAP / profile.onset
    raw, surprise = line([(0.0, 0.0), (1.0 - 1e-9, 0.0), (1.0, onset), (most, CAP)], len(flat))
    return {"flat_us": flat, "raw": raw, "surprise": surprise}


def fit(history: History) -> Arrays:
    """Limits from the longest natural runs, never below the pack's."""
    flat = prior(history.profile)["flat_us"]
    for c in range(history.values.shape[1]):
        present = np.isfinite(history.values[:, c])
        if not present.any():
            continue
        mote, at = history.mote[present], history.at[present]
        natural = runs_us(mote, at, history.values[present, c], SILENT_STEPS * history.step_us).max()
        span = at[-1] - at[0] if mote[0] == mote[-1] else at.max() - at.min()
        rests = natural >= RESTING * max(int(span), 1)
        flat[c] = NEVER // 2 if rests else max(flat[c], int(MARGIN * natural))
    return {"flat_us": flat}


def runs_us(mote: Ints, at: Ints, values: Floats, silent_us: int) -> Ints:
    """How long each run of equal values of a mote lasted; a silence ends a run."""
    broken = (values[1:] != values[:-1]) | (mote[1:] != mote[:-1]) | (at[1:] - at[:-1] > silent_us)
    first = np.concatenate([[0], np.flatnonzero(broken) + 1])
    last = np.append(first[1:] - 1, len(at) - 1)
    return at[last] - at[first]


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    raw = np.full(rows.values.shape, np.nan)
    advance(rows, model["flat_us"], memory["seen_at"], memory["seen"], memory["run_us"], raw)
    return Said(raw)


@compiled
def advance(rows: Rows, flat_us: Array, seen_at: Array, seen: Array, run_us: Array, raw: Array) -> None:
    """Seconds of equal values as a share of what is allowed; silences are not counted."""
    silent_us = SILENT_STEPS * rows.step_us
    for i in range(len(rows.slot)):
        slot = rows.slot[i]
        if slot < 0:
            continue
        for c in range(rows.values.shape[1]):
            x = rows.values[i, c]
            if np.isnan(x):
                continue
            elapsed = rows.at[i] - seen_at[slot, c] if seen_at[slot, c] != NO_TIME else NEVER
            if x == seen[slot, c] and elapsed <= silent_us:
                run_us[slot, c] += elapsed
            else:
                run_us[slot, c] = 0
            seen_at[slot, c] = rows.at[i]
            seen[slot, c] = x
            rows.run_us[i, c] = run_us[slot, c]
            raw[i, c] = run_us[slot, c] / flat_us[c]
            if run_us[slot, c] >= flat_us[c]:
                rows.flags[i] |= FLAG | (np.int64(1) << np.int64(SHIFT + c))
