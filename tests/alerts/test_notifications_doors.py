"""The page and the API of notifications: who may do what, and what of it is shown to whom."""

from __future__ import annotations

import pytest
from django.utils import timezone

from alerts import services
from alerts.notifying import deeds
from alerts.notifying.models import Delivery, Mention, Route, Target
from sensors.models import AuditEntry
from tests.builders import install_fleet
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
TARGETS, ROUTES = "/api/v1/notifications/targets", "/api/v1/notifications/routes"
HOOK = {"name": "Night shift", "kind": "webhook", "address": "https://hooks.example.com/secret-path"}


def post(client, path, body=None):
    return client.post(path, body or {}, content_type="application/json")


def target(who, **changes) -> Target:
    given = {**HOOK, "owner": None, "who": who, "now": timezone.now(), **changes}
    return deeds.make_target(**given)


def delivery(where: Target, **changes) -> Delivery:
    now = timezone.now()
    values = {"key": "incident:1:open:1:1", "group": "incident:1", "what": "open", "state": "sent", "sent_at": now}
    return Delivery.objects.create(target=where, made_at=now, due_at=now, **{**values, **changes})


def test_an_engineer_adds_a_webhook_and_sees_its_secret_once(alice_client):
    made = post(alice_client, TARGETS, HOOK)

    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    [listed] = alice_client.get(TARGETS).json()
    assert "secret" not in listed
    assert listed["address"] == "https://hooks.example.com/…"
    assert AuditEntry.objects.filter(deed="make_target").exists()


def test_a_viewer_adds_an_address_of_his_own_that_nobody_else_sees(charlie_client, alice_client):
    own = {"name": "Charlie", "kind": "email", "address": "charlie@example.com", "is_own": True}

    assert post(charlie_client, TARGETS, own).status_code == 201
    assert post(charlie_client, TARGETS, HOOK).status_code == 403
    assert len(charlie_client.get(TARGETS).json()) == 1
    assert alice_client.get(TARGETS).json() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"address": "gopher://x"}, "https://example.com/hook"),
        ({"kind": "email", "address": "nowhere"}, "no e-mail address"),
        ({"kind": "chat", "address": "nonsense"}, "No chat service"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_what_was_expected(alice_client, changes, said):
    answer = post(alice_client, TARGETS, {**HOOK, **changes})

    assert (answer.status_code, answer.json()["field"]) == (400, "address")
    assert said in answer.json()["detail"]


def test_a_route_is_made_changed_and_removed(alice, alice_client):
    where = target(alice)
    hours = {"days": [0, 1], "from": "08:00", "to": "18:00", "time_zone": "Europe/Berlin"}
    made = post(alice_client, ROUTES, {"target": where.pk, "least_severity": "high", "after_s": 900, "hours": hours})
    assert made.status_code == 201

    one = f"{ROUTES}/{made.json()['id']}"
    changed = alice_client.patch(one, {"is_on": False}, content_type="application/json")
    assert (changed.json()["is_on"], changed.json()["after_s"]) == (False, 900)

    assert alice_client.delete(one).status_code == 204
    assert not Route.objects.exists()


def test_hours_that_cannot_be_are_refused(alice, alice_client):
    hours = {"days": [9], "from": "08:00", "to": "18:00", "time_zone": "UTC"}

    answer = post(alice_client, ROUTES, {"target": target(alice).pk, "hours": hours})

    assert (answer.status_code, answer.json()["field"]) == (400, "hours")


def test_bob_sends_a_failed_message_again_and_charlie_may_not(alice, bob_client, charlie_client):
    failed = delivery(target(alice), state="failed", sent_at=None)
    path = f"/api/v1/notifications/deliveries/{failed.pk}/redeliver"

    assert post(charlie_client, path).status_code == 403
    assert post(bob_client, path).json()["state"] == "waiting"
    assert post(bob_client, path).status_code == 409


def test_the_log_of_an_alert_names_its_messages(alice, charlie_client):
    alert = services.raise_system_alert(
        subject="sink:lake", kind="sink_down", words="away", severity="high", now=timezone.now()
    )
    told = delivery(target(alice))
    Mention.objects.create(delivery=told, alert=alert, what="open")
    delivery(target(alice, name="Other"), key="other")

    answer = charlie_client.get(f"/api/v1/notifications/deliveries?alert={alert.pk}").json()

    assert [(one["target"], one["n_alerts"]) for one in answer["results"]] == [("Night shift", 1)]


def test_removing_a_target_ends_what_waits_for_it_and_keeps_its_log(alice, alice_client):
    where = target(alice)
    waits = delivery(where, state="waiting", sent_at=None)

    assert alice_client.delete(f"{TARGETS}/{where.pk}").status_code == 204

    waits.refresh_from_db()
    assert (waits.state, waits.trouble) == ("failed", "Its target was removed.")
    assert alice_client.get(TARGETS).json() == []


def test_the_badge_counts_what_waits_for_somebody(charlie_client):
    install_fleet()
    assert charlie_client.get("/api/v1/notifications/waiting").json() == {"open": 0, "worst": None}

    services.raise_system_alert(
        subject="sink:lake", kind="sink_down", words="away", severity="high", now=timezone.now()
    )

    assert charlie_client.get("/api/v1/notifications/waiting").json() == {"open": 1, "worst": "high"}


def test_the_page_tells_routes_as_sentences_and_hides_what_is_secret(alice, alice_client, mallory):
    Route.objects.create(target=target(alice), least_severity="high", after_s=900)

    page = alice_client.get("/alerts/notifications/").text

    assert "Alerts of high severity that nobody acknowledged for 15 min → Night shift" in page
    assert "secret-path" not in page
    assert mallory.get("/alerts/notifications/").status_code == 302


def test_the_page_says_what_to_do_while_there_is_nothing(charlie_client):
    assert "Nobody is told yet" in charlie_client.get("/alerts/notifications/").text
