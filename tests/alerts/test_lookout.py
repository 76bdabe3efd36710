"""A watcher that has stopped is itself an alert, which ends when it is back."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from alerts.lookout import look_after
from alerts.models import Alert
from alerts.notifying.delivering import keep_delivering
from sensors.models import ProcessHeartbeat
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def beat(kind: str, at) -> None:
    ProcessHeartbeat.objects.update_or_create(name=kind, defaults={"kind": kind, "beat_at": at})


def test_a_look_that_does_not_come_any_more_is_an_alert_until_it_comes_again():
    beat("watch", NOON)
    assert look_after("notifier", now=NOON + 4 * MINUTE) == []

    assert look_after("notifier", now=NOON + 6 * MINUTE) == ["watch"]
    assert look_after("notifier", now=NOON + 7 * MINUTE) == ["watch"]
    alert = Alert.objects.get()
    assert (alert.subject, alert.severity) == ("watcher:watch", "high")
    assert alert.words.startswith("Silent motes and wrong clocks are not found since 2026-03-02 12:00 UTC")

    beat("watch", NOON + 8 * MINUTE)
    assert look_after("notifier", now=NOON + 8 * MINUTE) == []
    assert Alert.objects.get().status == "resolved"


def test_the_look_finds_a_notifier_that_is_gone_and_does_not_look_at_itself():
    beat("notifier", NOON)
    beat("watch", NOON - 60 * MINUTE)

    assert look_after("watch", now=NOON + 3 * MINUTE) == ["notifier"]


def test_after_a_night_switched_off_the_others_get_their_time_to_start():
    beat("watch", NOON - 600 * MINUTE)

    assert look_after("notifier", now=NOON + MINUTE, since=NOON) == []
    assert look_after("notifier", now=NOON + 6 * MINUTE, since=NOON) == ["watch"]


@pytest.mark.django_db(transaction=True)
def test_a_loop_that_was_asked_to_stop_is_not_missed():
    stop = threading.Event()

    class Once:
        """A clock that stops the loop when it has been asked a few times."""

        n = 0

        def __call__(self):
            self.n += 1
            if self.n > 4:
                stop.set()
            return NOON

    keep_delivering(stop, now=Once())

    assert not ProcessHeartbeat.objects.filter(kind="notifier").exists()
