"""Periods and pairs at their doors: planted in stored readings, asked for by API and on the Insights page."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from sensors import gold
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import concat, micros
from sensors.registry import profiles
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
DAYS = 20
N = DAYS * 24


@pytest.fixture(autouse=True)
def at_noon(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOON)


@pytest.fixture
def stored():
    """Mote 7 has days and a wandering humidity, which that of mote 8 follows two hours later; 9 is a stranger."""
    builders.install_fleet(motes=("7", "8", "9"))
    random = np.random.default_rng(5)
    hours = np.arange(N)
    wander = _red(random)
    ahead = 50 + 3 * wander
    behind = 50 + 3 * np.concatenate([wander[:2], wander[:-2]]) + random.normal(0, 0.5, N)
    day = 22 + 2 * np.sin(2 * np.pi * hours / 24)
    table = {
        "7": (day + random.normal(0, 0.3, N), ahead),
        "8": (22 + random.normal(0, 0.3, N), behind),
        "9": (22 + random.normal(0, 0.3, N), 50 + 3 * _red(random)),
    }
    profile, parts = profiles()["indoor"], []
    for code, (temperature, humidity) in table.items():
        values = np.column_stack([temperature, humidity, np.full(N, 100.0), np.full(N, 2.7)])
        start = micros(NOON - timedelta(days=DAYS))
        mote = Mote.objects.get(code=code).pk
        parts.append(builders.batch(profile, values, mote=mote, start_us=start, step_s=3600.0))
    batch = concat(parts)
    batch.offset[:] = np.arange(len(batch))
    lake().append("silver/indoor", batch.to_table(), app_ids={0: "t/0"}, next_offsets={0: len(batch)})
    gold.aggregate(lake(), profile, now=NOON)


def _red(random):
    out = np.zeros(N)
    for k in range(1, N):
        out[k] = 0.8 * out[k - 1] + random.normal()
    return out


@pytest.fixture
def ask(charlie_client):
    def get(path, **query):
        return charlie_client.get(f"/api/v1/analytics/{path}", query)

    return get


def test_the_api_finds_a_planted_period_and_none_in_noise(stored, ask):
    found = ask("seasonality", channel="temperature").json()

    told = {one["mote"]: one for one in found["series"]}
    (day,) = told["7"]["periods"]
    assert day["period_s"] == 86_400
    assert 0.9 < day["strength"] <= 1
    assert day["n_cycles"] == DAYS
    assert day["amplitude"] == pytest.approx(4, rel=0.1)
    assert day["peaks_at"][10:13] in ("T17", "T18", "T19")  # six hours after noon, when the first cycle begins
    assert told["7"]["n_hours"] == N
    assert told["8"]["periods"] == []
    assert told["8"]["note"] == "no period foretells a tenth of it"


def test_a_channel_that_never_changes_says_so(stored, ask):
    (light,) = ask("seasonality", channel="light", mote_id="7").json()["series"]

    assert (light["periods"], light["note"]) == ([], "the value never changes")


def test_the_api_finds_a_planted_pair_with_its_lag_and_nothing_else(stored, ask):
    found = ask("correlation").json()

    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"]) == (
        {"mote": "7", "site": "main", "channel": "humidity"},
        {"mote": "8", "site": "main", "channel": "humidity"},
    )
    assert pair["lag_s"] == 7200
    assert pair["strength"] > 0.9
    assert pair["p"] < 0.001
    assert pair["n_effective"] < pair["n_hours"] == N - 2
    assert pair["change"] == pytest.approx(pair["after"] - pair["before"])
    assert (found["n_series"], found["n_found"]) == (12, 1)


def test_pairs_may_be_asked_of_one_mote(stored, ask):
    assert ask("correlation", of="9").json()["pairs"] == []
    assert ask("correlation", of="8").json()["n_found"] == 1


@pytest.mark.parametrize(
    ("path", "query", "field", "words"),
    [
        ("seasonality", {"profile": "cellar"}, "profile", "There is no profile “cellar”; there are: indoor."),
        ("seasonality", {"channel": "noise"}, "channel", "has no channel “noise”"),
        ("seasonality", {"mote_id": "77"}, "mote_id", "There is no mote “77”"),
        (
            "seasonality",
            {"start": "2020-01-01T00:00:00Z"},
            "start",
            "are more than can be looked at at once; at most 366",
        ),
        ("correlation", {"of": "77"}, "of", "Mote “77” is not among those that are compared."),
        ("correlation", {"max_lag_h": "100"}, "max_lag_h", "less than or equal to 48"),
        ("correlation", {"start": "yesterday"}, "start", ""),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong_with_it(stored, ask, path, query, field, words):
    answer = ask(path, **query)

    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert words in answer.content.decode()


def test_too_many_series_are_refused_with_the_way_out(ask):
    builders.install_fleet(motes=tuple(f"m{k}" for k in range(101)))

    answer = ask("correlation")

    assert answer.status_code == 400
    assert "at most 400 can be compared at once" in answer.content.decode()


def test_nobody_is_told_without_an_account(stored, mallory):
    assert mallory.get("/api/v1/analytics/seasonality").status_code in (401, 403)


def test_before_there_are_readings_each_series_says_what_it_needs(ask):
    builders.install_fleet()

    told = ask("seasonality").json()["series"]

    assert {one["note"] for one in told} == {"0 hours have a value; at least 48 are needed"}
    assert ask("correlation").json()["pairs"] == []


def test_the_insights_page_lists_a_motes_periods_and_pairs(stored, charlie_client):
    before = charlie_client.get("/insights/").content.decode()
    page = charlie_client.get("/insights/", {"patterns": "main/7"}).content.decode()

    assert "Choose a mote" in before
    assert "24 h" in page
    assert "2 h later" in page
    assert "main/9" in page
