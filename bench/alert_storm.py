"""A storm of events: how many alerts it makes, whether one is lost, and how long the inbox takes meanwhile.

    python -m bench.alert_storm [--events 10000] [--motes 42] [--writers 1] [--seconds 60]

Events of all motes begin one after the other, evenly over the seconds, told as the reading path tells them (with more
writers, as several partitions would); then all end. Meanwhile an operator looks at the inbox again and again, and
acknowledges. By the rule there is one active alert a mote, and each event belongs to one. The yardstick is the inbox
in the calm before.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any

from bench._place import embedded_django

NOW = datetime.now(UTC).replace(microsecond=0)
AT_ONCE = 20  # events of one poll
LOOKS_BEFORE = 30
Look = tuple[float, float]  # seconds that it took, and of the looker's own CPU time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--writers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with embedded_django():
        print(json.dumps(measure(options.events, options.motes, options.writers, options.seconds)))


def measure(n_events: int, n_motes: int, n_writers: int, seconds: float) -> dict[str, Any]:
    from alerts.models import Alert, AlertChange, Event

    changes = _events(n_events, n_motes)
    person = Person()
    calm = [person.look() for _ in range(LOOKS_BEFORE)]
    done = threading.Event()
    storm: list[Look] = []
    watching = threading.Thread(target=person.watch, args=(done, storm))
    watching.start()
    took, cpu_s = _tell(changes, n_writers, seconds)
    most_active = Alert.objects.active().count()
    _tell([_ended(one) for one in changes], n_writers, 0.0)
    done.set()
    watching.join()
    opened = Counter(Alert.objects.values_list("subject", flat=True))
    return {
        "events": n_events, "motes": n_motes, "writers": n_writers, "told_in_s": round(took, 1),
        "cpu_ms_an_event": round(1000 * cpu_s / n_events, 2),
        "events_kept": Event.objects.count(), "events_without_alert": Event.objects.filter(alert=None).count(),
        "alerts": sum(opened.values()), "active_at_the_end_of_the_storm": most_active,
        "still_active": Alert.objects.active().count(), "lines_of_stories": AlertChange.objects.count(),
        "acknowledged": person.n_acknowledged,
        "acknowledge_ms": {"p50": _p50(person.waits), "most": round(1000 * max(person.waits, default=0.0), 1)},
        "inbox_ms": {"calm": _ms(calm), "storm": _ms(storm)},
    }  # fmt: skip


def _ms(looks: list[Look]) -> dict[str, float]:
    took = [wall for wall, _ in looks]
    return {
        "looks": len(looks), "p50": _p50(took), "p95": round(1000 * quantiles(took, n=20)[-1], 1),
        "cpu_p50": round(1000 * median(cpu for _, cpu in looks), 1),
    }  # fmt: skip


def _p50(took: list[float]) -> float:
    return round(1000 * median(took), 1) if took else 0.0


class Person:
    """An operator who looks at the inbox, and acknowledges what is open."""

    def __init__(self) -> None:
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.test import Client

        from sensors import roles

        settings.ALLOWED_HOSTS = ["*"]
        # Nothing was collected here, and the names of files are not what is measured.
        plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
        settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
        roles.install_roles()
        user = User.objects.create_user("operator")
        roles.give_role(user, roles.OPERATOR, now=NOW)
        self.client = Client(raise_request_exception=False)  # a database that is busy for long refuses
        self.client.force_login(user)
        self.n_acknowledged = 0
        self.waits: list[float] = []

    def look(self) -> Look:
        began, spent = time.perf_counter(), time.thread_time()
        answer = self.client.get("/alerts/")
        assert answer.status_code == 200, answer.status_code
        return time.perf_counter() - began, time.thread_time() - spent

    def watch(self, done: threading.Event, looks: list[Look]) -> None:
        from django.db import connection

        from alerts.models import Alert

        while not done.wait(0.05):
            looks.append(self.look())
            waiting = Alert.objects.filter(status="open").values_list("pk", flat=True).first()
            if waiting is not None:
                address = f"/api/v1/alerts/{waiting}/acknowledge"
                began = time.perf_counter()
                answer = self.client.post(address, content_type="application/json")
                self.waits.append(time.perf_counter() - began)
                self.n_acknowledged += answer.status_code == 200
        connection.close()


def _events(n: int, n_motes: int) -> list[Any]:
    """Events of the motes in turn, that begin evenly over a minute."""
    from alerts.events import EventChange
    from sensors.installation import install_pack
    from sensors.packs import read_pack
    from sensors.readings import micros
    from sensors.registry import current_fleet

    install_pack(read_pack("indoor").with_motes(n_motes), site_code="main", time_zone="UTC", who=None, now=NOW)
    motes = [one.id for one in current_fleet().motes]
    found = []
    for n_th in range(n):
        at = micros(NOW + timedelta(minutes=1) * n_th / n)
        found.append(
            EventChange(
                mote=motes[n_th % len(motes)], profile="indoor", started_at=at, noticed_at=at, last_at=at,
                ended_at=None, n_readings=1, peak_surprise=5.0 + n_th % 7, peak_at=at, peak_channel="temperature",
                peak_value=45.2, expected=(18.0, 28.0), layer="level", contributions={"temperature": 1.0},
                model_version=0,
            )
        )  # fmt: skip
    return found


def _ended(change: Any) -> Any:
    from dataclasses import replace

    return replace(change, ended_at=change.last_at + 60_000_000)


def _tell(changes: list[Any], n_writers: int, seconds: float) -> tuple[float, float]:
    """Each writer tells its share in order, no sooner than its time has come; a mote is always the same writer's.

    Answers how long it took, and the writers' own CPU time, which a machine shared with others does not change.
    """
    from django.db import connection

    from alerts import services
    from sensors.registry import current_fleet

    fleet, began, spent = current_fleet(), time.perf_counter(), [0.0] * n_writers

    def write(which: int) -> None:
        mine = [one for one in changes if one.mote % n_writers == which]
        for first in range(0, len(mine), AT_ONCE):
            wait_s = seconds * first / max(len(mine), 1) - (time.perf_counter() - began)
            if wait_s > 0:
                time.sleep(wait_s)
            told = [services.Told(one, "Temperature 45.2 °C") for one in mine[first : first + AT_ONCE]]
            _patiently(lambda told=told: services.record_events(told, fleet=fleet))
        connection.close()
        spent[which] = time.thread_time()

    writers = [threading.Thread(target=write, args=(which,)) for which in range(n_writers)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return time.perf_counter() - began, sum(spent)


def _patiently(deed: Any) -> None:
    """As the reading path does: a database that is busy is asked again until it takes it."""
    from django.db import OperationalError

    while True:
        try:
            deed()
        except OperationalError:
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
