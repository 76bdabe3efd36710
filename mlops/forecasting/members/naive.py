"""It stays as it is: what every forecast has to beat. Pure."""

from __future__ import annotations

import numpy as np

from mlops.forecasting.panel import Panel, carried, is_known
from sensors.readings import Floats, Ints


class Naive:
    """The last value that was measured."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.needs = 2

    def fit(self, history: Panel, n_train: int) -> Naive:
        return self

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        values = panel.values[:, series]
        last = carried(values)[origins - 1]
        last = np.where(is_known(values, origins, self.needs), last, np.nan)
        return np.repeat(last[:, None], self.horizon, axis=1)
