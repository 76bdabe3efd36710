"""Stuck: a value that has not moved for longer than any sensor of the fleet rests by itself."""

from __future__ import annotations

import numpy as np

from mlops.detection.history import Arrays, History
from mlops.detection.kernels import NEVER, SILENT_STEPS
from sensors.readings import Floats, Ints, Profile

NAME = "stuck"
MARGIN = 1.5
RESTING = 0.5  # a channel that rests for this share of its history cannot be called stuck


def prior(profile: Profile) -> Arrays:
    after = np.array([channel.flat_after_s for channel in profile.channels], dtype=np.float64)
    flat = np.where((after > 0) & (after < 1e12), np.minimum(after, 1e12) * 1e6, NEVER / 2).astype(np.int64)
    return {"flat_us": flat, "natural_us": flat.copy()}


def fit(history: History) -> Arrays:
    """Limits from the longest natural runs, never below the pack's."""
    flat = prior(history.profile)["flat_us"]
    natural = np.zeros_like(flat)
    for c in range(history.values.shape[1]):
        present = np.isfinite(history.values[:, c])
        if not present.any():
            natural[c] = flat[c]
            continue
        mote, at = history.mote[present], history.at[present]
        natural[c] = runs_us(mote, at, history.values[present, c], SILENT_STEPS * history.step_us).max()
        span = at[-1] - at[0] if mote[0] == mote[-1] else at.max() - at.min()
        rests = natural[c] >= RESTING * max(int(span), 1)
        flat[c] = NEVER // 2 if rests else max(flat[c], int(MARGIN * natural[c]))
    return {"flat_us": flat, "natural_us": natural}


def runs_us(mote: Ints, at: Ints, values: Floats, silent_us: int) -> Ints:
    """How long each run of equal values of a mote lasted; a silence ends a run."""
    broken = (values[1:] != values[:-1]) | (mote[1:] != mote[:-1]) | (at[1:] - at[:-1] > silent_us)
    first = np.concatenate([[0], np.flatnonzero(broken) + 1])
    last = np.append(first[1:] - 1, len(at) - 1)
    return at[last] - at[first]
