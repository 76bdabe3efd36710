"""Silences keep people undisturbed, once or each week; what they keep quiet stays to be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from alerts import services
from alerts.notifying.planning import plan
from alerts.silencing import deeds
from alerts.silencing.matching import maintenance, suppressed
from alerts.silencing.models import Silence, Suppression
from alerts.weekly import BadHours, Weekly
from mlops.history import to_leave_out
from sensors.models import AuditEntry, Mote
from sensors.readings import micros
from sensors.registry import current_fleet
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.people import *  # noqa: F403

HOUR = timedelta(hours=1)
NIGHT = {"days": [0, 1, 2, 3, 4, 5, 6], "from": "22:00", "to": "06:00", "time_zone": "UTC"}
MONDAY = {"days": [0], "from": "12:00", "to": "13:00", "time_zone": "UTC"}


@pytest.fixture
def motes(db):
    install_fleet(motes=("7", "8"))
    return {mote.code: mote for mote in Mote.objects.select_related("site", "zone")}


def silence(**fields) -> Silence:
    given = {"starts_at": NOON, "ends_at": NOON + HOUR, "reason": "filters", "made_at": NOON, **fields}
    return Silence.objects.create(**given)


def alert(mote: Mote, kind: str = "silent", now=NOON):
    return services.raise_system_alert(
        subject=mote.subject, kind=kind, words="Silent", severity="medium", now=now, mote=mote.pk
    )


# ---- hours of the week ----------------------------------------------------------------------------------------


@given(
    st.integers(0, 365 * 24 * 60).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    st.sets(st.integers(0, 6), min_size=1),
    st.times(),
    st.times(),
)
def test_an_instant_is_covered_exactly_when_a_span_holds_it(at, days, begins, ends):
    week = Weekly(tuple(sorted(days)), begins, ends, "Europe/Berlin")

    around = list(week.spans(at - timedelta(days=3), at + timedelta(days=3)))

    assert week.covers(at) == any(start <= at < end for start, end in around)


def test_a_night_belongs_to_the_day_on_which_it_begins():
    night = Weekly.parse({**NIGHT, "days": [0]})  # Monday

    assert night.covers(datetime(2026, 3, 3, 5, 59, tzinfo=UTC))  # Tuesday morning
    assert not night.covers(datetime(2026, 3, 2, 5, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": [1.0]}, {"days": [[]]}, {"days": []}, {"days": 3}, {"from": "08:00+02:00"}, {"to": 9},
        {"time_zone": ["UTC"]}, {"time_zone": "Europe"},
    ],
)  # fmt: skip
def test_hours_that_no_clock_knows_are_refused_in_words(wrong):
    with pytest.raises(BadHours, match="expected"):
        Weekly.parse({**NIGHT, **wrong})


# ---- what is kept quiet ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "quiet"),
    [
        ({}, {"7", "8"}),
        ({"mote": "7"}, {"7"}),
        ({"zone": "7"}, {"7", "8"}),
        ({"kind": "anomaly"}, set()),
        ({"kind": "silent"}, {"7", "8"}),
        ({"weekly": MONDAY, "ends_at": None}, {"7", "8"}),
        ({"weekly": NIGHT, "ends_at": None}, set()),
        ({"ends_at": NOON + timedelta(seconds=1), "starts_at": NOON - HOUR, "lifted_at": NOON}, set()),
    ],
)
def test_a_silence_keeps_quiet_what_its_scope_and_hours_say(motes, fields, quiet):
    if "mote" in fields:
        fields = {**fields, "mote": motes["7"]}
    if "zone" in fields:
        fields = {**fields, "zone": motes["7"].zone}
    silence(**fields)
    alerts = [alert(mote) for mote in motes.values()]

    found = suppressed(alerts, NOON)

    assert {one.mote.code for one in alerts if one.pk in found} == quiet


def test_lifting_a_silence_ends_what_it_suppressed(motes, bob):
    one = silence()
    alert(motes["7"])
    plan(NOON)
    assert Suppression.objects.get().ended_at is None

    deeds.lift_silence(one, who=bob, now=NOON + HOUR / 2)

    assert Suppression.objects.get().ended_at == NOON + HOUR / 2
    with pytest.raises(deeds.AlreadyOver, match="over already"):
        deeds.lift_silence(one, who=bob, now=NOON + HOUR / 2)
    assert AuditEntry.objects.filter(deed="lift_silence").exists()


def test_what_stood_already_when_a_silence_begins_is_suppressed_from_then_on(motes):
    alert(motes["7"])
    plan(NOON)
    silence(mote=motes["7"], starts_at=NOON + HOUR / 2)

    plan(NOON + HOUR / 4)
    assert not Suppression.objects.exists()

    plan(NOON + HOUR / 2)
    assert Suppression.objects.get().since_at == NOON + HOUR / 2


def test_recurring_maintenance_is_left_out_of_training_each_time_it_comes(motes):
    silence(mote=motes["7"], weekly=MONDAY, ends_at=None, is_maintenance=True)
    silence(mote=motes["8"])  # disturbs nobody, and is learnt from

    left_out = to_leave_out(current_fleet(), NOON, NOON + timedelta(days=15)).maintenance

    weeks = [NOON, NOON + timedelta(days=7), NOON + timedelta(days=14)]
    assert left_out == tuple((motes["7"].pk, micros(at), micros(at + HOUR)) for at in weeks)


def test_maintenance_of_a_zone_holds_its_motes(motes):
    silence(zone=motes["7"].zone, is_maintenance=True)

    assert [one.zone for one in maintenance(NOON, NOON + HOUR)] == ["main/lab"]
    assert {one[0] for one in to_leave_out(current_fleet(), NOON, NOON + HOUR).maintenance} == {
        mote.pk for mote in motes.values()
    }


# ---- doors ----------------------------------------------------------------------------------------------------


def post(client, path, body=None):
    return client.post(f"/api/v1/silences{path}", body or {}, content_type="application/json")


def body(**changes):
    ends_at = (timezone.now() + HOUR).isoformat()
    return {"zone": "main/lab", "ends_at": ends_at, "reason": "filters", **changes}


def test_bob_tries_adds_and_lifts_a_silence_and_charlie_only_looks(motes, bob_client, charlie_client):
    alert(motes["7"], now=timezone.now())
    seen = post(bob_client, "/preview", body()).json()
    assert (seen["n_motes"], len(seen["alerts"]), seen["n_before"], len(seen["next"])) == (2, 1, 1, 1)
    assert not Silence.objects.exists()

    assert post(charlie_client, "", body()).status_code == 403
    made = post(bob_client, "", body())
    assert (made.status_code, made.json()["state"], made.json()["made_by"]) == (201, "now", "bob")

    lift = f"/{made.json()['id']}/lift"
    assert post(bob_client, lift).json()["state"] == "over"
    assert post(bob_client, lift).status_code == 409
    assert len(charlie_client.get("/api/v1/silences?state=over").json()) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"zone": "main/moon"}, "zone"),
        ({"ends_at": None}, "ends_at"),
        ({"ends_at": "2000-01-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "2100-01-01T00:00:00Z"}, "ends_at"),
        ({"weekly": {"days": []}}, "weekly"),
        ({"is_maintenance": True, "kind": "silent"}, "kind"),
    ],
)
def test_a_silence_that_cannot_be_is_refused_by_field(motes, bob_client, changes, field):
    answer = post(bob_client, "", body(**changes))

    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_the_page_shows_what_is_suppressed_and_by_what(motes, charlie_client):
    now = timezone.now()
    silence(zone=motes["7"].zone, starts_at=now - HOUR, ends_at=now + HOUR, weekly=None)
    alert(motes["7"], now=now)
    plan(now)

    page = charlie_client.get("/alerts/silences/").text

    assert "Suppressed now" in page
    assert "Zone main/lab" in page
    assert "1 alert kept quiet" in page
    assert "Add a silence" not in page.partition("<dialog")[0]


def test_a_suppressed_alert_says_so_in_the_inbox_on_its_page_and_by_the_api(motes, charlie_client):
    now = timezone.now()
    silence(zone=motes["7"].zone, starts_at=now - HOUR, ends_at=now + HOUR)
    quiet, loud = alert(motes["7"], now=now), services.raise_system_alert(
        subject="sink:lake", kind="sink_down", words="away", severity="high", now=now
    )  # fmt: skip
    plan(now)

    told = {one["id"]: one["is_suppressed"] for one in charlie_client.get("/api/v1/alerts").json()["results"]}

    assert told == {quiet.pk: True, loud.pk: False}
    assert 'class="suppressed badge">' in charlie_client.get("/alerts/").text
    assert "Suppressed: zone main/lab, filters." in charlie_client.get(f"/alerts/{quiet.pk}/").text
    assert "Suppressed:" not in charlie_client.get(f"/alerts/{loud.pk}/").text
