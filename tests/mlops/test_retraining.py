"""When models are trained again, who decides, and old against new on the same days."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from mlops import comparing, gate, policies, registry, retraining, training, training_jobs
from mlops.detection import VOTES, Engine
from mlops.models import Label, ModelVersion, TrainingJob
from sensors.models import AuditEntry, Mote, ProcessHeartbeat
from sieis_site.schedule import install_schedule
from tests.conftest import NOON
from tests.mlops.conftest import LATER, METRICS, indoor_days
from tests.mlops.test_training import END, readings, running  # noqa: F401  (a fixture)
from tests.people import *  # noqa: F403


def first_one():
    """The version that serves, whatever the gate says of two rooms of noise."""
    always = {"promote": "always"}
    job = training_jobs.request("indoor", trigger="person", who=None, now=END, parameters=always)
    return training.train(running(job), now=END)


def with_a_fault(days, mote=1, at_h=30.0, hours=3.0, by=9.0):
    """The same days with the temperature of a mote off for some hours."""
    values = days.values.copy()
    begin = int(days.at.min() + at_h * 3.6e9)
    ill = (days.mote == mote) & (days.at >= begin) & (days.at < begin + hours * 3.6e9)
    values[ill, 0] += by
    return type(days)(**{**{name: getattr(days, name) for name in days.__slots__}, "values": values}), (
        mote, begin, begin + int(hours * 3.6e9),
    )  # fmt: skip


def deaf(fitted):
    """The same model with limits so wide that nothing is an anomaly."""
    arrays = {name: {**own, "surprise": np.zeros_like(own["surprise"])} if "surprise" in own else own
              for name, own in fitted.arrays.items()}  # fmt: skip
    return replace(fitted, arrays=arrays)


# ---- old against new --------------------------------------------------------------------------------------------


def test_a_model_beside_itself_gains_and_loses_nothing(fitted):
    days, _ = with_a_fault(indoor_days(2.0, seed=5))

    same = comparing.compare(fitted, fitted, days)

    assert same["gained"]["n"] == same["lost"]["n"] == 0
    assert same["serving"] == same["candidate"]
    assert same["serving"]["n_events"] >= 1
    assert sum(same["serving"]["scores"]) <= len(days)


def test_what_a_deaf_model_would_not_tell_is_lost_and_named(fitted):
    days, (mote, begin, end) = with_a_fault(indoor_days(2.0, seed=5))

    found = comparing.compare(fitted, deaf(fitted), days)

    assert found["candidate"]["n_events"] == 0
    assert found["lost"]["n"] == found["serving"]["n_events"] >= 1
    assert any(one["mote"] == mote and begin <= one["started_at_us"] <= end for one in found["lost"]["first"])
    assert comparing.finds(fitted, days, (mote, begin, end))
    assert not comparing.finds(deaf(fitted), days, (mote, begin, end))


def test_a_candidate_that_loses_a_confirmed_event_is_refused_with_the_reason():
    verdict = gate.judge({**METRICS, "confirmed_lost": 1}, METRICS)

    assert not verdict.promote
    assert "confirmed events that it would lose: 1, at most 0 wanted" in verdict.words


def test_with_an_engineer_to_decide_a_good_candidate_waits():
    verdict = gate.judge(METRICS, METRICS, "manual")

    assert not verdict.promote
    assert verdict.words == "Waits for an engineer; it passes the gate."


def test_a_second_training_is_kept_beside_what_served(readings):  # noqa: F811
    first = first_one()
    second = training.train(running(training_jobs.request("indoor", trigger="person", who=None, now=END)), now=END)

    kept = ModelVersion.objects.get(pk=second.version.pk).metrics

    assert kept["comparison"]["with"] == first.version.name
    assert kept["confirmed_lost"] == 0
    assert kept["comparison"]["serving_metrics"]["found_share"] == kept["found_share"]


def test_a_worse_model_that_is_planted_never_serves(readings, alice_client):  # noqa: F811
    serving = first_one().version
    job = running(training_jobs.request("indoor", trigger="schedule", who=None, now=END))
    nearly_blind = partial(Engine, without=[name for name in VOTES if name != "gate"])

    worse = training.train(job, now=END, engine=nearly_blind).version

    assert (worse.stage, registry.production("indoor")) == ("candidate", serving)
    assert "share of planted faults found: 0 %, at least" in TrainingJob.objects.get(pk=job.pk).message
    page = alice_client.get(f"/models/compare/{worse.name}/").content.decode()
    assert "the gate refuses it" in page
    assert alice_client.get(f"/api/v1/models/{worse.name}/comparison").json()["comparison"]["with"] == serving.name


# ---- why again --------------------------------------------------------------------------------------------------


def test_by_default_the_gate_decides_and_by_policy_an_engineer(indoor, alice):
    by_gate = training_jobs.request("indoor", trigger="schedule", who=None, now=NOON)
    training_jobs.cancel(by_gate, who=alice, now=NOON)
    policies.change_policy(indoor, {"mode": "manual", "days": 14.0}, who=alice, now=NOON)

    job = training_jobs.request("indoor", trigger="schedule", who=None, now=LATER)

    assert by_gate.parameters["promote"] == "gate"
    assert (job.parameters["promote"], job.parameters["days"]) == ("manual", 14.0)
    assert AuditEntry.objects.get(deed="change_retraining").detail == {"mode": "manual", "days": 14.0}


def test_an_import_trains_again_once_and_of_old_days_up_to_their_end(indoor):
    old = NOON - timedelta(days=400)

    job = retraining.because("indoor", retraining.IMPORT, why="1,000 readings", now=NOON, newest=old)

    assert (job.trigger, job.parameters["end"]) == ("import", old.isoformat())
    assert retraining.because("indoor", retraining.IMPORT, why="again", now=LATER) is None


def test_a_profile_whose_policy_wants_none_of_it_is_left_alone(indoor, alice):
    policies.change_policy(indoor, {"after_import": False, "on_drift": False}, who=alice, now=NOON)

    assert retraining.because("indoor", retraining.IMPORT, why="1,000 readings", now=NOON) is None
    assert retraining.because("indoor", retraining.DRIFT, why="light", now=NOON) is None


def test_enough_labels_since_the_last_training_train_again(indoor, alice):
    policies.change_policy(indoor, {"on_labels": 2, "rest_hours": 0.0}, who=alice, now=NOON)
    before = training_jobs.request("indoor", trigger="person", who=None, now=timezone.now() - timedelta(days=1))
    training_jobs.cancel(before, who=alice, now=LATER)
    mote = Mote.objects.first()

    def label(hours):
        start = NOON + timedelta(hours=hours)
        Label.objects.create(mote=mote, kind="fault", source="person", starts_at=start, ends_at=start + timedelta(1))

    label(1)
    assert retraining.look_at_labels(timezone.now()) == []
    label(2)
    assert [job.trigger for job in retraining.look_at_labels(timezone.now())] == ["labels"]


def test_what_the_environment_says_of_trainings_holds_over_the_row(indoor, settings):
    install_schedule()
    settings.ML_RETRAIN_HOUR = 5
    install_schedule()
    row = PeriodicTask.objects.get(name="Retrain indoor")
    assert str(row.crontab).startswith("0 5 * * 1")

    settings.ML_TRAINING_INTERVAL_HOURS = 24.0
    install_schedule()
    assert str(PeriodicTask.objects.get(pk=row.pk).crontab).startswith("0 5 * * *")

    settings.ML_TRAINING_INTERVAL_HOURS = 8.0
    install_schedule()
    row = PeriodicTask.objects.get(pk=row.pk)
    assert (row.crontab, row.interval.every) == (None, 8 * 3600)


# ---- doors ------------------------------------------------------------------------------------------------------


def test_retrain_needs_a_worker_or_a_word(version):
    version()

    with pytest.raises(CommandError, match="No worker has said that it lives"):
        call_command("retrain")


def test_retrain_queues_a_job_for_each_profile_with_a_model(version, capsys):
    version()
    ProcessHeartbeat.objects.create(name="worker@here:1", kind="worker", beat_at=timezone.now())

    call_command("retrain", "--manual")

    job = TrainingJob.objects.get()
    assert (job.status, job.trigger, job.parameters["promote"]) == ("queued", "command", "manual")
    assert f"Job {job.pk} for indoor is queued" in capsys.readouterr().out


def test_policies_are_read_by_everyone_and_changed_by_engineers(indoor, alice_client, bob_client, charlie_client):
    def patch(client, **body):
        return client.patch("/api/v1/ml/policies/indoor", json.dumps(body), content_type="application/json")

    assert charlie_client.get("/api/v1/ml/policies").json()[0]["mode"] == "managed"
    assert patch(bob_client, mode="manual").status_code == 403
    assert patch(alice_client, mode="sometimes").status_code == 400
    assert patch(alice_client, mode="manual").json()["mode"] == "manual"
    assert charlie_client.get("/api/v1/ml/policies/indoor").json()["mode"] == "manual"


def test_alice_changes_a_policy_on_the_page_and_is_told_what_was_wrong(indoor, alice_client, bob_client):
    given = {"mode": "manual", "days": "21", "on_labels": "5", "rest_hours": "12", "on_drift": "on"}

    assert bob_client.post("/models/watch/policy/indoor", given).status_code == 403
    wrong = alice_client.post("/models/watch/policy/indoor", {**given, "days": "0.1"})
    assert (wrong.status_code, "greater than or equal to 1" in wrong.content.decode()) == (400, True)
    assert alice_client.post("/models/watch/policy/indoor", given).status_code == 302

    held = policies.policy(indoor)
    assert (held.mode, held.days, held.after_import, held.on_drift) == ("manual", 21.0, False, True)
    assert "Watching models" in bob_client.get("/models/watch/").content.decode()
