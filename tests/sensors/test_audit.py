"""The audit log as engineers read it: by person, deed, thing and day, on its page, by API and as CSV."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest

from sensors import audit
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture
def deeds(alice, bob):
    audit.record(deed="load_pack", subject="profile:indoor", who=alice, now=NOON, detail={"version": 2})
    changed = {"state": ["active", "retired"], "label": ["", "by the door"]}
    audit.record(deed="change_mote", subject="mote:main/7", who=bob, now=NOON + timedelta(days=1), detail=changed)
    audit.record(deed="heal", subject="=cmd()", now=NOON + timedelta(days=2), detail={"rows": 3})


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ({"who": "alice"}, ["profile:indoor"]), ({"who": "SIEIS", "deed": "heal"}, ["=cmd()"]),
        ({"deed": "change_mote"}, ["mote:main/7"]), ({"subject": "main/7"}, ["mote:main/7"]),
        ({"since": "2026-03-03", "until": "2026-03-03"}, ["mote:main/7"]), ({"who": "mallory"}, []),
    ],
)  # fmt: skip
def test_who_what_and_when_narrow_the_log_alike_for_programs_and_people(deeds, alice_client, query, subjects):
    told = alice_client.get("/api/v1/audit", query).json()["results"]
    page = alice_client.get("/audit/", query)

    assert [one["subject"] for one in told] == subjects
    assert [one.subject for one in page.context["page"]] == subjects


def test_the_download_holds_what_the_filters_leave_and_no_formula(deeds, alice_client):
    answer = alice_client.get("/api/v1/audit/export?since=2026-03-04")

    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    assert [(row["who"], row["subject"], row["detail"]) for row in rows] == [("SIEIS", "'=cmd()", '{"rows": 3}')]
    assert "attachment" in answer["Content-Disposition"]


def test_what_was_changed_is_told_as_from_where_to_where(deeds, alice_client):
    (one,) = alice_client.get("/audit/?deed=change_mote").context["page"]

    assert one.told == [("state", "active → retired"), ("label", "nothing → by the door")]


@pytest.mark.parametrize("path", ["/audit/", "/api/v1/audit", "/api/v1/audit/export"])
def test_only_engineers_and_administrators_read_it(path, charlie_client, bob_client, alice_client, admin_client):
    asked = [client.get(path).status_code for client in (charlie_client, bob_client, alice_client, admin_client)]

    assert asked == [403, 403, 200, 200]


def test_a_day_that_is_none_is_named_and_breaks_no_page(deeds, alice_client):
    page = alice_client.get("/audit/?since=yesterday")

    assert page.status_code == 200
    assert "since: " in page.content.decode()


def test_those_who_may_read_it_find_it_in_their_menu(alice_client, bob_client):
    assert 'href="/audit/"' in alice_client.get("/account/tokens/").content.decode()
    assert 'href="/audit/"' not in bob_client.get("/account/tokens/").content.decode()
