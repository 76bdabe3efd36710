"""What people and programs see of the record: the Forecast page, risks and accuracy."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from mlops.forecasts import record
from mlops.models import Kind, TrainingJob
from sensors.models import Mote, Profile
from sensors.registry import current_fleet
from sensors.stores import hot
from tests.builders import install_fleet
from tests.mlops.forecasts.issued import STEP, measured, risk, said
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def now():
    return timezone.now().replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def foretold(now):
    """Two motes: 7 may become too warm, 8 surely not. What 7 was told an hour ago is over."""
    install_fleet(motes=("7", "8"))
    seven, eight = Mote.objects.order_by("code")
    measured(now - 2 * HOUR, np.full(25, 21.0), mote=seven.pk)
    earlier, warm = now - HOUR - 2 * STEP, (now + HOUR / 2).isoformat().replace("+00:00", "Z")
    record.keep([said(earlier, np.full(12, 21.5), mote=seven.pk, risks=[risk(28.0, 0.15)])], now=earlier)
    record.score(now, store=hot(), fleet=current_fleet())
    likely = risk(28.0, 0.62, at=warm, earliest=warm, latest=warm)
    record.keep(
        [said(now, np.full(12, 22.0), mote=seven.pk, risks=[likely, risk(50.0, 0.0)]),
         said(now, np.full(12, 20.0), mote=eight.pk, risks=[risk(28.0, 0.05)])], now=now,
    )  # fmt: skip
    return seven


def test_the_page_puts_the_likeliest_mote_first_and_says_what_was_said_before(foretold, charlie_client):
    page = charlie_client.get("/forecast/").content.decode()

    assert page.index("?mote=main/7") < page.index("?mote=main/8")
    assert "Temperature passes 28 °C at about" in page
    assert "probability 62 % (normal band)" in page
    assert "too few to judge (0 of 20)" in page
    assert "What was said a day before, against what came" in page


def test_a_mote_that_was_asked_for_is_the_one_that_is_shown(foretold, charlie_client):
    page = charlie_client.get("/forecast/?mote=main/8").content.decode()

    assert '<a href="/motes/main/8/">Mote 8</a>' in page


def test_channels_without_a_forecast_are_named_with_the_reason_and_a_mote_that_is_not_there_as_well(
    foretold, charlie_client
):
    page = charlie_client.get("/forecast/?mote=main/99").content.decode()

    assert "No mote <strong>main/99</strong> is forecast here" in page
    assert "No forecast version serves profile indoor yet; train one: manage.py train --profile indoor" in page


def test_without_a_forecast_the_page_says_what_to_do(charlie_client):
    install_fleet()

    page = charlie_client.get("/forecast/").content.decode()

    assert "python manage.py train --kind forecast --profile indoor" in page


def test_the_page_tells_how_far_its_first_training_is_or_why_it_came_to_nothing(alice_client, charlie_client):
    install_fleet()
    assert "Train forecasts" in alice_client.get("/forecast/").content.decode()
    assert "Train forecasts" not in charlie_client.get("/forecast/").content.decode()

    TrainingJob.objects.create(
        profile=Profile.objects.get(), kind=Kind.FORECAST, status=TrainingJob.Status.RUNNING, trigger="test",
        queued_at=timezone.now(), progress=0.6, message="Learning light",
    )  # fmt: skip
    page = charlie_client.get("/forecast/").content.decode()

    assert "The first forecasts are being learnt" in page
    assert "Learning light" in page
    assert 'value="0.600"' in page

    TrainingJob.objects.update(status=TrainingJob.Status.FAILED, message="26 hours are too few.")
    assert "came to nothing: 26 hours are too few." in charlie_client.get("/forecast/").content.decode()


def test_nobody_sees_forecasts_without_an_account(foretold, mallory):
    assert mallory.get("/forecast/").status_code == 302
    assert mallory.get("/api/v1/risks").status_code in (401, 403)


def test_risks_are_told_by_chance_with_their_record(foretold, charlie_client):
    answer = charlie_client.get("/api/v1/risks").json()

    assert [(one["mote"], one["probability"], one["level"]) for one in answer["risks"]] == [
        ("7", 0.62, "high"), ("8", 0.05, "low"), ("7", 0.0, "low"),
    ]  # fmt: skip
    first = answer["risks"][0]
    assert first["limit"] == {"name": "normal band", "value": 28.0, "is_upper": True, "unit": "°C"}
    assert first["track_record"]["words"] == "too few to judge (0 of 20)"
    assert first["track_record"]["n_forecasts"] == 1
    assert charlie_client.get("/api/v1/risks?level=medium").json()["n"] == 1
    assert charlie_client.get("/api/v1/risks?mote=8").json()["n"] == 1


@pytest.mark.parametrize(
    ("name", "there"), [("profile", "indoor"), ("mote", "7, 8"), ("channel", "temperature"), ("site", "main")]
)
def test_a_slip_in_what_risks_are_asked_of_is_refused_and_not_read_as_no_risk(foretold, charlie_client, name, there):
    refused = charlie_client.get("/api/v1/risks", {name: "slip"})

    assert (refused.status_code, refused.json()["field"]) == (400, name)
    assert f"There is no {name} “slip”; there are: " in refused.json()["detail"]
    assert there in refused.json()["detail"]


def test_accuracy_is_told_by_how_far_ahead_and_refuses_what_is_no_profile(foretold, charlie_client):
    answer = charlie_client.get("/api/v1/ml/forecast/accuracy?profile=indoor&days=2").json()

    (stretch,) = answer["stretches"]
    assert (stretch["channel"], stretch["ahead_h"], stretch["n"]) == ("temperature", 1, 12)
    assert stretch["mae"] == pytest.approx(0.5)
    assert (stretch["within80"], stretch["skill"]) == (1.0, None)
    assert answer["reliability"] == [{"start": 0.1, "n": 1, "stated": 0.15, "passed": 0.0}]

    refused = charlie_client.get("/api/v1/ml/forecast/accuracy?profile=nothing")
    assert refused.status_code == 400
    assert "There is no profile “nothing”; there are: indoor" in refused.content.decode()
