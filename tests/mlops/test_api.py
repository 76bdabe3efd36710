"""Models and their training over the API: read by everyone with a role, moved by engineers."""

from __future__ import annotations

import json

import pytest

from mlops.models import ModelVersion, TrainingJob
from tests.people import *  # noqa: F403


def post(client, address: str, **body: object):
    return client.post(f"/api/v1/{address}", json.dumps(body), content_type="application/json")


def test_versions_are_listed_with_what_they_were_measured_on(version, charlie_client):
    version()

    (one,) = charlie_client.get("/api/v1/models").json()

    assert (one["name"], one["stage"], one["profile"]) == ("indoor/anomaly_detector_v1_20260302", "candidate", "indoor")
    assert one["metrics"]["found_share"] == 0.9
    assert one["created_at"] == "2026-03-02T12:00:00Z"


def test_alice_promotes_a_version_and_the_one_before_is_archived(version, alice_client):
    first, second = version(), version()
    post(alice_client, f"models/{first.name}/promote")

    answer = post(alice_client, f"models/{second.name}/promote", why="fewer false alarms")

    assert (answer.status_code, answer.json()["stage"]) == (200, "production")
    assert list(ModelVersion.objects.order_by("number").values_list("stage", flat=True)) == ["archived", "production"]


def test_promoting_what_serves_already_or_cannot_be_loaded_is_a_conflict_with_a_sentence(version, alice_client):
    serving, broken = version(), version()
    post(alice_client, f"models/{serving.name}/promote")
    ModelVersion.objects.filter(pk=broken.pk).update(sha256="0" * 64)

    again, changed = (post(alice_client, f"models/{one.name}/promote") for one in (serving, broken))

    assert (again.status_code, changed.status_code) == (409, 409)
    assert "serves already" in again.json()["detail"]
    assert "SHA-256" in changed.json()["detail"]


def test_bob_may_neither_promote_nor_retrain(version, bob_client):
    one = version()

    answers = [post(bob_client, f"models/{one.name}/promote"), post(bob_client, "ml/retrain", profile="indoor")]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert "engineer" in answers[0].json()["detail"]
    assert not TrainingJob.objects.exists()


def test_a_retraining_starts_as_a_job_that_can_be_followed(indoor, alice_client):
    started = post(alice_client, "ml/retrain", profile="indoor", parameters={"days": 3})

    assert (started.status_code, started.json()["status"]) == (202, "retraining_started")
    job = alice_client.get(f"/api/v1/ml/jobs/{started.json()['job_id']}").json()
    assert (job["status"], job["trigger"], job["requested_by"], job["parameters"]["days"]) == (
        "queued", "api", "alice", 3.0,
    )  # fmt: skip


def test_the_only_profile_need_not_be_named(indoor, alice_client):
    assert post(alice_client, "ml/retrain").status_code == 202


def test_a_profile_is_trained_once_at_a_time(indoor, alice_client):
    post(alice_client, "ml/retrain", profile="indoor")

    second = post(alice_client, "ml/retrain", profile="indoor")

    assert second.status_code == 409
    assert "being trained already" in second.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"profile": "outdoor"}, "profile", "there are: indoor"),
        ({"parameters": {"days": -1}}, "parameters", "expected a number from 0"),
        ({"parameters": {"depth": 3}}, "parameters", "no parameter of a training"),
    ],
)
def test_a_wrong_order_is_refused_by_field(indoor, alice_client, body, field, words):
    problem = post(alice_client, "ml/retrain", **body).json()

    assert (problem["status"], problem["field"]) == (400, field)
    assert words in problem["detail"]


def test_an_unknown_version_or_job_is_not_found(indoor, alice_client):
    answers = [post(alice_client, "models/indoor/none/promote"), alice_client.get("/api/v1/ml/jobs/99")]

    assert [answer.status_code for answer in answers] == [404, 404]
