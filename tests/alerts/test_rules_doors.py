"""Rules are written, tried on the past, judge what comes, and are carried from one SIEIS to another."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User

from alerts.models import Alert
from alerts.rules import deeds
from alerts.rules.models import Rule, RuleState
from alerts.rules.running import judge_all
from ingestion.backtesting import backtest
from mlops.models import Label
from sensors.lake import lake
from sensors.models import AuditEntry, Mote, ProcessHeartbeat
from sensors.readings import micros
from sensors.registry import current_fleet, profiles
from sensors.stores import hot
from tests.builders import batch, install_fleet
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
RULES = "/api/v1/rules"
HOT = {"kind": "value", "channel": "temperature", "is": "above", "than": 28.0, "clear": 27.0}
TOO_WARM = {
    "name": "Too warm",
    "severity": "high",
    "profile": "indoor",
    "definition": {"conditions": [HOT], "for_s": 60},
}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def motes():
    install_fleet(motes=("7", "8"))
    return {mote.code: mote.pk for mote in Mote.objects.all()}


@pytest.fixture
def who():
    return User.objects.create(username="writer")


def rows(mote: int, temperatures, *, at=NOON):
    values = np.array([[one, 40.0, 100.0, 2.7] for one in temperatures])
    return batch(profiles()["indoor"], values, mote=mote, start_us=micros(at), step_s=30.0).to_table()


def arrive(mote: int, temperatures, *, at=NOON) -> None:
    hot().write(profiles()["indoor"], rows(mote, temperatures, at=at))


def written(who, **changes) -> Rule:
    return deeds.keep_rule(deeds.of_json({**TOO_WARM, **changes}), who=who, now=NOON)


def look(now) -> None:
    judge_all(store=hot(), fleet=current_fleet(), now=now)


# ---- judging what comes ---------------------------------------------------------------------------------------


def test_a_rule_opens_an_alert_once_and_ends_it_in_a_later_pass(motes, who):
    rule = written(who)
    arrive(motes["7"], [20, 29, 29.5, 29, 29])
    arrive(motes["8"], [20, 20, 20, 20, 20])

    look(NOON + 3 * MINUTE)
    look(NOON + 3 * MINUTE)

    [alert] = Alert.objects.all()
    assert (alert.subject, alert.kind, alert.severity) == ("mote:main/7", rule.kind, "high")
    assert alert.words == ("Temperature is above 28 °C (until below 27 °C): 29 for 1 min (rule “Too warm”, version 1)")
    assert alert.first_seen_at == NOON + timedelta(seconds=90)

    arrive(motes["7"], [26], at=NOON + 3 * MINUTE)
    look(NOON + 4 * MINUTE)

    assert Alert.objects.get().status == "resolved"
    assert Alert.objects.get().resolved_at == NOON + 3 * MINUTE


def test_what_came_before_the_rule_raises_nothing(motes, who):
    arrive(motes["7"], [30] * 10, at=NOON - timedelta(hours=1))
    written(who)

    look(NOON)

    assert not Alert.objects.exists()


def test_a_person_who_resolved_it_is_not_asked_again_while_it_goes_on(motes, who):
    written(who)
    arrive(motes["7"], [29] * 5)
    look(NOON + 3 * MINUTE)
    Alert.objects.update(status="resolved", resolved_by=who, resolved_at=NOON)

    arrive(motes["7"], [29] * 5, at=NOON + 3 * MINUTE)
    look(NOON + 6 * MINUTE)

    assert Alert.objects.count() == 1


def test_a_silence_is_told_only_while_the_path_is_well(motes, who):
    silence = {"no_data": {"means": "alerting", "after_s": 300}}
    written(who, definition=silence)
    arrive(motes["7"], [20])
    look(NOON + MINUTE)
    watch = ProcessHeartbeat.objects.create(
        name="flow", kind="watch", beat_at=NOON, detail={"well_since": None}
    )  # fmt: skip

    look(NOON + 10 * MINUTE)
    assert not Alert.objects.exists()

    watch.detail = {"well_since": NOON.isoformat()}
    watch.save()
    look(NOON + 10 * MINUTE)
    assert Alert.objects.get().words == "No reading for 5 min (rule “Too warm”, version 1)"

    arrive(motes["7"], [20], at=NOON + 11 * MINUTE)
    look(NOON + 12 * MINUTE)
    assert Alert.objects.get().status == "resolved"


def test_another_version_ends_what_the_last_one_raised(motes, who):
    rule = written(who)
    arrive(motes["7"], [29] * 5)
    look(NOON + 3 * MINUTE)

    deeds.keep_rule(deeds.of_json({"severity": "low"}, rule), who=who, now=NOON + 4 * MINUTE)

    assert Alert.objects.get().status == "resolved"
    assert Rule.objects.get().version == 2


def test_a_rule_that_fails_says_so_and_leaves_the_others_alone(motes, who):
    broken, sound = written(who), written(who, name="Sound")
    Rule.objects.filter(pk=broken.pk).update(definition={"conditions": [{"kind": "dance"}]})
    arrive(motes["7"], [29] * 5)

    look(NOON + 3 * MINUTE)

    assert Alert.objects.get().kind == sound.kind
    assert "dance" in RuleState.objects.get(rule=broken).trouble


# ---- the past -------------------------------------------------------------------------------------------------


@pytest.fixture
def past(motes):
    """A day of two motes; number 7 is too warm twice."""
    temperatures = np.full(2880, 20.0)
    temperatures[500:520] = temperatures[2000:2010] = 30.0
    now = NOON
    parts = [rows(motes["7"], temperatures, at=now - timedelta(days=1))]
    parts.append(rows(motes["8"], np.full(2880, 20.0), at=now - timedelta(days=1)))
    for offset, part in enumerate(parts):
        lake().append(
            "silver/indoor", part, app_ids={0: f"t/{offset}"}, next_offsets={0: len(part)}
        )  # fmt: skip
    return now


def test_a_backtest_says_what_would_have_been_raised_caught_and_missed(motes, past, who):
    began = past - timedelta(days=1)
    for mote, step in (("7", 505), ("8", 100)):
        starts = began + step * timedelta(seconds=30)
        Label.objects.create(
            mote_id=motes[mote], kind="spike", starts_at=starts, ends_at=starts + MINUTE, source="simulator"
        )

    done = backtest(deeds.of_json(TOO_WARM), lake=lake(), fleet=current_fleet(), now=past)

    assert [(one.mote.code, one.began_at - began) for one in done.firings] == [
        ("7", timedelta(seconds=502 * 30)), ("7", timedelta(seconds=2002 * 30)),
    ]  # fmt: skip
    assert done.a_week == pytest.approx(14.0)
    assert [(one.mote.code, one.is_caught) for one in done.truths] == [("8", False), ("7", True)]
    assert done.n_unlabelled == 1
    assert (done.line.mote.code, len(done.line.points), done.line.levels) == ("7", 24, [28.0, 27.0])


def test_a_backtest_and_live_readings_are_judged_alike(motes, past, who):
    written(who)
    deeds.keep_rule(Rule.objects.get(), who=who, now=past - timedelta(days=1))
    RuleState.objects.create(rule=Rule.objects.get(), version=2, since_at=past - timedelta(days=1))
    table = lake().scan("silver/indoor").drop("date").collect().sort("mote", "at")
    hot().write(profiles()["indoor"], table)
    for hours in range(0, 25, 3):
        look(past - timedelta(hours=24 - hours))

    done = backtest(Rule.objects.get(), lake=lake(), fleet=current_fleet(), now=past)

    assert sorted(Alert.objects.values_list("first_seen_at", flat=True)) == [one.began_at for one in done.firings]


# ---- doors ----------------------------------------------------------------------------------------------------


def post(client, path, body):
    return client.post(f"{RULES}{path}", body, content_type="application/json")


def test_alice_writes_changes_switches_and_removes_a_rule(motes, alice_client):
    made = post(alice_client, "", TOO_WARM)
    assert made.status_code == 201
    assert made.json()["sentence"] == (
        "When temperature is above 28 °C (until below 27 °C) for 1 min → high alert, all motes of profile indoor."
    )
    one = f"{RULES}/{made.json()['id']}"

    changed = alice_client.put(one, {**TOO_WARM, "zone": "main/lab"}, content_type="application/json").json()
    assert (changed["version"], changed["zone"]) == (2, "main/lab")
    assert alice_client.patch(one, {"is_on": False}, content_type="application/json").json()["is_on"] is False
    assert alice_client.delete(one).status_code == 204
    assert alice_client.get(RULES).json() == []
    assert set(AuditEntry.objects.values_list("deed", flat=True)) >= {
        "make_rule", "change_rule", "switch_rule", "remove_rule",
    }  # fmt: skip


def test_bob_may_try_a_rule_and_not_keep_it(motes, bob_client):
    assert post(bob_client, "", TOO_WARM).status_code == 403
    tried = post(bob_client, "/backtest", TOO_WARM)

    assert (tried.status_code, tried.json()["n_alerts"], tried.json()["line"]) == (200, 0, None)
    assert not Rule.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"profile": None}, "profile"),
        ({"profile": "moon"}, "profile"),
        ({"zone": "main/moon"}, "zone"),
        ({"definition": {"conditions": [{**HOT, "channel": "loudness"}]}}, "conditions"),
        ({"definition": {"conditions": [], "for_s": 60}}, "conditions"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_field(motes, alice_client, changes, field):
    answer = post(alice_client, "", {**TOO_WARM, **changes})

    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_rules_are_carried_whole_or_not_at_all(motes, alice_client, who):
    written(who)
    carried = alice_client.get(f"{RULES}/carried").json()
    assert [one["name"] for one in carried["rules"]] == ["Too warm"]

    other = {**carried["rules"][0], "name": "Other"}
    wrong = {**other, "name": "Wrong", "profile": "moon"}
    assert post(alice_client, "/carried", {"rules": [other, wrong]}).status_code == 400
    assert Rule.objects.count() == 1

    assert post(alice_client, "/carried", {"rules": [carried["rules"][0], other]}).status_code == 200
    assert dict(Rule.objects.values_list("name", "version")) == {"Too warm": 2, "Other": 1}


def test_the_page_shows_rules_as_sentences_with_what_they_raised(motes, who, charlie_client):
    written(who)
    arrive(motes["7"], [29] * 5)
    look(NOON + 3 * MINUTE)

    page = charlie_client.get("/alerts/rules/").text

    assert "When temperature is above 28 °C (until below 27 °C) for 1 min → high alert" in page
    assert "1 active" in page
    assert "Add a rule" not in page
    assert charlie_client.get(f"/alerts/rules/{Rule.objects.get().pk}/").status_code == 200
