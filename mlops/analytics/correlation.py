"""Pairs of hourly series that move together, perhaps with a lag, and whether they still do. Pure.

Two things that both follow the sun are alike without having to do with each other. So each series is first freed of its
usual day, and a pair is told only if chance, among all pairs and lags that were looked at, would hardly make one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from sensors.readings import Bools, Floats

DAY_H = 24
LEAST_HOURS = 48  # in which both have a value
SURE = 0.01  # the chance that any pair is told of series that have nothing to do with each other
LEAST_STRENGTH = 0.2
PARTS = 3  # the whole and its halves
NEARLY = 0.999999


@dataclass(frozen=True, slots=True)
class Pair:
    """`second` follows `first` by `lag_h` hours."""

    first: int
    second: int
    lag_h: int
    r: float
    n: int
    n_effective: float  # so many independent hours are worth as much
    p: float  # of chance, all pairs and lags considered
    before: float | None  # r in the first half of the range, and in the second
    after: float | None
    change_p: float | None  # of chance for a difference of the halves as large


def without_day(values: Floats) -> Floats:
    """(hours, series) less the usual value of each at that hour of the day."""
    n = len(values)
    rest = values.copy()
    with np.errstate(invalid="ignore"):
        for hour in range(min(DAY_H, n)):
            rest[hour::DAY_H] -= _mean(values[hour::DAY_H])
    return rest


def _mean(values: Floats) -> Floats:
    there = np.isfinite(values)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1), 0.0)


def pairs(values: Floats, *, most_lag_h: int = 6, only: Bools | None = None) -> list[Pair]:
    """Of (hours, series) without their day, the pairs that are surely alike, the strongest first.

    Looked at are the whole and both halves: a bond that broke is one, too. `only` marks series of which each pair must
    have one.
    """
    half = len(values) // 2
    found: dict[tuple[int, int], tuple[float, int, int, int]] = {}
    for part in (values, values[:half], values[half:]):
        for p, i, j, lag in _sure(part, most_lag_h, only):
            key = min(i, j), max(i, j)
            found[key] = min(found.get(key, (2.0, 0, 0, 0)), (p, i, j, lag))
    memory = _memory(values)
    told = [_pair(values, i, j, lag, p, _spread(memory[i], memory[j])) for p, i, j, lag in found.values()]
    return sorted(told, key=lambda pair: (-max(map(abs, (pair.r, pair.before or 0.0, pair.after or 0.0))), pair.first))


def _sure(values: Floats, most_lag_h: int, only: Bools | None) -> list[tuple[float, int, int, int]]:
    """Chance, first, second and lag of each pair that chance would hardly make."""
    n_series = values.shape[1]
    wanted = np.ones(n_series, dtype=np.bool_) if only is None else only
    asked = (wanted[:, None] | wanted[None, :]) & ~np.eye(n_series, dtype=np.bool_)
    n_asked = PARTS * int(np.triu(asked).sum()) * (2 * most_lag_h + 1)
    shape = (n_series, n_series)
    best_r, best_n, best_lag = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
    for lag in range(most_lag_h + 1):
        r, n = _matrix(values, lag)
        better = asked & (n >= LEAST_HOURS) & (np.abs(r) > np.abs(best_r) + 1e-12)
        best_r[better], best_n[better], best_lag[better] = r[better], n[better], lag
    # A pair stands twice, once with either first: the louder way round is the one.
    mine = np.abs(best_r) > np.abs(best_r.T)
    mine |= (np.abs(best_r) == np.abs(best_r.T)) & np.triu(np.ones(shape, dtype=np.bool_))
    memory = _memory(values)
    p = np.minimum(_chance(best_r, best_n / _spread(memory[:, None], memory[None, :])) * n_asked, 1.0)
    told = np.argwhere(asked & mine & (p < SURE) & (np.abs(best_r) >= LEAST_STRENGTH)).tolist()
    return [(float(p[i, j]), i, j, int(best_lag[i, j])) for i, j in told]


def _spread(one: Any, other: Any) -> Any:
    """How many hours are worth one, of two series with so much memory."""
    return (1.0 + one * other) / (1.0 - one * other)


def _memory(values: Floats) -> Floats:
    """How much of each hour is in the next, 0 to 0.99."""
    r, _ = _matrix(values, 1)
    return np.clip(np.nan_to_num(np.diagonal(r)), 0.0, 0.99)


def _matrix(values: Floats, lag: int) -> tuple[Floats, Floats]:
    """r of each series with each one `lag` hours later, and in how many hours both have a value."""
    first, second = values[: len(values) - lag], values[lag:]
    here, there = np.isfinite(first), np.isfinite(second)
    # Around one centre, lest large values eat the small differences.
    a = np.where(here, first - _mean(values), 0.0)
    b = np.where(there, second - _mean(values), 0.0)
    ma, mb = here.astype(np.float64), there.astype(np.float64)
    n = ma.T @ mb
    safe = np.maximum(n, 1.0)
    mean_a, mean_b = (a.T @ mb) / safe, (ma.T @ b) / safe
    spread_a = np.maximum((a * a).T @ mb / safe - mean_a**2, 0.0)
    spread_b = np.maximum(ma.T @ (b * b) / safe - mean_b**2, 0.0)
    scale = np.sqrt(spread_a * spread_b)
    still = scale <= 1e-12 * np.maximum(np.nanmax(spread_a, initial=0.0), 1e-300)  # constant: like nothing
    r = np.where(still, 0.0, ((a.T @ b) / safe - mean_a * mean_b) / np.where(still, 1.0, scale))
    return np.clip(r, -1.0, 1.0), n


def _chance(r: Floats, n: Floats) -> Floats:
    z = np.arctanh(np.clip(np.abs(r), 0.0, NEARLY)) * np.sqrt(np.maximum(n - 3.0, 0.0))
    return np.asarray(2.0 * ndtr(-z))


def _pair(values: Floats, i: int, j: int, lag: int, p: float, spread: float) -> Pair:
    half = len(values) // 2
    whole, before, after = (_of_two(part[:, [i, j]], lag) for part in (values, values[:half], values[half:]))
    told = (i, j, lag, whole[0], int(whole[1]), whole[1] / spread, p)
    n_before, n_after = before[1] / spread, after[1] / spread
    if min(n_before, n_after) <= 6.0:
        return Pair(*told, None, None, None)
    apart = np.arctanh(np.clip(after[0], -NEARLY, NEARLY)) - np.arctanh(np.clip(before[0], -NEARLY, NEARLY))
    sigma = np.sqrt(1.0 / (n_before - 3.0) + 1.0 / (n_after - 3.0))
    return Pair(*told, before[0], after[0], float(2.0 * ndtr(-abs(apart) / sigma)))


def _of_two(two: Floats, lag: int) -> tuple[float, float]:
    r, n = _matrix(two, lag)
    return float(r[0, 1]), float(n[0, 1])
