"""What runs by itself: thin tasks, a schedule that people own, and a worker inside the web process."""

from __future__ import annotations

import threading
from datetime import timedelta

import polars as pl
import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from mlops import tasks, training_jobs
from mlops.models import TrainingJob
from sensors.lake import lake
from sensors.models import ProfileVersion
from sieis_site.schedule import install_schedule
from sieis_site.worker import run_worker
from tests.conftest import NOON


def test_the_schedule_is_installed_once_and_never_over_what_a_person_changed(indoor, settings):
    settings.SIEIS_TIME_ZONE = "Europe/Berlin"

    assert {"Expire training leases", "Compact the lake", "Retrain indoor"} <= set(install_schedule())
    weekly = PeriodicTask.objects.get(name="Retrain indoor")
    assert str(weekly.crontab) == "0 3 * * 1 (m/h/dM/MY/d) Europe/Berlin"
    assert (weekly.task, weekly.args) == ("mlops.tasks.retrain", '["indoor"]')
    PeriodicTask.objects.filter(pk=weekly.pk).update(enabled=False)

    assert install_schedule() == []
    assert not PeriodicTask.objects.get(name="Retrain indoor").enabled


def test_a_pack_may_say_when_its_profile_is_retrained(indoor):
    ProfileVersion.objects.update(settings={"schedule": {"retrain": "0 2 * * *"}})

    install_schedule()

    assert str(PeriodicTask.objects.get(name="Retrain indoor").crontab).startswith("0 2 * * *")


def test_every_scheduled_task_exists(indoor):
    install_schedule()
    app = tasks.train_job.app
    app.loader.import_default_modules()  # as a worker does when it starts

    for row in PeriodicTask.objects.all():
        assert row.task in app.tasks


def test_a_scheduled_retrain_leaves_a_running_training_alone(indoor):
    running = training_jobs.request("indoor", trigger="person", who=None, now=NOON)

    tasks.retrain("indoor")

    assert TrainingJob.objects.get() == running


def test_a_scheduled_retrain_asks_for_a_training(indoor):
    tasks.retrain("indoor")

    assert TrainingJob.objects.get().trigger == "schedule"


def test_compaction_keeps_every_row_of_every_table():
    for table in ("bronze", "silver/indoor"):
        for offset in range(4):
            row = pl.DataFrame({"partition": [0], "offset": [offset], "received_at": [NOON]}).cast(
                {"received_at": pl.Datetime("us", "UTC")}
            )
            lake().append(table, row, app_ids={0: "t/0"}, next_offsets={0: offset + 1})

    tasks.compact_lake()

    for table in ("bronze", "silver/indoor"):
        assert lake().scan(table).select("offset").collect()["offset"].sort().to_list() == [0, 1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_the_embedded_worker_runs_what_its_schedule_sends_and_stops_when_asked(indoor):
    # Celery looks for the request to stop every two seconds, hence the time.
    often = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="due", task="mlops.tasks.expire_leases", interval=often)
    stop, patience = threading.Event(), threading.Event()
    worker = threading.Thread(target=run_worker, args=(stop,))
    worker.start()
    try:
        job = training_jobs.request("indoor", trigger="person", who=None, now=timezone.now())
        TrainingJob.objects.update(
            status=TrainingJob.Status.RUNNING, heartbeat_at=timezone.now() - timedelta(minutes=5)
        )
        while job.status != TrainingJob.Status.FAILED:
            assert worker.is_alive()
            patience.wait(0.05)
            job.refresh_from_db()
    finally:
        stop.set()
        worker.join(5)
    assert not worker.is_alive()
