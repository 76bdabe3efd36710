"""What an integrator reads: motes, their latest readings, spans of them, and answers that say what was wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
import yaml
from django.core.management import call_command
from django.utils import timezone

from sensors import quality, registry
from sensors.models import Mote
from sensors.readings import micros
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"
START = "2026-03-02T12:00:00Z"


def stored(code: str, temperatures: list[float], *, start=NOON, step_s: float = 30.0, **columns: object):
    """Readings of that mote in the hot store."""
    fleet = registry.current_fleet()
    mote = fleet.find(code)
    profile = fleet.profiles[mote.profile]
    values = [[one, 40.0, 300.0, 2.6] for one in temperatures]
    batch = builders.batch(profile, values, mote=mote.id, start_us=micros(start), step_s=step_s)
    for name, value in columns.items():
        getattr(batch, name)[:] = value
    hot().write(profile, batch.to_table())
    return batch


@pytest.fixture
def fleet():
    builders.install_fleet(motes=("7", "8"))
    return registry.current_fleet()


def readings(client, **query: object):
    return client.get(
        "/api/v1/sensors/readings", {"mote_id": "7", "start": START, "end": "2026-03-02T13:00:00Z", **query}
    )


# ---- motes --------------------------------------------------------------------------------------------------


def test_motes_tell_where_they_are_and_whether_they_are_heard(fleet, charlie_client):
    now = timezone.now()
    Mote.objects.filter(code="7").update(last_seen_at=now, x=1.5, y=2.0)
    Mote.objects.filter(code="8").update(last_seen_at=now - timedelta(hours=1))

    seven, eight = charlie_client.get("/api/v1/motes").json()

    assert (seven["mote"], seven["site"], seven["zone"], seven["profile"]) == ("7", "main", "lab", "indoor")
    assert (seven["status"], seven["x"], seven["y"], eight["status"]) == ("live", 1.5, 2.0, "silent")
    assert seven["last_seen_at"].endswith("Z")


def test_whether_a_mote_is_heard_is_told_by_its_newest_reading_before_its_row_knows(fleet, charlie_client):
    now = timezone.now().replace(microsecond=0)
    Mote.objects.filter(code="7").update(last_seen_at=now - timedelta(hours=1))
    stored("7", [21.0], start=now)

    told = charlie_client.get("/api/v1/motes").json()[0]

    assert told["status"] == "live"
    assert datetime.fromisoformat(told["last_seen_at"]) == now


def test_a_mote_that_was_never_heard_and_one_in_maintenance_say_so(fleet, charlie_client):
    Mote.objects.filter(code="8").update(state=Mote.State.MAINTENANCE)

    assert [one["status"] for one in charlie_client.get("/api/v1/motes").json()] == ["never_seen", "maintenance"]


def test_a_motes_key_finds_its_rows_in_the_stores(fleet, charlie_client):
    stored("8", [21.0])

    key = charlie_client.get("/api/v1/motes").json()[1]["key"]

    assert hot().latest(fleet.profiles["indoor"], [key])["mote"].to_list() == [key]


def test_profiles_tell_channels_with_unit_and_ranges(fleet, charlie_client):
    (indoor,) = charlie_client.get("/api/v1/profiles").json()

    assert indoor["onset"] == pytest.approx(4.304, abs=0.001)
    assert indoor["channels"][0] == {
        "code": "temperature", "label": "Temperature", "unit": "°C", "physical": [-10.0, 50.0],
        "normal": [18.0, 28.0], "resolution": 0.01, "max_rate_per_s": 0.5, "flat_after_s": 3600.0, "aliases": [],
        "formula": None, "is_detected": True, "imputation": {"method": "none", "limit_s": 0.0},
    }  # fmt: skip


# ---- latest -------------------------------------------------------------------------------------------------


def test_the_latest_of_all_has_one_reading_a_mote_with_its_score_and_the_word_for_it(fleet, charlie_client):
    onset = fleet.profiles["indoor"].onset
    stored("7", [20.0, 45.0], surprise=2 * onset, is_anomaly=True, model_version=3)
    stored("8", [21.0], flags=quality.flag(quality.STUCK, np.array([[True, False, False, False]]))[0])

    seven, eight = charlie_client.get("/api/v1/sensors/latest").json()["readings"]

    assert seven == {
        "mote": "7", "site": "main", "profile": "indoor", "at": "2026-03-02T12:00:30Z",
        "values": {"temperature": 45.0, "humidity": 40.0, "light": 300.0, "voltage": 2.6},
        "quality": 1.0, "flags": [], "suspect": [], "score": 0.6,
        "surprise": pytest.approx(2 * onset, abs=1e-4), "severity": "high",
        "is_anomaly": True, "model_version": 3, "profile_version": 1,
    }  # fmt: skip
    assert (eight["flags"], eight["quality"], eight["score"], eight["severity"]) == (["stuck"], 0.75, None, None)


def test_a_channel_that_was_not_measured_is_null(fleet, charlie_client):
    stored("7", [float("nan")])

    assert charlie_client.get("/api/v1/sensors/7/latest").json()["values"]["temperature"] is None


def test_latest_costs_the_same_number_of_queries_for_many_motes(
    fleet, charlie_client, django_assert_max_num_queries, django_assert_num_queries
):
    with django_assert_max_num_queries(13) as few:
        charlie_client.get("/api/v1/sensors/latest")
    builders.install_fleet(motes=tuple(str(n) for n in range(100, 140)))

    with django_assert_num_queries(len(few)):
        charlie_client.get("/api/v1/sensors/latest")


def test_motes_cost_the_same_number_of_queries_however_many_there_are(
    fleet, charlie_client, django_assert_max_num_queries, django_assert_num_queries
):
    with django_assert_max_num_queries(10) as few:
        charlie_client.get("/api/v1/motes")
    builders.install_fleet(motes=tuple(str(n) for n in range(100, 140)))

    with django_assert_num_queries(len(few)):
        charlie_client.get("/api/v1/motes")


def test_an_unknown_mote_and_one_without_readings_are_told_apart(fleet, charlie_client):
    unknown, unheard = (charlie_client.get(f"/api/v1/sensors/{code}/latest") for code in ("99", "8"))

    assert (unknown.status_code, unheard.status_code) == (404, 404)
    assert "no mote “99”" in unknown.json()["detail"]
    assert "no reading yet" in unheard.json()["detail"]


def test_a_code_that_two_sites_have_asks_for_the_site(charlie_client):
    for site in ("hall", "lab"):
        builders.install_fleet(motes=("7",), site=site)

    answer = charlie_client.get("/api/v1/sensors/7/latest")

    assert "hall, lab" in answer.json()["detail"]
    assert "no reading yet" in charlie_client.get("/api/v1/sensors/7/latest?site=lab").json()["detail"]


# ---- spans --------------------------------------------------------------------------------------------------


def test_a_span_takes_its_start_and_leaves_its_end_out(fleet, charlie_client):
    stored("7", [20.0, 21.0, 22.0])

    answer = readings(charlie_client, end="2026-03-02T12:01:00Z").json()

    assert [one["values"]["temperature"] for one in answer["readings"]] == [20.0, 21.0]
    assert (answer["start"], answer["end"], answer["next"]) == (START, "2026-03-02T12:01:00Z", None)


def test_next_leads_through_everything_once(fleet, charlie_client):
    stored("7", [float(n) for n in range(7)], step_s=0.001)

    start, seen = START, []
    while start:
        page = readings(charlie_client, start=start, limit=3).json()
        seen += [one["values"]["temperature"] for one in page["readings"]]
        start = page["next"]

    assert seen == [float(n) for n in range(7)]


def test_an_instant_may_be_given_in_any_zone(fleet, charlie_client):
    stored("7", [20.0])

    answer = readings(charlie_client, start="2026-03-02T13:00:00+01:00", end="2026-03-02T08:00:00-05:00")

    assert len(answer.json()["readings"]) == 1


def test_the_last_hour_is_what_is_meant_without_a_span(fleet, charlie_client):
    now = timezone.now()
    stored("7", [20.0], start=now - timedelta(hours=2))
    stored("7", [21.0], start=now - timedelta(minutes=2))

    answer = charlie_client.get("/api/v1/sensors/readings?mote_id=7").json()

    assert [one["values"]["temperature"] for one in answer["readings"]] == [21.0]


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"start": "yesterday"}, "start", "“yesterday” is no instant"),
        ({"start": "2026-03-02T12:00:00"}, "start", "has no time zone"),
        ({"start": "2026-03-02T12:00:00 01:00"}, "start", "%2B"),
        ({"end": "0001-01-01T00:00:00+10:00"}, "end", "outside the years"),
        ({"end": "2026-03-02T11:00:00Z"}, "start", "is not before the end"),
        ({"limit": "0"}, "limit", "greater than or equal to 1"),
        ({"limit": "10001"}, "limit", "less than or equal to 10000"),
        ({"limit": "many"}, "limit", "integer"),
        ({"mote_id": ""}, "mote_id", "blank"),
    ],
)
def test_a_wrong_question_is_answered_with_field_value_and_what_was_expected(
    fleet, charlie_client, query, field, words
):
    answer = readings(charlie_client, **query)

    problem = answer.json()
    assert (answer.status_code, answer["Content-Type"], problem["title"]) == (400, PROBLEM, "Bad Request")
    assert (problem["field"], problem["status"]) == (field, 400)
    assert words in problem["detail"]
    assert problem["errors"][0]["value"] == query.get(field, START)


class AwayStore:
    """A hot store whose server does not answer."""

    def latest(self, profile, motes):
        raise StoreUnavailable("connection refused by 10.0.0.7:8086")

    def close(self):
        pass


def test_while_the_hot_store_is_away_the_lake_tells_the_newest_readings(fleet, charlie_client, settings):
    settings.SIEIS_HOT_STORE = {"BACKEND": "tests.sensors.test_api.AwayStore", "OPTIONS": {}}

    answer = charlie_client.get("/api/v1/sensors/latest").json()

    assert (answer["readings"], answer["tier"]) == ([], "lake")


# ---- the document -------------------------------------------------------------------------------------------


def test_an_address_that_does_not_exist_answers_in_the_same_form(charlie_client):
    answer = charlie_client.get("/api/v1/sensor/latest")

    assert (answer.status_code, answer["Content-Type"]) == (404, PROBLEM)
    assert "/docs" in answer.json()["detail"]


def test_the_openapi_document_is_valid_and_complete(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))

    document = yaml.safe_load((tmp_path / "schema.yml").read_text())
    for address in ("sensors/latest", "sensors/{mote}/latest", "sensors/readings", "alerts/{id}/acknowledge", "health"):
        assert f"/api/v1/{address}" in document["paths"]
    operations = [one for path in document["paths"].values() for one in path.values() if "operationId" in one]
    tells_problems = [
        any("schemas/Problem" in str(answer) for answer in one["responses"].values()) for one in operations
    ]
    assert all(tells_problems)


def test_the_documentation_page_has_its_script_and_assets_from_here(charlie_client):
    page = charlie_client.get("/docs")
    script = charlie_client.get("/docs?script=")

    assert "swagger-ui-bundle.js" in page.text
    assert "//cdn" not in page.text
    assert "/api/v1/schema" in script.text
    assert script["Content-Type"].startswith("application/javascript")
