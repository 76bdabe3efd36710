"""A mote may have a model of its own: trained apart, served before its profile's, taken back to it."""

from __future__ import annotations

from contextlib import suppress
from io import StringIO

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from mlops import history, registry, serving, training, training_jobs
from mlops.management.commands.train import Command as Train
from mlops.models import ModelVersion, TrainingJob
from mlops.scoped import own_numbers, scoped
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import concat
from tests import builders
from tests.conftest import NOON
from tests.mlops.conftest import LATER, indoor_days
from tests.mlops.detection_world import normal, trained
from tests.mlops.test_training import END, running

Status = TrainingJob.Status


@pytest.fixture
def seven(indoor) -> Mote:
    return Mote.objects.select_related("site", "profile").get(code="7")


@pytest.fixture
def readings(indoor):
    """Three days of mote 7; of mote 8 only two hours."""
    seven, eight = Mote.objects.order_by("pk").values_list("pk", flat=True)
    rows = concat([indoor_days(3.0, (seven,)), indoor_days(2 / 24, (eight,))])
    table = rows.to_table().with_columns(pl.int_range(len(rows), dtype=pl.Int64).alias("offset"))
    lake().append("silver/indoor", table, app_ids={0: "sensor-readings/0"}, next_offsets={0: len(table)})


def test_a_mote_and_its_profile_are_trained_side_by_side_but_each_only_once(indoor, seven):
    training_jobs.request("indoor", trigger="person", who=None, now=NOON)
    job = training_jobs.request("indoor", trigger="person", who=None, now=NOON, mote=seven)

    with pytest.raises(training_jobs.AlreadyTraining, match=rf"Mote main/7 is being trained already: job {job.pk}"):
        training_jobs.request("indoor", trigger="person", who=None, now=LATER, mote=seven)


def test_a_motes_model_learns_from_that_mote_only_and_is_named_after_it(readings, seven):
    always = {"promote": "always"}
    job = training_jobs.request("indoor", trigger="person", who=None, now=END, mote=seven, parameters=always)

    version = training.train(running(job), now=END).version

    assert version.name.startswith("indoor/main/7/anomaly_detector_v1_")
    assert (version.mote, version.data["n_motes"], version.data["readings_used"]) == (seven, 1, 864)
    assert version.metrics["n_planted"] == 8, "one mote is asked about every channel"
    assert registry.production("indoor", seven) == version
    assert registry.production("indoor") is None


def test_one_motes_failure_leaves_the_others_alone_and_the_summary_says_why(
    readings,
):
    class Here(Train):
        """In this process: a child would not see this test's transaction."""

        def run(self, job: TrainingJob, show: object) -> TrainingJob:
            with suppress(history.TooLittleData):
                training.train(running(job), now=END)
            job.refresh_from_db()
            return job

    out = StringIO()

    with pytest.raises(CommandError, match="Training of main/8 failed: Mote main/8 has 24 clean readings"):
        call_command(
            Here(), "--profile", "indoor", "--each-mote", "--start", "2026-03-02T12:00Z", "--end",
            "2026-03-05T12:00Z", stdout=out,
        )  # fmt: skip

    assert "1 of 2 motes have a new version." in out.getvalue()
    assert "main/8: Training of main/8 failed" in out.getvalue()
    assert [job.status for job in TrainingJob.objects.order_by("pk")] == [Status.SUCCEEDED, Status.FAILED]


def test_a_mote_that_is_not_there_is_refused_by_name(indoor):
    with pytest.raises(CommandError, match="Mote “9”: profile indoor has no such mote"):
        call_command("train", "--profile", "indoor", "--mote", "9")


def test_the_days_and_a_start_exclude_each_other(indoor):
    with pytest.raises(CommandError, match="give one of them"):
        call_command("train", "--profile", "indoor", "--days", "3", "--start", "2026-03-02T12:00Z")


def test_a_channel_that_was_never_measured_is_named(indoor, seven):
    table = indoor_days(3.0, (seven.pk,)).to_table().with_columns(humidity=pl.lit(None, pl.Float64))
    rows = table.with_columns(pl.int_range(len(table), dtype=pl.Int64).alias("offset"))
    lake().append("silver/indoor", rows, app_ids={0: "t/0"}, next_offsets={0: len(rows)})
    job = training_jobs.request("indoor", trigger="person", who=None, now=END, mote=seven)

    with pytest.raises(history.MissingFeature, match=r"readings of mote main/7 have no value of humidity \(Humidity\)"):
        training.train(running(job), now=END)


# ---- serving --------------------------------------------------------------------------------------------------


def test_a_mote_is_judged_by_its_own_version_and_without_one_by_its_profiles(version, seven):
    whole, own = version(), version(mote=seven)
    for one in (whole, own):
        registry.promote(one, who=None, why="test", now=NOON)
    engines, kind = serving.Serving(), builders._default_profile()
    rows = concat([indoor_days(0.1, (seven.pk,)), indoor_days(0.1, (999,))])

    engine = engines.engine_for(kind)
    _, judged, _ = engine.step(engine.start(), rows)

    assert set(judged.model_version[judged.mote == seven.pk].tolist()) == {own.number}
    assert set(judged.model_version[judged.mote == 999].tolist()) == {whole.number}
    assert engines.engine_for(kind) is engine, "nothing was swapped, so nothing looks new to the reading path"
    assert engines.versions_for(kind) == [whole, own]
    assert own_numbers(engine) == {str(seven.pk): own.number}

    registry.withdraw(own, who=None, why="worse than the fleet's", now=LATER)
    engines.refresh(LATER)

    assert own_numbers(engines.engine_for(kind)) == {}
    with pytest.raises(registry.NotServing):
        registry.withdraw(own, who=None, why="again", now=LATER)


def test_a_replay_takes_the_versions_of_motes_from_its_checkpoint_too(version, seven):
    whole, old, new = version(), version(mote=seven), version(mote=seven)
    for one in (whole, old, new):
        registry.promote(one, who=None, why="test", now=NOON)
    engines, kind = serving.Serving(), builders._default_profile()

    engines.go_back_to(kind, whole.number, {str(seven.pk): old.number})
    assert own_numbers(engines.engine_for(kind)) == {str(seven.pk): old.number}
    engines.go_back_to(kind, whole.number, {})
    assert own_numbers(engines.engine_for(kind)) == {}

    engines.refresh(LATER)
    assert own_numbers(engines.engine_for(kind)) == {str(seven.pk): new.number}


def test_a_mote_rolls_back_within_its_own_versions(version, indoor, seven):
    registry.promote(version(), who=None, why="profile", now=NOON)
    old, new = version(mote=seven), version(mote=seven)
    for one in (old, new):
        registry.promote(one, who=None, why="mote", now=NOON)

    assert registry.roll_back(indoor, who=None, why="worse", now=LATER, mote=seven) == old
    assert ModelVersion.objects.filter(stage="production").count() == 2


def test_no_cut_of_the_stream_shows_where_motes_have_engines_of_their_own():
    engine = scoped(trained(), {2: trained().numbered(5), 4: trained().numbered(6)})
    rows = normal(days=0.2, seed=3)
    whole_state, whole, _ = engine.step(engine.start(), rows)

    state, parts = engine.start(), []
    for begin in range(0, len(rows), 37):
        state, judged, _ = engine.step(state, rows.take(slice(begin, begin + 37)))
        parts.append(judged)

    cut = concat(parts)
    for name in ("mote", "at", "surprise", "votes", "is_anomaly", "event_id", "model_version"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))
    assert {1: trained().number, 2: 5, 4: 6}.items() <= dict(
        zip(cut.mote.tolist(), cut.model_version.tolist(), strict=True)
    ).items()
    assert state.motes.tolist() == whole_state.motes.tolist()


def test_single_readings_are_judged_each_by_its_motes_engine():
    engine = scoped(trained(), {2: trained(), 4: trained()})
    rows = normal(days=0.01, seed=3)
    given = rows.values, rows.mote, rows.at, rows.utc_offset_s

    mixed, plain = engine.score_stateless(*given), trained().score_stateless(*given)

    np.testing.assert_array_equal(mixed.surprise, plain.surprise)
    assert mixed.layer == plain.layer
