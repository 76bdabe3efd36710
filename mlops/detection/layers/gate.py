"""Gate: a value that the sensor cannot physically measure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlops.detection.compiled import CAP, Array
from mlops.detection.history import Arrays, History
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors.readings import Floats, Profile

NAME = "gate"
MEMORY: Mapping[str, Field] = {}
TAIL = None
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = False
ANY_DAY = True


def prior(profile: Profile) -> Arrays:
    low, high = profile.bounds("physical")
    raw, surprise = line([(0.0, 0.0), (1.0, CAP)], len(low))
    return {"low": low, "high": high, "raw": raw, "surprise": surprise}


def fit(history: History) -> Arrays:  # a sensor’s range is known, not learnt
    return {}


def outside(model: Mapping[str, Array], values: Floats) -> Array:
    return np.asarray((values < model["low"]) | (values > model["high"]))


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    """Takes what is no measurement of the world out of sight of all that follow."""
    beyond = outside(model, rows.measured)
    rows.measured[beyond] = np.nan
    rows.values[beyond] = np.nan
    return Said(beyond.astype(np.float64))
