"""What the tests of the reading path ask for: a fleet of two, what is announced, a runner on the embedded parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from ingestion.runner import Pace, Runner
from ingestion.streams import stream
from mlops.serving import Serving
from sensors import registry
from sensors.lake import lake
from sensors.stores import hot
from tests.builders import install_fleet
from tests.ingestion.path import Heard


@pytest.fixture
def fleet() -> None:
    install_fleet(motes=("7", "8"))
    stream().ensure()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make(heard: Heard) -> Callable[..., Runner]:
    def build(**changes: Any) -> Runner:
        parts: dict[str, Any] = {
            "stream": stream(), "hot": hot(), "lake": lake(), "storage": default_storage, "serving": Serving(),
            "fleet": registry.current_fleet, "fleet_revision": registry.revision, "announce": heard, "group": "test",
            "owner": "runner@test", "now": timezone.now,
            "pace": Pace(batch_wait_s=0.0, retry_s=0.001, retry_max_s=0.002, look_s=0.0, slow_cycle_s=0.0),
        }  # fmt: skip
        return Runner(**{**parts, **changes})

    return build
