"""Events become alerts, alerts are acted on, and telling a thing twice changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from alerts import lifecycle, services
from alerts.changes import Actor
from alerts.events import EventChange
from alerts.models import Alert, Event, MaintenanceWindow
from sensors.fleet import Fleet
from sensors.models import AuditEntry, Mote
from sensors.readings import micros
from sensors.registry import current_fleet
from tests.builders import install_fleet
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
NOON_US = micros(NOON)
MINUTE_US = 60_000_000


@pytest.fixture
def fleet() -> Fleet:
    install_fleet(motes=("7", "8"))
    return current_fleet()


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


def told(fleet: Fleet, code: str = "7", *, minute: int = 0, **changes: object) -> services.Told:
    mote = fleet.find(code)
    assert mote is not None
    at = NOON_US + minute * MINUTE_US
    change = EventChange(
        mote=mote.id, profile="indoor", started_at=at - MINUTE_US, noticed_at=at, last_at=at, ended_at=None,
        n_readings=3, peak_surprise=9.0, peak_at=at, peak_channel="temperature", peak_value=45.2,
        expected=(18.0, 28.0), layer="level", contributions={"temperature": 1.0}, model_version=1,
    )  # fmt: skip
    return services.Told(replace(change, **changes), "Temperature 45.2 °C, expected 18–28 °C")  # type: ignore[arg-type]


def test_an_event_opens_an_alert_with_its_words_and_severity(fleet: Fleet) -> None:
    (alert,) = services.record_events([told(fleet)], fleet=fleet)

    assert (alert.subject, alert.kind, alert.status) == ("mote:main/7", "anomaly", "open")
    assert (alert.severity, alert.n_events) == ("high", 1)
    assert alert.words == "Temperature 45.2 °C, expected 18–28 °C"


def test_telling_the_same_change_twice_changes_nothing(fleet: Fleet) -> None:
    services.record_events([told(fleet)], fleet=fleet)
    services.record_events([told(fleet)], fleet=fleet)

    assert (Event.objects.count(), Alert.objects.get().n_events) == (1, 1)


def test_a_new_event_joins_the_active_alert_and_the_peak_gives_the_words(fleet: Fleet) -> None:
    first = told(fleet, ended_at=None)
    services.record_events([first], fleet=fleet)
    weaker = services.Told(replace(told(fleet, minute=10).change, peak_surprise=5.0), "Humidity 90 %")

    (alert,) = services.record_events([weaker], fleet=fleet)

    assert (alert.n_events, alert.peak_surprise) == (2, 9.0)
    assert alert.words.startswith("Temperature")
    assert alert.last_seen_at == NOON + timedelta(minutes=10)


def test_an_alert_resolves_when_its_last_event_ends_and_the_next_event_opens_another(fleet: Fleet) -> None:
    services.record_events([told(fleet)], fleet=fleet)
    (over,) = services.record_events([told(fleet, ended_at=NOON_US + MINUTE_US)], fleet=fleet)

    (fresh,) = services.record_events([told(fleet, minute=30)], fleet=fleet)

    assert over.status == "resolved"
    assert over.resolved_at == NOON + timedelta(minutes=1)
    assert fresh.pk != over.pk
    assert fresh.status == "open"


def test_a_replay_never_reopens_what_a_person_resolved(fleet: Fleet, bob: User) -> None:
    (alert,) = services.record_events([told(fleet)], fleet=fleet)
    lifecycle.resolve(alert, by=Actor(bob, "api"), now=NOON)

    changed = services.record_events([told(fleet, n_readings=4)], fleet=fleet)

    assert changed == []
    assert Alert.objects.get().status == "resolved"
    assert Event.objects.get().n_readings == 4


@pytest.mark.parametrize("seed", range(2))
def test_however_events_are_cut_into_batches_they_make_the_same_alerts(fleet: Fleet, seed: int) -> None:
    """Events of two motes that begin, grow, end, and are told twice, in the order of a stream."""
    chance = random.Random(seed)
    stream = [
        (minute, told(fleet, code, minute=begins, n_readings=minute, last_at=NOON_US + minute * MINUTE_US,
                      ended_at=NOON_US + ends * MINUTE_US if minute == ends else None,
                      peak_surprise=float(chance.randint(4, 12))))
        for code in ("7", "8")
        for begins in chance.sample(range(20), 4)
        for ends in (begins + chance.randint(0, 9),)
        for minute in range(begins, ends + 1)
    ]  # fmt: skip
    stream.sort(key=lambda one: one[0])
    events = [one for _, one in stream]
    cuts = sorted(chance.sample(range(len(events)), 5))

    whole = _what_became_of([events], fleet)
    single = _what_became_of([[one] for one in events], fleet)
    cut = _what_became_of([events[a:b] for a, b in pairwise([0, *cuts, len(events)])], fleet)

    assert whole == single == cut
    assert len(whole) > 2


def _what_became_of(batches: Iterable[list[services.Told]], fleet: Fleet) -> list[tuple[object, ...]]:
    """The alerts with their events; then all is as before."""
    with transaction.atomic():
        for some in batches:
            services.record_events(some, fleet=fleet)
        alerts = [
            (one.subject, one.status, one.severity, one.n_events, one.peak_surprise, one.first_seen_at,
             one.last_seen_at, one.resolved_at, [event.noticed_at for event in one.events.all()])
            for one in Alert.objects.order_by("subject", "first_seen_at")
        ]  # fmt: skip
        transaction.set_rollback(True)
    return alerts


def test_history_and_motes_out_of_duty_keep_events_and_alert_nobody(fleet: Fleet) -> None:
    Mote.objects.filter(code="8").update(state=Mote.State.MAINTENANCE)

    services.record_events([told(fleet)], fleet=fleet, is_history=True)
    services.record_events([told(fleet, "8")], fleet=current_fleet())

    assert (Event.objects.count(), Alert.objects.count()) == (2, 0)


def test_an_alert_still_ends_with_its_event_when_the_mote_goes_into_maintenance_meanwhile(fleet: Fleet) -> None:
    services.record_events([told(fleet)], fleet=fleet)
    Mote.objects.filter(code="7").update(state="maintenance")

    services.record_events([told(fleet, ended_at=NOON_US + MINUTE_US)], fleet=current_fleet())

    assert Alert.objects.get().status == "resolved"


def test_a_maintenance_window_of_the_zone_keeps_its_motes_quiet(fleet: Fleet) -> None:
    zone = Mote.objects.get(code="7").zone
    MaintenanceWindow.objects.create(zone=zone, starts_at=NOON, ends_at=NOON + timedelta(hours=1), reason="filters")

    services.record_events([told(fleet), told(fleet, "8", minute=90)], fleet=fleet)

    assert [alert.subject for alert in Alert.objects.all()] == ["mote:main/8"]


def test_acknowledging_says_who_and_when_and_only_the_first_wins(fleet: Fleet, bob: User) -> None:
    (alert,) = services.record_events([told(fleet)], fleet=fleet)

    lifecycle.acknowledge(alert, by=Actor(bob, "api"), now=NOON)

    alert.refresh_from_db()
    assert (alert.status, alert.acknowledged_by, alert.acknowledged_at) == ("acknowledged", bob, NOON)
    assert AuditEntry.objects.get().deed == "acknowledge_alert"
    with pytest.raises(lifecycle.AlreadyMoved, match="already acknowledged"):
        lifecycle.acknowledge(alert, by=Actor(bob, "api"), now=NOON)


def test_a_system_alert_is_one_while_its_cause_stands_and_clears_with_it() -> None:
    about = {"subject": "sink:hot_store", "kind": "sink_down"}
    services.raise_system_alert(**about, words="away", severity="high", now=NOON)
    services.raise_system_alert(**about, words="still away", severity="high", now=NOON + timedelta(minutes=1))

    assert [alert.words for alert in Alert.objects.active()] == ["still away"]

    (cleared,) = services.clear_system_alert(**about, now=NOON + timedelta(minutes=2))

    assert cleared.status == "resolved"
    assert not Alert.objects.active()
