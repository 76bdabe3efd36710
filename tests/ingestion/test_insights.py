"""The Insights page: what serves, what it noticed, how scores lie, what it can do, and a reading to try."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from ingestion.capability.models import CapabilityTable
from ingestion.pages import insights_page
from mlops.models import ModelVersion
from sensors.models import Mote, Profile
from sensors.readings import micros
from sensors.registry import current_fleet
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
INDOOR = builders.profile(
    builders.channel(), builders.channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%")
)


@pytest.fixture(autouse=True)
def fleet(db):
    builders.install_fleet(motes=("7", "8"), profile=INDOOR)


def text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def stored(code: str, values, surprise) -> None:
    """Readings of a mote in the last minutes, judged as said."""
    mote = Mote.objects.get(code=code).pk
    start = micros(timezone.now() - timedelta(minutes=5))
    batch = builders.batch(INDOOR, values, mote=mote, start_us=start, step_s=1.0)
    said = np.broadcast_to(np.asarray(surprise, dtype=np.float64), (len(batch),)).copy()
    hot().write(INDOOR, replace(batch, surprise=said).to_table())


def test_the_nearest_readings_of_the_fleet_are_told_nearest_first(charlie_client):
    stored("7", [(21.0, 40.0)], 0.1)
    stored("8", [(27.0, 60.0)], 0.2)

    told = charlie_client.get("/insights/nearest?profile=indoor&temperature=26&humidity=55&light=oops").json()

    assert [one["mote"] for one in told["readings"]] == ["8", "7"]
    assert charlie_client.get("/insights/nearest?profile=indoor&temperature=warm").json() == {"readings": []}
    assert charlie_client.get("/insights/nearest?profile=moon").status_code == 400


def test_a_motes_newest_reading_is_where_its_sliders_begin(charlie_client):
    stored("7", [(21.0, 40.0), (21.5, 41.0)], 0.1)

    told = charlie_client.get("/insights/nearest?profile=indoor&mote=main/7").json()

    assert [one["values"] for one in told["readings"]] == [{"temperature": 21.5, "humidity": 41.0}]
    assert charlie_client.get("/insights/nearest?profile=indoor&mote=main/8").json() == {"readings": []}


def test_the_page_has_a_slider_a_channel_once_a_model_serves_and_needs_a_role(charlie_client, dave_client):
    assert "No model of indoor yet" in text(charlie_client.get("/insights/"))
    ModelVersion.objects.create(
        number=1, name="indoor/a", profile=Profile.objects.get(), stage="production", artefact="a", sha256="0",
        profile_version=1, seed=1, created_at=NOON, promoted_at=NOON,
    )  # fmt: skip

    page = charlie_client.get("/insights/").content.decode()

    assert page.count('type="range"') == 2
    assert 'min="8" max="48"' in page  # the normal band's width below and twice above
    assert dave_client.get("/insights/").status_code == 403
    assert dave_client.get("/insights/nearest?profile=indoor").status_code == 403


def test_scores_of_the_last_minutes_lie_in_bins_with_the_odd_ones_counted(charlie_client):
    onset = INDOOR.onset
    stored("7", [(21.0, 40.0)] * 10, [0.1] * 7 + [onset, onset * 1.5, onset * 3])

    fleet, mote = current_fleet(), Mote.objects.get(code="7").pk
    shown = insights_page.distribution(fleet.profiles["indoor"], [mote], store=hot(), fleet=fleet, now=timezone.now())

    assert (shown["n"], shown["n_odd"]) == (10, 3)
    assert sum(bar.n for bar in shown["bars"]) == 10
    assert sum(bar.n for bar in shown["bars"] if bar.severity == "high") == 1
    assert "3 of 10 readings at 0.3 or above" in text(charlie_client.get("/insights/scores"))


def test_without_readings_the_scores_say_so(charlie_client):
    assert "no judged reading in 15 minutes" in text(charlie_client.get("/insights/scores"))


def test_what_a_model_cannot_do_stands_on_the_page_with_its_date(charlie_client):
    assert "manage.py capability --quick" in text(charlie_client.get("/insights/"))
    kinds = [
        {"kind": kind, "n": 20, "found": found, "at_once": found, "median_delay_s": 30.0 if found else None,
         "layers": {"gate": {"n": 20, "found": found}}, "channels": {}}
        for kind, found in (("spike", 20), ("stuck", 0))
    ]  # fmt: skip
    CapabilityTable.objects.create(
        profile=Profile.objects.get(), is_simulated=True, starts_at=NOON, ends_at=NOON, measured_at=NOON, seconds=1.0,
        table={
            "interval_s": 30.0, "fault_length_s": [600, 14400], "motes": 2, "readings": 1000, "layers": ["gate"],
            "channels": [], "kinds": kinds,
            "clean": {"mote_weeks": 2.0, "events": 1, "per_mote_week": 0.5, "layers": {"gate": 0.0}},
        },
    )  # fmt: skip

    page = charlie_client.get("/insights/")

    assert "Single values far off 20 20 after 30 s 100" in text(page)
    assert "A value that no longer moves: 0 of 20 found." in text(page)
    assert "faults last 10 to 240 min" in text(page)
    assert "2026-03-02T12:00:00" in page.content.decode()


def test_the_feed_is_a_piece_of_page_of_its_own(charlie_client):
    answer = charlie_client.get("/insights/feed")

    assert "Nothing noticed yet" in text(answer)
    assert "<html" not in answer.content.decode()
