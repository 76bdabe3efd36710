"""Work that waits in a row until a worker takes it: how it is sent, and what a killed worker leaves behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from celery import current_app
from django.db.models import Model
from kombu.exceptions import OperationalError as BrokerAway

log = structlog.get_logger(__name__)


def send(task: str, row: Model) -> None:
    """Sends it to a worker; with the broker away it waits in its row, and whoever looks after its kind sends it again.

    Sending it twice is harmless: only one worker can claim the row.
    """
    try:
        current_app.send_task(task, args=[row.pk])
    except BrokerAway as error:
        log.warning("broker_away", task=task, row=row.pk, error=str(error))


def expire(model: Any, words: str, *, lease: timedelta, now: datetime) -> list[Any]:
    """Fails the rows whose worker gave no sign of life within the lease; answers those that still wait for one."""
    told = f"No sign of life for {lease.total_seconds():.0f} s: {words}"
    model.objects.filter(state="running", heartbeat_at__lt=now - lease).update(state="failed", error=told, done_at=now)
    return list(model.objects.filter(state="queued", asked_at__lte=now - lease))
