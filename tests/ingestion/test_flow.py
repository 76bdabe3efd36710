"""A look at the flow: what it tells people, what it ends, and that it says nothing twice."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest
from django.core.cache import cache
from django.utils import timezone

from alerts import services
from alerts.events import EventChange
from alerts.models import Alert, Event, MaintenanceWindow
from ingestion.flow import canary, looking
from ingestion.models import LedgerHour, Quarantined
from ingestion.running import build_runner
from ingestion.streams import stream
from sensors import live, registry
from sensors.models import Mote, ProcessHeartbeat
from sensors.readings import micros
from sensors.stores import hot
from sieis_site import beating
from sieis_site.celery import app
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403
from tests.people import person

pytestmark = pytest.mark.django_db
MINUTE, TOPIC = timedelta(minutes=1), "sensor-readings"


@pytest.fixture(autouse=True)
def fleet():
    cache.clear()
    builders.install_fleet(motes=tuple(str(n) for n in range(1, 43)))


def key(code: str) -> int:
    return Mote.objects.get(code=code).pk


def consumer(now: datetime, *, since: datetime = NOON - timedelta(days=1), **detail: object) -> None:
    told = {"state": "running", "topic": TOPIC, "running_since": since.isoformat(), "readings_per_s": 1.4, "lag": {}}
    ProcessHeartbeat.objects.update_or_create(
        name="readings@here", defaults={"kind": "consumer", "beat_at": now, "detail": {**told, **detail}}
    )


def speak(*codes: str, at: datetime, delay_s: float = 0.05) -> None:
    """Each mote's reading of that instant, as the reading path stores and notes it; no code: all."""
    motes = Mote.objects.filter(code__in=codes) if codes else Mote.objects.all()
    profile = registry.profiles()["indoor"]
    keys = [mote.pk for mote in motes]
    values = np.tile([21.0, 40.0, 100.0, 2.7], (len(keys), 1))
    batch = builders.batch(profile, values, mote=keys, start_us=micros(at), step_s=0)
    batch = replace(batch, received_at=batch.at + int(delay_s * 1e6))
    hot().write(profile, batch.to_table())
    motes.update(last_seen_at=at)


def look(now: datetime, **told: object) -> dict[str, object]:
    consumer(now, **told)  # type: ignore[arg-type]
    return looking.look(store=hot(), fleet=registry.current_fleet(), topic=TOPIC, now=now)


def standing() -> list[tuple[str, str]]:
    return sorted(Alert.objects.active().values_list("subject", "kind"))


def event(mote: int, *, ended_at: datetime | None = None, last_at: datetime = NOON) -> list[Alert]:
    change = EventChange(
        mote=mote, profile="indoor", started_at=micros(NOON), noticed_at=micros(NOON), last_at=micros(last_at),
        ended_at=micros(ended_at) if ended_at else None, n_readings=1, peak_surprise=5.0, peak_at=micros(NOON),
        peak_channel="temperature", peak_value=45.0, expected=(18.0, 28.0), layer="level",
        contributions={"temperature": 1.0}, model_version=0,
    )  # fmt: skip
    return services.record_events([services.Told(change, "hot")], fleet=registry.current_fleet())


# ---- silence ------------------------------------------------------------------------------------------------


def test_a_zone_that_falls_silent_is_one_alert_and_a_second_look_repeats_nothing():
    speak(at=NOON)

    look(NOON + 6 * MINUTE)
    look(NOON + 7 * MINUTE)

    (alert,) = Alert.objects.all()
    assert (alert.subject, alert.kind, alert.first_seen_at) == ("zone:main/lab", "silent", NOON + 6 * MINUTE)


def test_the_alert_of_a_silence_leads_to_health(charlie_client):
    speak(at=NOON)
    look(NOON + 6 * MINUTE)

    shown = charlie_client.get(f"/alerts/{Alert.objects.get().pk}/").content.decode()

    assert 'look at <a href="/system/">Health</a>' in shown


def test_a_mote_that_falls_silent_has_an_alert_of_its_own_until_it_speaks():
    speak(at=NOON)
    speak(*[str(n) for n in range(2, 43)], at=NOON + 6 * MINUTE)
    look(NOON + 6 * MINUTE)
    alert = Alert.objects.get()

    speak(at=NOON + 7 * MINUTE)
    look(NOON + 7 * MINUTE)

    assert (alert.subject, alert.mote_id) == ("mote:main/1", key("1"))
    alert.refresh_from_db()
    assert (alert.status, alert.resolved_at) == ("resolved", NOON + 7 * MINUTE)


def test_a_mote_that_once_spoke_from_the_future_is_not_called_silent_while_it_goes_on_speaking():
    speak("1", at=NOON + 12 * MINUTE, delay_s=-400)
    for minute in range(1, 12):
        speak(at=NOON + minute * MINUTE)

        told = look(NOON + minute * MINUTE + timedelta(seconds=1))

    assert (told["n_silent"], standing()) == (0, [])


def test_a_mote_whose_clock_went_back_by_an_hour_is_told_as_such_and_is_not_silent():
    """What it says then is late; nothing newer than before comes for an hour."""
    speak(at=NOON)
    for minute in range(1, 13):
        at = NOON + minute * MINUTE
        speak(*[str(n) for n in range(2, 43)], at=at)
        speak("1", at=at - timedelta(hours=1), delay_s=3600.05)
        Mote.objects.filter(code="1").update(last_seen_at=NOON)

        told = look(at + timedelta(seconds=1))

    assert told["n_silent"] == 0
    (alert,) = Alert.objects.active()
    assert (alert.subject, alert.kind) == ("mote:main/1", "clock_skew")
    assert "come 3,600 s late, steadily" in alert.words


def test_motes_that_are_not_active_or_under_maintenance_are_left_alone():
    speak(at=NOON)
    speak(*[str(n) for n in range(3, 43)], at=NOON + 6 * MINUTE)
    Mote.objects.filter(code="1").update(state="maintenance")
    MaintenanceWindow.objects.create(
        mote=Mote.objects.get(code="2"), starts_at=NOON, ends_at=NOON + timedelta(hours=1), reason="new battery"
    )

    look(NOON + 6 * MINUTE)

    assert standing() == []


def test_a_silence_that_a_person_resolved_is_not_told_again():
    speak(at=NOON)
    look(NOON + 6 * MINUTE)
    Alert.objects.update(status="resolved", resolved_at=NOON + 7 * MINUTE, resolved_by=person("bob"))

    look(NOON + 8 * MINUTE)

    assert standing() == []


def test_a_consumer_that_is_away_is_the_only_alert_and_motes_get_their_patience_afterwards():
    speak(at=NOON)
    consumer(NOON)

    looking.look(store=hot(), fleet=registry.current_fleet(), topic=TOPIC, now=NOON + 9 * MINUTE)
    away = standing()
    look(NOON + 10 * MINUTE, since=NOON + 10 * MINUTE)
    soon = standing()
    look(NOON + 16 * MINUTE, since=NOON + 10 * MINUTE)

    assert away == [("consumer:sensor-readings", "consumer_away")]
    assert soon == []
    assert standing() == [("zone:main/lab", "silent")]


def test_a_look_says_who_delivers_too_little():
    for second in range(0, 600, 30):
        speak(*[str(n) for n in range(2 if second % 60 else 1, 43)], at=NOON + timedelta(seconds=second))

    told = look(NOON + 10 * MINUTE)

    assert told["n_slow"] == 1
    assert told["slow"] == [{"mote": "1", "site": "main", "expected_s": 30.0, "n": 10, "owed": 20.0, "share": 0.5}]
    assert told["shares"]["main/2"] == 1.0  # type: ignore[index]


# ---- events that a silence ends -----------------------------------------------------------------------------


def test_an_event_of_a_mote_that_fell_silent_ends_with_its_last_reading_and_so_does_its_alert():
    speak(at=NOON)
    event(key("1"))

    look(NOON + 11 * MINUTE)

    assert Event.objects.get().ended_at == NOON
    alert = Alert.objects.get(kind="anomaly")
    assert (alert.status, alert.resolved_at) == ("resolved", NOON)


def test_the_engine_that_ends_it_later_changes_nothing():
    speak(at=NOON)
    event(key("1"))
    look(NOON + 11 * MINUTE)
    before = Event.objects.values().get(), Alert.objects.filter(kind="anomaly").values().get()

    event(key("1"), ended_at=NOON)

    assert (Event.objects.values().get(), Alert.objects.filter(kind="anomaly").values().get()) == before


def test_an_event_that_goes_on_after_all_has_an_active_alert_again():
    speak(at=NOON)
    event(key("1"))
    look(NOON + 11 * MINUTE)

    event(key("1"), last_at=NOON + 2 * MINUTE)  # what a gateway held back
    event(key("1"), last_at=NOON + 2 * MINUTE)

    running = Event.objects.get()
    assert running.ended_at is None
    assert running.alert is not None
    assert running.alert.status == "open"
    assert Alert.objects.filter(kind="anomaly").count() == 2


def test_what_a_person_resolved_stays_so_when_its_event_goes_on_after_a_silence():
    speak(at=NOON)
    event(key("1"))
    Alert.objects.update(status="resolved", resolved_at=NOON, resolved_by=person("bob"))
    look(NOON + 11 * MINUTE)

    event(key("1"), last_at=NOON + 2 * MINUTE)

    assert not Alert.objects.active().filter(kind="anomaly").exists()


# ---- clocks -------------------------------------------------------------------------------------------------


def test_a_mote_whose_readings_come_from_the_future_is_marked_and_told(alice_client):
    for minute in range(6):
        now = NOON + minute * MINUTE
        speak(at=now)
        speak("7", at=now + 42 * timedelta(seconds=1), delay_s=-42)
        look(now + timedelta(seconds=1))

    assert standing() == [("mote:main/7", "clock_skew")]
    answer = alice_client.get("/api/v1/motes/main/7").json()
    assert answer["clock_skew_s"] == 42.0
    assert "Its clock is 42 s ahead of ours." in alice_client.get("/motes/main/7/").text

    for minute in range(6, 16):
        speak(at=NOON + minute * MINUTE)
        look(NOON + minute * MINUTE + timedelta(seconds=1))

    assert standing() == []
    assert alice_client.get("/api/v1/motes/main/7").json()["clock_skew_s"] is None
    assert "Its clock is" not in alice_client.get("/motes/main/7/").text


def test_readings_refused_as_from_the_future_are_attributed_and_their_mote_is_not_called_silent():
    speak(at=NOON)
    for minute in range(1, 8):
        now = NOON + minute * MINUTE
        ahead = {"mote_id": "1", "timestamp": (now + 60 * MINUTE).isoformat(), "temperature": 20}
        speak(*[str(n) for n in range(2, 43)], at=now)
        Quarantined.objects.create(
            topic=TOPIC, partition=0, offset=minute, received_at=now, reason="future_timestamp", mote_code="1", size=9,
            payload=msgspec.json.encode(ahead),
        )  # fmt: skip
        look(now)

    assert standing() == [("mote:main/1", "clock_skew")]
    assert "3,600 s ahead" in Alert.objects.get().words
    assert "7 of its readings were put aside" in Alert.objects.get().words


def test_a_look_after_a_restart_keeps_what_was_known_of_clocks():
    for minute in range(6):
        speak(at=NOON + minute * MINUTE, delay_s=-42)
        look(NOON + minute * MINUTE)
    cache.clear()

    look(NOON + 6 * MINUTE)

    assert standing() == [("zone:main/lab", "clock_skew")]
    assert Mote.objects.exclude(clock_skew_s=None).count() == 42


# ---- the canary ---------------------------------------------------------------------------------------------


def test_the_canary_is_a_probe_that_no_list_and_no_figure_knows(alice_client):
    assert canary.probe() is None  # the consumers have yet to hear of it

    mote = canary.probe()

    assert mote is not None
    fleet = registry.current_fleet()
    assert mote.pk not in {one.id for one in fleet.motes}
    assert fleet.by_id[mote.pk].is_probe
    listed = {one["mote"] for one in alice_client.get("/api/v1/motes?state=all").json()}
    assert canary.CODE not in listed
    assert canary.CODE not in alice_client.get("/motes/?state=all").content.decode()


def test_three_lost_canaries_in_a_row_make_one_alert_and_a_good_one_after_it_does_not_end_it_alone():
    lost, fine = canary.Run("2026-03-02T12:00:00Z", error="not stored within 15 s"), canary.Run("", 80.0, 120.0)

    counts = []
    for run in (lost, lost, lost, lost, fine, fine, fine):
        canary.record(run, site="main", now=NOON)
        counts.append(Alert.objects.active().count())

    assert counts == [0, 0, 1, 1, 1, 1, 0]
    told = ProcessHeartbeat.objects.get(kind="canary").detail
    assert (told["n"], told["n_lost"], told["stored_p50_ms"], told["heard_p50_ms"]) == (7, 4, 80.0, 120.0)


@pytest.mark.django_db(transaction=True)
def test_a_canary_goes_through_the_real_path_to_the_hot_store_and_the_live_channel():
    canary.probe()
    loop = live.new_loop_in_a_thread()
    live.bind_loop(loop)
    stop = threading.Event()
    consumer = threading.Thread(target=build_runner().run, args=(stop,))
    consumer.start()
    try:
        run = canary.send(stream=stream("readings"), store=hot(), now=timezone.now())
    finally:
        stop.set()
        consumer.join(20)
        loop.call_soon_threadsafe(loop.stop)

    assert run is not None
    assert run.error == ""
    assert run.stored_ms is not None
    assert run.heard_ms is not None
    (line,) = LedgerHour.objects.all()
    assert (line.received, line.stored) == (1, 1)
    assert Event.objects.count() == 0


def test_a_canary_that_nobody_takes_is_lost():
    canary.probe()

    run = canary.send(stream=stream("readings"), store=hot(), now=NOON, wait_s=0.05)

    assert run is not None
    assert (run.stored_ms, run.error) == (None, "not stored within 0.05 s")


# ---- signs of life ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_beat_says_that_it_lives_whenever_it_looks_at_its_schedule():
    scheduler = beating.Scheduler(app=app)

    scheduler.tick()
    said = list(ProcessHeartbeat.objects.values_list("kind", flat=True))
    scheduler.close()

    assert said == ["beat"]
    assert not ProcessHeartbeat.objects.exists()


@pytest.mark.parametrize(
    ("state", "running_s", "beat_s", "knows", "is_too_early"),
    [
        ("running", 300, 1, True, False),
        ("running", 20, 1, True, True),  # it loads its loops and catches up
        ("running", 300, 1, False, True),  # it has not heard of the canary's mote yet
        ("stopped", 300, 5, True, True),  # told to stop just now
        ("running", 300, 90, True, False),  # killed: the canary is lost, and shall be
    ],
)
def test_no_canary_is_sent_while_the_consumers_are_beginning(state, running_s, beat_s, knows, is_too_early):
    fleet = registry.revision() - (not knows)
    detail = {"topic": "readings", "state": state, "fleet": fleet}
    detail["running_since"] = (NOON - timedelta(seconds=running_s)).isoformat()
    ProcessHeartbeat.objects.create(
        name="one", kind="consumer", beat_at=NOON - timedelta(seconds=beat_s), detail=detail
    )

    assert canary.is_too_early("readings", NOON) is is_too_early
