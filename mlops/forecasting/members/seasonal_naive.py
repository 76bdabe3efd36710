"""As it was a season ago: what a forecast of anything with a daily course has to beat. Pure."""

from __future__ import annotations

import numpy as np

from mlops.forecasting.panel import Panel, carried, is_known
from mlops.forecasting.seasons import season
from sensors.readings import Floats, Ints


class SeasonalNaive:
    """The value of the last season, again and again."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.needs = 2

    def fit(self, history: Panel, n_train: int) -> SeasonalNaive:
        self.season_ = season(history, n_train)
        self.needs = max(self.season_, 2)
        return self

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        values = panel.values[:, series]
        back = self.season_ - np.arange(self.horizon) % self.season_
        known = is_known(values, origins, self.needs)
        place = np.where(known, origins, self.needs)[:, None] - back
        return np.where(known[:, None], carried(values)[place], np.nan)
