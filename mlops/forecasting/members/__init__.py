"""The members that can forecast, the cheapest first. Each has a file, and is imported when it is asked for. Pure."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from mlops.forecasting.panel import CannotForecast, Panel
from sensors.readings import Floats, Ints

DEFAULT = "linear"
NAIVES = ("naive", "seasonal_naive")
MEMBERS = {
    "naive": "naive.Naive",
    "seasonal_naive": "seasonal_naive.SeasonalNaive",
    "linear": "linear.Linear",
    "decomposed": "decomposed.Decomposed",
    "ets": "ets.Ets",
    "arima": "arima.Arima",
}
DEEP = ("transformer", "telemanom")  # known to people, and answered for by nothing else


class Member(Protocol):
    """Learns how series go on, and says it from any row by what lies before that row alone.

    `fit` learns from the first `n_train` rows and chooses its settings on the others. `needs` is how many steps before
    an origin are looked at; an origin with fewer, or with too little measured in them, gets NaN and no guess.
    """

    horizon: int
    needs: int

    def fit(self, history: Panel, n_train: int) -> Member: ...
    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats: ...


def make(name: str, horizon: int) -> Member:
    """Raises CannotForecast for what is not there."""
    if name in DEEP:
        raise CannotForecast(f"“{name}” is not installed: this version of SIEIS does not have it; choose {_offered()}")
    if name not in MEMBERS:
        raise CannotForecast(f"there is no model “{name}”; choose {_offered()}")
    module, _, made = MEMBERS[name].partition(".")
    member: Member = getattr(import_module(f"{__name__}.{module}"), made)(horizon)
    return member


def _offered() -> str:
    return "one of " + ", ".join(MEMBERS)
