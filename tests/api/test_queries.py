"""What an address asks for is answered as it asks, or refused."""

from __future__ import annotations

import pytest

from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("address", "slip", "meant"),
    [
        ("sensors/readings?mote_id=7&chanel=temperature", "chanel", "channel"),
        ("sensors/7/stats?begin=2026-03-02T12:00:00Z", "begin", "start"),
        ("analytics/heatmap?channel=temperature&motes=7", "motes", "mote"),
        ("motes?states=retired", "states", "state"),
        ("audit?whom=alice", "whom", "who"),
        ("ml/jobs?stauts=failed", "stauts", "status"),
        ("quarantine?reson=bad_json", "reson", "reason"),
        ("quarantine/kinds?stauts=held", "stauts", "status"),
        ("books?form=2026-03-02T12:00:00Z", "form", "from"),
        ("quality/reports?stat=done", "stat", "state"),
        ("alerts?stauts=open", "stauts", "status"),
        ("machines/history?windows=60", "windows", "window_s"),
    ],
)
def test_a_slip_in_what_is_asked_for_is_refused_by_its_name(alice_client, address, slip, meant):
    builders.install_fleet(motes=("7",))

    answer = alice_client.get(f"/api/v1/{address}")

    assert answer.status_code == 400
    assert answer.json()["field"] == slip
    assert "There is no such parameter; there are" in answer.json()["detail"]
    assert meant in answer.json()["detail"]


def test_how_an_answer_is_told_and_which_page_of_it_is_no_slip(alice_client):
    assert alice_client.get("/api/v1/audit?limit=5&format=json").status_code == 200


@pytest.mark.parametrize("address", ["reconciliations", "imports", "devices", "profiles", "sensors/latest"])
def test_where_nothing_can_be_narrowed_a_slip_is_refused_too(alice_client, address):
    answer = alice_client.get(f"/api/v1/{address}?chanel=light")

    assert answer.status_code == 400
    assert answer.json()["field"] == "chanel"
    assert "cannot be narrowed" in answer.json()["detail"]


def test_who_is_nobody_is_not_told_what_may_be_asked_for(client):
    answer = client.get("/api/v1/alerts?stauts=open")

    assert answer.status_code == 401
    assert "stauts" not in answer.content.decode()


def test_a_slip_in_what_is_to_be_discarded_discards_nothing(bob_client):
    answer = bob_client.post(
        "/api/v1/quarantine/discard", {"reson": "bad_json", "all": True}, content_type="application/json"
    )

    assert answer.status_code == 400
    assert answer.json()["field"] == "reson"


def test_a_mote_that_is_not_there_is_told_by_field_and_value_and_a_choice_with_those_that_there_are(alice_client):
    missing = alice_client.get("/api/v1/sensors/readings?mote_id=9999")
    choice = alice_client.get("/api/v1/sensors/readings?mote_id=9999&resolution=5m")

    assert (missing.status_code, missing.json()["field"]) == (404, "mote_id")
    assert missing.json()["errors"][0]["value"] == "9999"
    assert "expected raw, 1m, 1h, 1d, auto" in choice.json()["detail"]
