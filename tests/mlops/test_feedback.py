"""What people say of alerts and stretches: precision, what training learns, what the gate asks."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.models import Alert, Event, Judgement
from mlops import feedback, history, training, training_jobs
from mlops.models import Label
from sensors.models import AuditEntry, Mote
from sensors.registry import current_fleet
from tests.conftest import NOON
from tests.mlops.test_training import END, readings, running  # noqa: F401  (a fixture)
from tests.people import *  # noqa: F403

HOUR = timedelta(hours=1)


def judged(mote: Mote, verdict: str, *, start, end, number: int = 1) -> Alert:
    alert = Alert.objects.create(
        subject=f"mote:main/{mote.code}", kind="anomaly", status="closed", severity="high", mote=mote, words="odd",
        first_seen_at=start, last_seen_at=end,
    )  # fmt: skip
    Event.objects.create(
        mote=mote, alert=alert, noticed_at=start, started_at=start, last_at=end, n_readings=9, peak_surprise=9.0,
        peak_at=start, peak_channel="temperature", layer="level", words="odd", model_version=number,
    )  # fmt: skip
    Judgement.objects.create(alert=alert, verdict=verdict, by=None, at=end)
    return alert


@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_the_interval_holds_the_share_and_narrows_with_more_judgements(n, share):
    right = round(share * n)
    low, high = feedback.wilson(right, n)
    tighter_low, tighter_high = feedback.wilson(right * 4, n * 4)

    assert 0.0 <= low <= right / n <= high <= 1.0
    assert tighter_high - tighter_low < high - low


def test_precision_counts_the_last_word_on_each_alert_by_the_version_that_raised_it(indoor, charlie_client):
    mote = Mote.objects.first()
    for hour, verdict in enumerate(("real", "real", "expected", "false")):
        alert = judged(mote, verdict, start=NOON + hour * HOUR, end=NOON + (hour + 0.5) * HOUR, number=2)
    judged(mote, "new_normal", start=NOON + 9 * HOUR, end=NOON + 10 * HOUR, number=1)
    Judgement.objects.create(alert=alert, verdict="real", by=None, at=NOON + 30 * HOUR)

    newer, older = charlie_client.get("/api/v1/ml/precision").json()

    assert (newer["number"], newer["n"], newer["real"], newer["precision"]) == (2, 4, 3, 1.0)
    assert (older["number"], older["n"], older["precision"]) == (1, 1, 0.0)
    assert newer["low"] < 0.52 < older["high"]
    assert "51.0 % to 100 %" in charlie_client.get("/models/watch/").content.decode()


def test_bob_labels_what_was_missed_and_charlie_may_only_look(indoor, bob_client, charlie_client):
    body = {"site": "main", "mote": "7", "kind": "missed", "channel": "temperature",
            "starts_at": NOON.isoformat(), "ends_at": (NOON + HOUR).isoformat()}  # fmt: skip

    def post(client, **changes):
        return client.post("/api/v1/labels", json.dumps({**body, **changes}), content_type="application/json")

    assert post(charlie_client).status_code == 403
    assert post(bob_client, kind="strange").status_code == 400
    backwards = post(bob_client, ends_at=(NOON - HOUR).isoformat())
    assert (backwards.status_code, "must begin before it ends" in backwards.content.decode()) == (400, True)
    assert post(bob_client).status_code == 201
    assert post(bob_client, note="seen on the chart").status_code == 201

    (label,) = charlie_client.get("/api/v1/labels").json()
    assert (label["kind"], label["source"], label["note"]) == ("missed", "person", "seen on the chart")
    assert AuditEntry.objects.filter(deed="label_stretch", who__username="bob").count() == 2


def test_training_leaves_out_what_was_confirmed_and_learns_what_is_normal(readings):  # noqa: F811
    first, second = Mote.objects.order_by("pk")
    judged(first, "real", start=NOON + 10 * HOUR, end=NOON + 12 * HOUR)
    Label.objects.create(
        mote=second, kind="normal", source="person", starts_at=NOON + 20 * HOUR, ends_at=NOON + 22 * HOUR
    )
    job = running(training_jobs.request("indoor", trigger="person", who=None, now=END))

    left_out = training.train(job, now=END).version.data["left_out"]

    assert left_out == {"labelled": 25}  # two hours of five minutes, both ends


def test_from_a_new_normal_on_the_past_of_its_mote_is_left_out(readings):  # noqa: F811
    mote = Mote.objects.order_by("pk").first()
    judged(mote, "new_normal", start=NOON + 24 * HOUR, end=NOON + 25 * HOUR)
    job = running(training_jobs.request("indoor", trigger="person", who=None, now=END))

    left_out = training.train(job, now=END).version.data["left_out"]

    assert left_out == {"before_new_normal": 24 * 12}


def test_a_new_normal_of_this_morning_leaves_the_mote_its_past(indoor):
    mote = Mote.objects.first()
    judged(mote, "new_normal", start=END - 3 * HOUR, end=END - 2 * HOUR)

    assert history.to_leave_out(current_fleet(), NOON, END).outlived == ()


@pytest.mark.parametrize("said", ["real", "missed"])
def test_what_people_confirm_is_asked_of_every_candidate(indoor, said):
    mote = Mote.objects.first()
    if said == "real":
        judged(mote, "real", start=NOON, end=NOON + HOUR)
    else:
        Label.objects.create(mote=mote, kind="missed", source="person", starts_at=NOON, ends_at=NOON + HOUR)
    judged(mote, "false", start=NOON + 5 * HOUR, end=NOON + 6 * HOUR)

    assert feedback.confirmed("indoor", END) == [(mote.pk, NOON, NOON + HOUR)]
    assert feedback.confirmed("indoor", END + timedelta(days=200)) == []
