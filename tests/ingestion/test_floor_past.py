"""The floor map's slider: how the fleet stood over the last hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from alerts.models import Event
from ingestion.pages.floor_past import STEPS, past
from sensors import registry
from sensors.models import Mote
from sensors.stores import hot
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 12, 0, 10, tzinfo=UTC)
STEP = timedelta(minutes=5)


@pytest.fixture
def fleet(db):
    builders.install_fleet(motes=("7", "8"))
    return registry.current_fleet()


def store(fleet, code: str, at: datetime, temperature: float, surprise: float = 0.0) -> None:
    profile, mote = fleet.profiles["indoor"], fleet.find(code)
    told = builders.batch(
        profile, [[temperature, 45, 100, 2.8]], mote=mote.id, start_us=int(at.timestamp() * 1e6)
    )  # fmt: skip
    told.surprise[:] = surprise
    hot().write(profile, told.to_table())


def event(code: str, start: datetime, last: datetime, peak_surprise: float) -> None:
    Event.objects.create(
        mote=Mote.objects.get(code=code), noticed_at=start, started_at=start, last_at=last, ended_at=last,
        n_readings=3, peak_surprise=peak_surprise, peak_at=start, peak_channel="temperature", layer="level",
        words="Temperature 45 °C", model_version=1,
    )  # fmt: skip


def test_each_step_shows_what_was_measured_at_its_begin(fleet):
    begin = NOW.replace(second=0) - 10 * STEP
    store(fleet, "7", begin + timedelta(seconds=20), 21.0)
    store(fleet, "7", begin + STEP + timedelta(seconds=3), 25.0)

    found = past(store=hot(), now=NOW, hours=6)

    assert len(found["at"]) == STEPS
    step = found["at"].index("2026-03-02T11:10:00Z")
    temperature = found["motes"]["main/7"]["values"]["temperature"]
    assert temperature[step : step + 3] == [21.0, 25.0, None]
    assert found["motes"]["main/8"]["values"]["temperature"] == [None] * STEPS


def test_an_anomaly_between_two_looks_is_not_missed(fleet):
    begin = NOW.replace(second=0) - 10 * STEP
    store(fleet, "7", begin, 21.0)
    event("7", begin + timedelta(minutes=2), begin + timedelta(minutes=3), peak_surprise=9.0)

    told = past(store=hot(), now=NOW, hours=6)["motes"]["main/7"]

    assert sum(told["anomalous"]) == 1
    assert told["score"][told["anomalous"].index(1)] > 0.6


def test_the_page_answers_only_for_lengths_that_it_offers(fleet, charlie_client, mallory):
    assert charlie_client.get("/live/past?hours=1").json()["stepS"] == 50
    assert charlie_client.get("/live/past?hours=5000").status_code == 400
    assert mallory.get("/live/past").status_code == 302


def test_a_hot_store_that_is_away_is_said(fleet, charlie_client, settings):
    settings.SIEIS_HOT_STORE = {"BACKEND": "tests.ingestion.test_pages.AwayStore", "OPTIONS": {}}

    answer = charlie_client.get("/live/past?hours=6")

    assert answer.status_code == 503
    assert "connection refused" in answer.json()["detail"]


def test_the_table_shows_the_worst_grade_of_a_motes_channels(fleet, charlie_client):
    mote = Mote.objects.get(code="7")
    for channel, grade in (("temperature", "A"), ("humidity", "D")):
        mote.grades.create(
            channel=channel, grade=grade, reasons=[], starts_at=timezone.now(), ends_at=timezone.now(),
            graded_at=timezone.now(),
        )  # fmt: skip

    page = charlie_client.get("/").content.decode()

    assert page.count('class="grade D"') == 1
