"""Which model scored this? For a reading, an alert and a day."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from alerts.models import Alert, Event
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import Batch
from sensors.registry import profiles
from sensors.stores import hot
from tests.conftest import NOON
from tests.mlops.conftest import indoor_days
from tests.people import *  # noqa: F403


@pytest.fixture
def seven(indoor) -> Mote:
    return Mote.objects.get(code="7")


@pytest.fixture
def scored(seven, version) -> Batch:
    """Two hours of mote 7 from noon on, hot and in the lake: the fallback for half of it, then version 1."""
    version()
    rows = indoor_days(2 / 24, (seven.pk,))
    rows.model_version[:] = np.where(np.arange(len(rows)) < len(rows) // 2, 0, 1)
    table = rows.to_table()
    hot().write(profiles()["indoor"], table)
    lake().append("silver/indoor", table, app_ids={0: "t/0"}, next_offsets={0: len(rows)})
    return rows


def ask(client, **query: object):
    return client.get("/api/v1/ml/scored", query)


def test_a_reading_says_which_version_scored_it(scored, charlie_client):
    early, late = (
        ask(charlie_client, mote_id="7", at=(NOON + timedelta(minutes=m)).isoformat()).json() for m in (5, 115)
    )

    assert early[0]["number"] == 0
    assert early[0]["model_version"].startswith("the fallback")
    assert (late[0]["model_version"], late[0]["n_readings"]) == ("indoor/anomaly_detector_v1_20260302", 1)


def test_a_day_says_how_many_readings_each_version_scored(scored, charlie_client):
    told = ask(charlie_client, profile="indoor", day="2026-03-02").json()

    assert [(one["number"], one["n_readings"]) for one in told] == [(0, 12), (1, 12)]
    assert told[0]["first_at"] == "2026-03-02T12:00:00Z"
    assert ask(charlie_client, profile="indoor", day="2026-03-09").json() == []


def test_an_alert_says_which_versions_noticed_its_events(seven, version, charlie_client):
    version()
    alert = Alert.objects.create(
        subject="mote:main/7",
        kind="anomaly",
        severity="high",
        mote=seven,
        words="x",
        first_seen_at=NOON,
        last_seen_at=NOON,
    )
    for number, minute in ((1, 0), (1, 10), (9, 20)):
        at = NOON + timedelta(minutes=minute)
        Event.objects.create(
            mote=seven, alert=alert, noticed_at=at, started_at=at, last_at=at, n_readings=4, peak_surprise=5.0,
            peak_at=at, peak_channel="light", peak_value=1.0, layer="level", contributions={}, words="x",
            model_version=number,
        )  # fmt: skip

    told = ask(charlie_client, alert=alert.pk).json()

    assert [(one["number"], one["n_readings"]) for one in told] == [(1, 8), (9, 4)]
    assert told[1]["model_version"] == "version 9, which is no longer in the registry"


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, 400, "Ask for one"),
        ({"mote_id": "7"}, 400, "needs at"),
        ({"mote_id": "99", "at": "2026-03-02T12:00Z"}, 404, "no mote “99”"),
        ({"mote_id": "7", "at": "2020-03-02T12:00Z"}, 404, "no reading at"),
        ({"day": "2026-03-02", "profile": "outdoor"}, 404, "there are: indoor"),
        ({"alert": 99}, 404, "nothing at"),
    ],
)
def test_what_cannot_be_answered_is_said(indoor, charlie_client, query, status, words):
    answer = ask(charlie_client, **query)

    assert answer.status_code == status
    assert words in answer.json()["detail"]
