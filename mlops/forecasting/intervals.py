"""How sure a forecast is: quantiles of what the last forecasts of the same step missed by. Pure.

At an origin only forecasts count whose whole outcome lies before it, the last 720 of them. Quantiles are those of split
conformal prediction: n errors promise their level up to 1 / (n + 1) if the future errs as the past did. Forecasts that
overlap are not as many as they look: of h steps, made every k steps, n are worth about n k / h + 1, and the quantiles
are widened as Student's are for so few. The outermost of few errors jump from one step to the next where what is sure
does not: each step's quantiles are the mean over the steps about it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import ndtri, stdtrit

from mlops.detection.compiled import compiled
from sensors.readings import Bools, Floats, Ints

LEVELS = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
NAMES = ("q025", "q10", "q50", "q90", "q975")
REMEMBERED = 720
LEAST = 40  # errors; fewer cannot tell the outermost quantiles from the largest error
NEIGHBOURS = 8  # the steps about a step: an eighth of its distance to either side, and no more than its caller says
SCORED = 20  # levels in the middle of as many equal parts: their mean pinball loss is half the CRPS


def bands(
    errors: Floats, origins: Ints, counts: Bools | None = None, share: float = 1.0, reach: int = 0
) -> tuple[Floats, Floats]:
    """Of errors (origins, horizon) of forecasts in order, NaN where the outcome is not known; all are remembered, or
    those that `counts` marks. `share` is how much each further one is worth, `reach` how many steps to either side tell
    a step's quantiles at most.

    For each origin and step the quantiles (origins, horizon, levels) to add to its forecast, NaN where fewer than LEAST
    errors are known, and its continuous ranked probability score (origins, horizon).
    """
    n, horizon = errors.shape
    quantiles = np.full((n, horizon, len(LEVELS)), np.nan, dtype=np.float64)
    scores = np.full((n, horizon), np.nan)
    # Of each origin how many forecasts before it are over.
    over = np.searchsorted(origins + horizon, origins, side="right")
    remembered = np.ones(n, dtype=bool) if counts is None else counts
    _roll(np.ascontiguousarray(errors), over, remembered, LEVELS, widths(share), REMEMBERED, LEAST, SCORED, reach,
          quantiles, scores)  # fmt: skip
    return quantiles, scores


def latest(errors: Floats, share: float = 1.0, reach: int = 0) -> tuple[Floats, int]:
    """The quantiles (horizon, levels) of all these errors (origins, horizon), and how many the poorest step has."""
    ordered, n = np.sort(errors, axis=0), np.isfinite(errors).sum(axis=0)
    if not len(n) or n.min() < LEAST:
        return np.full((errors.shape[1], len(LEVELS)), np.nan), int(n.min(initial=len(errors)))
    columns = np.column_stack([_places(ordered, n, float(level)) for level in LEVELS])
    middle = columns[:, [len(LEVELS) // 2]]
    wide = middle + (columns - middle) * widths(share)[n, : len(LEVELS)]
    return np.asarray(_smoothed(wide, np.ones(len(n), dtype=np.bool_), reach)), int(n.min())


@cache
def widths(share: float) -> Floats:
    """How much wider the quantiles of n errors (rows) are made at LEVELS, then at those of the score (columns)."""
    n = np.arange(REMEMBERED + 1)
    worth = np.minimum(np.maximum(n, 1), n * share + 1.0)[:, None]
    level = np.concatenate([LEVELS, (np.arange(SCORED) + 0.5) / SCORED])
    away = np.where(level < 0.5, level, 1.0 - level)
    with np.errstate(invalid="ignore"):
        wider = stdtrit(worth, away) / ndtri(away) * np.sqrt(1.0 + 1.0 / worth)
    return np.where(level == 0.5, 1.0, wider)


def _places(ordered: Floats, n: Ints, level: float) -> Floats:
    """As _quantile, for all steps at once."""
    step = np.arange(len(n))
    if level == 0.5:
        return np.asarray(0.5 * (ordered[(n - 1) // 2, step] + ordered[n // 2, step]))
    place = (np.floor if level < 0.5 else np.ceil)((n + 1) * level).astype(np.int64) - 1
    return np.asarray(ordered[np.clip(place, 0, n - 1), step])


@compiled
def _roll(  # type: ignore[no-untyped-def]
    errors, over, counts, levels, widths, remembered, least, scored, reach, quantiles, scores
):
    n_origins, horizon = errors.shape
    ordered = np.empty((horizon, remembered))
    kept = np.empty((horizon, remembered))  # a ring a step, in order of time
    n, begin, taken = np.zeros(horizon, dtype=np.int64), np.zeros(horizon, dtype=np.int64), 0
    wide = np.zeros((horizon, len(levels) + scored))
    for row in range(n_origins):
        while taken < over[row]:
            if counts[taken]:
                for step in range(horizon):
                    if np.isfinite(errors[taken, step]):
                        _remember(ordered[step], kept[step], n, begin, step, errors[taken, step])
            taken += 1
        for step in range(horizon):
            if n[step] < least:
                continue
            middle = _quantile(ordered[step], n[step], 0.5)
            for k in range(len(levels) + scored):
                level = levels[k] if k < len(levels) else (k - len(levels) + 0.5) / scored
                away = _quantile(ordered[step], n[step], level) - middle
                wide[step, k] = middle + away * widths[n[step], k]
        smooth = _smoothed(wide, n >= least, reach)
        quantiles[row] = smooth[:, : len(levels)]
        for step in range(horizon):
            total = 0.0
            for k in range(scored):
                level, miss = (k + 0.5) / scored, errors[row, step] - smooth[step, len(levels) + k]
                total += (level - 1.0) * miss if miss < 0.0 else level * miss
            scores[row, step] = 2.0 * total / scored


@compiled
def _remember(ordered, kept, n, begin, step, new):  # type: ignore[no-untyped-def]
    """One more error of a step, in place of the oldest where there are enough."""
    known, oldest = n[step], begin[step]
    if known == len(kept):
        for k in range(_place(ordered, known, kept[oldest]), known - 1):
            ordered[k] = ordered[k + 1]
        known -= 1
        kept[oldest] = new
        begin[step] = (oldest + 1) % len(kept)
    else:
        kept[known] = new
    place = _place(ordered, known, new)
    for k in range(known, place, -1):
        ordered[k] = ordered[k - 1]
    ordered[place] = new
    n[step] = known + 1


@compiled
def _smoothed(wide, known, most):  # type: ignore[no-untyped-def]
    """Of each step that is known the mean over the known ones about it (steps, levels); NaN of the others."""
    horizon, n_levels = wide.shape
    total, there = np.zeros((horizon + 1, n_levels)), np.zeros(horizon + 1)
    for step in range(horizon):
        there[step + 1] = there[step] + known[step]
        for k in range(n_levels):
            total[step + 1, k] = total[step, k] + (wide[step, k] if known[step] else 0.0)
    out = np.full((horizon, n_levels), np.nan)
    for step in range(horizon):
        if not known[step]:
            continue
        reach = min((step + 1) // NEIGHBOURS, most)
        first, last = max(step - reach, 0), min(step + reach, horizon - 1) + 1
        for k in range(n_levels):
            out[step, k] = (total[last, k] - total[first, k]) / (there[last] - there[first])
            # Equal ones stay equal: sums are not exact, and quantiles never cross.
            if k > 0 and out[step, k] < out[step, k - 1] and wide[step, k] >= wide[step, k - 1]:
                out[step, k] = out[step, k - 1]
    return out


@compiled
def _place(ordered, n, value):  # type: ignore[no-untyped-def]
    """Of the first of n errors in order that is not below the value."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _quantile(ordered, n, level):  # type: ignore[no-untyped-def]
    """Of n errors in order: on each side the one beyond which a next error lies no more often than the level says."""
    if level == 0.5:
        return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
    place = int(np.floor((n + 1) * level)) - 1 if level < 0.5 else int(np.ceil((n + 1) * level)) - 1
    return ordered[min(max(place, 0), n - 1)]
