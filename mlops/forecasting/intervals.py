"""How sure a forecast is: quantiles of what the last forecasts of the same step missed by. Pure.

At an origin only forecasts count whose whole outcome lies before it, the last 720 of them. Quantiles are those of split
conformal prediction: n errors promise their level up to 1 / (n + 1) if the future errs as the past did. Forecasts that
overlap are not as many as they look: of h steps, made every k steps, n are worth about n k / h + 1, and the quantiles
are widened as Student's are for so few.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.stats import norm, t

from mlops.detection.compiled import compiled
from sensors.readings import Bools, Floats, Ints

LEVELS = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
NAMES = ("q025", "q10", "q50", "q90", "q975")
REMEMBERED = 720
LEAST = 40  # errors; fewer cannot tell the outermost quantiles from the largest error
SCORED = 20  # levels in the middle of as many equal parts: their mean pinball loss is half the CRPS


def bands(errors: Floats, origins: Ints, counts: Bools | None = None, share: float = 1.0) -> tuple[Floats, Floats]:
    """Of errors (origins, horizon) of forecasts in order, NaN where the outcome is not known; all are remembered, or
    those that `counts` marks. `share` is how much each further one is worth.

    For each origin and step the quantiles (origins, horizon, levels) to add to its forecast, NaN where fewer than LEAST
    errors are known, and its continuous ranked probability score (origins, horizon).
    """
    n, horizon = errors.shape
    quantiles = np.full((n, horizon, len(LEVELS)), np.nan, dtype=np.float64)
    scores = np.full((n, horizon), np.nan)
    # Of each origin how many forecasts before it are over.
    over = np.searchsorted(origins + horizon, origins, side="right")
    remembered = np.ones(n, dtype=bool) if counts is None else counts
    _roll(np.ascontiguousarray(errors.T), over, remembered, LEVELS, widths(share), REMEMBERED, LEAST, SCORED, quantiles,
          scores)  # fmt: skip
    return quantiles, scores


def latest(errors: Floats, share: float = 1.0) -> tuple[Floats, int]:
    """The quantiles (horizon, levels) of all these errors (origins, horizon), and how many the poorest step has."""
    ordered, n = np.sort(errors, axis=0), np.isfinite(errors).sum(axis=0)
    if not len(n) or n.min() < LEAST:
        return np.full((errors.shape[1], len(LEVELS)), np.nan), int(n.min(initial=len(errors)))
    columns = np.column_stack([_places(ordered, n, float(level)) for level in LEVELS])
    middle = columns[:, [len(LEVELS) // 2]]
    return middle + (columns - middle) * widths(share)[n, : len(LEVELS)], int(n.min())


@cache
def widths(share: float) -> Floats:
    """How much wider the quantiles of n errors (rows) are made at LEVELS, then at those of the score (columns)."""
    n = np.arange(REMEMBERED + 1)
    worth = np.minimum(np.maximum(n, 1), n * share + 1.0)[:, None]
    level = np.concatenate([LEVELS, (np.arange(SCORED) + 0.5) / SCORED])
    away = np.where(level < 0.5, level, 1.0 - level)
    with np.errstate(invalid="ignore"):
        wider = t.ppf(away, worth) / norm.ppf(away) * np.sqrt(1.0 + 1.0 / worth)
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
    errors, over, counts, levels, widths, remembered, least, scored, quantiles, scores
):
    horizon, n_origins = errors.shape
    ordered = np.empty(remembered)
    kept = np.empty(remembered)  # a ring, in order of time
    for step in range(horizon):
        n, begin, taken = 0, 0, 0
        for row in range(n_origins):
            while taken < over[row]:
                new = errors[step, taken]
                taken += 1
                if not (counts[taken - 1] and np.isfinite(new)):
                    continue
                if n == remembered:
                    for k in range(_place(ordered, n, kept[begin]), n - 1):
                        ordered[k] = ordered[k + 1]
                    n -= 1
                    kept[begin] = new
                    begin = (begin + 1) % remembered
                else:
                    kept[n] = new
                place = _place(ordered, n, new)
                for k in range(n, place, -1):
                    ordered[k] = ordered[k - 1]
                ordered[place] = new
                n += 1
            if n < least:
                continue
            middle = _quantile(ordered, n, 0.5)
            for k in range(len(levels)):
                quantiles[row, step, k] = middle + (_quantile(ordered, n, levels[k]) - middle) * widths[n, k]
            outcome = errors[step, row]
            if np.isfinite(outcome):
                total = 0.0
                for k in range(scored):
                    level = (k + 0.5) / scored
                    wide = widths[n, len(levels) + k]
                    miss = outcome - middle - (_quantile(ordered, n, level) - middle) * wide
                    total += level * miss if miss > 0.0 else (level - 1.0) * miss
                scores[row, step] = 2.0 * total / scored


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
