"""A training job: asked for once, run in a process of its own, judged, and never left "running"."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from celery import current_app
from django.conf import settings
from django.db import connection

from mlops import registry, training, training_jobs
from mlops.models import ModelVersion, TrainingJob
from mlops.parameters import BadParameters
from mlops.reports import training_report
from sensors.lake import lake
from sensors.models import Mote, ProfileVersion
from tests.conftest import NOON
from tests.mlops.conftest import LATER, indoor_days

Status = TrainingJob.Status
DAYS = 3.0
END = NOON + timedelta(days=DAYS)
SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def job(indoor):
    return training_jobs.request("indoor", trigger="person", who=None, now=END)


@pytest.fixture
def readings(indoor):
    """Three days of two motes in the lake."""
    motes = tuple(Mote.objects.order_by("pk").values_list("pk", flat=True))
    table = indoor_days(DAYS, motes).to_table()
    lake().append(
        "silver/indoor",
        table.with_columns(pl.int_range(len(table), dtype=pl.Int64).alias("offset")),
        app_ids={0: "sensor-readings/0"},
        next_offsets={0: len(table)},
    )


def running(job: TrainingJob) -> TrainingJob:
    assert training_jobs.claim(job, now=END)
    return job


# ---- asking -------------------------------------------------------------------------------------------------


def test_a_second_request_is_refused_with_the_job_that_is_there(job):
    with pytest.raises(training_jobs.AlreadyTraining, match=rf"job {job.pk} is queued") as refused:
        training_jobs.request("indoor", trigger="schedule", who=None, now=LATER)

    assert refused.value.job == job


def test_what_the_pack_says_of_its_detector_holds_until_somebody_asks_otherwise(indoor):
    ProfileVersion.objects.update(settings={"detector": {"days": 21.0, "promote": "never"}})

    queued = training_jobs.request("indoor", trigger="person", who=None, now=END, parameters={"promote": "gate"})

    assert (queued.parameters["days"], queued.parameters["promote"]) == (21.0, "gate")


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_at_once_one_makes_a_job(indoor):
    together, refused = threading.Barrier(2), []

    def ask() -> None:
        together.wait()
        try:
            training_jobs.request("indoor", trigger="person", who=None, now=END)
        except training_jobs.AlreadyTraining as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == TrainingJob.objects.count() == 1


def test_a_profile_that_is_not_there_is_named_beside_those_that_are(indoor):
    with pytest.raises(training_jobs.UnknownProfile, match="no profile “indor”; there are: indoor"):
        training_jobs.request("indor", trigger="person", who=None, now=END)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"day": 3}, "day is no parameter of a training"),
        ({"days": "many"}, "days is “many”; expected a number"),
        ({"days": 0}, "days is 0; expected more than 0"),
        ({"promote": "maybe"}, "promote is “maybe”; expected one of gate, never, always"),
        ({"start": "yesterday"}, "start is “yesterday”; expected an ISO 8601 instant"),
        ({"start": "2026-03-01T00:00"}, "without a time zone"),
        ({"start": "2026-03-02T00:00Z", "end": "2026-03-01T00:00Z"}, "is not before end"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_by_name(indoor, given, words):
    with pytest.raises(BadParameters, match=words):
        training_jobs.request("indoor", trigger="api", who=None, now=END, parameters=given)

    assert not TrainingJob.objects.exists()


def test_a_queued_job_is_cancelled_at_once_and_only_once(job, alice):
    training_jobs.cancel(job, who=alice, now=LATER)

    assert (job.status, job.finished_at) == (Status.CANCELLED, LATER)
    with pytest.raises(training_jobs.NotUnfinished, match="cancelled already"):
        training_jobs.cancel(job, who=alice, now=LATER)


# ---- the process --------------------------------------------------------------------------------------------


def test_a_killed_training_leaves_the_job_failed_with_the_reason(job):
    suicide = "import os, signal; print('fitting the forest', flush=True); os.kill(os.getpid(), signal.SIGKILL)"

    training_jobs.run_in_process(job.pk, command=[sys.executable, "-c", suicide])

    job.refresh_from_db()
    assert job.status == Status.FAILED
    assert job.message == "The training process was ended by SIGKILL: fitting the forest"
    assert training_jobs.request("indoor", trigger="person", who=None, now=LATER).status == Status.QUEUED


def test_a_training_that_ends_with_an_error_says_the_last_of_it(job):
    done = training_jobs.run_in_process(job.pk, command=[sys.executable, "-c", "raise SystemExit('no space left')"])

    assert (done.status, done.message) == (Status.FAILED, "The training process ended with exit code 1: no space left")


def test_a_running_job_is_cancelled_by_ending_its_process(job, alice):
    def cancel(seen: TrainingJob) -> None:
        if seen.status == Status.RUNNING:
            training_jobs.cancel(seen, who=alice, now=LATER)

    done = training_jobs.run_in_process(job.pk, command=SLEEPS, watch=cancel)

    assert (done.status, done.message) == (Status.CANCELLED, "Cancelled.")


def test_a_worker_that_stops_takes_its_training_along(job):
    stop = threading.Event()
    stop.set()

    done = training_jobs.run_in_process(job.pk, command=SLEEPS, stop=stop)

    assert done.status == Status.FAILED
    assert "SIEIS was stopped" in done.message


def test_a_job_that_somebody_else_runs_is_left_alone(job):
    running(job)

    done = training_jobs.run_in_process(job.pk, command=["there is no such program"])

    assert done.status == Status.RUNNING


def test_an_expired_lease_fails_the_job_and_nothing_sooner(job):
    running(job)

    assert training_jobs.expire_leases(END + timedelta(seconds=60)) == []
    (failed,) = training_jobs.expire_leases(END + timedelta(seconds=61))

    assert (failed, failed.status) == (job, Status.FAILED)
    assert "No sign of life for 60 s" in failed.message


def test_a_start_that_knows_the_last_process_dead_does_not_wait_for_its_lease(job):
    running(job)

    (failed,) = training_jobs.expire_leases(END + timedelta(seconds=1), lease=timedelta(0))

    assert (failed.status, failed.message) == (Status.FAILED, "SIEIS was killed while it trained.")


def test_a_job_that_waits_for_a_minute_is_sent_again(job):
    with current_app.connection_for_read() as broker, broker.SimpleQueue("celery") as queue:
        queue.clear()

        training_jobs.expire_leases(END + timedelta(seconds=59))
        assert queue.qsize() == 0

        training_jobs.expire_leases(END + timedelta(seconds=60))
        message = queue.get(block=False)
        message.ack()

    assert message.headers["task"] == "mlops.tasks.train_job"
    assert message.payload[0] == [job.pk]


# ---- what it does -------------------------------------------------------------------------------------------


def test_the_first_training_registers_a_version_with_its_card_and_promotes_it(readings, job):
    told = []

    trained = training.train(running(job), now=END, report=lambda progress, words: told.append(progress))

    job.refresh_from_db()
    version = ModelVersion.objects.get()
    assert (job.status, job.result, job.progress) == (Status.SUCCEEDED, version, 1.0)
    assert trained.version == registry.production("indoor") == version
    assert job.finished_at > END
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert version.data["readings_used"] == version.data["readings_found"] == 1728
    assert len(version.data["content_hash"]) == 64
    assert {"flagged_share", "false_events_per_mote_week", "found_share", "gate"} <= version.metrics.keys()
    assert version.seed == 42
    report = training_report(version)
    for line in ("Records loaded    1,728 from version 1 of the lake", "Clean records     1,728 of 2 motes", "Gate "):
        assert line in report


def test_the_same_data_and_seed_give_the_same_scores(readings, job):
    first = training.train(running(job), now=END).version
    again = training_jobs.request("indoor", trigger="person", who=None, now=END)
    second = training.train(running(again), now=END).version
    rows = indoor_days(0.5, seed=9)

    scored = [engine.step(engine.start(), rows)[1] for engine in map(registry.load, (first, second))]

    assert first.data["content_hash"] == second.data["content_hash"]
    np.testing.assert_array_equal(scored[0].surprise, scored[1].surprise)
    assert again.predecessor == first


def test_a_version_that_was_asked_not_to_serve_stays_a_candidate(readings, indoor):
    job = training_jobs.request("indoor", trigger="person", who=None, now=END, parameters={"promote": "never"})

    trained = training.train(running(job), now=END)

    assert trained.version.stage == ModelVersion.Stage.CANDIDATE
    assert job.message.startswith("Left a candidate as asked")
    assert registry.production("indoor") is None


def test_too_little_data_fails_the_job_with_when_it_will_be_enough(readings, job):
    with pytest.raises(Exception, match="that will be enough on"):
        training.train(running(job), now=NOON + timedelta(hours=5))

    job.refresh_from_db()
    assert job.status == Status.FAILED
    assert "that will be enough on 2026-03-03" in job.message
    assert not ModelVersion.objects.exists()


def test_a_job_that_is_cancelled_while_it_reads_registers_nothing(readings, job, alice):
    running(job)

    def cancel(progress: float, words: str) -> None:
        if not job.cancel_requested:
            training_jobs.cancel(job, who=alice, now=LATER)

    with pytest.raises(training.Cancelled):
        training.train(job, now=END, report=cancel)

    assert job.status == Status.CANCELLED
    assert not ModelVersion.objects.exists()


def test_a_profile_that_moved_on_is_trained_without_comparing(readings, job):
    training.train(running(job), now=END)
    ProfileVersion.objects.update(number=2)
    again = training_jobs.request("indoor", trigger="pack", who=None, now=END)

    trained = training.train(running(again), now=END)

    assert trained.version.profile_version == 2
    assert registry.production("indoor") == trained.version


@pytest.mark.django_db(transaction=True)
def test_the_train_command_trains_in_a_process_of_its_own_and_prints_the_report(readings, tmp_path):
    # Two interpreters start here, hence the seconds: it is the one test of the whole door.
    with sqlite3.connect(tmp_path / "sieis.sqlite3") as copy:
        connection.ensure_connection()
        connection.connection.backup(copy)
    environment = {
        "SIEIS_DATA": str(tmp_path),
        "SIEIS_EMBEDDED": "1",
        "SIEIS_LOG_LEVEL": "ERROR",
        "NUMBA_CACHE_DIR": str(Path.cwd() / "var" / "numba"),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "train", "--profile", "indoor"]

    done = subprocess.run(
        [*command, "--start", "2026-03-02T12:00Z", "--end", "2026-03-05T12:00Z"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "Model             indoor/anomaly_detector_v1_" in done.stdout
    assert "1,728 from version 1 of the lake" in done.stdout
    with sqlite3.connect(tmp_path / "sieis.sqlite3") as copy:
        assert copy.execute("SELECT status, progress FROM mlops_trainingjob").fetchall() == [("succeeded", 1.0)]
