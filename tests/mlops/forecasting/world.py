"""Simulated series that a forecast can be told right or wrong on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from mlops.forecasting import Panel, panel_of
from sensors.readings import Floats, Ints, micros

START = micros(datetime(2026, 3, 2, tzinfo=UTC))
HOUR = 3_600_000_000
DAYS = 40
N = 24 * DAYS


def hours(n: int = N) -> Ints:
    return START + HOUR * np.arange(n, dtype=np.int64)


def daily(n: int = N, seed: int = 1, noise: float = 0.5) -> Floats:
    """A temperature with a day and a wandering level; (n, 1)."""
    rng = np.random.default_rng(seed)
    level = np.convolve(rng.standard_normal(n + 47), np.ones(48) / 7.0, mode="valid")
    return (20.0 + 3.0 * np.sin(2 * np.pi * np.arange(n) / 24) + level + noise * rng.standard_normal(n))[:, None]


def panel(values: Floats | None = None, at: Ints | None = None, **more: Any) -> Panel:
    chosen = daily() if values is None else values
    names = more.pop("names", [f"channel {k}" for k in range(chosen.shape[1])])
    return panel_of(hours(len(chosen)) if at is None else at, chosen, names, **more)
