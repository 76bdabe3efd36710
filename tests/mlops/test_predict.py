"""Single readings by the API: judged by what serves, refused by the field, answered in their place in a batch."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from mlops import predicting, registry
from mlops.detection import Engine
from mlops.models import TrainingJob
from mlops.training_jobs import claim, request
from sensors.models import Mote, Profile
from sensors.readings import Formula
from tests import builders
from tests.conftest import NOON
from tests.mlops.conftest import LATER, indoor_days
from tests.people import *  # noqa: F403

CALM = {"temperature": 22.0, "humidity": 45.0, "light": 0.0, "voltage": 2.7}
FIRE = {**CALM, "temperature": 45.2}
DAMP = {"humidity": 90.12}
AT = "2026-03-03T00:00:00Z"


@pytest.fixture(autouse=True)
def fresh():
    """A process that has seen nothing yet, and looks each time it is asked."""
    predicting.predictor.cache_clear()
    predicting.predictor().look_s = 0.0
    yield
    predicting.predictor.cache_clear()


@pytest.fixture
def serving(version):
    return registry.promote(version(), who=None, why="test", now=NOON)


def post(client, address: str, body: object):
    return client.post(address, json.dumps(body), content_type="application/json")


def predict(client, **row: object):
    return post(client, "/api/v1/ml/predict/anomaly", row)


def test_a_reading_is_judged_with_its_reasons_and_what_was_assumed(serving, charlie_client):
    calm, fire = (predict(charlie_client, **row, timestamp=AT).json() for row in (CALM, FIRE))

    assert (calm["is_anomaly"], calm["severity"], calm["details"]["words"]) == (False, "low", "As usual")
    assert -0.3 < calm["anomaly_score"] <= 0.0
    assert (fire["is_anomaly"], fire["severity"]) == (True, "high")
    assert -1.0 <= fire["anomaly_score"] < -0.6
    assert fire["details"]["channel"] == "temperature"
    assert fire["details"]["words"].startswith("Temperature 45.2 °C, expected ")
    low, high = fire["expected"]["temperature"]
    assert 18 < low < 22 < high < 30
    assert max(fire["contributions"], key=fire["contributions"].get) == "temperature"
    assert fire["model_version"] == serving.name
    assert any("no mote" in words for words in fire["assumed"])
    assert fire["surprise"] > calm["surprise"]


def test_values_and_bands_are_said_as_finely_as_their_sensor_resolves(serving, charlie_client):
    hot, damp = (predict(charlie_client, **CALM | odd, timestamp=AT).json() for odd in ({"temperature": 45.23}, DAMP))

    assert re.fullmatch(
        r"Temperature 45\.2 °C, expected \d\d\.\d–\d\d\.\d °C; normal again at or below \d\d\.\d °C",
        hot["details"]["words"],
    )
    assert damp["details"]["words"].startswith("Humidity 90.1 %, expected ")


def test_what_follows_from_the_values_sent_is_said_with_its_value(charlie_client):
    gap = builders.channel(
        "gap", physical=(-100.0, 100.0), normal=(10.0, 30.0), formula=Formula("difference", ("humidity", "temperature"))
    )
    room = builders.profile(
        builders.channel(is_detected=False), builders.channel("humidity", unit="%", is_detected=False), gap, code="room"
    )
    builders.install_fleet(motes=("r1",), profile=room)
    rows = indoor_days(2.0)
    values = np.column_stack([rows.values[:, :2], rows.values[:, 1] - rows.values[:, 0]])
    learnt = Engine().fit(replace(rows, profile=room, values=values))
    of_room = Profile.objects.get(code="room")
    made = registry.register(learnt, profile=of_room, data={}, metrics={"found_share": 1.0}, job=None, now=NOON)
    registry.promote(made, who=None, why="test", now=NOON)

    told = predict(charlie_client, temperature=22.0, humidity=-20.0, profile="room", timestamp=AT).json()

    assert told["details"]["channel"] == "gap"
    assert told["details"]["words"].startswith("Gap −42.0 °C, expected ")


def test_a_named_mote_is_judged_as_that_mote_and_a_missing_time_is_said(serving, charlie_client):
    told = predict(charlie_client, **CALM, mote_id="7").json()

    assert told["mote_id"] == "7"
    assert "measured now" in told["assumed"]
    assert not any("no mote" in words for words in told["assumed"])


def test_a_mote_with_a_model_of_its_own_is_judged_by_that_one(serving, version, charlie_client):
    own = version(mote=Mote.objects.get(code="7"))
    registry.promote(own, who=None, why="test", now=NOON)

    told = post(charlie_client, "/api/v1/ml/predict/batch", [{**CALM, "mote_id": code} for code in ("7", "8")]).json()

    assert [one["model_version"] for one in told["predictions"]] == [own.name, serving.name]


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({**CALM, "light": "bright"}, "light", "light is 'bright'; expected a number"),
        ({key: CALM[key] for key in ("temperature", "humidity", "voltage")}, "light", "light is missing"),
        ({**CALM, "mote_id": "99"}, "mote_id", "no mote “99”"),
        ({**CALM, "timestamp": "yesterday"}, "timestamp", "expected ISO 8601"),
        ({**CALM, "timestamp": "2026-03-02T12:00:00"}, "timestamp", "has no time zone"),
        ({**CALM, "profile": "outdoor"}, "profile", "there are: indoor"),
        ({**CALM, "profile": "indoor", "colour": 3}, "colour", "has no channel “colour”"),
        ({**dict.fromkeys(CALM), "profile": "indoor"}, "temperature", "nothing to judge"),
        ([1, 2], "", "A reading is an object"),
    ],
)
def test_a_reading_that_cannot_be_judged_is_refused_by_its_field(serving, charlie_client, row, field, words):
    answer = post(charlie_client, "/api/v1/ml/predict/anomaly", row)

    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert words in answer.json()["detail"]


def test_a_batch_answers_each_row_in_its_place(serving, charlie_client):
    rows = [CALM, {**CALM, "light": None}, {**CALM, "humidity": "wet"}, FIRE]
    rows = [{**row, "timestamp": AT} for row in rows]  # at noon it would be odd that it is dark

    told = post(charlie_client, "/api/v1/ml/predict/batch", {"readings": rows, "profile": "indoor"}).json()

    assert (told["n"], told["n_anomalies"], told["n_errors"]) == (4, 1, 1)
    assert told["predictions"][2] == {
        "error": {
            "field": "humidity",
            "detail": "humidity is 'wet'; expected a number, or null where nothing was measured.",
        }
    }
    assert "without light" in told["predictions"][1]["assumed"]
    assert [one.get("is_anomaly") for one in told["predictions"]] == [False, False, None, True]


def test_one_by_one_and_in_a_batch_a_reading_is_judged_alike(serving, charlie_client):
    rows = [{**CALM, "temperature": value, "timestamp": AT} for value in (15.0, 21.0, 22.5, 30.0)]

    many = post(charlie_client, "/api/v1/ml/predict/batch", rows).json()["predictions"]

    assert many == [post(charlie_client, "/api/v1/ml/predict/anomaly", row).json() for row in rows]


def test_too_many_readings_at_once_are_refused(serving, charlie_client):
    answer = post(charlie_client, "/api/v1/ml/predict/batch", [CALM] * 10_001)

    assert answer.status_code == 400
    assert "10,001 readings; at most 10,000" in answer.json()["detail"]


def test_without_a_model_predict_is_503_with_the_reason_and_info_404(indoor, charlie_client):
    answers = [predict(charlie_client, **CALM), post(charlie_client, "/api/v1/ml/predict/batch", [CALM])]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert "No model serves profile indoor yet" in answers[0].json()["detail"]
    assert "fallback" in answers[0].json()["detail"]
    assert charlie_client.get("/api/v1/ml/model/info").status_code == 404


def test_a_promotion_holds_from_the_next_prediction_on(serving, version, charlie_client):
    assert predict(charlie_client, **CALM).json()["model_version"] == serving.name
    second = registry.promote(version(), who=None, why="newer", now=LATER)

    assert predict(charlie_client, **CALM).json()["model_version"] == second.name
    info = charlie_client.get("/api/v1/ml/model/info").json()
    assert (info["model_version"], info["stage"], info["metrics"]["found_share"]) == (second.name, "production", 0.9)


def test_mallory_may_not_ask(serving, mallory):
    assert predict(mallory, **CALM).status_code == 401


# ---- the smoke system's shape ---------------------------------------------------------------------------------


def test_the_smoke_systems_programs_find_their_own_shape(fitted, charlie_client):
    smoke = builders.profile(
        builders.channel("temperature", aliases=("Temperature[C]",)),
        builders.channel("humidity", aliases=("Humidity[%]",), physical=(0.0, 100.0), normal=(20.0, 70.0)),
        code="smoke",
    )
    builders.install_fleet(motes=("s1",), profile=smoke)
    rows = indoor_days(2.0)
    learnt = Engine().fit(replace(rows, profile=smoke, values=rows.values[:, :2].copy()))
    version = registry.register(
        learnt, profile=Profile.objects.get(code="smoke"), data={}, metrics={"found_share": 1.0}, job=None, now=NOON
    )
    registry.promote(version, who=None, why="test", now=NOON)

    calm_now = {"Temperature[C]": 22.0, "Humidity[%]": 45.0, "timestamp": AT}
    fire = post(charlie_client, "/predict", {**calm_now, "Temperature[C]": 49.0, "UTC": 1, "CNT": 2}).json()
    calm = post(charlie_client, "/predict", calm_now).json()
    info = charlie_client.get("/model/info").json()

    assert (fire["prediction"], fire["prediction_label"]) == (1, "fire")
    assert (calm["prediction"], calm["prediction_label"]) == (0, "no_fire")
    assert fire["confidence"]["fire"] + fire["confidence"]["no_fire"] == pytest.approx(1.0)
    assert fire["model_info"]["version"] == info["version"] == version.name
    assert info["feature_count"] == len(version.features)
    assert post(charlie_client, "/predict", {"Temperature[C]": 22.0}).json()["field"] == "humidity"


# ---- jobs -----------------------------------------------------------------------------------------------------


def test_each_mote_is_trained_in_a_job_of_its_own(indoor, alice_client):
    request("indoor", trigger="person", who=None, now=NOON, mote=Mote.objects.get(code="7"))

    told = post(alice_client, "/api/v1/ml/train", {"profile": "indoor", "each_mote": True}).json()

    assert told["status"] == "retraining_started"
    assert [TrainingJob.objects.get(pk=pk).mote.code for pk in told["job_ids"]] == ["8"]
    assert "Mote main/7 is being trained already" in told["refused"][0]
    assert told["estimated_time"].startswith("unknown")
    assert post(alice_client, "/api/v1/ml/train", {"profile": "indoor", "mote_id": "8"}).status_code == 409
    wrong = post(alice_client, "/api/v1/ml/train", {"profile": "indoor", "mote_id": "9"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "mote_id")


def test_how_long_it_will_take_is_told_by_the_last_ones(indoor, alice_client):
    job = request("indoor", trigger="person", who=None, now=NOON)
    claim(job, now=NOON)
    TrainingJob.objects.update(status="succeeded", finished_at=NOON + timedelta(seconds=18))

    told = post(alice_client, "/api/v1/ml/retrain", {"profile": "indoor"}).json()

    assert told["estimated_time"] == "about 18 s, as the last 1 took"


def test_jobs_are_listed_and_a_queued_one_is_cancelled_by_an_engineer(indoor, alice_client, bob_client):
    pk = post(alice_client, "/api/v1/ml/retrain", {"profile": "indoor"}).json()["job_id"]

    assert post(bob_client, f"/api/v1/ml/jobs/{pk}/cancel", {}).status_code == 403
    assert post(alice_client, f"/api/v1/ml/jobs/{pk}/cancel", {}).json()["status"] == "cancelled"
    assert post(alice_client, f"/api/v1/ml/jobs/{pk}/cancel", {}).status_code == 409
    listed = alice_client.get("/api/v1/ml/jobs?status=cancelled").json()
    assert [one["id"] for one in listed["results"]] == [pk]
    assert alice_client.get("/api/v1/ml/jobs?status=lost").status_code == 400


def test_rolling_back_by_the_api(version, alice_client, bob_client):
    first, second = version(), version()
    for one in (first, second):
        registry.promote(one, who=None, why="test", now=NOON)

    assert post(bob_client, "/api/v1/models/rollback", {"profile": "indoor"}).status_code == 403
    assert post(alice_client, "/api/v1/models/rollback", {"profile": "indoor"}).json()["name"] == first.name
    assert post(alice_client, "/api/v1/models/rollback", {"profile": "indoor"}).status_code == 409


def test_a_version_that_serves_by_name_only_is_told_wherever_one_looks_with_the_command_that_retrains(
    serving, charlie_client
):
    """Its artefact is of an older release, say: the row says production, and nothing of it can judge."""
    good = registry._read(serving.artefact)
    default_storage.delete(serving.artefact)

    info = charlie_client.get("/api/v1/ml/model/info?profile=indoor")
    refused = predict(charlie_client, **CALM)
    models, insights = (charlie_client.get(address).content.decode() for address in ("/models/", "/insights/"))

    assert (info.status_code, refused.status_code) == (404, 503)
    for words in (info.json()["detail"], refused.json()["detail"]):
        assert words.startswith(f"{serving.name} is in production and judges nothing (The artefact of")
        assert words.endswith("manage.py train --profile indoor")
    for page in (models, insights):
        assert "cannot be loaded" in page
        assert "python manage.py train --profile indoor" in page
        assert "v1 serves" not in page

    default_storage.save(serving.artefact, ContentFile(good))
    predicting.predictor.cache_clear()
    assert charlie_client.get("/api/v1/ml/model/info?profile=indoor").json()["trouble"] is None
    assert "cannot be loaded" not in charlie_client.get("/models/").content.decode()


def test_where_an_older_version_goes_on_judging_the_answer_names_the_one_that_should(version, charlie_client):
    first, second = version(), version()
    registry.promote(first, who=None, why="test", now=NOON)
    predict(charlie_client, **CALM)
    registry.promote(second, who=None, why="test", now=NOON)
    default_storage.delete(second.artefact)

    told = charlie_client.get("/api/v1/ml/model/info?profile=indoor").json()

    assert told["model_version"] == first.name
    assert told["trouble"].startswith(f"The artefact of {second.name} is not at ")
    assert told["trouble"].endswith("manage.py train --profile indoor")
