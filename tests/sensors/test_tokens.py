"""API tokens: a program comes in a person's name, within a scope, until the token ends or is revoked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from sensors import tokens
from sensors.models import ApiToken, AuditEntry
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet():
    builders.install_fleet(motes=("7",))


def program(text: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"})


def token(user, scope="read", **more):
    asked = {"name": "nightly report", "days": 30, "now": timezone.now(), **more}
    return tokens.make_token(user, scope=scope, **asked)


def test_a_program_reads_in_a_persons_name(fleet, charlie):
    made = token(charlie)

    answer = program(made.text).get("/api/v1/motes")

    assert [one["mote"] for one in answer.json()] == ["7"]
    made.token.refresh_from_db()
    assert made.token.last_used_at is not None


def test_a_scope_allows_no_more_than_it_says_whoever_the_person_is(fleet, alice):
    change = {"state": "maintenance"}
    path = "/api/v1/motes/main/7"

    refused = program(token(alice, "read").text).patch(path, change, content_type="application/json")
    allowed = program(token(alice, "operate").text).patch(path, change, content_type="application/json")
    too_much = program(token(alice, "operate").text).patch(path, {"label": "x"}, content_type="application/json")

    assert (refused.status_code, allowed.status_code, too_much.status_code) == (403, 200, 403)


def test_a_scope_gives_nobody_what_the_person_may_not(fleet, charlie):
    answer = program(token(charlie, "engineer").text).patch(
        "/api/v1/motes/main/7", {"label": "x"}, content_type="application/json"
    )

    assert answer.status_code == 403


@pytest.mark.parametrize("how", ["ended", "revoked", "closed", "wrong", "made up"])
def test_a_token_that_does_not_hold_lets_nobody_in_and_says_why(fleet, charlie, how):
    long_ago = timezone.now() - timedelta(days=31)
    made = token(charlie, now=long_ago if how == "ended" else timezone.now())
    text = made.text
    if how == "revoked":
        tokens.revoke_token(made.token, who=charlie, now=timezone.now())
    elif how == "closed":
        charlie.is_active = False
        charlie.save()
    elif how == "wrong":
        text = text[:-1] + ("a" if text[-1] != "a" else "b")
    elif how == "made up":
        text = "sieisapi_0123456789ab_secret"

    answer = program(text).get("/api/v1/motes")

    assert answer.status_code == 401
    words = {"ended": "ended at", "revoked": "revoked at", "closed": "closed"}.get(how, "not known")
    assert words in answer.json()["detail"]


def test_charlie_makes_sees_and_revokes_a_token_and_each_is_in_the_audit(fleet, charlie_client, charlie):
    made = charlie_client.post("/api/v1/tokens", {"name": "dashboard"}, content_type="application/json").json()

    assert (made["scope"], made["token"].startswith("sieisapi_")) == ("read", True)
    (listed,) = charlie_client.get("/api/v1/tokens").json()
    assert "token" not in listed
    page = charlie_client.get("/account/tokens/").text
    assert "dashboard" in page
    assert made["token"] not in page

    assert charlie_client.delete(f"/api/v1/tokens/{made['id']}").status_code == 200
    assert charlie_client.delete(f"/api/v1/tokens/{made['id']}").status_code == 409
    assert program(made["token"]).get("/api/v1/motes").status_code == 401
    deeds = AuditEntry.objects.filter(subject=f"token:{made['public_id']}").values_list("deed", flat=True)
    assert sorted(deeds) == ["make_api_token", "revoke_api_token"]


def test_a_token_makes_no_token_and_nobody_revokes_anothers(fleet, alice, bob_client):
    made = token(alice, "engineer")

    assert program(made.text).post("/api/v1/tokens", {"name": "x"}, content_type="application/json").status_code == 401
    assert bob_client.delete(f"/api/v1/tokens/{made.token.pk}").status_code == 404


def test_only_the_hash_is_kept(charlie):
    made = token(charlie)

    kept = ApiToken.objects.get()
    assert made.text.rpartition("_")[2] not in f"{kept.secret_sha256}{kept.public_id}{kept.name}"
    with pytest.raises(ValidationError, match="0 days is out of range"):
        token(charlie, days=0)
