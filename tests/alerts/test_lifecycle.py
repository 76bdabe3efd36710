"""From open to closed: who may do what, in which order, and that every change leaves its line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.utils import timezone

from alerts import changes, lifecycle, services
from alerts.changes import Actor
from alerts.models import Alert, AlertChange
from tests import builders
from tests.alerts.test_api import alert
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fleet():
    builders.install_fleet(motes=("7", "8"))


def act(client, one: Alert, deed: str, **given: object):
    return client.post(f"/api/v1/alerts/{one.pk}/{deed}", given, "application/json")


def story(one: Alert) -> list[tuple[str, str, str]]:
    return [(change.deed, change.before, change.after) for change in one.changes.all()]


def test_an_alert_goes_its_whole_way_and_each_step_is_a_line_with_who_when_and_from_where(bob_client, bob):
    one = alert("7")

    for deed in ("acknowledge", "start", "resolve", "close"):
        assert act(bob_client, one, deed, note=f"{deed} it").status_code == 200

    assert story(one) == [
        ("acknowledge", "open", "acknowledged"), ("start", "acknowledged", "in_progress"),
        ("resolve", "in_progress", "resolved"), ("close", "resolved", "closed"),
    ]  # fmt: skip
    first = one.changes.first()
    assert (first.who, first.door, first.address, first.note) == (bob, "page", "127.0.0.1", "acknowledge it")
    assert abs(first.at - timezone.now()) < timedelta(minutes=1)


def test_the_story_and_the_last_verdict_are_told_with_the_alert(bob_client, charlie_client):
    one = alert("7")
    act(bob_client, one, "resolve", note="the door was open", verdict="expected")

    told = charlie_client.get(f"/api/v1/alerts/{one.pk}").json()

    assert (told["status"], told["verdict"], told["revision"]) == ("resolved", "expected", 1)
    assert [(line["deed"], line["who"], line["note"]) for line in told["changes"]] == [
        ("resolve", "bob", "the door was open"), ("judge", "bob", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "deed"),
    [
        ("open", "close"),
        ("resolved", "acknowledge"),
        ("in_progress", "start"),
        ("open", "reopen"),
        ("closed", "snooze"),
    ],
)
def test_a_step_out_of_order_is_refused_with_where_the_alert_stands(bob_client, status, deed):
    one = alert("7", status=status)

    takes = {"until": (timezone.now() + timedelta(hours=1)).isoformat()} if deed == "snooze" else {}
    answer = act(bob_client, one, deed, **takes)

    assert answer.status_code == 409
    assert answer.json()["alert"]["status"] == status
    assert story(one) == []


def test_who_looked_at_an_older_state_overwrites_nothing(bob_client, alice_client, alice):
    one = alert("7")
    seen = bob_client.get(f"/api/v1/alerts/{one.pk}").json()["revision"]
    act(alice_client, one, "assign", assignee="alice")

    answer = act(bob_client, one, "resolve", revision=seen, note="nothing")

    assert answer.status_code == 409
    assert "assigned by alice" in answer.json()["detail"]
    assert answer.json()["alert"]["assignee"] == "alice"
    assert Alert.objects.get().status == "open"


def test_taking_an_alert_from_another_needs_to_have_seen_that_it_is_theirs(bob_client, alice_client, bob):
    one = alert("7")
    act(alice_client, one, "assign", assignee="alice")

    blind = act(bob_client, one, "assign", assignee="bob")
    knowing = act(bob_client, one, "assign", assignee="bob", revision=blind.json()["alert"]["revision"])

    assert (blind.status_code, knowing.status_code) == (409, 200)
    assert Alert.objects.get().assignee == bob
    assert AlertChange.objects.last().detail == {"from": "alice", "to": "bob"}


def test_an_alert_cannot_be_given_to_somebody_who_may_only_look(bob_client, charlie):
    answer = act(bob_client, alert("7"), "assign", assignee="charlie")

    assert answer.status_code == 400
    assert "charlie may look" in answer.json()["detail"]


def test_a_resolved_alert_opens_again_unless_there_is_another(bob_client):
    one = alert("7", status="resolved")

    assert act(bob_client, one, "reopen").json()["status"] == "open"

    other = alert("8", status="resolved")
    standing = alert("8")
    refused = act(bob_client, other, "reopen")

    assert (refused.status_code, refused.json()["alert"]["id"]) == (409, standing.pk)
    other.refresh_from_db()
    assert other.status == "resolved"


def test_a_snoozed_alert_is_found_as_such_until_it_wakes(bob_client, charlie_client):
    one = alert("7")
    until = timezone.now() + timedelta(hours=1)

    assert act(bob_client, one, "snooze", until=until.isoformat()).status_code == 200
    assert charlie_client.get("/api/v1/alerts?status=snoozed").json()["count"] == 1
    assert act(bob_client, one, "wake").status_code == 200
    assert charlie_client.get("/api/v1/alerts?status=snoozed").json()["count"] == 0
    assert [deed for deed, _, _ in story(one)] == ["snooze", "wake"]


@pytest.mark.parametrize("hours", [-1, 24 * 8])
def test_nobody_snoozes_into_the_past_or_for_more_than_a_week(bob_client, hours):
    until = timezone.now() + timedelta(hours=hours)

    assert act(bob_client, alert("7"), "snooze", until=until.isoformat()).status_code == 400


def test_a_comment_needs_words(bob_client):
    one = alert("7")

    assert act(bob_client, one, "comment", note="  ").status_code == 400
    assert act(bob_client, one, "comment", note="looked: all well").status_code == 200
    assert story(one) == [("comment", "open", "open")]


def test_charlie_may_do_none_of_it(charlie_client):
    one = alert("7")

    answers = {act(charlie_client, one, deed, note="x").status_code for deed in lifecycle.DEEDS}
    bulk = charlie_client.post("/api/v1/alerts/bulk", {"ids": [one.pk], "deed": "resolve"}, "application/json")

    assert (answers, bulk.status_code) == ({403}, 403)


def test_many_are_acted_on_at_once_and_those_that_could_not_say_why(bob_client):
    one, over = alert("7"), alert("8", status="resolved")

    answer = bob_client.post(
        "/api/v1/alerts/bulk", {"ids": [one.pk, over.pk, 999], "deed": "acknowledge"}, "application/json"
    ).json()

    assert [(done["id"], done["status"]) for done in answer["done"]] == [(one.pk, "acknowledged")]
    assert {refused["id"] for refused in answer["refused"]} == {over.pk, 999}
    assert "already resolved" in answer["refused"][0]["detail"]


def test_what_sieis_does_itself_is_in_the_story_too():
    about = {"subject": "sink:hot_store", "kind": "sink_down"}
    one = services.raise_system_alert(**about, words="away", severity="high", now=NOON)
    services.raise_system_alert(**about, words="still away", severity="high", now=NOON + timedelta(minutes=1))
    services.clear_system_alert(**about, now=NOON + timedelta(minutes=2))

    assert story(one) == [("open", "", "open"), ("resolve", "open", "resolved")]
    assert {change.door for change in one.changes.all()} == {"sieis"}


def test_whoever_follows_alerts_hears_each_change_once_inside_its_transaction(bob):
    heard: list[str] = []

    def follow(some: Sequence[AlertChange]) -> None:
        heard.extend(one.deed for one in some)

    changes.followers.append(follow)
    try:
        one = alert("7")
        lifecycle.acknowledge(one, by=Actor(bob, "api"), now=NOON)
        lifecycle.resolve(one, by=Actor(bob, "api"), now=NOON)
    finally:
        changes.followers.remove(follow)

    assert heard == ["acknowledge", "resolve"]


def test_the_story_says_that_bob_used_the_api_when_he_sent_his_password(bob, client):
    bob.set_password("secret-enough")
    bob.save()
    one = alert("7")

    answer = client.post(
        f"/api/v1/alerts/{one.pk}/acknowledge", content_type="application/json",
        headers={"authorization": "Basic Ym9iOnNlY3JldC1lbm91Z2g="},
    )  # fmt: skip

    assert answer.status_code == 200
    assert one.changes.get().door == "api"


# ---- finding and exporting ----------------------------------------------------------------------------------


def test_alerts_are_found_by_assignee_note_and_verdict(bob_client, bob):
    mine, other = alert("7", assignee=bob), alert("8")
    act(bob_client, other, "comment", note="smells of smoke")
    act(bob_client, other, "judge", verdict="real")

    found = {
        query: [one["id"] for one in bob_client.get(f"/api/v1/alerts?{query}").json()["results"]]
        for query in ("assignee=me", "assignee=nobody", "q=smoke", "verdict=real", "q=smoke%20main/7")
    }

    assert found == {
        "assignee=me": [mine.pk], "assignee=nobody": [other.pk], "q=smoke": [other.pk], "verdict=real": [other.pk],
        "q=smoke%20main/7": [],
    }  # fmt: skip


def test_alerts_leave_as_csv_with_the_same_filters_and_no_formula_in_them(charlie_client):
    alert("7", words='=HYPERLINK("x")')
    alert("8", status="resolved")

    answer = charlie_client.get("/api/v1/alerts/export?status=active")
    lines = b"".join(answer).decode().splitlines()

    assert answer["Content-Type"].startswith("text/csv")
    assert lines[0].startswith("id,subject,mote,site,kind,status")
    assert len(lines) == 2
    assert '"\'=HYPERLINK(""x"")"' in lines[1]
    assert "2026-03-02T12:00:00Z" in lines[1]
