"""The members that can forecast, the cheapest first. Each has a file, and is imported when it is asked for. Pure."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
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
    "blend": "blend.Blend",
    "ets": "ets.Ets",
    "arima": "arima.Arima",
}
# These need PyTorch; without it nothing else answers in their place.
DEEP = {"transformer": "transformer.Transformer", "telemanom": "telemanom.Telemanom"}


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
    known = MEMBERS | DEEP
    if name not in known:
        raise CannotForecast(f"there is no model “{name}”; choose one of {', '.join(known)}")
    if name in DEEP and not has_torch():
        raise CannotForecast(f"“{name}” is not installed: it needs PyTorch; pip install -r requirements/deep.txt")
    module, _, made = known[name].partition(".")
    member: Member = getattr(import_module(f"{__name__}.{module}"), made)(horizon)
    return member


def has_torch() -> bool:
    return find_spec("torch") is not None
