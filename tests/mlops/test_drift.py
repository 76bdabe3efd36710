"""Drift: planted ones are found and told, a normal month is silent, and what serves is judged on newer days."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from alerts.models import Alert
from mlops import registry, training, training_jobs, validating
from mlops.drift import measuring, watching
from mlops.drift.measuring import CHANNEL
from mlops.models import DriftDay, TrainingJob, Validation
from sensors import gold
from sensors.lake import lake
from sensors.models import Mote
from sensors.registry import current_fleet
from tests.conftest import NOON
from tests.mlops.conftest import indoor_days
from tests.mlops.test_feedback import judged
from tests.mlops.test_training import running
from tests.people import *  # noqa: F403

START = datetime.fromisoformat("2026-03-02T00:00:00Z")


def weather(days: int, *, seed: int, n_motes: int = 12) -> pl.DataFrame:
    """Hours of a fleet in widths of the band: a daily swing, weather that lasts for days, noise, motes of their own."""
    random = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    today = np.zeros(days)
    for day in range(1, days):
        today[day] = 0.7 * today[day - 1] + random.normal(0, 0.02)
    rows = []
    for mote in range(n_motes):
        value = 0.15 * np.sin(2 * np.pi * hours / 24 + mote) + today[hours // 24] + 0.1 * mote
        rows.append(pl.DataFrame({
            "mote": mote, "hour": [START + timedelta(hours=int(hour)) for hour in hours],
            "value": value + random.normal(0, 0.02, len(hours)),
        }))  # fmt: skip
    return pl.concat(rows)


def cut(table: pl.DataFrame, days: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    border = START + timedelta(days=days)
    return table.filter(pl.col("hour") < border), table.filter(pl.col("hour") >= border)


@pytest.mark.parametrize("seed", range(8))
def test_a_normal_month_with_its_weather_is_silent(seed):
    reference, month = cut(weather(40, seed=seed), 10)

    found = measuring.shifts(reference, month, CHANNEL, "temperature")

    assert len(found) == 30
    assert not any(measuring.has_drifted(found[: n + 1]) for n in range(len(found)))


@pytest.mark.parametrize("by", [0.35, -0.35])
def test_a_shift_that_stays_is_found_on_its_third_day(by):
    reference, month = cut(weather(40, seed=1), 10)
    since = START + timedelta(days=20)
    month = month.with_columns(pl.col("value") + by * (pl.col("hour") >= since))

    found = measuring.shifts(reference, month, CHANNEL, "temperature")

    first = next(n for n in range(len(found)) if measuring.has_drifted(found[: n + 1]))
    assert found[first].day == date(2026, 3, 24)
    assert found[first].shift == pytest.approx(by, abs=0.1)


def test_two_bad_days_or_two_ill_motes_are_no_drift():
    reference, month = cut(weather(40, seed=2), 10)
    two_days = pl.col("hour").is_between(START + timedelta(days=20), START + timedelta(days=22), closed="left")
    stormy = month.with_columns(pl.col("value") + 0.4 * two_days)
    ill = month.with_columns(pl.col("value") + 5.0 * pl.col("mote").is_in([1, 2]))

    for table in (stormy, ill):
        found = measuring.shifts(reference, table, CHANNEL, "temperature")
        assert not any(measuring.has_drifted(found[: n + 1]) for n in range(len(found)))


# ---- the whole way ----------------------------------------------------------------------------------------------

DAYS, TRAINED = 12.0, NOON + timedelta(days=6)
NOW = NOON + timedelta(days=DAYS)


def in_the_lake(by: float) -> None:
    """Twelve days of three motes; from the eighth on, all temperatures are off by so much. Six are learnt from."""
    motes = tuple(Mote.objects.order_by("pk").values_list("pk", flat=True))
    days = indoor_days(DAYS, motes)
    values = days.values.copy()
    values[days.at >= days.at.min() + int(8 * 86_400e6), 0] += by
    table = replace(days, values=values).to_table().sort("at", "mote")
    lake().append(
        "silver/indoor", table.with_columns(pl.int_range(len(table), dtype=pl.Int64).alias("offset")),
        app_ids={0: "sensor-readings/0"}, next_offsets={0: len(table)},
    )  # fmt: skip
    gold.aggregate_all(lake(), now=NOW)


def serving():
    job = running(
        training_jobs.request(
            "indoor", trigger="person", who=None, now=TRAINED, parameters={"days": 6.0, "promote": "always"}
        )
    )
    return training.train(job, now=TRAINED).version


def test_a_planted_drift_is_told_and_learnt_and_shown(indoor, alice_client):
    in_the_lake(by=3.0)
    version = serving()
    TrainingJob.objects.update(queued_at=TRAINED)

    (words,) = watching.watch_all(NOW, lake=lake(), fleet=current_fleet())

    assert words.startswith("Indoor has drifted: ")
    assert "temperature 0.3" in words
    assert "humidity" not in words
    assert Alert.objects.active().get(kind="drift").subject == "model:indoor"
    assert TrainingJob.objects.filter(trigger="drift", status="queued").count() == 1
    page = alice_client.get("/models/drift/").content.decode()
    assert page.index("drifted, ") < page.index("steady")
    rows = alice_client.get("/api/v1/ml/drift").json()["results"]
    assert {row["kind"] for row in rows} >= {"channel", "residual"}
    assert {row["version"] for row in rows} == {version.name}


def test_without_a_drift_nobody_hears_anything_and_a_day_is_measured_once(indoor):
    in_the_lake(by=0.0)
    serving()

    assert watching.watch_all(NOW, lake=lake(), fleet=current_fleet()) == []
    n = DriftDay.objects.count()
    assert watching.watch_all(NOW, lake=lake(), fleet=current_fleet()) == []

    assert n == DriftDay.objects.count() > 0
    assert not Alert.objects.exists()
    assert not TrainingJob.objects.filter(trigger="drift").exists()


def test_a_drift_that_ends_takes_its_alert_along(indoor, version):
    one = registry.promote(version(), who=None, why="first", now=NOON)
    day = NOON.date()
    for n, is_over in enumerate((True, True, True)):
        DriftDay.objects.create(profile=indoor, version=one, day=day + timedelta(days=n), kind="channel",
                                name="light", shift=0.4, effect=9.0, n_motes=2, is_over=is_over)  # fmt: skip
    watching.tell(one, NOW)
    assert Alert.objects.active().filter(kind="drift").exists()
    DriftDay.objects.create(profile=indoor, version=one, day=day + timedelta(days=3), kind="channel", name="light",
                            shift=0.0, effect=0.1, n_motes=2, is_over=False)  # fmt: skip

    watching.tell(one, NOW)

    assert not Alert.objects.active().filter(kind="drift").exists()


def test_a_version_whose_alerts_people_call_false_is_told_of(indoor, version):
    one = registry.promote(version(), who=None, why="first", now=NOON)
    mote = Mote.objects.first()
    for n in range(12):
        start = NOON + timedelta(hours=2 * n)
        judged(mote, "false", start=start, end=start + timedelta(hours=1), number=one.number)

    (low, often) = watching.watch_performance(one, NOON + timedelta(days=2), fleet=current_fleet())

    assert low.startswith(f"Of 12 judged alerts of {one.name} 0 told of something")
    assert "21.0 events a mote and week" in often
    assert set(Alert.objects.active().values_list("kind", flat=True)) >= {"precision_low", "calibration_off"}


def test_a_version_is_validated_on_days_it_has_not_seen_and_the_result_is_kept(indoor, alice_client, capsys):
    in_the_lake(by=0.0)
    version = serving()
    address = f"/api/v1/models/{version.name}/validations"
    ends = (TRAINED + timedelta(days=3)).isoformat()

    answer = alice_client.post(address, json.dumps({"end": ends}), content_type="application/json")
    seen = alice_client.post(
        address, json.dumps({"start": (TRAINED - timedelta(days=1)).isoformat(), "end": ends}),
        content_type="application/json",
    )  # fmt: skip
    with suppress(CommandError):  # which says so where it does not hold
        call_command("validate_model", version.name, "--end", ends)

    assert answer.status_code == 201
    assert answer.json()["holds"] == all(rule["holds"] for rule in answer.json()["metrics"]["rules"])
    assert (seen.status_code, "must start after that" in seen.json()["detail"]) == (409, True)
    assert " on 1,7" in capsys.readouterr().out
    assert [one["trigger"] for one in alice_client.get(address).json()] == ["command", "api"]


def test_what_serves_and_does_not_hold_any_more_is_told_of(indoor):
    in_the_lake(by=9.0)
    version = serving()

    made, left = validating.validate_production(
        lake=lake(), fleet=current_fleet(), trigger="schedule", now=NOW, end=NOW
    )

    assert ([one.holds for one in made], left) == ([False], [])
    assert Alert.objects.active().get(kind="validation_failed").words.startswith(f"{version.name} does not hold")
    with pytest.raises(CommandError, match="Not every version holds"):
        call_command("validate_model", "--all-production", "--end", NOW.isoformat())
    assert Validation.objects.count() == 2
