"""Gate: a value that the sensor cannot physically measure."""

from __future__ import annotations

from mlops.detection.history import Arrays, History
from sensors.readings import Profile

NAME = "gate"


def prior(profile: Profile) -> Arrays:
    low, high = profile.bounds("physical")
    return {"physical_low": low, "physical_high": high}


def fit(history: History) -> Arrays:  # a sensor’s range is known, not learnt
    return {}
