"""Jump: a change since the last accepted value that the fleet was never seen to make in that time."""

from __future__ import annotations

import numpy as np

from mlops.detection.history import FLEET_SAMPLE, Arrays, History
from mlops.detection.tails import line
from sensors.readings import Profile

NAME = "jump"
LAGS = tuple(2**k for k in range(13))  # steps; the longest is 34 hours of 30 s, beyond it a mote begins anew
MARGIN = 1.2
RARE = 0.9999
FEW = 2000  # differences of a lag that say something about its extremes
QUANTA = 4  # changes below this many steps of resolution are no jump


def prior(profile: Profile) -> Arrays:
    """Allowed is what the pack's rate allows, at most the whole physical range."""
    low, high = profile.bounds("physical")
    rate = np.array([channel.max_rate_per_s for channel in profile.channels], dtype=np.float64)
    quanta = QUANTA * np.array([channel.resolution for channel in profile.channels], dtype=np.float64)
    rate = np.where(rate > 0, rate, np.inf)
    allowed = np.minimum(rate[:, None] * profile.step_s * np.array(LAGS, dtype=np.float64), (high - low)[:, None])
    onset = profile.onset
    raw, surprise = line([(0.0, 0.0), (0.8, 0.3 * onset), (1.0, onset), (2.0, 2 * onset), (4.0, 12.0)], len(rate))
    return {
        "allowed": np.maximum(allowed, np.maximum(quanta, 1e-9)[:, None]),
        "jump_limit": np.ones(len(rate)),
        "jump_raw": raw,
        "jump_surprise": surprise,
    }


def fit(history: History) -> Arrays:
    """The fleet's rarest changes by lag: one mote's day would give limits ten times too small on Monday."""
    allowed = prior(history.profile)["allowed"]
    quanta = np.array([QUANTA * channel.resolution for channel in history.profile.channels], dtype=np.float64)
    largest = np.full(allowed.shape, np.nan)
    for grid in history.some_motes(FLEET_SAMPLE).on_steps().grids():
        for place, lag in enumerate(LAGS):
            if lag >= len(grid):
                break
            change = np.abs(grid[lag:] - grid[:-lag])
            for c in range(grid.shape[1]):
                seen = change[np.isfinite(change[:, c]), c]
                if len(seen) >= FEW:
                    rare = np.partition(seen, k := min(int(RARE * len(seen)), len(seen) - 1))[k]
                    largest[c, place] = np.fmax(largest[c, place], rare)
    known = np.isfinite(largest)
    limits = np.where(known, MARGIN * np.maximum(largest, quanta[:, None] / MARGIN), allowed)
    return {"allowed": np.maximum.accumulate(np.maximum(limits, 1e-9), axis=1)}
