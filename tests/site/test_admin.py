"""The admin shows everything, changes only what people may write, and goes through the same deeds as everybody."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.urls import reverse

from alerts.models import Alert, AlertChange, Event, Judgement, MaintenanceWindow
from ingestion.models import (
    Checkpoint,
    DeviceKey,
    IntakeReceipt,
    LedgerHour,
    QualityReport,
    Quarantined,
    StateSnapshot,
)
from mlops.models import Label, ModelVersion, ServingPeriod, TrainingJob
from sensors import registry, roles
from sensors.models import AuditEntry, Correction, Mote, Onset, ProcessHeartbeat, Profile, SensorGrade, Site, Zone
from sensors.roles import OUR_APPS
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403
from tests.people import client_of, person

pytestmark = pytest.mark.django_db
OURS = [model for app in OUR_APPS for model in apps.get_app_config(app).get_models()]
MACHINES = (
    Alert, AlertChange, Judgement, Event, ModelVersion, TrainingJob, ServingPeriod, StateSnapshot, LedgerHour,
    Quarantined, AuditEntry, ProcessHeartbeat, QualityReport, SensorGrade, Correction, DeviceKey, IntakeReceipt, Onset,
)  # fmt: skip


def address(model, what: str = "changelist", *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args)


@pytest.fixture(autouse=True)
def everything(db):
    """One row of everything there is."""
    builders.install_fleet(motes=("7", "8"))
    mote, profile = Mote.objects.get(code="7"), Profile.objects.get()
    alert = Alert.objects.create(
        subject=mote.subject, kind="anomaly", severity="high", mote=mote, words="hot", first_seen_at=NOON,
        last_seen_at=NOON,
    )  # fmt: skip
    alert.changes.create(at=NOON, deed="open", after="open", door="sieis")
    alert.judgements.create(at=NOON, verdict="real")
    alert.events.create(
        mote=mote, noticed_at=NOON, started_at=NOON, last_at=NOON, n_readings=3, peak_surprise=9.0, peak_at=NOON,
        peak_channel="temperature", peak_value=45.2, layer="level", words="hot", model_version=1,
    )  # fmt: skip
    MaintenanceWindow.objects.create(
        mote=mote, starts_at=NOON, ends_at=NOON.replace(hour=13), reason="new battery"
    )  # fmt: skip
    version = ModelVersion.objects.create(
        number=1, name="indoor/v1", profile=profile, artefact="a", sha256="0" * 64, profile_version=1, seed=1,
        metrics={"found_share": 0.9}, created_at=NOON,
    )  # fmt: skip
    TrainingJob.objects.create(profile=profile, trigger="person", queued_at=NOON)
    ServingPeriod.objects.create(
        version=version, topic="t", partition=0, from_offset=1, started_at=NOON, who="alice", why="better"
    )
    Label.objects.create(mote=mote, kind="spike", starts_at=NOON, ends_at=NOON, source="simulator")
    Checkpoint.objects.create(topic="t", partition=0)
    StateSnapshot.objects.create(
        topic="t", partition=0, next_offset=1, blob="b", sha256="0" * 64, size=1, taken_at=NOON
    )
    Quarantined.objects.create(
        topic="t", partition=0, offset=1, received_at=NOON, reason="malformed", payload=b'<b>{"mote_id"', size=13
    )
    LedgerHour.objects.create(hour=NOON, profile="indoor", topic="t", partition=0, motes={"1": 5})
    ProcessHeartbeat.objects.create(name="web@here", kind="web", beat_at=NOON, detail={"state": "running"})
    AuditEntry.objects.create(at=NOON, deed="promote_version", subject="model:indoor/v1")
    later = NOON.replace(hour=13)
    Correction.objects.create(mote=mote, kind="exclude", starts_at=NOON, ends_at=later, why="window open", made_at=NOON)
    SensorGrade.objects.create(
        mote=mote, channel="temperature", grade="B", starts_at=NOON, ends_at=later, graded_at=later
    )
    QualityReport.objects.create(profile=profile, asked_at=NOON)
    key = DeviceKey.objects.create(
        name="gateway", public_id="abc", secret_sha256="0" * 64, site=mote.site, made_at=NOON
    )
    IntakeReceipt.objects.create(key=key, idempotency_key="k", body_sha256="0" * 64, made_at=NOON)
    Onset.objects.create(profile=profile, model_version=2, surprise=6.5)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_model_is_listed_searched_and_shown(admin_client, model):
    page = admin_client.get(address(model), {"q": "7"} if admin.site.get_model_admin(model).search_fields else {})
    row = model._default_manager.first()

    assert page.status_code == 200
    if row is not None:
        assert admin_client.get(address(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", MACHINES, ids=lambda model: model.__name__)
def test_nobody_writes_by_hand_what_sieis_writes_itself(admin_client, model):
    row = model._default_manager.first()

    answers = [
        admin_client.get(address(model, "add")),
        admin_client.post(address(model, "change", row.pk), {"detail": "{}"}),
        admin_client.post(address(model, "delete", row.pk), {"post": "yes"}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]


def test_a_checkpoint_is_only_deleted_as_the_consumer_advises_and_that_is_audited(admin_client):
    row = Checkpoint.objects.get()

    assert admin_client.post(address(Checkpoint, "change", row.pk), {"next_offset": "9"}).status_code == 403
    assert admin_client.post(address(Checkpoint, "delete", row.pk), {"post": "yes"}).status_code == 302

    assert not Checkpoint.objects.exists()
    assert AuditEntry.objects.filter(deed="remove_checkpoint", subject="checkpoint:t/0@0").exists()


@pytest.mark.parametrize("model", [Alert, Event, Mote, ModelVersion], ids=lambda model: model.__name__)
def test_a_list_costs_the_same_number_of_queries_however_long_it_is(
    admin_client, model, django_assert_max_num_queries, django_assert_num_queries
):
    with django_assert_max_num_queries(25) as few:
        admin_client.get(address(model))
    for n in range(10):
        mote = Mote.objects.create(
            site=Site.objects.get(), zone=Zone.objects.get(), code=f"m{n}", profile=Profile.objects.get()
        )
        copy = model._default_manager.order_by("pk").first()
        copy.pk = None
        if model is Alert:
            copy.subject, copy.mote = mote.subject, mote
        elif model is Event:
            copy.mote = mote
        elif model is ModelVersion:
            copy.number, copy.name = n + 2, f"indoor/v{n + 2}"
        if model is not Mote:
            copy.save()

    with django_assert_num_queries(len(few)):
        admin_client.get(address(model))


def test_the_product_has_its_name(admin_client):
    assert "SIEIS administration" in admin_client.get("/admin/").text


def test_a_quarantined_message_is_readable_and_harmless(admin_client):
    page = admin_client.get(address(Quarantined, "change", Quarantined.objects.get().pk)).text

    assert "&lt;b&gt;{&quot;mote_id&quot;" in page


# ---- changing the fleet -------------------------------------------------------------------------------------


def test_moving_a_mote_raises_the_fleet_revision_and_says_who_did_it(admin_client):
    mote, before = Mote.objects.get(code="7"), registry.revision()

    admin_client.post(
        address(Mote, "change", mote.pk),
        {"zone": mote.zone_id, "label": "By the window", "x": "3.5", "y": "1", "state": "active"},
    )

    entry = AuditEntry.objects.get(deed="change_mote")
    assert registry.revision() == before + 1
    assert (entry.who.username, entry.subject) == ("admin", "mote:main/7")
    assert entry.detail == {"label": ["", "By the window"], "x": [None, 3.5], "y": [None, 1.0]}


def test_what_readings_are_filed_under_cannot_be_changed(admin_client):
    mote = Mote.objects.get(code="7")

    admin_client.post(
        address(Mote, "change", mote.pk), {"code": "70", "zone": mote.zone_id, "label": "", "state": "active"}
    )

    assert Mote.objects.filter(code="7").exists()
    assert admin_client.post(address(Mote, "delete", mote.pk), {"post": "yes"}).status_code == 403


def test_a_new_site_and_a_removed_zone_are_noticed_by_every_process(admin_client):
    before = registry.revision()

    admin_client.post(address(Site, "add"), {"code": "hall", "label": "Hall", "time_zone": "Europe/Berlin"})
    admin_client.post(address(Zone, "delete", Zone.objects.get().pk), {"post": "yes"})

    assert registry.revision() == before + 2
    assert set(AuditEntry.objects.filter(deed__in=("add_site", "remove_zone")).values_list("subject", flat=True)) == {
        "site:hall", "zone:main/lab",
    }  # fmt: skip
    assert Mote.objects.filter(zone=None).count() == 2


def test_a_time_zone_that_does_not_exist_is_refused_in_the_form(admin_client):
    page = admin_client.post(address(Site, "add"), {"code": "hall", "label": "Hall", "time_zone": "Berlin"})

    assert "not an IANA time zone" in page.text
    assert not Site.objects.filter(code="hall").exists()


@pytest.mark.parametrize(("action", "state"), [("maintain", "maintenance"), ("retire", "retired")])
def test_motes_change_their_state_by_an_action(admin_client, action, state):
    before = registry.revision()
    chosen = list(Mote.objects.values_list("pk", flat=True))

    admin_client.post(address(Mote), {"action": action, "_selected_action": chosen})

    assert set(Mote.objects.values_list("state", flat=True)) == {state}
    assert registry.revision() == before + 2
    assert AuditEntry.objects.filter(deed="change_mote", subject="mote:main/7").exists()


# ---- alerts, models, windows --------------------------------------------------------------------------------


def run(client, model, action: str, *rows):
    return client.post(address(model), {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True)


def test_an_alert_is_acknowledged_by_the_same_deed_as_everywhere(admin_client):
    alert = Alert.objects.get()

    run(admin_client, Alert, "acknowledge", alert)
    again = run(admin_client, Alert, "acknowledge", alert)

    alert.refresh_from_db()
    assert (alert.status, alert.acknowledged_by.username) == ("acknowledged", "admin")
    assert AuditEntry.objects.filter(deed="acknowledge_alert").count() == 1
    assert "already acknowledged" in again.text


def test_somebody_who_may_only_look_is_offered_no_action(installed_roles):
    looker = person("lou", roles.VIEWER)
    User.objects.filter(pk=looker.pk).update(is_staff=True)
    browser = client_of(looker)

    run(browser, Alert, "acknowledge", Alert.objects.get())

    assert "Acknowledge: somebody" not in browser.get(address(Alert)).text
    assert Alert.objects.get().status == "open"


def test_a_version_that_cannot_be_loaded_is_not_promoted_and_the_reason_is_shown(admin_client):
    page = run(admin_client, ModelVersion, "promote", ModelVersion.objects.get())

    assert "artefact of indoor/v1" in page.text
    assert ModelVersion.objects.get().stage == "candidate"


def test_a_queued_training_is_cancelled(admin_client):
    run(admin_client, TrainingJob, "cancel", TrainingJob.objects.get())

    assert TrainingJob.objects.get().status == "cancelled"


def test_a_maintenance_window_knows_who_planned_it_and_leaves_an_audit_entry(admin_client, admin_user):
    admin_client.post(
        address(MaintenanceWindow, "add"),
        {
            "mote": Mote.objects.get(code="8").pk, "reason": "painting",
            "starts_at_0": "2026-03-03", "starts_at_1": "08:00", "ends_at_0": "2026-03-03", "ends_at_1": "12:00",
        },
    )  # fmt: skip

    assert MaintenanceWindow.objects.get(reason="painting").created_by == admin_user
    assert AuditEntry.objects.get(deed="add_maintenancewindow").who == admin_user


def test_an_administrator_gives_a_role_in_the_admin(admin_client, dave):
    admin_client.post(
        f"/admin/auth/user/{dave.pk}/change/",
        {
            "username": "dave", "is_active": "on", "groups": [Group.objects.get(name="viewer").pk],
            "date_joined_0": "2026-03-01", "date_joined_1": "00:00:00",
        },
    )  # fmt: skip

    assert roles.may(User.objects.get(username="dave"), roles.VIEW)
