"""The reading path at its worst moments: what dies, moves or changes between two steps loses and doubles nothing."""

# ruff: noqa: F811  (the fixtures come from test_runner by import)
from __future__ import annotations

from typing import Any

import pytest

from alerts.models import Event
from sensors.models import ProfileVersion
from tests.builders import channel, install_fleet, profile
from tests.ingestion.test_runner import drain, fleet, heard, in_hot, make, reading, send, start_us  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
STEP_US = 30_000_000
INDOOR = profile(channel(), channel("humidity", physical=(0.0, 100.0)), channel("light"), channel("voltage"))


def test_a_profile_that_gains_a_channel_keeps_what_was_known_of_its_motes(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US, temperature=49.5) for i in range(5)])
    drain(make())

    ProfileVersion.objects.update(is_current=False)
    install_fleet(motes=(), profile=profile(*INDOOR.channels, channel("co2"), channel("noise"), version=2))
    send(*[reading(at + i * STEP_US, temperature=49.5, co2=20.0) for i in range(5, 10)])
    drain(make())
    drain(make())

    assert in_hot()["profile_version"].to_list() == [1] * 5 + [2] * 5
    assert Event.objects.get().n_readings == 10, "the event goes on through the change"
