"""Summaries by the API: the figures are those of the readings, and a wrong question says what is wrong with it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from sensors import analytics_api
from sensors.models import Mote, Site
from sensors.readings import micros
from sensors.registry import profiles
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def at_noon(monkeypatch):
    monkeypatch.setattr(analytics_api.timezone, "now", lambda: NOON + HOUR / 2)


@pytest.fixture
def fleet():
    builders.install_fleet(motes=("7", "8"))
    return {mote.code: mote.pk for mote in Mote.objects.all()}


@pytest.fixture
def write(fleet):
    def put(code, start, temperature):
        n = len(temperature)
        values = np.column_stack([temperature, np.full(n, 40.0), np.full(n, 100.0), np.full(n, 2.7)])
        profile = profiles()["indoor"]
        hot().write(profile, builders.batch(profile, values, mote=fleet[code], start_us=micros(start)).to_table())

    return put


@pytest.fixture
def ask(charlie_client):
    def get(path, **query):
        return charlie_client.get(f"/api/v1/{path}", query)

    return get


def test_a_motes_figures_are_those_of_its_readings(write, ask):
    values = [20.0, 21.0, 25.0, 22.0]
    write("7", NOON, values)

    found = ask("sensors/7/stats", start="2026-03-02T12:00:00Z", end="2026-03-02T13:00:00Z").json()

    told = found["channels"]["temperature"]
    assert {name: told[name] for name in ("avg", "min", "max", "count", "left_out", "unit")} == {
        "avg": 22.0, "min": 20.0, "max": 25.0, "count": 4, "left_out": 0, "unit": "°C",
    }  # fmt: skip
    assert told["stddev"] == pytest.approx(np.std(values, ddof=1))
    assert told["coverage"] == pytest.approx(4 / 120)
    assert (found["mote"], found["start"], found["missing"]) == ("7", "2026-03-02T12:00:00Z", [])


def test_a_day_tells_the_fleet_and_each_mote(write, ask):
    write("7", NOON - HOUR, [20.0] * 120)
    write("8", NOON - HOUR, [30.0] * 120)
    write("7", NOON - 30 * HOUR, [50.0] * 10)

    found = ask("analytics/daily-summary", date="2026-03-02").json()

    assert found["n_readings"] == 240
    assert found["channels"]["temperature"]["avg"] == 25.0
    assert [(one["mote"], one["channels"]["temperature"]["max"]) for one in found["motes"]] == [
        ("7", 20.0),
        ("8", 30.0),
    ]
    yesterday = ask("analytics/daily-summary", date="2026-03-01").json()
    assert (yesterday["n_readings"], yesterday["channels"]["temperature"]["avg"]) == (10, 50.0)


def test_a_day_is_that_of_the_sites_clock(write, ask):
    Site.objects.update(time_zone="Pacific/Auckland")  # thirteen hours ahead
    write("7", NOON - 2 * HOUR, [20.0] * 10)
    write("7", NOON, [30.0] * 10)

    assert ask("analytics/daily-summary", date="2026-03-02").json()["channels"]["temperature"]["max"] == 20.0
    assert ask("analytics/daily-summary", date="2026-03-03").json()["channels"]["temperature"]["max"] == 30.0


def test_the_week_shows_each_hour_of_each_weekday(write, ask):
    write("7", NOON - HOUR, [20.0, 22.0])
    write("8", NOON - HOUR, [24.0, 26.0])
    write("7", NOON - 25 * HOUR, [30.0])

    found = ask("analytics/heatmap", channel="temperature").json()

    assert found["unit"] == "°C"
    assert found["cells"] == [
        {"weekday": "Monday", "hour": 11, "avg": 23.0, "min": 20.0, "max": 26.0, "count": 4},
        {"weekday": "Sunday", "hour": 11, "avg": 30.0, "min": 30.0, "max": 30.0, "count": 1},
    ]


def test_a_histogram_counts_every_value(write, ask):
    write("7", NOON - HOUR, [20.0] * 30 + [25.0] * 10)

    found = ask("analytics/histogram", channel="temperature", bars=10).json()

    assert sum(found["counts"]) == 40
    assert found["edges"][0] <= 20.0
    assert found["edges"][-1] > 25.0
    assert len(found["edges"]) == len(found["counts"]) + 1


def test_a_trend_keeps_the_spike_in_its_band_and_tells_motes_apart_where_asked(write, ask):
    write("7", NOON - HOUR, [20.0] * 59 + [45.0])
    write("8", NOON - HOUR, [10.0] * 60)

    (point,) = ask("analytics/trend", channel="temperature", every="1d").json()["points"]
    apart = ask("analytics/trend", channel="temperature", every="1d", by_mote=True).json()["points"]

    assert (point["max"], point["min"], point["count"]) == (45.0, 10.0, 120)
    assert [(one["mote"], one["max"]) for one in apart] == [("7", 45.0), ("8", 10.0)]


@pytest.mark.parametrize(
    ("path", "query", "field", "words"),
    [
        ("analytics/heatmap", {}, "channel", "required"),
        ("analytics/heatmap", {"channel": "co2"}, "channel", "“co2”"),
        ("analytics/histogram", {"channel": "light", "bars": 1}, "bars", "2"),
        ("analytics/trend", {"every": "2d"}, "every", "2d"),
        ("analytics/trend", {"mote_id": "99"}, "mote_id", "“99”"),
        ("analytics/trend", {"profile": "boat"}, "profile", "“boat”"),
        ("analytics/trend", {"start": "2026-03-02T12:00:00Z", "end": "2026-03-01T12:00:00Z"}, "start", "not before"),
        ("analytics/daily-summary", {"date": "2026-02-30"}, "date", "YYYY-MM-DD"),
        ("sensors/99/stats", {}, "mote_id", "“99”"),
        ("sensors/7,8/stats", {}, "mote_id", "“7,8”"),
    ],
)
def test_a_wrong_question_says_what_is_wrong_with_it(fleet, ask, path, query, field, words):
    answer = ask(path, **query)

    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["detail"]


def test_mallory_is_told_nothing(fleet, client):
    for path in ("sensors/7/stats", "analytics/trend", "analytics/daily-summary"):
        assert client.get(f"/api/v1/{path}").status_code in (401, 403)
