"""A consumer's heartbeat: that it lives, how fast it is, and at which sink it is stuck. Best effort."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from ingestion.patience import DATABASE_AWAY
from sensors.models import ProcessHeartbeat

log = structlog.get_logger(__name__)
FORGOTTEN_AFTER = timedelta(days=1)


class VitalSigns:
    """What one process tells of itself, again and again, in one row."""

    def __init__(self, owner: str, topic: str, *, since: datetime) -> None:
        self.owner, self.topic, self.since = owner, topic, since
        self.last_batch_at: datetime | None = None
        self._rate = (0.0, 0)

    def beat(
        self,
        *,
        now: datetime,
        clock: float,
        n_readings: int,
        is_last: bool,
        stuck: Mapping[str, str],
        detail: Mapping[str, Any],
    ) -> None:
        told = {
            "state": "stopped" if is_last else "running",
            "topic": self.topic,
            "running_since": self.since.isoformat(),
            "readings_per_s": round(self._rate_until(clock, n_readings), 1),
            "last_batch_at": self.last_batch_at.isoformat() if self.last_batch_at else None,
            "stuck_at": stuck.get("sink"),
            "since": stuck.get("since"),
            "error": stuck.get("error"),
            **detail,
        }
        try:
            ProcessHeartbeat.objects.update_or_create(
                name=self.owner, defaults={"kind": "consumer", "beat_at": now, "detail": told}
            )
            ProcessHeartbeat.objects.filter(kind="consumer", beat_at__lt=now - FORGOTTEN_AFTER).delete()
        except DATABASE_AWAY as error:
            log.warning("heartbeat_lost", error=str(error))

    def _rate_until(self, clock: float, n_readings: int) -> float:
        since, readings = self._rate
        self._rate = clock, n_readings
        return (n_readings - readings) / (clock - since) if since and clock > since else 0.0
