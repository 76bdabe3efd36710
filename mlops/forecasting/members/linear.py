"""Ridge regression from the last steps straight to each of the next ones: the default. Pure.

All series share one set of weights: each window counts around its own mean, and each series in units of its own spread.
The weights are the mean of two regressions, one of which also counts each window in units of that window's spread, so
that wild stretches do not rule; each step's penalty is the one with which the validation part was foretold best.
"""

from __future__ import annotations

import numpy as np

from mlops.forecasting.members.windows import Singles, around_their_means, some, windows
from mlops.forecasting.panel import CannotForecast, Panel
from sensors.readings import Bools, Floats, Ints

LAGS = 512
LEAST_LAGS = 4
PENALTIES = 10.0 ** np.arange(-4.0, 0.1, 0.5)  # for each window that was learnt from
LEVEL = 1e-3  # of a series' spread: less than that is no spread of a window
MOST_WINDOWS = 80_000
MOST_VALIDATED = 2_000


class Linear:
    def __init__(self, horizon: int, *, lags: int = LAGS) -> None:
        self.horizon = horizon
        self.lags = lags
        self.needs = lags

    def fit(self, history: Panel, n_train: int) -> Linear:
        self.needs = lags = min(self.lags, (n_train - self.horizon) // 3)
        if lags < LEAST_LAGS:
            raise CannotForecast(
                f"{n_train:,} steps to learn from are too few for {self.horizon:,} steps ahead; at least "
                f"{self.horizon + 3 * LEAST_LAGS:,} are needed"
            )
        plain, scaled = _Moments(lags, self.horizon), _Moments(lags, self.horizon)
        origins = some(lags, n_train - self.horizon + 1, MOST_WINDOWS // history.values.shape[1])
        for window, there in windows(history.head(n_train), origins, lags, self.horizon):
            plain.add(window, there)
            spread = window[:, :lags].std(axis=1, keepdims=True) + np.float32(LEVEL)
            scaled.add(window / spread, there)
        origins = some(n_train, len(history) - self.horizon + 1, MOST_VALIDATED // history.values.shape[1])
        validation = list(windows(history, origins, lags, self.horizon))
        self.weights_ = (plain.weights(validation) + scaled.weights(validation)) / 2.0
        return self

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        return around_their_means(panel, series, origins, self, lambda past: past @ self.weights_)


class _Moments:
    """What a regression needs to know of its windows; a step that was not measured is missing in that step only."""

    def __init__(self, lags: int, horizon: int) -> None:
        self.lags = lags
        self.past: Singles = np.zeros((lags, lags), dtype=np.float32)
        self.future: Singles = np.zeros((lags, horizon), dtype=np.float32)
        self.n = 0
        self.n_there = np.zeros(horizon)

    def add(self, window: Singles, there: Bools) -> None:
        past, future = window[:, : self.lags], window[:, self.lags :]
        self.past += past.T @ past
        self.future += past.T @ (future if there.all() else np.where(there, future, np.float32(0.0)))
        self.n += len(window)
        self.n_there += there.sum(axis=0)

    def weights(self, validation: list[tuple[Singles, Bools]]) -> Floats:
        """(lags, horizon), each step with the penalty that errs least on the validation windows."""
        if self.n == 0:
            return np.zeros_like(self.future, dtype=np.float64)
        values, vectors = np.linalg.eigh(self.past.astype(np.float64) / self.n)
        target = vectors.T @ (self.future / np.maximum(self.n_there, 1.0))
        turned = [(window[:, : self.lags] @ vectors.astype(np.float32), window[:, self.lags :], there)
                  for window, there in validation]  # fmt: skip
        best = np.full(target.shape[1], np.inf)
        chosen = target / (values[:, None] + PENALTIES[-1])
        for penalty in PENALTIES[::-1]:
            weights = target / (values[:, None] + penalty)
            single = weights.astype(np.float32)
            error = np.zeros(len(best))
            for past, future, there in turned:
                error += np.where(there, np.abs(past @ single - future), 0.0).sum(axis=0)
            better = error < best
            best[better] = error[better]
            chosen[:, better] = weights[:, better]
        return vectors @ chosen
