"""Shift: a channel that has settled at another level, farther from its baseline than it wanders by itself.

The scale is how wrong the baseline was about what came next, while it was learnt: a channel that drifts gets a wide
one, a steady channel a narrow one. A shift is over when the channel is back, or well on its way: the slow recovery
after a fault is no fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlops.detection.compiled import CAP, Array, compiled
from mlops.detection.history import FLEET_SAMPLE, Arrays, History
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors.readings import Floats, Profile

NAME = "shift"
MEMORY = {
    "n": Field("channel", np.int32),
    "level": Field("channel"),
    "baseline": Field("channel"),
    "run": Field("channel", np.int8),
    "is_on": Field("channel", np.int8),
    "distance": Field("channel", np.float32),
    "farthest": Field("channel", np.float32),
    "bar": Field("channel", np.float32),
    "told": Field("channel", np.float32),
    "on_for": Field("channel", np.int16),
}
TAIL = None
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = True
ANY_DAY = False
WIDE = 0.9  # of the fleet's motes wander less
BLOCK = 20  # steps whose mean the baseline has to foretell
WARM = 100  # steps until a baseline counts
LEVEL, BASELINE, DISTANCE = 0.07, 1 / 400, 0.05  # weights of a step
FAR = 5.0  # scales away: on, if it lasts
SEEN = 4.0  # farthest that normal readings were seen
NEAR = 3.0  # off
BACK = 0.7  # of the way out that remains: off too, it is on its way back
LASTS = 3  # steps
FADES = 1 / 3000  # a step, of the bar that a shift leaves behind: the same again, soon, is no news
HOLD_STEPS = 720  # unconditional release: the world has changed
ASIDE = 0.6  # of onset: on, and not much worse than told
WORSE = 1.5


def prior(profile: Profile) -> Arrays:
    """Silent: without history nobody knows how far such a channel wanders."""
    n, onset = len(profile.channels), profile.onset
    raw, surprise = line([(0.0, 0.0), (ASIDE, ASIDE * onset), (1.0, onset), (4.0, max(CAP, 2.0 * onset))], n)
    return {"scale": np.full(n, np.inf), "margin": np.ones(1), "raw": raw, "surprise": surprise}


def fit(history: History) -> Arrays:
    scale = prior(history.profile)["scale"]
    steps = history.some_motes(FLEET_SAMPLE).on_steps()
    bounds = np.searchsorted(steps.mote, np.append(steps.ids, np.iinfo(np.int64).max))
    for c, channel in enumerate(history.profile.channels):
        series = [steps.values[begin:end, c] for begin, end in pairwise(bounds.tolist())]
        series = [values[np.isfinite(values)] for values in series]
        wanders = [wander(values) for values in series if len(values) >= WARM + 3 * BLOCK]
        if wanders:
            scale[c] = max(float(np.quantile(wanders, WIDE)), channel.resolution / 2.0, 1e-9)
    return {"scale": scale, "margin": np.array([history.margin])}


def wander(values: Floats) -> float:
    """Typical distance of the next block's mean from the baseline so far."""
    n = len(values) // BLOCK
    blocks = values[: n * BLOCK].reshape(n, BLOCK).mean(axis=1)
    errors, baseline = np.empty(n), blocks[0]
    for k, block in enumerate(blocks):
        errors[k] = block - baseline
        baseline += max(BLOCK * BASELINE, 1.0 / (k + 1)) * errors[k]
    errors = np.abs(errors[WARM // BLOCK - 1 :])
    # Noise alone moves the level as far as this.
    least = float(values.std()) * (LEVEL / (2.0 - LEVEL)) ** 0.5
    typical = float(np.sqrt(np.mean(errors**2)))
    return max(typical * growth(blocks), farthest(np.ascontiguousarray(values)) / SEEN, least)


@compiled
def farthest(values: Array) -> float:
    """That the level ever was from the baseline."""
    level, baseline, most = values[0], values[0], 0.0
    for n in range(len(values)):
        level += max(LEVEL, 1.0 / (n + 1)) * (values[n] - level)
        if n >= WARM:
            most = max(most, abs(level - baseline))
        baseline += max(BASELINE, 1.0 / (n + 1)) * (values[n] - baseline)
    return most


def growth(blocks: Floats) -> float:
    """How much farther a channel will have strayed than a short history could show."""
    horizon = 2.0 / (BLOCK * BASELINE) / len(blocks)
    if horizon <= 1.0:
        return 1.0
    lags = [lag for lag in (1, 2, 3, 4, 6, 8) if lag <= len(blocks) // 2]
    spread = [float(np.sqrt(np.mean((blocks[lag:] - blocks[:-lag]) ** 2))) for lag in lags]
    if min(spread) <= 0.0 or len(lags) < 2:
        return 1.0
    slope = float(np.polyfit(np.log(lags), np.log(spread), 1)[0])
    return float(horizon ** min(max(slope, 0.0), 1.0))


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    shape = rows.values.shape
    raw, middle, scale = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    advance(rows, model["scale"], model["margin"], Kept(*(memory[name] for name in Kept._fields)), raw, middle, scale)
    return Said(raw, middle, scale)


class Kept(NamedTuple):
    n: Array
    level: Array
    baseline: Array
    run: Array
    is_on: Array
    distance: Array
    farthest: Array
    bar: Array
    told: Array
    on_for: Array


@compiled
def advance(rows: Rows, scales: Array, margin: Array, kept: Kept, raw: Array, middle: Array, scale: Array) -> None:
    for i in range(len(rows.slot)):
        slot = rows.slot[i]
        if slot < 0:
            continue
        for c in range(rows.values.shape[1]):
            x = rows.values[i, c]
            if np.isnan(x) or not rows.is_step[i, c] or np.isinf(scales[c]):
                continue
            n = kept.n[slot, c]
            if n == 0:
                kept.level[slot, c] = kept.baseline[slot, c] = x
                kept.bar[slot, c] = FAR
            kept.n[slot, c] = n + 1
            kept.level[slot, c] += max(LEVEL, 1.0 / (n + 1)) * (x - kept.level[slot, c])
            baseline = kept.baseline[slot, c]
            wide = scales[c] if rows.is_known[i] else scales[c] * margin[0]
            z = abs(kept.level[slot, c] - baseline) / wide if n >= WARM else 0.0

            if kept.is_on[slot, c] == 0:
                kept.bar[slot, c] = max(FAR, kept.bar[slot, c] * (1.0 - FADES))
                kept.run[slot, c] = min(kept.run[slot, c] + 1, LASTS) if z >= kept.bar[slot, c] else 0
                if kept.run[slot, c] >= LASTS:
                    kept.is_on[slot, c] = 1
                    kept.distance[slot, c] = kept.farthest[slot, c] = z
                    kept.told[slot, c] = 0.0
                    kept.on_for[slot, c] = 0
            if kept.is_on[slot, c] != 0:
                kept.distance[slot, c] += DISTANCE * (z - kept.distance[slot, c])
                kept.farthest[slot, c] = max(kept.farthest[slot, c], kept.distance[slot, c])
                kept.on_for[slot, c] += 1
                is_new_norm = kept.on_for[slot, c] > HOLD_STEPS
                if is_new_norm:
                    kept.baseline[slot, c] = baseline = kept.level[slot, c]
                    rows.adopted[i, c] = True
                if is_new_norm or z < NEAR or z < BACK * kept.farthest[slot, c]:
                    kept.is_on[slot, c] = 0
                    kept.run[slot, c] = 0
                    kept.bar[slot, c] = FAR if is_new_norm else max(FAR, kept.farthest[slot, c])

            if kept.is_on[slot, c] == 0:
                kept.baseline[slot, c] = baseline + max(BASELINE, 1.0 / (n + 1)) * (x - baseline)
                raw[i, c] = 0.0
                continue
            said = z / FAR
            if said > WORSE * kept.told[slot, c]:
                kept.told[slot, c] = raw[i, c] = max(said, 1.0)
            else:
                raw[i, c] = ASIDE
            middle[i, c], scale[i, c] = baseline, wide * FAR
