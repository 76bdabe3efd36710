"""The tour of the demo: who is offered it, and the fault that it asks for."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from django.core.cache import cache

from alerts.models import Alert
from ingestion import tour
from ingestion.simulating.simulator import Simulator
from sensors.models import AuditEntry, Mote
from sensors.packs import read_pack
from sensors.readings import micros
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
FAULT = "/api/v1/demo/fault"


@pytest.fixture
def demo(settings):
    settings.SIEIS_DEMO = True
    builders.install_fleet(motes=("7", "8", "9"))
    Mote.objects.update(last_seen_at=NOON)
    yield
    cache.delete(tour.ASKED)


def test_an_operator_lets_a_calm_sensor_fail_once_at_a_time(bob_client, bob, demo):
    seven = Mote.objects.get(code="7")
    values = {"subject": seven.subject, "kind": "anomaly", "severity": "high", "mote": seven}
    Alert.objects.create(**values, words="hot", first_seen_at=NOON, last_seen_at=NOON)

    asked, again = bob_client.post(FAULT), bob_client.post(FAULT)

    assert asked.status_code == 201
    assert (asked.json()["mote"], asked.json()["channel"]) == ("8", "temperature")
    assert again.json() == asked.json()
    assert AuditEntry.objects.get(deed="ask_demo_fault").who == bob


def test_nobody_lets_sensors_fail_outside_the_demo_nor_without_the_role(bob_client, charlie_client, demo, settings):
    assert charlie_client.post(FAULT).status_code == 403
    settings.SIEIS_DEMO = False

    refused = bob_client.post(FAULT)

    assert refused.status_code == 404
    assert "only the demo of one process" in refused.json()["detail"]
    assert cache.get(tour.ASKED) is None


def test_where_every_sensor_has_an_alert_it_says_so(bob_client, demo):
    Mote.objects.update(state="maintenance")

    assert "Resolve one" in bob_client.post(FAULT).json()["detail"]


def test_the_simulator_makes_the_fault_for_its_two_minutes_and_leaves_the_fleet_as_it_was(bob, demo):
    plain, asked = (Simulator.of(read_pack("indoor"), site="main", anomaly_rate=0.0, is_history=False) for _ in "ab")
    asked.schedule.asked = partial(tour.asked_faults, asked)
    fault = tour.ask_fault(who=bob, now=NOON)
    start, end = micros(NOON), micros(NOON + timedelta(minutes=4))

    before, after = (one.produce(start, end, 1.0) for one in (plain, asked))

    moved = np.abs(after.values - before.values) > 5.0
    row = asked.places.codes.index(fault.mote)
    assert set(after.mote[moved.any(axis=1)]) == {row}
    assert moved[:, asked.profile.names.index("temperature")].sum() == moved.sum() == 120
    assert [(one.mote, one.channel) for one in asked.faults(start, end)] == [(fault.mote, "temperature")]


def test_the_tour_is_offered_in_words_until_somebody_took_or_declined_it(bob_client, charlie_client, demo, settings):
    assert 'id="tour-offer"' in bob_client.get("/").content.decode()
    assert "data-tour" not in charlie_client.get("/").content.decode()

    bob_client.patch("/api/v1/account", {"is_toured": True}, content_type="application/json")

    page = bob_client.get("/").content.decode()
    assert 'id="tour-offer"' not in page
    assert "Show me round" in page
    settings.SIEIS_DEMO = False
    assert "Show me round" not in bob_client.get("/").content.decode()
