"""A consumer's heartbeat: that it lives, how fast it is, and at which sink it is stuck. Best effort."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from ingestion import metrics
from ingestion.patience import DATABASE_AWAY
from sensors.models import ProcessHeartbeat

log = structlog.get_logger(__name__)
FORGOTTEN_AFTER = timedelta(days=1)
MEAN_S = 15.0  # motes report in bursts: between two beats there is often none, and then all of them


class VitalSigns:
    """What one process tells of itself, again and again, in one row."""

    def __init__(self, owner: str, topic: str, *, since: datetime) -> None:
        self.owner, self.topic, self.since = owner, topic, since
        self.last_batch_at: datetime | None = None
        self._marks: deque[tuple[float, int]] = deque()

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
        self._mark(clock, n_readings)
        told = {
            "state": "stopped" if is_last else "running",
            "topic": self.topic,
            "running_since": self.since.isoformat(),
            "readings_per_s": round(self._rate(self._marks[0]), 1),
            "newest_per_s": round(self._rate(self._marks[-2] if len(self._marks) > 1 else self._marks[0]), 1),
            "last_batch_at": self.last_batch_at.isoformat() if self.last_batch_at else None,
            "stuck_at": stuck.get("sink"),
            "since": stuck.get("since"),
            "error": stuck.get("error"),
            "process": metrics.PROCESS,
            "counted": metrics.counted(),
            **detail,
        }
        try:
            ProcessHeartbeat.objects.update_or_create(
                name=self.owner, defaults={"kind": "consumer", "beat_at": now, "detail": told}
            )
            ProcessHeartbeat.objects.filter(kind="consumer", beat_at__lt=now - FORGOTTEN_AFTER).delete()
        except DATABASE_AWAY as error:
            log.warning("heartbeat_lost", error=str(error))

    def _mark(self, clock: float, n_readings: int) -> None:
        self._marks.append((clock, n_readings))
        while len(self._marks) > 2 and clock - self._marks[1][0] >= MEAN_S:
            self._marks.popleft()

    def _rate(self, since: tuple[float, int]) -> float:
        """Readings a second from that mark to the newest one."""
        (then, before), (clock, n_readings) = since, self._marks[-1]
        return (n_readings - before) / (clock - then) if clock > then else 0.0
