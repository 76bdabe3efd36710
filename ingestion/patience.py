"""Waiting for what is away: the same deed again and again, told once when a sink goes and once when it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections

from alerts import services
from alerts.models import Alert
from ingestion import metrics
from ingestion.streams import StreamUnavailable
from sensors.stores import StoreUnavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")
DATABASE_AWAY = (OperationalError, InterfaceError)
AWAY = (StoreUnavailable, StreamUnavailable, *DATABASE_AWAY)
KIND = "sink_down"


class Stopped(Exception):
    """Asked to stop while a sink was away: what is in hand is not saved and comes again."""


class Announces(Protocol):
    """What the reading path tells the live channel (sensors.live); best effort."""

    def announce_readings(self, batch: Any, fleet: Any) -> None: ...

    def announce_alert(self, alert: Any) -> None: ...


class Patience:
    """Stops the path at a sink that is away, and says so: in the log, as an alert, to whoever asks `stuck`."""

    def __init__(
        self,
        *,
        stop: threading.Event,
        now: Callable[[], datetime],
        announce: Announces | None,
        meanwhile: Callable[[], None],
        retry_s: float,
        retry_max_s: float,
    ) -> None:
        self.stop, self.now, self.announce, self.meanwhile = stop, now, announce, meanwhile
        self.retry_s, self.retry_max_s = retry_s, retry_max_s
        self.stuck: dict[str, str] = {}
        self._may_wait = True
        # Sinks whose alert is known to be over: an earlier process may have raised one, or another wait come between.
        self._well: set[str] = set()

    def __call__(self, sink: str, deed: Callable[[], T]) -> T:
        wait_s = self.retry_s
        while True:
            try:
                done = deed()
            except AWAY as error:
                self._is_away(sink, error)
                if not self._may_wait:
                    raise
                if self.stop.wait(wait_s):
                    raise Stopped from error
                self.meanwhile()
                wait_s = min(wait_s * 2, self.retry_max_s)
            else:
                self.is_well(sink)
                return done

    def is_well(self, sink: str) -> None:
        """A deed succeeded there: if it was away, that is over."""
        if sink not in self._well:
            self._is_back(sink)

    @contextmanager
    def not_now(self) -> Iterator[None]:
        """Within it, the first that is away is raised and not waited for."""
        self._may_wait = False
        try:
            yield
        finally:
            self._may_wait = True

    def _is_away(self, sink: str, error: Exception) -> None:
        metrics.STORE_RETRIES.labels(sink).inc()
        self._well.discard(sink)
        if self.stuck.get("sink") != sink:
            self.stuck = {"sink": sink, "since": self.now().isoformat()}
            log.warning("sink_away", sink=sink, error=str(error))
        self.stuck["error"] = str(error)[:300]
        close_old_connections()
        if sink != "database":
            words = f"{sink.replace('_', ' ').capitalize()} is away: {error}"
            self._tell(
                lambda: [
                    services.raise_system_alert(
                        subject=f"sink:{sink}", kind=KIND, words=words, severity="high", now=self.now()
                    )
                ]
            )

    def _is_back(self, sink: str) -> None:
        if self.stuck.get("sink") == sink:
            log.info("sink_back", sink=sink, since=self.stuck.get("since"))
            self.stuck = {}
        if self._tell(lambda: services.clear_system_alert(subject=f"sink:{sink}", kind=KIND, now=self.now())):
            self._well.add(sink)

    def _tell(self, deed: Callable[[], list[Alert]]) -> bool:
        """Keeps and announces an alert, unless the database is away too: then the log has to do."""
        try:
            alerts = deed()
        except DATABASE_AWAY as error:
            log.warning("alert_not_kept", error=str(error))
            return False
        for alert in alerts if self.announce else ():
            assert self.announce is not None
            self.announce.announce_alert(alert)
        return True
