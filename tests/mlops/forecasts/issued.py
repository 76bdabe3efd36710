"""Forecasts and readings in a few plain words: a mote whose temperature is what a test says it is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from mlops.forecasts.record import Said
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import current_fleet
from sensors.stores import hot
from tests.builders import batch

STEP = timedelta(minutes=5)
STEP_US = 300_000_000


def measured(first_at: datetime, temperatures: Any, *, mote: int | None = None) -> None:
    """Stores a reading a step; the other channels stay in the middle of what is normal."""
    profile = current_fleet().profiles["indoor"]
    values = np.tile([sum(one.normal) / 2 for one in profile.channels], (len(temperatures), 1))
    values[:, profile.names.index("temperature")] = temperatures
    key = mote or Mote.objects.get().pk
    rows = batch(profile, values, mote=key, start_us=micros(first_at), step_s=STEP.total_seconds())
    hot().write(profile, rows.to_table())


def said(origin_at: datetime, means: Any, *, spread: float = 1.0, risks: Any = (), mote: int | None = None) -> Said:
    """A forecast of the temperature: ± one spread holds 80 of 100, ± two hold 95."""
    mean = np.asarray(means, dtype=np.float64)
    offsets = spread * np.array([0.0, -2.0, -1.0, 0.0, 1.0, 2.0])
    key = mote or Mote.objects.get().pk
    return Said(key, "temperature", "forecast-indoor-v1", micros(origin_at), STEP_US, mean + offsets[:, None], risks)


def risk(value: float, probability: float, **changes: Any) -> dict[str, Any]:
    told = {
        "limit": "normal band", "value": value, "is_upper": True, "probability": probability, "is_beyond": False,
        "at": None, "earliest": None, "latest": None,
    }  # fmt: skip
    return told | changes
