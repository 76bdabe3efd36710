"""The pages of quality reports as the server draws them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from ingestion.models import QualityReport
from tests.conftest import NOON
from tests.ingestion.quality_site import good, quality_site, table  # noqa: F401
from tests.people import *  # noqa: F403

HOT = (60.0, 45.0, 2.8)


def text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


@pytest.fixture
def report(place):
    place.keep(table(place.keys["7"], [HOT] * 120), good(place.keys["8"]))
    return place.report()


def test_a_report_shows_each_check_with_figure_limit_and_verdict(report, charlie_client):
    answer = charlie_client.get(f"/quality/reports/{report.pk}/")

    said = text(answer)
    assert re.search(
        r"Temperature range 50\.00% of 240 values lie outside .* 120 \(50\.00%\) limit: at most 1% fail", said
    )
    assert re.search(r"Duplicates .* 0 \(0\.00%\) limit: at most 1% pass", said)
    assert "83.33 %" in said
    assert f'href="/quality/reports/{report.pk}/readings?check=range%3Atemperature"' in answer.content.decode()
    assert (
        f'href="/quality/reports/{report.pk}/readings?check=range%3Atemperature&amp;mote=7"' in answer.content.decode()
    )


def test_a_report_stands_beside_the_last_one(place, report, charlie_client):
    later = NOON + timedelta(hours=1)
    place.keep(good(place.keys["7"], start=later), good(place.keys["8"], start=later))
    second = place.report()

    said = text(charlie_client.get(f"/quality/reports/{second.pk}/"))

    assert f"8.34 points better than report {report.pk}" in said
    assert "25.00 points better" in said


def test_the_readings_behind_a_check_lead_to_their_mote(report, charlie_client):
    answer = charlie_client.get(f"/quality/reports/{report.pk}/readings?check=range:temperature")

    assert "60.00" in text(answer)
    assert "out of range" in text(answer)
    assert '<a href="/motes/main/7/?from=2026-03-02T11%3A30' in answer.content.decode()
    [later] = re.findall(r'href="\?([^"]*behind=[^"]*)"', answer.content.decode())
    following = charlie_client.get(f"/quality/reports/{report.pk}/readings?{later.replace('&amp;', '&')}")
    assert following.content.decode().count("<tr><td>") == 20
    assert "From the start" in text(following)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("check=motes", "has no list of readings for “motes”"),
        ("", "check: This field is required"),
        ("check=nulls&behind=here", "“here” is no place in the list"),
        ("check=nulls&mote=99", "Mote “99” is none of the report's motes"),
        ("check=nulls", "No reading of this check fits"),
    ],
)
def test_a_list_that_cannot_be_shown_says_why(report, charlie_client, query, said):
    answer = charlie_client.get(f"/quality/reports/{report.pk}/readings?{query}")

    assert answer.status_code == 200
    assert said in text(answer).replace("&#x27;", "'")


def test_bob_asks_for_a_report_and_is_led_to_it(place, bob_client):
    answer = bob_client.post(
        "/quality/reports/", {"scope": "indoor@main", "first": "2026-03-02", "last": "2026-03-02", "interval_s": "31"}
    )

    asked = QualityReport.objects.get()
    assert answer.url == f"/quality/reports/{asked.pk}/"
    assert (asked.starts_at, asked.ends_at) == (NOON - timedelta(hours=12), NOON + timedelta(hours=12))
    assert (asked.state, asked.trigger, asked.who.username, asked.interval_s) == ("queued", "person", "bob", 31.0)
    shown = bob_client.get(answer.url)
    assert f'data-unfinished="{asked.pk}"' in shown.content.decode()
    assert "Waiting for a worker" in text(shown)


def test_asking_again_leads_to_the_report_that_is_being_made(place, bob_client):
    first = place.ask()

    answer = bob_client.post("/quality/reports/", {"scope": "indoor@main"}, follow=True)

    assert answer.redirect_chain == [(f"/quality/reports/{first.pk}/", 302)]
    assert "is queued already" in text(answer)
    assert QualityReport.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scope": "indoor@moon"}, "not one of the available choices"),
        ({"scope": "indoor@main", "first": "2026-03-03", "last": "2026-03-01"}, "is not before the end"),
        ({"scope": "indoor@main", "interval_s": "-1"}, "greater than or equal to"),
    ],
)
def test_a_form_that_makes_no_sense_says_so_beside_the_field(place, bob_client, given, said):
    assert said in text(bob_client.post("/quality/reports/", given))
    assert not QualityReport.objects.exists()


def test_charlie_may_look_and_not_ask(report, charlie_client):
    assert "Make the report" not in text(charlie_client.get("/quality/reports/"))
    assert charlie_client.post("/quality/reports/", {"scope": "indoor@main"}).status_code == 403


def test_the_data_quality_page_names_the_latest_report_of_each_scope(place, report, charlie_client):
    said = text(charlie_client.get("/quality/"))

    assert re.search(r"Indoor at main fail 83\.33 % 240 Temperature range", said)


def test_a_failed_report_tells_its_reason(place, charlie_client):
    asked = place.ask()
    QualityReport.objects.update(state="failed", error="the lake at http://s3 cannot be used now")

    assert "the lake at http://s3 cannot be used now" in text(charlie_client.get(f"/quality/reports/{asked.pk}/"))
    assert "the lake at http://s3 cannot be used now" in text(charlie_client.get("/quality/reports/"))


def test_without_motes_and_reports_the_page_says_what_to_do(bob_client):
    said = text(bob_client.get("/quality/reports/"))

    assert "load_pack indoor" in said
    assert "No report yet" in said


def test_every_page_of_reports_wants_a_login_and_a_role(report, mallory, dave_client):
    for path in ("", f"{report.pk}/", f"{report.pk}/readings?check=nulls"):
        assert mallory.get(f"/quality/reports/{path}").url.startswith("/login/")
        assert dave_client.get(f"/quality/reports/{path}").status_code == 403
