"""Which member forecasts a series: the best of those that beat both naives on what none of them had seen. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.forecasting.fitting import Fitted, Forecaster
from mlops.forecasting.measuring import Figures, Measured, seasonal_steps, spread
from mlops.forecasting.members import MEMBERS, NAIVES
from mlops.forecasting.panel import CannotForecast, Panel

TIE = 0.01  # of the CRPS: no difference that somebody would pay for


@dataclass(frozen=True)
class Tried:
    """A member on held-out rolling origins: its figures by series, or why it said nothing."""

    name: str
    figures: dict[str, Figures]
    cpu_s: float
    why: str = ""
    fitted: Fitted | None = None


def tried(panel: Panel, n_train: int, n_validate: int, horizon: int, names: Sequence[str] = ()) -> list[Tried]:
    """Each member learns and validates on the first rows, and is measured on all that come after them."""
    return [_tried(panel, n_train, n_validate, horizon, name) for name in names or MEMBERS]


def _tried(panel: Panel, n_train: int, n_validate: int, horizon: int, name: str) -> Tried:
    begun = time.process_time()
    try:
        fitted = Forecaster(name, horizon, n_train, n_validate).fit(panel)
    except CannotForecast as why:
        return Tried(name, {}, 0.0, str(why))
    cpu_s = time.process_time() - begun
    figures = {
        series: measured(fitted, panel, place, n_train, n_train + n_validate).figures
        for place, series in enumerate(panel.names)
    }
    return Tried(name, figures, cpu_s, fitted=fitted)


def measured(fitted: Fitted, panel: Panel, series: int, n_train: int, first: int) -> Measured:
    """Over all origins from `first` on whose outcome is known."""
    rolled = fitted.rolled(panel, series, first, len(panel) - fitted.horizon)
    return Measured().add(rolled, spread(panel.values[:n_train, series]), seasonal_steps(panel, series, n_train))


def offered(results: Sequence[Tried], series: str) -> list[str]:
    """The members whose CRPS is clearly below that of both naives there, the best first; of equals the cheapest."""
    crps = {each.name: each.figures[series]["crps"] for each in results if series in each.figures}
    known = {name: value for name, value in crps.items() if value is not None}
    limit = min((known[name] for name in NAIVES if name in known), default=float("inf"))
    winning = {name: value for name, value in known.items() if name not in NAIVES and value < limit * (1.0 - TIE)}
    order: list[str] = []
    while winning:
        least = min(winning.values())
        name = next(name for name in MEMBERS if name in winning and winning[name] <= least * (1.0 + TIE))
        order.append(name)
        del winning[name]
    return order


def best(results: Sequence[Tried], series: str) -> str:
    """The first that is offered; where none is, the better of the naives. Raises CannotForecast."""
    if found := offered(results, series):
        return found[0]
    naive = {each.name: each.figures[series]["crps"] for each in results if each.name in NAIVES and each.figures}
    known = {name: value for name, value in naive.items() if value is not None}
    if not known:
        raise CannotForecast(f"{series or 'the series'}: no model could be measured; {results[0].why}".rstrip("; "))
    return min(known, key=lambda name: known[name])
