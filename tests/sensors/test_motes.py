"""The registry of motes: who may register and change them, what a state decides, and corrections by the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alerts import services as alert_services
from alerts.models import Alert, Event
from mlops import history
from sensors import corrections, registry, services
from sensors.models import AuditEntry, Correction, Mote, SensorGrade
from sensors.readings import micros
from sensors.stores import hot
from tests import builders
from tests.alerts.test_alerts import told
from tests.conftest import NOON
from tests.mlops.conftest import indoor_days
from tests.mlops.test_history import lake_of
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
STATES = ("commissioning", "active", "maintenance", "retired")


@pytest.fixture
def fleet(db):
    builders.install_fleet(motes=("7", "8"))
    return registry.current_fleet()


def seven() -> Mote:
    return Mote.objects.select_related("site", "zone", "profile").get(code="7")


def put(state: str, who: Any = None) -> Any:
    services.change_mote(seven(), state=state, who=who, now=NOON)
    return registry.current_fleet()


def send(client: Any, method: str, path: str, body: Any = None) -> Any:
    return getattr(client, method)(f"/api/v1/{path}", body, content_type="application/json")


# ---- what a state decides -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "n_alerts"), [("commissioning", 0), ("active", 1), ("maintenance", 0)])
def test_only_an_active_motes_event_opens_an_alert_and_every_event_is_kept(fleet, state, n_alerts):
    fleet = put(state)

    alert_services.record_events([told(fleet)], fleet=fleet)

    assert (Alert.objects.count(), Event.objects.count()) == (n_alerts, 1)


@pytest.mark.parametrize("state", STATES)
def test_only_an_active_mote_is_learnt_from(fleet, state):
    fleet = put(state)
    motes = tuple(Mote.objects.values_list("pk", flat=True).order_by("pk"))
    end = NOON + timedelta(days=3)

    past = history.read(
        builders._default_profile(), NOON, end, lake=lake_of_days(motes), fleet=fleet,
        leave_out=history.to_leave_out(fleet, NOON, end),
    )  # fmt: skip

    assert (seven().pk in past.train.mote) == (state == "active")
    assert past.left_out.get("mote_not_active", 0) == (0 if state == "active" else past.n_found // 2)


def lake_of_days(motes: tuple[int, ...]) -> Any:
    lake = lake_of(indoor_days(3, motes))
    lake.scan = lambda name, version=None: lake.table.lazy()  # type: ignore[method-assign]
    lake.version = lambda name: 1  # type: ignore[method-assign]
    return lake


def test_a_retired_mote_is_no_part_of_the_fleet_that_reports_but_its_past_is_read(fleet, charlie_client):
    mote = fleet.find("7")
    hot().write(
        fleet.profiles["indoor"], builders.batch(fleet.profiles["indoor"], [[20, 40, 1, 2.6]], mote=mote.id).to_table()
    )

    fleet = put("retired")

    assert [one.code for one in fleet.motes] == ["8"]
    assert fleet.find("7").is_retired
    readings = charlie_client.get(
        "/api/v1/sensors/readings?mote_id=7&start=2026-03-02T12:00:00Z&end=2026-03-02T13:00:00Z"
    )
    assert readings.json()["readings"][0]["values"]["temperature"] == 20.0
    assert charlie_client.get("/api/v1/sensors/7/latest").status_code == 200
    assert charlie_client.get("/api/v1/sensors/latest").json()["readings"] == []
    assert [one["mote"] for one in charlie_client.get("/api/v1/motes").json()] == ["8"]
    assert [one["mote"] for one in charlie_client.get("/api/v1/motes?state=retired").json()] == ["7"]
    assert len(charlie_client.get("/api/v1/motes?state=all").json()) == 2


# ---- a state that changes under an open alert ---------------------------------------------------------------


def test_in_maintenance_an_open_alert_stays_and_hears_how_its_event_ends(fleet):
    alert_services.record_events([told(fleet)], fleet=fleet)

    fleet = put("maintenance")
    assert Alert.objects.get().status == "open"
    alert_services.record_events([told(fleet, ended_at=micros(NOON))], fleet=fleet)

    assert Alert.objects.get().status == "resolved"


def test_retiring_a_mote_ends_its_events_and_resolves_its_alerts(fleet, bob):
    alert_services.record_events([told(fleet), told(fleet, code="8")], fleet=fleet)

    put("retired", who=bob)

    mine, other = Alert.objects.order_by("subject")
    assert (mine.status, mine.resolved_by, other.status) == ("resolved", bob, "open")
    event = Event.objects.get(mote=seven())
    assert event.ended_at == event.last_at
    assert AuditEntry.objects.get(deed="resolve_alert").detail["why"] == "the mote was retired"


def test_an_event_that_goes_on_when_a_mote_is_active_again_opens_an_alert(fleet):
    fleet = put("maintenance")
    alert_services.record_events([told(fleet)], fleet=fleet)

    fleet = put("active")
    alert_services.record_events([told(fleet, n_readings=9)], fleet=fleet)

    assert Alert.objects.get().status == "open"


def test_a_change_of_state_leaves_alone_what_the_path_wrote_meanwhile(fleet):
    stale = seven()
    Mote.objects.filter(code="7").update(last_seen_at=NOON)

    services.change_mote(stale, state="maintenance", who=None, now=NOON)

    assert seven().last_seen_at == NOON


# ---- the registry by the API --------------------------------------------------------------------------------


def test_an_engineer_registers_a_mote(fleet, alice_client, alice):
    was = registry.revision()

    answer = send(
        alice_client, "post", "motes",
        {"site": "main", "mote": "99", "profile": "indoor", "zone": "lab", "label": "by the door", "x": 2.5},
    )  # fmt: skip

    made = answer.json()
    assert (answer.status_code, made["mote"], made["zone"], made["state"], made["x"]) == (
        201,
        "99",
        "lab",
        "active",
        2.5,
    )
    assert registry.revision() > was
    entry = AuditEntry.objects.get(subject="mote:main/99")
    assert (entry.deed, entry.who) == ("add_mote", alice)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"mote": "7"}, "mote", "has a mote “7” already"),
        ({"mote": "a/b"}, "mote", "without a slash"),
        ({"mote": ".."}, "mote", "cannot stand in an address"),
        ({"profile": "submarine"}, "profile", "There is no profile “submarine”; there are: indoor."),
        ({"site": "moon"}, "site", "There is no site “moon”; there are: main."),
        ({"zone": "attic"}, "zone", "There is no zone “attic”; there are: lab."),
        ({"state": "asleep"}, "state", "not a valid choice"),
    ],
)
def test_a_mote_that_cannot_be_is_refused_with_what_there_is(fleet, alice_client, body, field, words):
    answer = send(alice_client, "post", "motes", {"site": "main", "mote": "99", "profile": "indoor", **body})

    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (400, field)
    assert words in problem["detail"]


def test_the_same_code_may_stand_at_another_site(fleet, alice_client):
    builders.install_fleet(motes=(), site="hall")

    assert send(alice_client, "post", "motes", {"site": "hall", "mote": "7", "profile": "indoor"}).status_code == 201


def test_operators_change_the_state_and_nothing_else(fleet, bob_client, charlie_client):
    assert send(charlie_client, "patch", "motes/main/7", {"state": "maintenance"}).status_code == 403
    assert send(bob_client, "patch", "motes/main/7", {"label": "mine"}).status_code == 403
    assert send(bob_client, "post", "motes", {"site": "main", "mote": "99", "profile": "indoor"}).status_code == 403

    answer = send(bob_client, "patch", "motes/main/7", {"state": "maintenance"})

    assert (answer.status_code, answer.json()["status"]) == (200, "maintenance")


def test_an_engineer_moves_a_mote_and_the_audit_says_from_where(fleet, alice_client):
    answer = send(alice_client, "patch", "motes/main/7", {"label": "window", "zone": None, "x": 1.0, "y": 2.0})

    assert (answer.json()["label"], answer.json()["zone"]) == ("window", None)
    assert AuditEntry.objects.get(subject="mote:main/7").detail["zone"] == ["main/lab", None]


def test_a_profile_changes_only_while_the_mote_has_no_readings(fleet, alice_client):
    builders.install_fleet(motes=(), profile=builders.profile(code="smoke"))
    assert send(alice_client, "patch", "motes/main/8", {"profile": "smoke"}).json()["profile"] == "smoke"
    indoor = fleet.profiles["indoor"]
    hot().write(indoor, builders.batch(indoor, [[20, 40, 1, 2.6]], mote=seven().pk).to_table())

    answer = send(alice_client, "patch", "motes/main/7", {"profile": "smoke"})

    assert answer.status_code == 409
    assert "has readings of profile indoor" in answer.json()["detail"]


def test_grades_tell_their_reasons_and_the_worst_stands_beside_the_mote(fleet, charlie_client):
    for channel, grade in (("temperature", "B"), ("humidity", "F")):
        SensorGrade.objects.create(
            mote=seven(), channel=channel, grade=grade, reasons=["flat line for 31 % of the time"], starts_at=NOON,
            ends_at=NOON, graded_at=NOON,
        )  # fmt: skip

    grades = charlie_client.get("/api/v1/motes/main/7/grades").json()

    assert [(one["channel"], one["grade"]) for one in grades] == [("humidity", "F"), ("temperature", "B")]
    assert grades[0]["reasons"] == ["flat line for 31 % of the time"]
    assert charlie_client.get("/api/v1/motes/main/7").json()["grade"] == "F"
    assert charlie_client.get("/api/v1/motes/main/8").json()["grade"] is None
    assert "no mote “99” at site “main”" in charlie_client.get("/api/v1/motes/main/99/grades").json()["detail"]


def test_motes_are_narrowed_by_site_zone_and_profile(fleet, charlie_client):
    builders.install_fleet(motes=("7",), site="hall")

    assert len(charlie_client.get("/api/v1/motes?site=hall").json()) == 1
    assert len(charlie_client.get("/api/v1/motes?profile=indoor&zone=lab").json()) == 3
    assert charlie_client.get("/api/v1/motes?state=asleep").status_code == 400


# ---- corrections by the API ---------------------------------------------------------------------------------

STRETCH = {"mote": "7", "site": "main", "starts_at": "2026-03-02T12:00:00Z", "ends_at": "2026-03-02T12:01:00Z"}


def store(fleet: Any, *temperatures: float) -> None:
    indoor = fleet.profiles["indoor"]
    made = builders.batch(indoor, [[one, 40.0, 1.0, 2.6] for one in temperatures], mote=seven().pk)
    hot().write(indoor, made.to_table())


def readings(client: Any, **query: Any) -> list[dict[str, Any]]:
    span = {"mote_id": "7", "start": "2026-03-02T12:00:00Z", "end": "2026-03-02T13:00:00Z"}
    return client.get("/api/v1/sensors/readings", {**span, **query}).json()["readings"]


def test_an_operator_corrects_sees_it_everywhere_and_takes_it_back(fleet, bob_client, charlie_client):
    store(fleet, 20.0, 21.0)
    body = {**STRETCH, "kind": "offset", "channel": "temperature", "offset": 2.5, "why": "calibrated"}

    made = send(bob_client, "post", "corrections", body)

    assert (made.status_code, made.json()["made_by"]) == (201, "bob")
    assert [one["values"]["temperature"] for one in readings(charlie_client)] == [22.5, 23.5]
    assert readings(charlie_client)[0]["flags"] == ["corrected"]
    latest = charlie_client.get("/api/v1/sensors/7/latest").json()
    assert latest["values"]["temperature"] == 23.5
    assert [
        one["id"] for one in charlie_client.get("/api/v1/corrections?mote=7&status=standing").json()["results"]
    ] == [made.json()["id"]]

    undone = send(bob_client, "delete", f"corrections/{made.json()['id']}")

    assert (undone.status_code, undone.json()["undone_by"]) == (200, "bob")
    assert readings(charlie_client)[0]["values"]["temperature"] == 20.0
    assert send(bob_client, "delete", f"corrections/{made.json()['id']}").status_code == 409
    assert charlie_client.get("/api/v1/corrections?status=undone").json()["count"] == 1


def test_a_rehearsal_counts_and_changes_nothing(fleet, bob_client, charlie_client):
    store(fleet, 20.0, 21.0, 22.0)
    was = registry.revision()

    answer = send(bob_client, "post", "corrections", {**STRETCH, "kind": "exclude", "why": "x", "is_rehearsal": True})

    assert (answer.status_code, answer.json()) == (200, {"n_readings": 2})
    assert (Correction.objects.count(), registry.revision()) == (0, was)
    assert not AuditEntry.objects.filter(deed="correct_readings").exists()
    assert readings(charlie_client)[0]["flags"] == []


def test_what_is_left_out_names_its_channels(fleet, bob_client):
    store(fleet, 20.0)

    send(bob_client, "post", "corrections", {**STRETCH, "kind": "exclude", "channel": "humidity", "why": "damp"})

    [one] = readings(bob_client)
    assert (one["flags"], one["suspect"], one["quality"]) == (["excluded"], ["humidity"], 0.75)


def test_corrections_refuse_viewers_and_say_which_field_is_wrong(fleet, bob_client, charlie_client):
    body = {**STRETCH, "kind": "exclude", "why": "damp"}
    assert send(charlie_client, "post", "corrections", body).status_code == 403
    made = corrections.correct(
        seven(),
        kind="exclude",
        channel="",
        starts_at=NOON,
        ends_at=NOON + timedelta(hours=1),
        why="x",
        who=None,
        now=NOON,
    )
    assert send(charlie_client, "delete", f"corrections/{made.pk}").status_code == 403

    wrong = send(bob_client, "post", "corrections", {**body, "ends_at": body["starts_at"]})

    assert (wrong.status_code, wrong.json()["field"]) == (400, "ends_at")
    assert send(bob_client, "post", "corrections", {**body, "mote": "99"}).status_code == 404


# ---- imputation ---------------------------------------------------------------------------------------------


def test_gaps_are_filled_only_where_asked_and_marked_as_that(alice_client, db):
    from sensors.readings import Imputation

    held = builders.profile(builders.channel(imputation=Imputation("hold", 600.0)), code="held")
    builders.install_fleet(motes=("7",), profile=held)
    batch = builders.batch(held, [[20.0], [21.0]], mote=seven().pk, step_s=120.0)
    hot().write(held, batch.to_table())

    plain, filled = readings(alice_client), readings(alice_client, impute=1)

    assert [one["values"]["temperature"] for one in plain] == [20.0, 21.0]
    assert [one["values"]["temperature"] for one in filled] == [20.0, 20.0, 20.0, 20.0, 21.0]
    assert [one["flags"] for one in filled[:2]] == [[], ["imputed"]]
    assert filled[1]["suspect"] == ["temperature"]
    assert filled[1]["score"] is None
