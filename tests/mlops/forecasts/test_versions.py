"""Forecasts as versions of the one registry: learnt, judged on days they had not seen, promoted, and asked."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from mlops.forecasts.serving import Refusal, forecasts_of
from mlops.models import Kind
from sensors.registry import current_fleet
from tests.conftest import NOON
from tests.mlops.forecasts.world import install, trained

pytestmark = pytest.mark.django_db


def test_a_forecast_version_is_held_to_days_it_had_not_learnt_from_and_goes_on_from_the_last_reading():
    install()
    version = trained()

    said = forecasts_of(current_fleet().motes, now=NOON + timedelta(minutes=1))

    assert version.kind == Kind.FORECAST
    assert version.stage == "production"
    assert [(one.mote.code, one.channel.code) for one in said] == [
        ("7", "temperature"), ("7", "humidity"), ("8", "temperature"), ("8", "humidity"),
    ]  # fmt: skip
    first = said[0]
    assert first.last_reading_at == NOON - timedelta(minutes=5)
    assert first.at[0] == NOON
    assert len(first.at) == 36  # of the 72 asked for: five days cannot hold more to account
    assert np.all(np.diff(first.quantiles, axis=1) >= 0)
    assert first.model_version == version.name
    assert len(first.ways.values) >= 40


def test_nothing_answers_for_a_profile_without_a_version_and_the_command_is_named():
    install()

    (said, _) = forecasts_of(current_fleet().motes, ["temperature"], now=NOON)

    assert isinstance(said, Refusal)
    assert "manage.py train --profile indoor --kind forecast" in said.reason
