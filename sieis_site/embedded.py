"""The parts that run inside the web process when no server is named: reading path, jobs, schedule, simulator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from alerts.notifying.delivering import keep_delivering
from alerts.rules.running import keep_judging
from ingestion.api.health_api import tell_health
from ingestion.running import consume, read_labels
from ingestion.streams import StreamClosed
from sieis_site.beating import BEAT_S, say_alive, say_gone

log = structlog.get_logger(__name__)
RESTART_S = 2.0
RESTART_MAX_S = 60.0
JOIN_S = 30.0
NOTIFIERS = 2  # a target that answers slowly holds up only one of them


@dataclass(slots=True)
class Parts:
    """Threads that share one stop; a part that fails is started again, with growing pauses."""

    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, name: str, deed: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=self._keep, args=(name, deed), name=f"sieis-{name}", daemon=True)
        self.threads.append(thread)
        thread.start()

    def _keep(self, name: str, deed: Callable[[threading.Event], None]) -> None:
        wait_s = RESTART_S
        while not self.stop.is_set():
            began = timezone.now()
            try:
                deed(self.stop)
            except StreamClosed as reason:
                log.error("part_cannot_go_on", part=name, reason=str(reason), again_in_s=wait_s)
            except Exception:
                log.exception("part_failed", part=name, again_in_s=wait_s)
            finally:
                close_old_connections()
            ran_s = (timezone.now() - began).total_seconds()
            wait_s = RESTART_S if ran_s > RESTART_MAX_S else min(wait_s * 2, RESTART_MAX_S)
            self.stop.wait(wait_s)

    def close(self) -> None:
        """Asks all to stop and waits until what they hold is saved."""
        self.stop.set()
        for thread in self.threads:
            thread.join(JOIN_S)
            if thread.is_alive():
                log.error("part_did_not_stop", part=thread.name, waited_s=JOIN_S)


def start_parts() -> Parts:
    """What belongs into the web process by the settings; in server mode only its heartbeat."""
    parts = Parts()
    parts.start("heartbeat", _beat)
    if not settings.HAS_REDIS:
        from sieis_site.worker import run_worker

        parts.start("pipeline", consume)
        parts.start("labels", read_labels)
        parts.start("worker", run_worker)
        parts.start("rules", keep_judging)
        for n in range(NOTIFIERS):
            parts.start(f"notifier-{n}", keep_delivering)
        if settings.SIEIS_DEMO:
            from sieis_site.demo import simulate

            parts.start("simulator", simulate)
    return parts


def _beat(stop: threading.Event) -> None:
    """Says every few seconds that the web process lives."""
    while True:
        if say_alive("web"):
            tell_health(timezone.now())
        if stop.wait(BEAT_S):
            say_gone("web")
            return
