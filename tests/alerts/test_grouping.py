"""Alerts of one cause are one incident, with the first mover on top."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts import services
from alerts.grouping.gathering import CLOSE, Member, Sign, first_mover, incident_of
from alerts.grouping.models import Incident
from alerts.notifying.planning import plan
from sensors.models import Mote, Zone
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.people import *  # noqa: F403

SECOND = timedelta(seconds=1)


def sign(alert=2, *, kind="anomaly", site="main", zone="lab", channel="temperature", at=NOON) -> Sign:
    return Sign(alert, kind, site, zone, channel, at)


def member(**fields) -> Member:
    return Member(sign(1, **fields), 7, NOON)


# ---- which belong together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "shared"),
    [
        (sign(), ("zone", "main/lab")),
        (sign(zone="attic"), ("channel", "main temperature")),
        (sign(zone="attic", channel="light"), None),
        (sign(site="hall", zone="lab"), None),
        (sign(at=NOON + CLOSE), ("zone", "main/lab")),
        (sign(at=NOON + CLOSE + SECOND), None),
        (sign(site="", zone="", channel=""), None),
    ],
)
def test_an_alert_joins_those_that_began_close_to_it_and_share_something(one, shared):
    found = incident_of(one, [member()])

    assert (found and found[1:]) == shared


def test_the_strongest_tie_counts():
    known = [member(kind="silent"), Member(sign(3, zone="attic", kind="silent"), 8, NOON)]

    assert incident_of(sign(kind="silent", zone="attic"), known)[1:] == ("gateway", "main")


def test_parts_of_sieis_belong_together():
    away = member(site="", zone="", channel="", kind="sink_down")

    assert incident_of(sign(site="", zone="", channel="", kind="consumer_behind"), [away])[1:] == ("system", "")


def test_the_first_mover_leads_by_so_much():
    first, why = first_mover([sign(1, at=NOON + 40 * SECOND), sign(2, at=NOON), sign(3, at=NOON + 60 * SECOND)])

    assert (first.alert, why) == (2, "it began 40 s before the next")


# ---- kept -----------------------------------------------------------------------------------------------------


@pytest.fixture
def motes(db):
    install_fleet(motes=("7", "8", "9"))
    attic = Zone.objects.create(site=Mote.objects.first().site, code="attic", label="Attic")
    Mote.objects.filter(code="9").update(zone=attic)
    return {mote.code: mote for mote in Mote.objects.select_related("site")}


def trouble(mote, at, kind="rule:1"):
    return services.raise_system_alert(
        subject=mote.subject, kind=kind, words="hot", severity="high", now=at, mote=mote.pk
    )


def test_alerts_of_a_zone_are_one_incident_until_the_last_of_them_is_over(motes):
    late, early = trouble(motes["7"], NOON + 30 * SECOND), trouble(motes["8"], NOON)
    elsewhere = trouble(motes["9"], NOON)
    plan(NOON + 60 * SECOND)

    incident = Incident.objects.of_many().get()
    assert (incident.cause, incident.shared, incident.n_alerts) == ("zone", "main/lab", 2)
    assert incident.first_mover == early
    assert elsewhere.membership.incident != incident

    services.clear_system_alert(subject=early.subject, kind=early.kind, now=NOON + 90 * SECOND)
    plan(NOON + 100 * SECOND)
    assert Incident.objects.of_many().get().ended_at is None

    services.clear_system_alert(subject=late.subject, kind=late.kind, now=NOON + 90 * SECOND)
    plan(NOON + 110 * SECOND)
    assert Incident.objects.of_many().get().ended_at == NOON + 110 * SECOND


def test_charlie_sees_an_incident_on_its_page_and_by_the_api(motes, charlie_client):
    first = trouble(motes["7"], NOON)
    trouble(motes["8"], NOON + 40 * SECOND)
    plan(NOON + 60 * SECOND)

    [told] = charlie_client.get("/api/v1/incidents?state=running").json()["results"]
    assert (told["first_mover"], told["n_alerts"]) == ("mote:main/7", 2)
    one = charlie_client.get(f"/api/v1/incidents/{told['id']}").json()
    assert [alert["subject"] for alert in one["alerts"]] == ["mote:main/7", "mote:main/8"]
    assert charlie_client.get(f"/api/v1/incidents?alert={first.pk}").json()["count"] == 1

    assert "it began 40 s before the next" in charlie_client.get("/alerts/incidents/").text
    assert "mote 8" in charlie_client.get(f"/alerts/incidents/{told['id']}/").text


def test_without_incidents_the_page_says_what_would_be_there(charlie_client):
    assert "No incidents" in charlie_client.get("/alerts/incidents/").text
