"""Forecasts as versions of the one registry: learnt, judged on days they had not seen, promoted, and asked."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from mlops import registry, retraining, training, training_jobs
from mlops.forecasting import CannotForecast
from mlops.forecasts.serving import Foreteller, Refusal, forecasts_of
from mlops.forecasts.training import learn
from mlops.history import TooLittleData
from mlops.models import Kind, ModelVersion
from mlops.parameters import Parameters
from mlops.reports import forecasts_of_channel
from sensors.models import Mote, Profile
from sensors.readings import micros
from sensors.registry import current_fleet
from tests.builders import batch
from tests.conftest import NOON
from tests.mlops.forecasts.world import FIGURES, START, STEP_S, install, measured, past_of, rooms, trained
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


def test_a_forecast_version_is_held_to_days_it_had_not_learnt_from_and_goes_on_from_the_last_reading():
    install()
    version = trained()

    said = forecasts_of(current_fleet().motes, now=NOON + timedelta(minutes=1))

    assert version.kind == Kind.FORECAST
    assert version.stage == "production"
    assert [(one.mote.code, one.channel.code) for one in said] == [
        ("7", "temperature"), ("7", "humidity"), ("8", "temperature"), ("8", "humidity"),
    ]  # fmt: skip
    first = said[0]
    assert first.last_reading_at == NOON - timedelta(minutes=5)
    assert first.at[0] == NOON
    assert version.metrics["n_series"] == 4
    assert version.metrics["crps"] < version.metrics["naive_crps"]
    assert list(version.data["parts"]) == ["train", "calibrate", "held_out"]
    assert len(first.at) == 36  # of the 72 asked for: five days cannot hold more to account
    assert np.all(np.diff(first.quantiles, axis=1) >= 0)
    assert first.model_version == version.name
    assert len(first.ways.values) >= 40


def test_what_an_earlier_release_has_learnt_is_refused_with_the_command_that_makes_a_new_one(learnt):
    fitted = learnt.fitted_for("main/7", "temperature")
    earlier = copy.copy(fitted)
    del earlier.__dict__["window"]
    install()

    version = registry.register(
        replace(learnt, fits={"temperature": {fitted.name: earlier}}), profile=Profile.objects.get(code="indoor"),
        data={}, metrics=FIGURES, job=None, now=NOON,
    )  # fmt: skip

    with pytest.raises(registry.LibraryChanged, match=r"window\); refit it with manage\.py train .* --kind forecast"):
        registry.load(version)


def test_what_a_release_has_learnt_that_named_none_left_out_forecasts_as_before(learnt):
    earlier = learnt.__new__(type(learnt))

    earlier.__setstate__(learnt.__getstate__()[:-1])

    assert earlier == learnt
    with pytest.raises(CannotForecast, match="the mote was not there"):
        earlier.fitted_for("main/9", "temperature")


def test_nothing_answers_for_a_profile_without_a_version_and_the_command_is_named():
    install()

    (said, _) = forecasts_of(current_fleet().motes, ["temperature"], now=NOON)

    assert isinstance(said, Refusal)
    assert "manage.py train --profile indoor --kind forecast" in said.reason


def test_a_version_promoted_in_the_middle_of_a_run_forecasts_the_next_one(serving, version):
    fleet = current_fleet()
    teller = Foreteller()
    run = teller.forecasts_of(fleet.motes, ["temperature"], None, now=NOON)
    before = next(run)

    registry.promote(version(), who=None, why="test", now=NOON)
    teller.serving.refresh(NOON)

    assert {one.model_version for one in (before, *run)} == {serving.name}
    (of_next, _) = teller.forecasts_of(fleet.motes, ["temperature"], None, now=NOON)
    assert of_next.model_version != serving.name


def test_forecasts_and_the_engine_of_a_mote_are_promoted_and_rolled_back_apart(serving, version):
    successor = registry.promote(version(), who=None, why="test", now=NOON)

    back = registry.roll_back(serving.profile, who=None, why="test", now=NOON, kind=Kind.FORECAST)

    assert back == serving
    assert registry.production("indoor") is None
    assert ModelVersion.every.get(pk=successor.pk).stage == "archived"


def test_a_mote_may_have_forecasts_of_its_own_beside_those_of_its_profile(serving, learnt):
    mote = Mote.objects.select_related("site", "profile").get(code="8")
    own = registry.register(learnt, profile=mote.profile, mote=mote, data={}, metrics=FIGURES, job=None, now=NOON)
    registry.promote(own, who=None, why="test", now=NOON)

    seven, eight = Foreteller().forecasts_of(current_fleet().motes, ["humidity"], None, now=NOON)

    assert (seven.model_version, eight.model_version) == (serving.name, own.name)


def test_a_member_that_was_not_learnt_is_refused_with_the_way_to_have_it(serving):
    (said,) = forecasts_of(current_fleet().motes[:1], ["humidity"], now=NOON, member="arima")

    assert "has naive, seasonal_naive, linear. Train with --model arima" in said.reason


def test_two_days_are_too_few_and_the_job_says_so(fleet_of_rooms):
    job = training_jobs.request(
        "indoor", trigger="person", who=None, now=NOON, kind=Kind.FORECAST, parameters={"days": 2.0}
    )  # fmt: skip
    training_jobs.claim(job, now=NOON)

    with pytest.raises(TooLittleData):
        training.train(job, now=NOON)

    job.refresh_from_db()
    assert job.status == "failed"
    assert "48.0 hours of clean readings are too few for a forecast" in job.message


def test_a_channel_of_which_nothing_beats_the_last_value_waits_until_two_days_can_be_learnt_from():
    """Of three days 40 in 100 are learnt from: whether a day comes back nobody has seen."""
    values = measured(np.random.default_rng(7), days=3.0)
    values[:, 1] = 45.0 + np.cumsum(np.random.default_rng(5).normal(0.0, 0.3, len(values)))
    past, fleet = past_of([batch(rooms(), values, mote=1, start_us=micros(START), step_s=STEP_S)], ["7"])

    learnt, _, card = learn(past, Parameters(horizon_h=1.0), fleet=fleet, tell=lambda progress, words: None)

    assert learnt.fitted_for("main/7", "temperature").name == "linear"
    with pytest.raises(CannotForecast, match=r"the course of a day; enough with 5 days of readings, 3\.0 were"):
        learnt.fitted_for("main/7", "humidity")
    assert "1 not forecast: nothing beat saying that" in forecasts_of_channel(card["channels"]["humidity"])


def test_a_member_that_learns_nothing_is_not_replaced_by_another(fleet_of_rooms, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    job = training_jobs.request(
        "indoor", trigger="person", who=None, now=NOON, kind=Kind.FORECAST,
        parameters={"model": "transformer", "horizon_h": 3.0},
    )  # fmt: skip
    training_jobs.claim(job, now=NOON)

    with pytest.raises(CannotForecast, match="transformer has learnt no channel"):
        training.train(job, now=NOON)

    assert not ModelVersion.every.filter(kind=Kind.FORECAST).exists()


def test_a_worker_killed_while_it_learns_leaves_the_reason_and_the_version_that_serves(serving):
    job = training_jobs.request("indoor", trigger="person", who=None, now=NOON, kind=Kind.FORECAST)
    suicide = "import os, signal; print('Learning humidity', flush=True); os.kill(os.getpid(), signal.SIGKILL)"

    done = training_jobs.run_in_process(job.pk, command=[sys.executable, "-c", suicide])

    assert done.status == "failed"
    assert "SIGKILL" in done.message
    assert registry.production("indoor", kind=Kind.FORECAST) == serving


def test_the_week_s_training_asks_for_forecasts_only_where_some_serve_that_are_a_week_old(serving):
    soon, later = NOON + timedelta(days=1), NOON + timedelta(days=7)

    assert [job.kind for job in retraining.by_schedule("indoor", soon)] == [Kind.DETECTOR]
    (asked,) = retraining.by_schedule("indoor", later)
    assert (asked.kind, asked.parameters["horizon_h"]) == (Kind.FORECAST, 3.0)


def test_the_card_and_the_models_page_say_how_good_the_forecasts_were(serving, alice_client):
    card = alice_client.get(f"/models/card/{serving.name}/").content.decode()
    models = alice_client.get("/models/").content.decode()

    assert "3 hours in 36 steps of 5 min" in card
    assert "4 series by linear 4; MASE 0.500, CRPS 0.200 (best naive 0.300)" in card
    assert '<span class="badge">forecasts</span>' in models


@override_settings(SIEIS_FORECAST_STALE_HOURS=1e6)
def test_the_command_tells_one_series_by_its_steps_and_all_by_a_line_each(serving):
    one = said("forecast", "--mote", "7", "--channel", "humidity", "--horizon", "1h")
    every = said("forecast", "--all")
    whole = json.loads(said("forecast", "--all", "--channel", "humidity", "--json"))

    assert "main/7, Humidity in %, after the reading of 2026-03-02 11:55:00" in one
    assert "2026-03-02 12:55" in one
    assert every.count("main/8") == 2
    assert [len(told["quantiles"]["q90"]) for told in whole] == [36, 36]


def test_the_command_names_a_mote_that_is_not_there(serving):
    with pytest.raises(CommandError, match="There is no mote “99”"):
        said("forecast", "--mote", "99")


def said(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()
