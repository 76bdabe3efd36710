"""The check of a model's probabilities, kept with its version: at the API and on the Insights page."""

from __future__ import annotations

import json

import pytest

from mlops import calibrations, registry
from mlops.calibrations import KEPT, OFTEN, SELDOM, UNSURE, checked, verdict
from tests.conftest import NOON
from tests.mlops.conftest import METRICS, indoor_days
from tests.people import *  # noqa: F403

ADDRESS = "/api/v1/ml/calibration"


@pytest.fixture
def checked_version(indoor, fitted):
    clean = indoor_days(1.0, seed=5)
    return registry.register(
        checked(fitted, clean), profile=indoor, data={"readings_used": 10}, metrics=METRICS, job=None, now=NOON
    )


def test_the_api_tells_asked_against_observed_of_each_layer_and_of_all_together(checked_version, charlie_client):
    told = charlie_client.get(ADDRESS, {"profile": "indoor"}).json()

    layers = {rate["layer"] for rate in told["rates"]}
    assert {"level", "noise", "jump", "forest", "combined"} <= layers
    assert told["version"] == checked_version.name
    assert told["readings"] == 2 * 288
    for rate in told["rates"]:
        assert rate["low"] <= rate["observed"] <= rate["high"]
        assert rate["observed"] == pytest.approx(rate["n_beyond"] / rate["n"])


def test_what_cannot_be_told_is_said_in_words(version, charlie_client, mallory):
    version()

    unchecked = charlie_client.get(ADDRESS, {"profile": "indoor"})
    unknown = charlie_client.get(ADDRESS, {"profile": "cellar"})

    assert unchecked.status_code == 404
    assert "No model of profile indoor has been checked yet" in json.dumps(unchecked.json())
    assert unknown.status_code == 400
    assert "there are: indoor" in unknown.content.decode()
    assert charlie_client.get(ADDRESS).status_code == 400
    assert mallory.get(ADDRESS, {"profile": "indoor"}).status_code in (401, 403)


def test_what_serves_goes_before_what_was_checked_later(checked_version, indoor, fitted, alice):
    registry.promote(checked_version, who=alice, why="good", now=NOON)
    later = registry.register(
        checked(fitted, indoor_days(1.0, seed=6)), profile=indoor, data={"readings_used": 10}, metrics=METRICS,
        job=None, now=NOON,
    )  # fmt: skip

    assert later.number > checked_version.number
    assert calibrations.newest_checked("indoor") == checked_version


def test_the_page_shows_the_table(checked_version, charlie_client):
    page = charlie_client.get("/insights/").content.decode()

    assert "Do the probabilities come true?" in page
    assert "All together" in page
    assert "times as often as asked" in page


def test_without_a_checked_model_the_page_says_how_to_get_one(indoor, charlie_client):
    assert "the next one fills this table" in charlie_client.get("/insights/").content.decode()


@pytest.mark.parametrize(
    ("ratio", "low", "high", "said"),
    [
        (1.2, 0.8, 1.7, KEPT),
        (3.0, 2.2, 4.0, OFTEN),
        (3.0, 0.4, 9.0, UNSURE),
        (0.1, 0.0, 0.3, SELDOM),
        (0.9, 0.1, 4, KEPT),
    ],
)
def test_a_rate_is_off_only_if_it_surely_is(ratio, low, high, said):
    assert verdict({"asked": 1e-3, "ratio": ratio, "low": low * 1e-3, "high": high * 1e-3}) == said


def test_nothing_held_out_leaves_a_model_unchecked(fitted):
    empty = indoor_days(1.0).take(slice(0, 0))

    assert "check" not in checked(fitted, empty).calibration
