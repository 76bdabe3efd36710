"""The inbox and the page of one alert, as their people see them; and the figures of the alarm system."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from alerts import judging
from alerts.figures import figures
from tests import builders
from tests.alerts.test_api import alert, event
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fleet():
    builders.install_fleet(motes=("7", "8"))


def text(client, address: str) -> str:
    return client.get(address).content.decode()


def test_the_inbox_hides_what_sleeps_and_has_it_under_its_own_tab(charlie_client):
    alert("7", words="Temperature 45.2 °C")
    alert("8", words="Humidity 99 %", snoozed_until=timezone.now() + timedelta(hours=1))

    assert "Temperature 45.2" in text(charlie_client, "/alerts/")
    assert "Humidity 99" not in text(charlie_client, "/alerts/")
    assert "Humidity 99" in text(charlie_client, "/alerts/?status=snoozed")
    assert "Humidity 99" in text(charlie_client, "/alerts/?status=all")


def test_what_nobody_has_in_hand_comes_first_then_what_is_severe(charlie_client):
    for n, (status, severity) in enumerate([("acknowledged", "high"), ("open", "low"), ("open", "high")]):
        alert("7", kind=f"kind{n}", status=status, severity=severity, words=f"number {n}")

    shown = text(charlie_client, "/alerts/")

    assert sorted(range(3), key=lambda n: shown.index(f"number {n}")) == [2, 1, 0]


def test_the_inbox_is_narrowed_by_the_address_and_exports_the_same(bob_client, bob):
    alert("7", assignee=bob, words="mine")
    alert("8", words="not mine")

    shown = text(bob_client, "/alerts/?assignee=me&severity=high")

    assert "not mine" not in shown
    assert "/api/v1/alerts/export?status=active&amp;assignee=me&amp;severity=high" in shown
    assert b"not mine" not in b"".join(bob_client.get("/api/v1/alerts/export?status=active&assignee=me"))


def test_only_those_who_may_act_are_offered_deeds(bob_client, charlie_client):
    one = alert("7")

    for address in ("/alerts/", f"/alerts/{one.pk}/"):
        assert 'id="resolve"' in text(bob_client, address)
        assert 'id="resolve"' not in text(charlie_client, address)
    assert "data-step" not in text(charlie_client, f"/alerts/{one.pk}/")


def test_the_inbox_costs_the_same_number_of_queries_however_long_it_is(
    bob_client, django_assert_max_num_queries, django_assert_num_queries
):
    alert("7")
    bob_client.get("/alerts/")
    with django_assert_max_num_queries(18) as few:
        bob_client.get("/alerts/")
    for n in range(20):
        alert("8", kind=f"kind{n}")

    with django_assert_num_queries(len(few)):
        bob_client.get("/alerts/")


def test_the_page_of_an_alert_has_its_story_and_its_events(bob_client):
    one = alert("7")
    event(one, "temperature", 9.0, 0)
    bob_client.post(f"/api/v1/alerts/{one.pk}/comment", {"note": "the window is open"}, "application/json")

    shown = text(bob_client, f"/alerts/{one.pk}/")

    assert "the window is open" in shown
    assert "far off" in shown
    assert "1 still running" in shown


def test_an_alert_that_does_not_exist_has_no_page(bob_client):
    assert bob_client.get("/alerts/99/").status_code == 404


# ---- figures ----------------------------------------------------------------------------------------------------


def test_the_figures_say_how_many_an_operator_gets_and_which_motes_are_worst():
    for minute in range(12):
        alert("7", status="resolved", first_seen_at=NOON + timedelta(seconds=40 * minute))
    alert("8", status="resolved", first_seen_at=NOON + timedelta(hours=5))

    found = figures(NOON, NOON + timedelta(days=1), n_operators=2, now=NOON + timedelta(days=1))

    assert (found.n_alerts, found.an_operator_and_day, found.is_acceptable) == (13, 6.5, True)
    assert (found.busiest_ten_minutes, found.busiest_at) == (12, NOON)
    assert found.share_of_floods == pytest.approx(1 / 144)
    assert [(one.subject, one.n) for one in found.worst] == [("mote:main/7", 12), ("mote:main/8", 1)]
    assert [(one.subject, one.n) for one in found.chattering] == [("mote:main/7", 10)]


def test_three_alerts_in_two_hours_are_no_chatter():
    for hour in range(3):
        alert("7", status="resolved", first_seen_at=NOON + timedelta(minutes=45 * hour))

    found = figures(NOON, NOON + timedelta(days=1), n_operators=1, now=NOON)

    assert found.chattering == []


def test_precision_counts_what_people_said_last_and_is_unknown_before(bob):
    one, two, three = alert("7"), alert("8"), alert("8", kind="silent")
    span = {"start": NOON, "end": NOON + timedelta(days=1), "n_operators": 1, "now": NOON + timedelta(days=2)}

    assert figures(**span).precision is None
    for which, verdict in ((one, "false"), (one, "real"), (two, "false"), (three, "expected")):
        judging.judge(which, verdict, by=bob, now=NOON)

    found = figures(**span)

    assert (found.n_judged, found.precision) == (3, pytest.approx(2 / 3))
    assert found.stale == ["mote:main/7", "mote:main/8", "mote:main/8"]


def test_the_figures_are_told_by_the_api_and_on_a_page(charlie_client, bob):
    alert("7", first_seen_at=timezone.now())

    told = charlie_client.get("/api/v1/alerts/figures").json()

    assert (told["n_alerts"], told["n_operators"]) == (1, 1)
    assert "Per operator and day" in text(charlie_client, "/alerts/figures/?days=30")
    assert (
        charlie_client.get("/api/v1/alerts/figures?start=2026-03-02T12:00:00Z&end=2026-03-01T12:00:00Z").status_code
        == 400
    )
