"""Eight writers at once: one active alert a subject and kind, no event lost, no person overwritten."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from alerts import lifecycle, services
from alerts.changes import Actor
from alerts.models import Alert, AlertChange, Event
from sensors.registry import current_fleet
from tests.alerts.test_alerts import NOON_US, told
from tests.builders import install_fleet
from tests.conftest import NOON
from tests.stack import ROOT, _database

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS = 8


def at_once(deed: Callable[[int], object]) -> list[object]:
    """Runs the deed in eight threads that begin together; answers what each got or was refused with."""
    barrier, answers = threading.Barrier(WRITERS), [None] * WRITERS

    def run(n: int) -> None:
        try:
            barrier.wait(30)
            answers[n] = deed(n)
        except Exception as refused:
            answers[n] = refused
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_eight_writers_at_once_open_one_alert() -> None:
    install_fleet(motes=("7",))
    fleet = current_fleet()

    answers = at_once(lambda n: services.record_events([told(fleet, minute=n)], fleet=fleet))

    assert not [one for one in answers if isinstance(one, Exception)]
    assert Event.objects.filter(alert=Alert.objects.get()).count() == WRITERS
    assert AlertChange.objects.filter(deed="open").count() == 1


def test_no_event_joins_an_alert_that_another_writer_ends_at_that_moment() -> None:
    install_fleet(motes=("7",))
    fleet = current_fleet()

    def write(n: int) -> None:
        services.record_events([told(fleet, minute=n)], fleet=fleet)
        ended = NOON_US + n * 60_000_000 + 1
        services.record_events([told(fleet, minute=n, ended_at=ended)], fleet=fleet)

    answers = at_once(write)

    assert not [one for one in answers if isinstance(one, Exception)]
    assert (Event.objects.count(), Event.objects.filter(alert=None).count()) == (WRITERS, 0)
    assert not Alert.objects.active().exists()
    assert sum(Alert.objects.values_list("n_events", flat=True)) == WRITERS


def test_of_eight_who_acknowledge_one_wins_and_the_others_are_told_who() -> None:
    install_fleet(motes=("7",))
    people = [User.objects.create_user(f"bob{n}") for n in range(WRITERS)]
    alert = services.raise_system_alert(subject="sink:lake", kind="sink_down", words="away", severity="high", now=NOON)

    answers = at_once(lambda n: lifecycle.acknowledge(alert, by=Actor(people[n], "api"), now=NOON))

    alert.refresh_from_db()
    refused = [one for one in answers if isinstance(one, lifecycle.AlreadyMoved)]
    assert len(refused) == WRITERS - 1
    assert {str(one) for one in refused} == {
        f"The alert on sink:lake is already acknowledged by {alert.acknowledged_by.username}."
    }
    assert alert.changes.filter(deed="acknowledge").count() == 1


def test_eight_system_alerts_of_one_cause_are_one() -> None:
    about = {"subject": "sink:lake", "kind": "sink_down", "words": "away", "severity": "high"}

    answers = at_once(lambda n: services.raise_system_alert(**about, now=NOON + timedelta(seconds=n)))

    assert {one.pk for one in answers} == {Alert.objects.get().pk}


@pytest.mark.service
def test_the_same_holds_on_postgresql(addresses: dict[str, str]) -> None:
    with _database(addresses["DATABASE_URL"], f"sieis-race-{secrets.token_hex(4)}") as url:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", __file__, "-q", "-n0", "-m", "not service", "-p", "no:cacheprovider"],
            cwd=ROOT, env={**os.environ, "TESTS_ON_DATABASE_URL": url}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    assert run.returncode == 0, run.stdout[-3000:]
    assert "6 passed" in run.stdout


def test_the_tests_run_on_the_database_that_they_were_told() -> None:
    assert connection.vendor == ("postgresql" if "TESTS_ON_DATABASE_URL" in os.environ else "sqlite")


def test_a_storm_of_events_makes_one_alert_a_mote_and_loses_none() -> None:
    codes = ("7", "8", "9")
    install_fleet(motes=codes)
    fleet = current_fleet()
    storm = [told(fleet, code, minute=minute) for minute in range(15) for code in codes]

    for first in range(0, len(storm), 20):
        services.record_events(storm[first : first + 20], fleet=fleet)
    services.record_events(storm[:30], fleet=fleet)

    assert (Event.objects.count(), Event.objects.filter(alert=None).count()) == (45, 0)
    assert sorted(Alert.objects.active().values_list("subject", "n_events")) == sorted(
        (f"mote:main/{code}", 15) for code in codes
    )
