"""Alert budgets by command and API: looked at by all, applied and taken back by engineers, kept with who and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from mlops import budgets, registry, serving, training, training_jobs
from mlops.models import ForecastWarning, Label, ModelVersion
from sensors.lake import lake
from sensors.models import AuditEntry, Mote, Onset
from sensors.readings import Batch, micros, score
from sensors.registry import current_fleet, profiles
from sensors.spoken import spoken
from tests.conftest import NOON
from tests.mlops.conftest import LATER, indoor_days
from tests.mlops.test_training import running
from tests.people import *  # noqa: F403

ADDRESS = "/api/v1/ml/alert-budget"
DAYS, STEP_US = 3.0, 300_000_000
FAULTS = (150, 300, 450, 600, 750)  # of mote 7, by its readings' places; the later the larger


@pytest.fixture
def promoted(version) -> ModelVersion:
    return registry.promote(version(), who=None, why="test", now=NOON)


@pytest.fixture
def days(promoted) -> Batch:
    """Three of the last days of two motes as judged by what serves, in the lake; five faults of mote 7 are labelled."""
    seven, eight = Mote.objects.order_by("pk").values_list("pk", flat=True)
    rows = indoor_days(DAYS, (seven, eight), seed=3)
    weeks = ((timezone.now() - NOON).days - int(DAYS)) // 7
    begin = micros(NOON + timedelta(weeks=weeks))  # the hours and kinds of days that the model knows
    at, values = rows.at - rows.at.min() + begin, rows.values.copy()
    for size, place in enumerate(FAULTS, start=1):
        values[np.flatnonzero(rows.mote == seven)[place : place + 3], 0] += 0.6 * size
        first = begin + place * STEP_US
        starts_at, ends_at = (datetime.fromtimestamp(us / 1e6, UTC) for us in (first, first + 2 * STEP_US))
        Label.objects.create(mote_id=seven, kind=f"fault {size}", starts_at=starts_at, ends_at=ends_at, source="test")
    moved = replace(rows, at=at, received_at=at, values=values)
    engine = serving.Serving().engine_for(profiles()["indoor"])
    _, judged, _ = engine.step(engine.start(), moved.take(np.lexsort((moved.mote, moved.at))))
    table = judged.to_table().with_columns(pl.int_range(len(judged), dtype=pl.Int64).alias("offset"))
    lake().append("silver/indoor", table, app_ids={0: "sensor-readings/0"}, next_offsets={0: len(table)})
    return judged


def post(client: Any, path: str, **body: Any) -> Any:
    return client.post(path, body, content_type="application/json")


def said(*command: str) -> str:
    out = StringIO()
    call_command("alert_budget", *command, stdout=out)
    return out.getvalue()


def onset() -> float:
    return serving.Serving().engine_for(profiles()["indoor"]).onset


def test_a_preview_tells_the_curve_what_would_be_missed_and_changes_nothing(days, promoted, charlie_client):
    told = charlie_client.get(ADDRESS, {"profile": "indoor", "at_most": 3}).json()

    assert (told["n_faults"], told["n_motes"], told["n_readings"]) == (5, 2, len(days))
    assert told["chosen"]["busiest_week"] <= 3 < told["now"]["busiest_week"]
    assert told["chosen"]["onset"] > told["now"]["onset"]
    assert told["now"]["onset"] == pytest.approx(onset(), abs=1e-4)
    assert told["lost"]["n"] > 0 == told["gained"]["n"]
    assert told["n_newly_missed"] == told["chosen"]["missed"] - told["now"]["missed"] > 0
    assert {one["mote"] for one in told["newly_missed"]} == {"main/7"}
    assert [one["onset"] for one in told["curve"]] == sorted(one["onset"] for one in told["curve"])
    assert registry.production("indoor") == promoted


def test_an_applied_budget_serves_every_process_at_its_next_look_and_is_kept_with_who_and_why(
    days, promoted, alice, alice_client
):
    elsewhere, indoor = serving.Serving(), profiles()["indoor"]
    before = elsewhere.engine_for(indoor).onset

    made = post(alice_client, ADDRESS, profile="indoor", at_most=5).json()
    elsewhere.refresh(timezone.now())

    assert elsewhere.engine_for(indoor).onset == pytest.approx(made["onset"]) != before
    version = registry.production("indoor")
    assert (version.name, version.number, version.data["copy_of"]) == (made["version"], 2, promoted.name)
    entry = AuditEntry.objects.get(deed="apply_alert_budget")
    assert (entry.who, entry.subject, entry.detail["at_most"]) == (alice, "profile:indoor", 5)
    assert entry.detail["before"] == pytest.approx(before)
    assert "alert budget: at most 5" in AuditEntry.objects.get(deed="promote_version", who=alice).detail["why"]


def test_each_reading_is_told_by_the_onset_of_the_version_that_judged_it(days, alice_client):
    made = post(alice_client, ADDRESS, profile="indoor", at_most=5).json()
    fleet, indoor = current_fleet(), profiles()["indoor"]
    surprise = made["onset"] + 0.01
    rows = replace(
        days.take(slice(0, 2)), surprise=np.array([surprise, surprise]), model_version=np.array([1, 2], dtype=np.int64)
    )

    old, new = spoken(rows, fleet)

    assert Onset.objects.get().model_version == 2
    assert old["score"] == pytest.approx(float(score(surprise, indoor.onset)), abs=1e-3)
    assert new["score"] == pytest.approx(0.3, abs=2e-3)
    assert new["severity"] == "medium"


def test_undoing_brings_the_version_from_before_back_step_by_step(days, promoted, alice_client):
    first = post(alice_client, ADDRESS, profile="indoor", at_most=6).json()
    post(alice_client, ADDRESS, profile="indoor", at_most=3)

    once = post(alice_client, f"{ADDRESS}/undo", profile="indoor").json()
    twice = post(alice_client, f"{ADDRESS}/undo", profile="indoor").json()
    nothing_left = post(alice_client, f"{ADDRESS}/undo", profile="indoor")

    assert (once["version"], twice["version"]) == (first["version"], promoted.name)
    assert onset() == profiles()["indoor"].onset
    assert nothing_left.status_code == 409
    assert "nothing to undo" in nothing_left.content.decode()
    deeds = [one["deed"] for one in alice_client.get(f"{ADDRESS}/history", {"profile": "indoor"}).json()]
    assert deeds == ["undo_alert_budget"] * 2 + ["apply_alert_budget"] * 2


def test_a_mote_may_have_a_budget_of_its_own_and_give_it_back(days, promoted, alice_client):
    mote = Mote.objects.get(code="7")

    made = post(alice_client, ADDRESS, profile="indoor", mote="main/7", at_most=3).json()
    engine = serving.Serving().engine_for(profiles()["indoor"])
    undone = post(alice_client, f"{ADDRESS}/undo", profile="indoor", mote="main/7").json()

    assert engine.onset == profiles()["indoor"].onset
    assert engine.own[mote.pk].onset == pytest.approx(made["onset"])
    assert made["onset"] > engine.onset
    assert undone["version"] == promoted.name
    assert registry.production("indoor", mote) is None


def test_a_budget_outlives_a_training_and_can_be_taken_back_after_it(days, alice_client):
    made = post(alice_client, ADDRESS, profile="indoor", at_most=5).json()
    job = training_jobs.request(
        "indoor", trigger="person", who=None, now=timezone.now(), parameters={"promote": "always", "days": 4.0}
    )

    trained = training.train(running(job), now=timezone.now()).version
    kept = onset()
    undone = post(alice_client, f"{ADDRESS}/undo", profile="indoor").json()

    assert kept == pytest.approx(made["onset"])
    assert trained.number == 3
    assert undone["onset"] == pytest.approx(profiles()["indoor"].onset) == onset()
    assert registry.production("indoor").data["copy_of"] == trained.name


def test_only_engineers_change_a_budget_and_mallory_sees_none(days, bob_client, charlie_client, mallory):
    for client in (bob_client, charlie_client):
        assert client.get(ADDRESS, {"profile": "indoor", "at_most": 5}).status_code == 200
        assert post(client, ADDRESS, profile="indoor", at_most=5).status_code == 403
        assert post(client, f"{ADDRESS}/undo", profile="indoor").status_code == 403
    assert mallory.get(ADDRESS, {"profile": "indoor", "at_most": 5}).status_code in (401, 403)
    assert not AuditEntry.objects.filter(deed="apply_alert_budget").exists()


def test_what_is_no_budget_is_refused_in_words(days, alice_client):
    ask = {"profile": "indoor", "at_most": 5}

    for wrong, words in (
        ({"at_most": 0}, "is no budget; expected a number above 0"),
        ({"days": 0.5}, "expected 1 to 366"),
        ({"profile": "cellar"}, "there are: indoor"),
        ({"mote": "main/99"}, "has no such mote"),
    ):
        refused = alice_client.get(ADDRESS, {**ask, **wrong})
        assert (refused.status_code, words in refused.content.decode()) == (400, True), refused.content


def test_without_readings_or_a_model_it_says_what_is_missing(indoor, alice_client):
    refused = alice_client.get(ADDRESS, {"profile": "indoor", "at_most": 5})

    assert refused.status_code == 409
    assert "has reached the lake yet" in refused.content.decode()
    with pytest.raises(budgets.NoBudget):
        budgets.undo(budgets.scope(current_fleet(), "indoor"), who=None, now=LATER)


def test_the_command_previews_applies_and_undoes(days, promoted):
    preview = said("--profile", "indoor", "--at-most", "5")
    assert "5 faults are known" in preview
    assert "Nothing was changed" in preview
    assert registry.production("indoor") == promoted

    assert "judges profile indoor with it from now on" in said("--profile", "indoor", "--at-most", "5", "--apply")
    assert f"{promoted.name} judges profile indoor now" in said("--profile", "indoor", "--undo")
    with pytest.raises(CommandError, match="nothing to undo"):
        said("--profile", "indoor", "--undo")
    with pytest.raises(CommandError, match="Say --at-most"):
        said("--profile", "indoor")


def test_silver_without_a_word_of_some_days_is_no_obstacle(days):
    later = timezone.now() + timedelta(days=2)
    found = budgets.preview(
        budgets.scope(current_fleet(), "indoor"), 5, lake=lake(), fleet=current_fleet(), now=later, days=20
    )

    assert found.n_readings == len(days)


def test_the_page_draws_the_curve_and_only_engineers_may_apply(days, alice_client, charlie_client):
    asked = {"profile": "indoor", "at_most": 3, "days": 28, "mote": ""}

    seen = charlie_client.get("/models/budget/", asked).content.decode()
    offered = alice_client.get("/models/budget/", asked).content.decode()

    assert "Missed that is caught now" in seen
    assert "<polyline" in seen
    assert 'action="/models/budget/apply"' not in seen
    assert 'action="/models/budget/apply"' in offered
    assert charlie_client.post("/models/budget/apply", asked).status_code == 403
    told = alice_client.post("/models/budget/apply", asked, follow=True).content.decode()
    assert "At most 3 events a week: indoor/anomaly_detector_v2" in told
    assert "Undo the last budget" in told
    told = alice_client.post("/models/budget/undo", {"profile": "indoor"}, follow=True).content.decode()
    assert "Taken back: indoor/anomaly_detector_v1" in told


def test_the_page_says_how_often_forecasts_warned_beside_the_events(days, charlie_client):
    at = datetime.fromtimestamp(int(days.at.min()) / 1e6, UTC)
    for n in range(3):
        ForecastWarning.objects.create(
            mote=Mote.objects.first(), channel="temperature", limit="normal band", value=28.0, is_upper=True,
            origin_at=at + timedelta(days=n / 2), ends_at=at, probability=0.5, last_probability=0.5, outcome="did_not",
        )  # fmt: skip

    seen = charlie_client.get("/models/budget/", {"profile": "indoor", "at_most": 3, "days": 28}).content.decode()

    assert "forecasts warned 7.0 times a week in the same days" in seen


def test_the_page_says_what_to_do_where_there_is_nothing_to_see(indoor, charlie_client):
    nothing = charlie_client.get("/models/budget/")
    wrong = charlie_client.get("/models/budget/", {"profile": "indoor", "at_most": "many"})

    assert "has reached the lake yet" in nothing.content.decode()
    assert (wrong.status_code, "are numbers" in wrong.content.decode()) == (400, True)
