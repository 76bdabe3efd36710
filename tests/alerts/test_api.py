"""Alerts over the API: read by everyone with a role, moved by operators, once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts.models import Alert, Event
from sensors.live import spoken_alert
from sensors.models import AuditEntry, Mote, SensorGrade
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


def alert(code: str = "7", **changes: object) -> Alert:
    mote = Mote.objects.get(code=code) if code else None
    given = {
        "subject": f"mote:main/{code}" if code else "sink:influxdb", "kind": "anomaly", "severity": "high",
        "mote": mote, "words": "Temperature 45.2 °C", "first_seen_at": NOON, "last_seen_at": NOON,
    }  # fmt: skip
    return Alert.objects.create(**{**given, **changes})


@pytest.fixture(autouse=True)
def fleet():
    builders.install_fleet(motes=("7", "8"))


def test_alerts_come_newest_first_with_mote_and_site(charlie_client):
    alert("7")
    alert("8", last_seen_at=NOON + timedelta(minutes=1))
    alert("", kind="sink_down", last_seen_at=NOON - timedelta(minutes=1))

    answer = charlie_client.get("/api/v1/alerts").json()

    assert answer["count"] == 3
    assert [(one["mote"], one["site"]) for one in answer["results"]] == [("8", "main"), ("7", "main"), (None, None)]
    assert answer["results"][1]["first_seen_at"] == "2026-03-02T12:00:00Z"


@pytest.mark.parametrize(
    ("query", "found"),
    [("status=open", 1), ("status=active", 2), ("severity=low", 1), ("mote=7", 1), ("mote=7&site=hall", 0)],
)
def test_alerts_are_filtered_by_status_severity_and_mote(charlie_client, query, found):
    alert("7")
    alert("8", severity="low", status=Alert.Status.ACKNOWLEDGED)
    alert("", kind="sink_down", status=Alert.Status.RESOLVED)

    assert charlie_client.get(f"/api/v1/alerts?{query}").json()["count"] == found


def test_a_filter_that_does_not_exist_is_refused_by_value(charlie_client):
    problem = charlie_client.get("/api/v1/alerts?status=angry").json()

    assert (problem["field"], problem["errors"][0]["value"]) == ("status", "angry")


def test_alerts_cost_the_same_number_of_queries_however_many_there_are(
    charlie_client, django_assert_max_num_queries, django_assert_num_queries
):
    alert("7")
    with django_assert_max_num_queries(8) as few:
        charlie_client.get("/api/v1/alerts")
    for n in range(20):
        alert("8", kind=f"kind{n}")

    with django_assert_num_queries(len(few)):
        charlie_client.get("/api/v1/alerts")


def test_an_alert_is_told_with_its_events(charlie_client):
    one = alert("7")
    one.events.create(
        mote=one.mote, noticed_at=NOON, started_at=NOON, last_at=NOON, n_readings=3, peak_surprise=9.0, peak_at=NOON,
        peak_channel="temperature", peak_value=45.2, layer="level", words="hot", model_version=1,
    )  # fmt: skip

    answer = charlie_client.get(f"/api/v1/alerts/{one.pk}").json()

    assert [event["peak_channel"] for event in answer["events"]] == ["temperature"]


def test_bob_acknowledges_an_alert_and_it_says_who_has_it(bob_client):
    one = alert("7")

    answer = bob_client.post(f"/api/v1/alerts/{one.pk}/acknowledge", content_type="application/json")

    assert (answer.status_code, answer.json()["status"], answer.json()["acknowledged_by"]) == (
        200, "acknowledged", "bob",
    )  # fmt: skip
    assert AuditEntry.objects.filter(deed="acknowledge_alert", who__username="bob").exists()


def test_who_comes_second_is_told_where_the_alert_stands(bob_client, alice_client):
    one = alert("7")
    alice_client.post(f"/api/v1/alerts/{one.pk}/resolve", content_type="application/json")

    answer = bob_client.post(f"/api/v1/alerts/{one.pk}/acknowledge", content_type="application/json")

    assert (answer.status_code, answer.json()["title"]) == (409, "Conflict")
    assert "already resolved" in answer.json()["detail"]


def test_an_alert_that_does_not_exist_is_not_found_by_its_address(bob_client):
    answer = bob_client.post("/api/v1/alerts/99/resolve", content_type="application/json")

    assert (answer.status_code, answer.json()["detail"]) == (404, "There is nothing at /api/v1/alerts/99/resolve.")


def test_charlie_may_look_and_not_act(charlie_client):
    one = alert("7")

    answers = [
        charlie_client.post(f"/api/v1/alerts/{one.pk}/{deed}", content_type="application/json")
        for deed in ("acknowledge", "resolve")
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert "operator" in answers[0].json()["detail"]
    assert Alert.objects.get().status == "open"


# ---- the sensor's grade -------------------------------------------------------------------------------------


def event(of: Alert, channel: str, surprise: float, minute: int) -> Event:
    at = NOON + timedelta(minutes=minute)
    return Event.objects.create(
        mote=of.mote, alert=of, noticed_at=at, started_at=at, last_at=at, n_readings=3, peak_surprise=surprise,
        peak_at=at, peak_channel=channel, layer="level", words="far off", model_version=1,
    )  # fmt: skip


def test_an_alert_says_how_good_the_sensor_of_its_worst_event_is(charlie_client):
    graded, other = alert("7"), alert("8")
    event(graded, "humidity", 5.0, 0)
    event(graded, "temperature", 9.0, 1)
    event(other, "light", 5.0, 2)
    for channel, grade, reasons in (("temperature", "D", ["flat line for 31 % of the time"]), ("humidity", "A", [])):
        SensorGrade.objects.create(
            mote=graded.mote, channel=channel, grade=grade, reasons=reasons, starts_at=NOON - timedelta(days=7),
            ends_at=NOON, graded_at=NOON,
        )  # fmt: skip

    one = charlie_client.get(f"/api/v1/alerts/{graded.pk}").json()
    two = charlie_client.get(f"/api/v1/alerts/{other.pk}").json()

    assert (one["peak_channel"], one["grade"], one["grade_reasons"]) == (
        "temperature", "D", ["flat line for 31 % of the time"],
    )  # fmt: skip
    assert (two["peak_channel"], two["grade"], two["grade_reasons"]) == ("light", None, None)
    assert "sensor grade D" in charlie_client.get("/alerts/").content.decode()


def test_the_live_channel_tells_the_grade_where_it_was_looked_up_and_leaves_it_out_elsewhere():
    shown = alert("7")
    event(shown, "temperature", 9.0, 1)

    assert spoken_alert(Alert.objects.with_grades().get())["peak_channel"] == "temperature"
    assert "grade" not in spoken_alert(shown)


def test_json_that_is_nested_beyond_reading_is_refused_and_a_long_value_is_not_repeated_whole(bob_client):
    one = alert("7")
    address = f"/api/v1/alerts/{one.pk}/resolve"

    deep = bob_client.post(address, '{"note": ' + "[" * 5000 + "]" * 5000 + "}", content_type="application/json")
    long = bob_client.post(address, {"verdict": "x" * 100_000}, content_type="application/json")

    assert (deep.status_code, long.status_code) == (400, 400)
    assert "nested too deeply" in deep.json()["detail"]
    assert "is not a valid choice" in long.json()["detail"]
    assert len(long.content) < 3000


def test_many_alerts_are_named_by_numbers_that_a_database_can_hold(bob_client):
    answer = bob_client.post(
        "/api/v1/alerts/bulk", {"ids": [10**30], "deed": "acknowledge"}, content_type="application/json"
    )

    assert (answer.status_code, answer.json()["field"]) == (400, "ids")
