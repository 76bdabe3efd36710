"""Four that err in different ways, weighted step by step: the last steps, the course of the day, both naives. Pure.

Where there are days to learn from and not months, each of them alone is now and then far off. A step counts each by how
little it erred there on the validation part, over all series.
"""

from __future__ import annotations

import numpy as np

from mlops.forecasting.members.decomposed import Decomposed
from mlops.forecasting.members.linear import Linear
from mlops.forecasting.members.naive import Naive
from mlops.forecasting.members.seasonal_naive import SeasonalNaive
from mlops.forecasting.members.windows import some
from mlops.forecasting.panel import Panel
from sensors.readings import Floats, Ints

POWER = 2  # of the error that weighs against a part: one that errs by two fifths more counts half
MOST_VALIDATED = 200  # origins of a series


class Blend:
    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.parts = (Linear(horizon), Decomposed(horizon), SeasonalNaive(horizon), Naive(horizon))
        self.needs = max(part.needs for part in self.parts)

    def fit(self, history: Panel, n_train: int) -> Blend:
        for part in self.parts:
            part.fit(history, n_train)
        self.needs = max(part.needs for part in self.parts)
        origins = some(n_train, len(history) - self.horizon + 1, MOST_VALIDATED)
        against = self._errors(history, origins) ** POWER
        self.weights_ = against.min(axis=0) / against / (against.min(axis=0) / against).sum(axis=0)
        return self

    def _errors(self, history: Panel, origins: Ints) -> Floats:
        """Of each part and step, in units of each series' spread; never 0."""
        total = np.full((len(self.parts), self.horizon), 1e-9)
        place = origins[:, None] + np.arange(self.horizon)
        for series, values in enumerate(history.values.T):
            spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
            miss = np.abs(values[place] - self._said(history, series, origins)) / (spread or 1.0)
            # Only where all can be told, so that they are told apart by the same steps.
            total += np.where(np.isfinite(miss).all(axis=0), miss, 0.0).sum(axis=1)
        return total

    def _said(self, panel: Panel, series: int, origins: Ints) -> Floats:
        return np.stack([part.foretell(panel, series, origins) for part in self.parts])

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        return np.asarray(np.einsum("ph,poh->oh", self.weights_, self._said(panel, series, origins)))
