"""A candidate beside what serves, on the live readings: agreement, a queue for people, and no verdict changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.core.files.storage import default_storage

from mlops import disagreeing, registry, shadowing
from mlops.models import Label, ModelVersion, Review, ShadowRun
from sensors.lake import lake
from sensors.models import Mote
from sensors.registry import current_fleet
from tests.conftest import NOON
from tests.mlops.conftest import METRICS, indoor_days
from tests.mlops.test_retraining import deaf, with_a_fault
from tests.people import *  # noqa: F403

LATER = NOON + timedelta(days=3)


@pytest.fixture
def serving(version):
    return registry.promote(version(), who=None, why="first", now=NOON)


@pytest.fixture
def candidate(indoor, fitted, serving):
    """A deaf one: it never alarms."""
    card = {"profile": indoor, "data": {"readings_used": 10}, "metrics": METRICS, "job": None, "now": NOON}
    return registry.register(deaf(fitted), **card)


@pytest.fixture
def live(indoor, fitted):
    """Two days of two motes, one with a fault, judged by what serves and stored."""
    motes = tuple(Mote.objects.order_by("pk").values_list("pk", flat=True))
    days, stretch = with_a_fault(indoor_days(2.0, motes, seed=5), mote=motes[0])
    days = days.take(np.argsort(days.at, kind="stable"))
    days = replace(days, offset=np.arange(len(days), dtype=np.int64))
    _, judged, _ = fitted.numbered(1).step(fitted.start(), days)
    return judged, stretch


def store(judged, begin: int, end: int) -> None:
    part = judged.take(slice(begin, end))
    lake().append("silver/indoor", part.to_table(), app_ids={0: "sensor-readings/0"}, next_offsets={0: end})


def follow() -> int:
    return shadowing.follow_all(LATER - timedelta(days=1), lake=lake(), fleet=current_fleet(), storage=default_storage)


def test_disagreements_are_the_same_rows_that_only_one_calls_anomalous(fitted, live):
    judged, (mote, begin, end) = live
    silent = replace(judged, is_anomaly=np.zeros(len(judged), dtype=np.bool_), surprise=judged.surprise * 0)

    said = disagreeing.counts(judged, silent)
    found = disagreeing.disagreements(judged, silent)

    assert said.n_only_serving == judged.is_anomaly.sum() == sum(one.n_readings for one in found) > 0
    assert {one.kind for one in found} == {"only_serving"}
    assert any(one.mote == mote and begin <= one.first_at <= end for one in found)
    assert disagreeing.disagreements(judged, judged) == []


def test_what_is_drawn_by_lot_hangs_on_the_hour_alone(live):
    judged, _ = live
    half = len(judged) // 2

    whole = disagreeing.audits(judged, judged, seed=7)
    parts = [disagreeing.audits(judged.take(part), judged.take(part), seed=7)
             for part in (slice(0, half), slice(half, None))]  # fmt: skip

    assert len(whole) == 48
    assert {one.mote for one in whole} == set(np.unique(judged.mote).tolist())
    assert {(one.mote, one.first_at) for one in whole} <= {(one.mote, one.first_at) for part in parts for one in part}


def test_a_candidate_follows_what_is_stored_and_changes_nothing_of_it(candidate, live, alice_client, bob_client):
    judged, _ = live
    answer = alice_client.post(
        "/api/v1/ml/shadows", json.dumps({"version": candidate.name}), content_type="application/json"
    )
    ShadowRun.objects.update(started_at=NOON)
    assert (answer.status_code, ModelVersion.objects.get(pk=candidate.pk).stage) == (201, "shadow")
    store(judged, 0, 500)
    before = lake().scan("silver/indoor").collect()

    assert follow() == 500
    assert follow() == 0
    assert before.equals(lake().scan("silver/indoor").collect())
    store(judged, 500, len(judged))
    assert follow() == len(judged) - 500

    run = ShadowRun.objects.get()
    assert (run.n_readings, run.n_only_serving, run.n_only_candidate) == (len(judged), judged.is_anomaly.sum(), 0)
    assert run.agreement == 1 - judged.is_anomaly.mean()
    assert registry.production("indoor").name != candidate.name
    (first, *_) = bob_client.get("/api/v1/ml/reviews").json()["results"]
    assert (first["kind"], first["site"]) == ("only_serving", "main")
    page = bob_client.get("/models/review/").content.decode()
    assert "in shadow" in page
    assert "A fault" in page


def test_a_state_that_was_saved_goes_on_as_if_it_had_never_stopped(candidate, live, alice):
    judged, _ = live
    shadowing.start(candidate, who=alice, now=NOON)
    for begin in range(0, len(judged), 300):
        store(judged, begin, min(begin + 300, len(judged)))
        follow()
    in_parts = ShadowRun.objects.get()
    reviews = set(Review.objects.filter(kind="only_serving").values_list("mote", "starts_at", "ends_at", "n_readings"))
    in_parts.delete()
    ModelVersion.objects.filter(pk=candidate.pk).update(stage="candidate")

    shadowing.start(candidate, who=alice, now=NOON)
    follow()
    whole = ShadowRun.objects.get()

    assert (in_parts.n_readings, in_parts.n_only_serving) == (whole.n_readings, whole.n_only_serving)
    again = set(Review.objects.filter(kind="only_serving").values_list("mote", "starts_at", "ends_at", "n_readings"))
    assert reviews == again


def test_one_click_settles_a_stretch_once_and_labels_it(candidate, live, alice, bob, bob_client, charlie_client):
    judged, _ = live
    run = shadowing.start(candidate, who=alice, now=NOON)
    store(judged, 0, len(judged))
    follow()
    first = Review.objects.filter(kind="only_serving").first()

    assert charlie_client.post(f"/models/review/{first.pk}/settle", {"verdict": "fault"}).status_code == 403
    assert bob_client.post(f"/models/review/{first.pk}/settle", {"verdict": "fault"}).status_code == 302
    again = bob_client.post(
        f"/api/v1/ml/reviews/{first.pk}/settle", json.dumps({"verdict": "normal"}), content_type="application/json"
    )

    assert (again.status_code, again.json()["detail"]) == (409, "bob has said already that it was fault.")
    label = Label.objects.get(source="person")
    assert (label.mote_id, label.kind, label.starts_at) == (first.mote_id, "fault", first.starts_at)
    assert shadowing.tally(run)["serving_right"] == 1
    assert first.pk not in [one["id"] for one in bob_client.get("/api/v1/ml/reviews").json()["results"]]


def test_the_rarest_and_strongest_disagreement_comes_first(indoor, candidate, alice):
    run = shadowing.start(candidate, who=alice, now=NOON)
    often, seldom = Mote.objects.order_by("pk")

    def disagree(mote, hour, by):
        at = int((NOON + timedelta(hours=hour)).timestamp() * 1e6)
        shadowing.enqueue(run, disagreeing.Stretch(mote.pk, "only_serving", at, at + 60_000_000, 3, by, 0.0), 4.0)

    for hour in range(5):
        disagree(often, hour, 9.0)
    disagree(seldom, 1, 8.0)
    disagree(seldom, 30, 5.0)

    queue = list(Review.objects.filter(verdict="").values_list("mote", "serving_surprise"))

    assert queue[:2] == [(often.pk, 9.0), (seldom.pk, 8.0)]
    assert queue[-1] == (often.pk, 9.0)


def test_a_version_that_is_promoted_or_stopped_follows_no_more(candidate, live, alice, alice_client):
    judged, _ = live
    run = shadowing.start(candidate, who=alice, now=NOON)
    with pytest.raises(shadowing.CannotShadow, match="runs in shadow already"):
        shadowing.start(candidate, who=alice, now=NOON)
    assert alice_client.post(f"/models/review/{run.pk}/stop").status_code == 302
    assert ModelVersion.objects.get(pk=candidate.pk).stage == "candidate"

    candidate.refresh_from_db()
    shadowing.start(candidate, who=alice, now=NOON)
    registry.promote(candidate, who=alice, why="try it", now=NOON)
    store(judged, 0, 100)

    assert follow() == 0
    assert not ShadowRun.objects.filter(stopped_at=None).exists()
    assert registry.production("indoor") == candidate
    with pytest.raises(shadowing.CannotShadow, match="serves already"):
        shadowing.start(ModelVersion.objects.get(pk=candidate.pk), who=alice, now=NOON)
