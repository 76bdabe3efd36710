"""A profile with a small fitted engine, and versions of it in the registry."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User

from mlops import registry
from mlops.detection import Engine, FittedEngine
from mlops.models import ModelVersion
from sensors.models import Profile
from sensors.readings import Batch, concat
from tests import builders
from tests.conftest import NOON

METRICS = {"flagged_share": 0.001, "false_events_per_mote_week": 0.5, "found_share": 0.9}


def indoor_days(days: float, motes: tuple[int, ...] = (1, 2), *, step_s: float = 300.0, seed: int = 0) -> Batch:
    """Readings as a quiet room gives them: a daily swing, a little noise, slowly draining batteries."""
    random = np.random.default_rng(seed)
    kind = builders._default_profile()
    n = int(days * 86400 / step_s)
    day = np.arange(n) * step_s / 86400
    batches = []
    for mote in motes:
        swing = np.sin(2 * np.pi * day)
        values = np.stack(
            [
                22 + 2 * swing + random.normal(0, 0.1, n),
                45 - 5 * swing + random.normal(0, 0.3, n),
                np.maximum(0, 200 * swing + random.normal(0, 5, n)),
                2.7 - 0.001 * day + random.normal(0, 0.003, n),
            ],
            axis=1,
        )
        batches.append(builders.batch(kind, values, mote=mote, step_s=step_s))
    return concat(batches)


@pytest.fixture(scope="session")
def fitted() -> FittedEngine:
    return Engine(seed=42).fit(indoor_days(2.0))


@pytest.fixture
def alice(db) -> User:
    """The engineer's account; her permissions are the doors' affair."""
    return User.objects.create(username="alice")


@pytest.fixture
def indoor(db) -> Profile:
    builders.install_fleet(motes=("7", "8"))
    return Profile.objects.get(code="indoor")


@pytest.fixture
def version(indoor, fitted):
    """Registers one more version at each call."""

    def make(**changes: object) -> ModelVersion:
        given = {"profile": indoor, "data": {"readings_used": 10}, "metrics": METRICS, "job": None, "now": NOON}
        return registry.register(fitted, **{**given, **changes})

    return make


LATER = NOON + timedelta(minutes=10)
