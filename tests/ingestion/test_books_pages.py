"""The story of an hour as people see it: red on Data quality, opened, healed by Bob, green; and the same by API."""

# ruff: noqa: F811, F403  (the fixtures come from test_runner and people by import)
from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from alerts.models import Alert
from ingestion.models import HourDifference, LedgerHour, Reconciliation
from ingestion.reconciling import deed
from sensors import registry
from sensors.lake import lake
from sensors.models import Profile
from sensors.stores import hot
from tests.ingestion.test_reconciling import HOUR, lose_from_hot, reconciled, three_hours  # noqa: F401
from tests.people import *

JSON = "application/json"
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]


def done(made: Reconciliation) -> None:
    """What the worker does."""
    deed.reconcile(made, lake=lake(), hot=hot(), fleet=registry.current_fleet(), now=timezone.now())


def page(client: Any, address: str = "/quality/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_an_hour_is_red_opens_to_what_differs_and_is_green_after_bob_healed_it(
    three_hours: datetime, bob_client: Any
) -> None:
    assert "have not been compared yet" in page(bob_client)
    lose_from_hot(three_hours, three_hours + HOUR)
    bob_client.post("/quality/books/reconcile")
    assert "Comparing since" in page(bob_client)
    done(Reconciliation.objects.get())

    shown = page(bob_client)
    assert "1 hour differs" in shown
    assert "1 of 3 hours differ" in shown
    assert 'class="hour bad"' in shown
    assert shown.count('class="hour ok"') == 2
    opened = page(bob_client, f"/quality/books/indoor/{three_hours:%Y-%m-%dT%HZ}/")
    assert "The hot store lacks 60 of 60." in opened
    assert "Books 120, lake 120, hot store 0 of 120" in opened

    bob_client.post("/quality/books/reconcile", {"heal": "1"})
    done(Reconciliation.objects.get(heals=True))

    shown = page(bob_client)
    assert "no hour differs" in shown
    assert "1 healed" in shown
    assert "120 readings were written from the lake to the hot store" in shown
    assert shown.count('class="hour ok"') == 3
    assert "has been equal since" in page(bob_client, f"/quality/books/indoor/{three_hours:%Y-%m-%dT%HZ}/")


def test_the_alert_of_an_hour_leads_to_where_it_is_seen_and_healed(three_hours: datetime, bob_client: Any) -> None:
    lose_from_hot(three_hours, three_hours + HOUR)
    reconciled()

    alert = Alert.objects.get(kind="books_differ")

    assert 'look at <a href="/quality/">Data quality</a>' in page(bob_client, f"/alerts/{alert.pk}/")


def test_charlie_sees_the_books_and_compares_and_is_refused_to_heal(three_hours: datetime, charlie_client: Any) -> None:
    lose_from_hot(three_hours, three_hours + HOUR)
    reconciled()

    assert 'data-dialog="heal"' not in page(charlie_client)
    assert charlie_client.post("/quality/books/reconcile", {"heal": "1"}).status_code == 403
    assert charlie_client.post("/api/v1/reconciliations", {"heal": True}, content_type=JSON).status_code == 403
    assert charlie_client.post("/api/v1/reconciliations", {}, content_type=JSON).status_code == 202


def test_mallory_sees_no_books(three_hours: datetime, mallory: Any) -> None:
    assert mallory.get("/quality/books/").status_code == 302
    assert mallory.get("/api/v1/books").status_code in (401, 403)


def test_all_hours_are_a_table_that_can_be_narrowed_to_those_that_differ(
    three_hours: datetime, charlie_client: Any
) -> None:
    lose_from_hot(three_hours, three_hours + HOUR)
    reconciled()

    assert "3 lines" in page(charlie_client, "/quality/books/?profile=indoor")
    assert "1 line<" in page(charlie_client, "/quality/books/?only=differing")
    assert charlie_client.get("/quality/books/indoor/yesterday/").status_code == 404


def test_hours_that_differ_are_found_however_old_they_are(three_hours: datetime, charlie_client: Any) -> None:
    lose_from_hot(three_hours, three_hours + HOUR)
    reconciled()
    for rows in (LedgerHour.objects, HourDifference.objects):
        rows.update(hour=F("hour") - timedelta(days=40))
    long_ago = three_hours - timedelta(days=40)

    shown = page(charlie_client, "/quality/books/?only=differing")
    assert f"{long_ago:%Y-%m-%d %H}:00</a>" in shown
    assert "1 line<" in shown
    assert "?only=differing&profile=indoor" in page(charlie_client)
    for rows in (LedgerHour.objects, HourDifference.objects):
        rows.update(hour=F("hour") - timedelta(days=400))
    year = f"{long_ago - timedelta(days=400):%Y}</time></th>"
    assert year in page(charlie_client)
    for rows in (LedgerHour.objects, HourDifference.objects):
        rows.update(hour=F("hour") + timedelta(days=400))
    earlier = page(charlie_client, f"/quality/books/?to={long_ago + 3 * HOUR:%Y-%m-%dT%HZ}")
    assert "The newest week" in earlier
    assert f"<td>{Profile.objects.get().label}</td>" in earlier


def test_who_asked_and_through_which_door_is_said_in_words(three_hours: datetime, bob_client: Any) -> None:
    call_command("reconcile", stdout=StringIO())
    assert "asked for by command at" in page(bob_client)

    bob_client.post("/api/v1/reconciliations", {}, content_type=JSON)
    assert "asked for by bob by API at" in page(bob_client, "/quality/books/")


def test_the_api_refuses_a_profile_that_is_not_there(three_hours: datetime, charlie_client: Any) -> None:
    answer = charlie_client.get("/api/v1/books?profile=nix")

    assert answer.status_code == 400
    assert "There is no profile “nix”; there are: indoor." in answer.json()["detail"]


def test_the_api_tells_the_same_story(three_hours: datetime, bob_client: Any) -> None:
    lose_from_hot(three_hours, three_hours + HOUR)
    assert {line["state"] for line in bob_client.get("/api/v1/books").json()["hours"]} == {"waiting"}
    asked = bob_client.post("/api/v1/reconciliations", {"profile": "indoor"}, content_type=JSON)
    assert asked.status_code == 202
    done(Reconciliation.objects.get())

    told = bob_client.get(asked.json()["address"]).json()
    assert (told["state"], told["n_left"]) == ("done", 1)
    assert told["differences"][0]["motes"][0] == {"mote": "7", "booked": 60, "cold": 60, "due": 60, "hot": 0}
    span = {"from": three_hours.isoformat(), "to": (three_hours + 2 * HOUR).isoformat(), "profile": "indoor"}
    lines = bob_client.get("/api/v1/books", span).json()["hours"]
    assert [(line["state"], line["received"], len(line["differences"])) for line in lines] == [
        ("equal", 120, 0), ("differs", 120, 1),
    ]  # fmt: skip

    body = {"heal": True, "from": span["from"], "to": span["to"]}
    bob_client.post("/api/v1/reconciliations", body, content_type=JSON)
    again = bob_client.post("/api/v1/reconciliations", body, content_type=JSON)
    assert again.status_code == 409
    assert "is queued already" in again.content.decode()
    done(Reconciliation.objects.get(heals=True))
    assert {line["state"] for line in bob_client.get("/api/v1/books", span).json()["hours"]} == {"equal"}
    wrong = bob_client.post("/api/v1/reconciliations", {"profile": "indor"}, content_type=JSON)
    assert wrong.status_code == 400
    assert "there are: indoor" in wrong.content.decode()
