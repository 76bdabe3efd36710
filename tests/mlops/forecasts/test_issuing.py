"""What runs every hour: the fleet is forecast, warned of, and held to what came."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from celery import current_app
from django.core.cache import cache
from django_celery_beat.models import PeriodicTask

from alerts.models import Alert, AlertChange
from mlops import tasks
from mlops.forecasts import issuing, record
from mlops.models import ForecastWarning, IssuedForecast, Kind, TrainingJob
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import current_fleet
from sensors.stores import hot
from sieis_site.schedule import install_schedule
from tests.builders import batch
from tests.conftest import NOON
from tests.mlops.forecasts.world import STEP_S, rooms
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
STEP = timedelta(seconds=STEP_S)
HOUR = timedelta(hours=1)


def issue(now):
    return issuing.issue(now, lake=lake(), fleet=current_fleet())


def goes_on(settings, first_at, temperatures, mote) -> None:
    """The mote says more; whoever forecasts next looks anew, as another process would."""
    values = np.column_stack([temperatures, np.full(len(temperatures), 45.0)])
    rows = batch(rooms(), values, mote=mote.pk, start_us=micros(first_at), step_s=STEP_S)
    hot().write(rooms(), rows.to_table())
    settings.SIEIS_HOT_STORE = {**settings.SIEIS_HOT_STORE}


def test_a_drift_to_a_limit_is_warned_of_comes_true_and_is_counted(serving, settings, charlie_client):
    seven = Mote.objects.get(code="7")
    assert len(issue(NOON).forecasts) == 4
    assert not Alert.objects.exists()

    goes_on(settings, NOON, np.linspace(22.5, 27.6, 24), seven)
    two = NOON + 2 * HOUR
    issue(two)

    warning = ForecastWarning.objects.get()
    assert (warning.mote, warning.limit, warning.value) == (seven, "normal band", 28.0)
    assert warning.probability >= 0.2
    page = charlie_client.get("/forecast/").content.decode()
    assert "Temperature passes 28 °C at about" in page
    alert = charlie_client.get("/api/v1/alerts?status=active").json()["results"][0]
    assert alert["kind"] == "forecast:temperature"
    assert "too few to judge (0 of 20)" in alert["words"]

    goes_on(settings, two, np.linspace(27.7, 28.6, 6), seven)
    issuing.score(two + HOUR, store=hot(), fleet=current_fleet())

    assert Alert.objects.get().status == "resolved"
    assert AlertChange.objects.filter(deed="resolve").get().note == "came true"
    assert "too few to judge (1 of 20)" in charlie_client.get("/forecast/?mote=main/7").content.decode()
    assert record.track_record(seven.pk, "temperature").n_came_true == 1


def test_two_runs_at_once_are_one_and_the_same_hour_again_adds_nothing(serving):
    cache.add("forecasts:issuing", True, 60)
    assert issue(NOON) is None
    cache.delete("forecasts:issuing")

    assert len(issue(NOON).forecasts) == 4
    assert issue(NOON + STEP).forecasts == []
    assert IssuedForecast.objects.count() == 4


def test_a_mote_that_cannot_be_forecast_stops_no_other(serving):
    Mote.objects.create(site_id=Mote.objects.first().site_id, code="new", profile=Mote.objects.first().profile)
    Mote.objects.filter(code="8").update(state="maintenance")

    done = issue(NOON)

    assert {row.mote.code for row in done.forecasts} == {"7"}
    assert len(done.refused) == 2
    assert all("main/new" in reason for reason in done.refused)


def test_what_was_learnt_just_now_is_asked_at_once_and_an_engine_is_not(serving):
    with current_app.connection_for_read() as broker, broker.SimpleQueue("celery") as queue:
        queue.clear()
        for kind in (Kind.DETECTOR, Kind.FORECAST):
            tasks.train_job(TrainingJob.objects.create(
                profile=serving.profile, kind=kind, status="succeeded", trigger="person", queued_at=NOON
            ).pk)  # fmt: skip

        assert queue.qsize() == 1
        message = queue.get(block=False)
        message.ack()

    assert message.headers["task"] == "mlops.tasks.issue_forecasts"


def test_forecasts_and_their_scores_stand_in_the_schedule_and_run(serving):
    install_schedule()

    for name in ("Issue forecasts", "Score forecasts"):
        task = PeriodicTask.objects.get(name=name)
        assert task.crontab.hour == "*"
        getattr(tasks, task.task.rpartition(".")[2])()  # of now: the rooms have been silent for months

    assert not IssuedForecast.objects.exists()
