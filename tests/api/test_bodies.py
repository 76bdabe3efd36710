"""What is said in a body is taken as it is said, or refused."""

from __future__ import annotations

import pytest
from django.test.client import MULTIPART_CONTENT

from alerts.notifying.models import Route
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


def test_a_slip_in_a_fields_name_is_refused_by_its_name_and_keeps_nothing(alice_client):
    target = {"name": "Night", "kind": "webhook", "address": "https://example.com/hook"}
    number = alice_client.post("/api/v1/notifications/targets", target, "application/json").json()["id"]

    answer = alice_client.post(
        "/api/v1/notifications/routes", {"target": number, "least_severty": "high"}, "application/json"
    )

    assert answer.status_code == 400
    assert answer.json()["field"] == "least_severty"
    assert "There is no such field; there are" in answer.json()["detail"]
    assert "least_severity" in answer.json()["detail"]
    assert not Route.objects.exists()


@pytest.mark.parametrize(
    ("address", "slip", "form"),
    [
        ("ml/retrain", "profil", "application/json"),
        ("models/rollback", "mote", "application/json"),
        ("ml/detect", "interval_s", MULTIPART_CONTENT),
    ],
)
def test_what_takes_long_or_changes_what_serves_does_not_begin_with_a_slip(alice_client, address, slip, form):
    answer = alice_client.post(f"/api/v1/{address}", {slip: "indoor"}, form)

    assert answer.status_code == 400
    assert "There is no such field" in answer.content.decode()
    assert slip in answer.content.decode()


def test_a_field_that_is_unknown_within_a_list_is_named_too(alice_client):
    rules = {"rules": [{"name": "Hot", "spec": {}, "is_onn": True}]}

    answer = alice_client.post("/api/v1/rules/carried", rules, "application/json")

    assert answer.status_code == 400
    assert "is_onn" in answer.content.decode()


def test_the_document_says_that_such_bodies_have_no_further_fields(alice_client):
    schemas = alice_client.get("/api/v1/schema", headers={"accept": "application/vnd.oai.openapi+json"}).json()[
        "components"
    ]["schemas"]

    assert schemas["RouteIn"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["RouteOut"]
