"""A forecast version that serves two rooms: learnt once for all tests, registered for each."""

from __future__ import annotations

import pytest

from mlops import registry
from mlops.forecasts.learnt import FittedForecasts
from mlops.forecasts.training import learn
from mlops.history import History
from mlops.models import ModelVersion
from mlops.parameters import Parameters
from sensors.fleet import Fleet, MoteRef
from sensors.models import Mote, Profile
from sensors.readings import concat
from tests.conftest import NOON
from tests.mlops.forecasts.world import FIGURES, install, rooms, said_by

NAMES = ("7", "8")


@pytest.fixture(scope="session")
def learnt() -> FittedForecasts:
    """Three hours ahead, by what the rooms said in five days."""
    profile = rooms()
    motes = tuple(MoteRef(n, code, "main", "lab", "indoor", "UTC", "active") for n, code in enumerate(NAMES, 1))
    batch = concat(said_by([1, 2]))
    order = batch.at.argsort(kind="stable")
    batch = batch.take(order)
    n = len(batch)
    parts = [batch.take(slice(int(n * a), int(n * b))) for a, b in ((0.0, 0.6), (0.6, 0.8), (0.8, 1.0))]
    past = History(*parts, n_found=n, left_out={}, lake_version=0, content_hash="")
    fleet = Fleet(1, motes, {"indoor": profile}, "main")
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
