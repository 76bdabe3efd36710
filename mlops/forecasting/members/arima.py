"""ARIMA of what the seasons leave; of two orders the one that foretells the validation part better. Pure."""

from __future__ import annotations

from typing import Any

from statsmodels.tsa.statespace.sarimax import SARIMAX

from mlops.forecasting.members.states import States
from sensors.readings import Floats


class Arima(States):
    kinds = ((2, 0, 1), (1, 1, 2))

    def model(self, values: Floats, kind: Any) -> Any:
        return SARIMAX(values, order=kind)
