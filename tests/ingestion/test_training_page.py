"""The pages of a model's making: trainings, cards, two versions, what scored a reading."""

from __future__ import annotations

import pytest

from mlops import registry, serving, training_jobs
from mlops.models import TrainingJob
from sensors.models import Mote
from tests.conftest import NOON
from tests.mlops.conftest import LATER, METRICS, alice, fitted, indoor, version  # noqa: F401
from tests.mlops.test_tracing import scored, seven  # noqa: F401
from tests.people import *  # noqa: F403


def page(client, address: str, **query: object) -> str:
    return client.get(address, query).content.decode()


def test_an_engineer_asks_for_a_training_and_sees_it_in_the_list(indoor, alice_client):  # noqa: F811
    answer = alice_client.post(
        "/models/training/start", {"profile": "indoor", "days": "3", "promote": "never"}, follow=True
    )

    job = TrainingJob.objects.get()
    assert (job.parameters["days"], job.parameters["promote"], job.trigger) == (3.0, "never", "person")
    assert "1 training asked for." in answer.content.decode()
    assert f"#{job.pk}" in answer.content.decode()
    assert f"/api/v1/ml/jobs/{job.pk}/cancel" in answer.content.decode()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"days": "3", "start": "2026-03-01T00:00Z"}, "give one of them"),
        ({"scope": "99"}, "has no such mote"),
        ({"days": "-1"}, "greater than or equal to 0.1"),
    ],
)
def test_what_cannot_be_trained_is_said_on_the_page(indoor, alice_client, asked, words):  # noqa: F811
    answer = alice_client.post("/models/training/start", {"profile": "indoor", **asked})

    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not TrainingJob.objects.exists()


def test_each_mote_at_once_is_told_as_one_with_those_that_failed(indoor, alice_client):  # noqa: F811
    alice_client.post("/models/training/start", {"profile": "indoor", "scope": "each"})
    first, _ = TrainingJob.objects.order_by("pk")
    training_jobs.claim(first, now=NOON)
    TrainingJob.objects.filter(pk=first.pk).update(status="failed", message="Mote main/7 has 24 clean readings")

    told = page(alice_client, "/models/training/")

    assert "2 motes at once" in told
    assert "<strong>main/7</strong> failed: Mote main/7 has 24 clean readings" in told
    assert "1 wait or run" in told


def test_bob_may_look_and_not_train(indoor, bob_client):  # noqa: F811
    assert bob_client.post("/models/training/start", {"profile": "indoor"}).status_code == 403
    assert "<form" not in page(bob_client, "/models/training/").split('id="main"')[1]


def test_figures_over_versions_are_drawn_with_a_table_beside(version, charlie_client):  # noqa: F811
    for share in (0.5, 0.9, 0.8):
        version(metrics={**METRICS, "found_share": share})

    told = page(charlie_client, "/models/training/")

    assert told.count('r="4"') == 9
    assert "Share of planted faults found" in told
    assert "0.90" in told


def test_a_card_says_what_a_version_learnt_and_what_it_cannot_detect(version, charlie_client):  # noqa: F811
    one = version(metrics={**METRICS, "n_found": 21, "n_planted": 24})
    registry.promote(one, who=None, why="fewer false alarms", now=LATER)
    serving.record_serving(one, topic="sensor-readings", partition=0, from_offset=12345, who="me", why="x", now=LATER)

    told = page(charlie_client, f"/models/card/{one.name}/")

    assert "3 of 24 faults that were planted" in told
    assert "What it cannot detect" in told
    assert f"/api/v1/models/{one.name}/bundle" in told
    assert "12345" in told
    assert "fewer false alarms" in told
    assert charlie_client.get("/models/card/indoor/none/").status_code == 404


def test_two_versions_stand_side_by_side_and_differences_are_marked(version, charlie_client):  # noqa: F811
    one, two = version(), version(metrics={**METRICS, "flagged_share": 0.02})

    told = page(charlie_client, "/models/beside/", a=one.name, b=two.name)

    assert "<strong>0.10 %</strong>" in told
    assert "<strong>2.00 %</strong>" in told
    assert charlie_client.get("/models/beside/", {"a": one.name, "b": "nothing"}).status_code == 404


def test_the_models_page_tells_what_served_when_and_offers_the_way_back(version, alice_client, charlie_client):  # noqa: F811
    one, two = version(), version()
    for each in (one, two):
        registry.promote(each, who=None, why="test", now=NOON)
        serving.record_serving(each, topic="t", partition=0, from_offset=each.number, who="me", why="x", now=NOON)

    told = page(alice_client, "/models/")

    assert "What served when" in told
    assert 'data-rollback="indoor"' in told
    assert "data-rollback" not in page(charlie_client, "/models/")
    assert f"/models/card/{one.name}/" in told


def test_which_model_scored_a_reading_is_answered_on_a_page(scored, charlie_client):  # noqa: F811
    told = page(charlie_client, "/models/scored/", mote_id="7", at="2026-03-02T13:55Z")

    assert "indoor/anomaly_detector_v1_20260302" in told
    assert Mote.objects.filter(code="7").exists()
    missing = charlie_client.get("/models/scored/", {"mote_id": "99", "at": "2026-03-02T13:55Z"})
    assert (missing.status_code, "no mote “99”" in missing.content.decode()) == (404, True)
    assert charlie_client.get("/models/scored/").status_code == 200
