"""A series of somebody's own, forecast at once: learnt from itself, and forgotten. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from mlops.forecasting import Forecaster, panel_of
from mlops.forecasting.risk import Limit, Paths, paths_of
from sensors.readings import Floats, Ints

MOST_POINTS = 10_000
MODELS = ("linear", "naive", "seasonal_naive", "decomposed")  # what learns while somebody waits
NAME = "the series"


@dataclass(frozen=True, slots=True)
class Ask:
    """Instants in microseconds, in any order; NaN where nothing was measured."""

    at: Ints
    values: Floats
    horizon: int
    model: str = MODELS[0]
    bounds: tuple[float, float] = (-np.inf, np.inf)
    limits: Sequence[Limit] = ()
    step_s: float | None = None
    zone: str = "UTC"


@dataclass(frozen=True)
class Said:
    """The steps (at, mean, quantiles) after the last measurement, and the ways on that risks are read from."""

    table: pl.DataFrame
    step_s: float
    ways: Paths

    @property
    def last_at(self) -> datetime:
        return datetime.fromtimestamp(self.ways.origin_at / 1e6, UTC)


def forecast_of(ask: Ask) -> Said:
    """Raises CannotForecast with what is missing, and when there will be enough."""
    panel = panel_of(
        ask.at, ask.values[:, None], [NAME], step_s=ask.step_s, limits=[ask.bounds], zone=ask.zone
    )  # fmt: skip
    fitted = Forecaster(ask.model, ask.horizon).fit(panel)
    record = fitted.last(panel)
    return Said(fitted.said(record), panel.step / 1e6, paths_of(fitted, record))
