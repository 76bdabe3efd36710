"""The API of quality reports."""

from __future__ import annotations

import pytest

from ingestion import tasks
from ingestion.models import QualityReport
from tests import builders
from tests.ingestion.quality_site import INDOOR, good, quality_site, table  # noqa: F401
from tests.people import *  # noqa: F403

HERE = "/api/v1/quality/reports"


@pytest.fixture
def report(place):
    place.keep(table(place.keys["7"], [(60.0, 45.0, 2.8)] * 120), good(place.keys["8"]))
    return place.report()


def test_a_report_is_asked_for_made_and_read_at_its_address(place, bob_client):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))

    asked = bob_client.post(HERE, {"start": "2026-03-02T00:00:00Z"}, content_type="application/json")
    tasks.make_report(asked.json()["id"])
    told = bob_client.get(asked.json()["address"]).json()

    assert asked.status_code == 202
    assert asked["Location"] == f"{HERE}/{told['id']}"
    assert (told["state"], told["has_passed"], told["quality_percent"]) == ("done", True, 100.0)
    assert (told["profile"], told["site"], told["asked_by"], told["trigger"]) == ("indoor", "main", "bob", "api")
    assert told["starts_at"] == "2026-03-02T00:00:00Z"
    assert {"name", "words", "figure", "limit", "has_passed", "share", "n", "of", "lists"} <= told["checks"][0].keys()
    assert [one["mote"] for one in told["detail"]["motes"]] == ["7", "8"]


def test_the_list_is_the_newest_first_and_narrowed(place, report, charlie_client):
    second = place.report()

    told = charlie_client.get(HERE).json()

    assert [one["id"] for one in told["results"]] == [second.pk, report.pk]
    assert "checks" not in told["results"][0]
    assert charlie_client.get(f"{HERE}?state=failed").json()["count"] == 0
    assert charlie_client.get(f"{HERE}?profile=indoor&site=main&limit=1").json()["count"] == 2
    assert charlie_client.get(f"{HERE}?state=lost").status_code == 400


def test_a_report_tells_what_became_of_it_since_the_last(place, report, charlie_client):
    second = place.report()

    since = charlie_client.get(f"{HERE}/{second.pk}").json()["compared"]

    assert (since["report"], since["quality"]) == (report.pk, 0.0)
    assert since["checks"]["range:temperature"] == {"points": 0.0, "is_better": None, "had_passed": False}
    assert charlie_client.get(f"{HERE}/{report.pk}").json()["compared"] is None


def test_the_readings_behind_a_check_come_in_pages(report, charlie_client):
    there = f"{HERE}/{report.pk}/readings"

    first = charlie_client.get(f"{there}?check=range:temperature&limit=100").json()
    second = charlie_client.get(f"{there}?check=range:temperature&limit=100&behind={first['next']}").json()

    assert [len(page["readings"]) for page in (first, second)] == [100, 20]
    assert second["next"] is None
    assert first["readings"][0] == {
        "mote": "7", "at": "2026-03-02T12:00:00Z", "values": {"temperature": 60.0, "humidity": 45.0, "voltage": 2.8},
        "flags": ["out_of_range"], "channels": ["temperature"], "waited_s": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("check=motes", 404),
        ("check=range:noise", 404),
        ("", 400),
        ("check=nulls&flag=odd", 400),
        ("check=nulls&behind=x", 400),
    ],
)
def test_a_list_that_cannot_be_given_says_why(report, charlie_client, query, status):
    answer = charlie_client.get(f"{HERE}/{report.pk}/readings?{query}")

    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_second_report_of_a_scope_is_refused_while_one_is_being_made(place, bob_client):
    first = bob_client.post(HERE, {}, content_type="application/json").json()
    QualityReport.objects.update(state="running", heartbeat_at=QualityReport.objects.get().asked_at)

    refused = bob_client.post(HERE, {}, content_type="application/json")

    assert refused.status_code == 409
    assert f"report {first['id']}" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"site": "moon"}, "no motes at site “moon”"),
        ({"profile": "smoke"}, "There are: indoor at main."),
        ({"start": "2026-03-03T00:00Z", "end": "2026-03-02T00:00Z"}, "is not before the end"),
        ({"interval_s": 0}, "give seconds above 0"),
        ({"start": "noon"}, "“noon” is no instant"),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_sentence(place, bob_client, given, said):
    answer = bob_client.post(HERE, given, content_type="application/json")

    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert not QualityReport.objects.exists()


def test_of_several_sites_one_must_be_named(place, bob_client):
    builders.install_fleet(motes=("7",), profile=INDOOR, site="lab")

    answer = bob_client.post(HERE, {"profile": "indoor"}, content_type="application/json")

    assert "indoor at lab; indoor at main" in answer.json()["detail"]


def test_charlie_may_read_and_not_ask_and_mallory_neither(report, charlie_client, mallory):
    assert charlie_client.get(f"{HERE}/{report.pk}").status_code == 200
    assert charlie_client.post(HERE, {}, content_type="application/json").status_code == 403
    for path in ("", f"/{report.pk}", f"/{report.pk}/readings?check=nulls"):
        assert mallory.get(f"{HERE}{path}").status_code == 401
