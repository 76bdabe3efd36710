"""The doors of forecasts: of a mote's channel, and of a series of one's own."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.test import override_settings

from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.mlops.forecasts.world import STEP_S, rooms
from tests.people import *  # noqa: F403

OWN = "/api/v1/ml/forecast"
KEYS = {"model_version", "last_reading_at", "issued_at", "quantiles", "risk", "track_record"}


def day(n: int = 600, **changes) -> dict:
    """A series of one's own: a daily course in hours, with noise."""
    random = np.random.default_rng(3)
    values = 20 + 5 * np.sin(2 * np.pi * np.arange(n) / 24) + random.normal(0, 0.3, n)
    return {"values": values.tolist(), "start": "2026-01-01T00:00Z", "step_s": 3600, "horizon": 24, **changes}


@pytest.fixture
def ask(charlie_client):
    def get(**query: str):
        return charlie_client.get("/api/v1/motes/7/forecast", {"channel": "temperature", **query})

    return get


@pytest.fixture
def post(charlie_client):
    return lambda body: charlie_client.post(OWN, body, content_type="application/json")


@override_settings(SIEIS_FORECAST_STALE_HOURS=1e6)
def test_a_viewer_asks_how_a_channel_goes_on_and_how_likely_it_leaves_its_normal_band(serving, ask):
    said = ask(horizon="2h").json()

    assert said.keys() >= KEYS
    assert said["model_version"] == serving.name
    assert (said["last_reading_at"], said["at"][0]) == ("2026-03-02T11:55:00Z", "2026-03-02T12:00:00Z")
    assert {len(said[name]) for name in ("at", "mean")} == {24}
    assert {len(one) for one in said["quantiles"].values()} == {24}
    assert said["is_stale"] is True
    assert {one["limit"] for one in said["risk"]} >= {"normal band"}
    assert said["track_record"]["words"] == "too few to judge (0 of 20)"


def test_data_that_ended_long_ago_is_refused_with_its_age_and_the_limit(serving, ask):
    refused = ask()

    assert refused.status_code == 422
    assert "the last reading is of 2026-03-02 11:55 UTC" in refused.json()["detail"]
    assert "SIEIS_FORECAST_STALE_HOURS" in refused.json()["detail"]


@pytest.mark.parametrize("horizon", ["0h", "-1h", "100000d", "soon", "24"])
def test_a_horizon_that_is_none_is_refused_by_its_name(serving, ask, horizon):
    refused = ask(horizon=horizon)

    assert refused.status_code == 400
    assert refused.json()["field"] == "horizon"


@override_settings(SIEIS_FORECAST_STALE_HOURS=1e6)
def test_farther_than_the_version_looks_is_refused_with_how_far_that_is(serving, ask):
    refused = ask(horizon="2d")

    assert refused.status_code == 422
    assert "made for 36 steps ahead; 576 were asked for" in refused.json()["detail"]


def test_an_unknown_mote_or_channel_is_refused_by_name(serving, ask, charlie_client):
    unknown = charlie_client.get("/api/v1/motes/99/forecast", {"channel": "temperature"})

    assert ask(channel="pressure").json()["field"] == "channel"
    assert unknown.json()["field"] == "mote"


def test_without_a_version_the_answer_names_the_command_that_trains_one(fleet_of_rooms, ask):
    refused = ask()

    assert refused.status_code == 422
    assert "manage.py train --profile indoor --kind forecast" in refused.json()["detail"]


@override_settings(SIEIS_FORECAST_STALE_HOURS=1e6)
def test_what_is_flagged_is_not_looked_at(serving, ask, fleet_of_rooms):
    wild = builders.batch(rooms(), [[49.0, 99.0]], mote=fleet_of_rooms[0].pk, start_us=at_us(NOON), step_s=STEP_S)
    wild.flags[:] = (1 << 32) | (1 << 33) | 1
    hot().write(rooms(), wild.to_table())

    assert ask().json()["last_reading_at"] == "2026-03-02T11:55:00Z"


def test_a_series_of_ones_own_is_forecast_with_the_risk_of_its_limits(db, post):
    said = post(day(above=[24.0], below=[0.0], least=-5.0)).json()

    assert said.keys() >= KEYS
    assert said["last_reading_at"] == "2026-01-25T23:00:00Z"
    assert said["at"][0] == "2026-01-26T00:00:00Z"
    assert abs(said["mean"][5] - 25.0) < 1.0
    assert [one["level"] for one in said["risk"]] == ["high", "low"]
    assert said["risk"][0]["words"].startswith("the series passes 24 at about")
    assert said["track_record"] is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (day(1), "one reading"),
        (day(30), "enough in"),
        (day(4), "(0 to learn from, at least 40"),
        (day(600, values=[None] * 600), "every value is empty"),
        (day(100, horizon=90), "are needed for 90 steps ahead"),
    ],
)
def test_too_little_is_answered_by_what_is_missing(db, post, body, words):
    refused = post(body)

    assert refused.status_code == 422
    assert words in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (day(horizon=0), "horizon"),
        (day(horizon=100_000), "horizon"),
        (day(10_001), "values"),
        (day(start=None), "start"),
        ({"values": [1.0, 2.0]}, "at"),
        (day(model="transformer"), "model"),
        (day(time_zone="Mars/Base"), "time_zone"),
        (day(least=3.0, most=3.0), "least"),
    ],
)
def test_a_question_that_is_wrong_is_refused_by_the_field(db, post, body, field):
    refused = post(body)

    assert refused.status_code == 400
    assert refused.json()["field"] == field


def test_duplicated_and_unsorted_instants_say_the_same_as_those_in_order(db, post):
    told = day()
    at = [(NOON + timedelta(hours=k)).isoformat() for k in range(len(told["values"]))]
    ordered = {"values": told["values"], "at": at, "horizon": 24}
    mixed = {"values": [*told["values"][::-1], 1e6], "at": [*at[::-1], at[0]], "horizon": 24}

    assert post(mixed).json()["mean"] == post(ordered).json()["mean"]


def at_us(at) -> int:
    return int(at.timestamp() * 1e6)
