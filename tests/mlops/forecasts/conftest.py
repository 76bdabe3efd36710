"""A forecast version that serves two rooms: learnt once for all tests, registered for each."""

from __future__ import annotations

import pytest

from mlops import registry
from mlops.forecasts.learnt import FittedForecasts
from mlops.forecasts.training import learn
from mlops.models import ModelVersion
from mlops.parameters import Parameters
from sensors.models import Mote, Profile
from tests.conftest import NOON
from tests.mlops.forecasts.world import FIGURES, install, past_of, said_by

NAMES = ("7", "8")


@pytest.fixture(scope="session")
def learnt() -> FittedForecasts:
    """Three hours ahead, by what the rooms said in five days."""
    past, fleet = past_of(said_by([1, 2]), NAMES)
    forecasts, _, _ = learn(past, Parameters(horizon_h=3.0), fleet=fleet, tell=lambda progress, words: None)
    return forecasts


@pytest.fixture
def fleet_of_rooms(db) -> list[Mote]:
    return install(NAMES)


@pytest.fixture
def version(fleet_of_rooms, learnt):
    """Registers one more version at each call."""

    def make() -> ModelVersion:
        indoor = Profile.objects.get(code="indoor")
        return registry.register(learnt, profile=indoor, data={}, metrics=FIGURES, job=None, now=NOON)

    return make


@pytest.fixture
def serving(version) -> ModelVersion:
    return registry.promote(version(), who=None, why="test", now=NOON)
