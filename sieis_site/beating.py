"""Every process says each few seconds that it lives; pages, container checks and alert rules read it."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta
from typing import Any

import structlog
from django.db import DatabaseError, close_old_connections
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler

from sensors.models import ProcessHeartbeat

log = structlog.get_logger(__name__)
BEAT_S = 10.0
FORGOTTEN = timedelta(days=1)  # a process silent for longer was replaced under another name


def name_of(kind: str) -> str:
    return f"{kind}@{socket.gethostname()}:{os.getpid()}"


def say_alive(kind: str) -> bool:
    """Writes the heartbeat of this process; False while the database is away."""
    now = timezone.now()
    try:
        ProcessHeartbeat.objects.update_or_create(
            name=name_of(kind), defaults={"kind": kind, "beat_at": now, "detail": {"state": "running"}}
        )
        ProcessHeartbeat.objects.filter(kind=kind, beat_at__lt=now - FORGOTTEN).delete()
    except DatabaseError as error:
        log.warning("heartbeat_lost", kind=kind, error=str(error))
        close_old_connections()
        return False
    return True


def say_gone(kind: str) -> None:
    """Takes the heartbeat back: the process was asked to stop."""
    try:
        ProcessHeartbeat.objects.filter(name=name_of(kind)).delete()
    except DatabaseError as error:
        log.warning("heartbeat_left_behind", kind=kind, error=str(error))


def keep_saying(kind: str, stop: threading.Event) -> None:
    """Until `stop`; for a process whose own loop is another's."""
    while True:
        say_alive(kind)
        close_old_connections()
        if stop.wait(BEAT_S):
            say_gone(kind)
            return


class Scheduler(DatabaseScheduler):
    """The schedule in the database; each look at it is a sign of life, so that a beat that hangs is missed."""

    sync_every = BEAT_S  # Health tells when each ran last, and three minutes would be "never" on a first look
    _said_at = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        wait_s: float = super().tick(*args, **kwargs)
        if time.monotonic() - self._said_at >= BEAT_S:
            self._said_at = time.monotonic()
            say_alive("beat")
        return min(wait_s, BEAT_S)

    def close(self) -> None:
        super().close()
        say_gone("beat")
