"""Exponential smoothing with a damped trend, of what the seasons leave. Pure."""

from __future__ import annotations

from typing import Any

from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

from mlops.forecasting.members.states import States
from sensors.readings import Floats


class Ets(States):
    kinds = ("damped",)

    def model(self, values: Floats, kind: Any) -> Any:
        # Begun at the first value and not at what a search finds: a later reading must not change an earlier forecast.
        return ExponentialSmoothing(
            values, trend=True, damped_trend=True, initialization_method="known", initial_level=float(values[0]),
            initial_trend=0.0,
        )  # fmt: skip
