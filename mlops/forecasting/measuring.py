"""How good forecasts were, by what came. Pure.

Sums are gathered series by series, so that a long test part need not lie in memory at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mlops.forecasting.fitting import Rolled
from mlops.forecasting.panel import Panel
from mlops.forecasting.seasons import season
from sensors.readings import Floats

Figures = dict[str, float | None]
NEAR_ZERO = 0.05  # of the usual size of a series: a percentage of less says nothing
R2_WEIGHT, MAPE_WEIGHT = 0.7, 0.3


@dataclass
class Measured:
    """Of all that was added; errors are in units of `scale`, the spread of what was learnt from."""

    n: int = 0
    squared: float = 0.0
    absolute: float = 0.0
    scaled: list[float] = field(default_factory=list)  # each series' mean absolute error in naive steps
    crps: float = 0.0
    n_crps: int = 0
    within80: int = 0
    within95: int = 0
    n_within: int = 0
    width80: float = 0.0
    variance: float = 0.0
    percent: float = 0.0
    n_percent: int = 0
    n_values: int = 0

    def add(self, rolled: Rolled, scale: float, naive: float) -> Measured:
        """`naive` is what a season ago missed by where it was learnt from, in the series' own unit."""
        there = np.isfinite(rolled.outcome) & np.isfinite(rolled.mean)
        miss = (rolled.outcome - rolled.mean)[there]
        outcome = rolled.outcome[there]
        if not len(miss):
            return self
        self.n += len(miss)
        self.squared += float((miss**2).sum()) / scale**2
        self.absolute += float(np.abs(miss).sum()) / scale
        self.scaled.append(float(np.abs(miss).mean()) / naive)
        self.variance += float(((outcome - outcome.mean()) ** 2).sum()) / scale**2
        large = np.abs(outcome) > NEAR_ZERO * float(np.abs(outcome).mean())
        self.percent += float(np.abs(miss[large] / outcome[large]).sum())
        self.n_percent += int(large.sum())
        self.n_values += len(miss)
        self._intervals(rolled, scale)
        return self

    def _intervals(self, rolled: Rolled, scale: float) -> None:
        scored = np.isfinite(rolled.crps)
        self.crps += float(rolled.crps[scored].sum()) / scale
        self.n_crps += int(scored.sum())
        q025, q10, _, q90, q975 = (rolled.quantiles[:, :, k][scored] for k in range(5))
        outcome = rolled.outcome[scored]
        self.within80 += int(((outcome >= q10) & (outcome <= q90)).sum())
        self.within95 += int(((outcome >= q025) & (outcome <= q975)).sum())
        self.width80 += float((q90 - q10).sum()) / scale
        self.n_within += int(scored.sum())

    @property
    def figures(self) -> Figures:
        """None where nothing could be measured. `score` is 0.7 R² + 0.3 (1 − MAPE), of R² alone without a MAPE."""
        r2 = 1.0 - self.squared / self.variance if self.variance > 0.0 else None
        mape = self.percent / self.n_percent if self.n_percent > self.n_values / 2 else None
        return {
            "mse": _ratio(self.squared, self.n),
            "mae": _ratio(self.absolute, self.n),
            "rmse": None if not self.n else float(np.sqrt(self.squared / self.n)),
            "mase": float(np.mean(self.scaled)) if self.scaled else None,
            "crps": _ratio(self.crps, self.n_crps),
            "coverage80": _ratio(self.within80, self.n_within),
            "coverage95": _ratio(self.within95, self.n_within),
            "width80": _ratio(self.width80, self.n_within),
            "r2": r2,
            "mape": mape,
            "score": score(r2, mape),
        }


def score(
    r2: float | None, mape: float | None, weights: tuple[float, float] = (R2_WEIGHT, MAPE_WEIGHT)
) -> float | None:
    """One number for people who want one; 1 is perfect. Without a MAPE, near zero, R² speaks alone."""
    if r2 is None:
        return None
    if mape is None:
        return r2
    return (weights[0] * r2 + weights[1] * (1.0 - mape)) / sum(weights)


def spread(values: Floats) -> float:
    """Of what was learnt from; 1 where nothing moved, so that errors stay in their own unit."""
    found = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
    return found if found > 1e-12 * max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-300) else 1.0


def seasonal_steps(panel: Panel, series: int, n_train: int) -> float:
    """How far a series moves in a season, on average, where it was learnt from: the unit of MASE."""
    values, back = panel.values[:n_train, series], season(panel, n_train)
    moved = np.abs(values[back:] - values[:-back])
    found = float(np.nanmean(moved)) if np.isfinite(moved).any() else 0.0
    return found if found > 0.0 else spread(values)


def _ratio(total: float, n: int) -> float | None:
    return total / n if n else None
