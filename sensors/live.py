"""What browsers hear, from any thread of any process: encoded once, sent best effort, never in the pipeline's way.

An announcement is put into an outbox and sent by one event loop: the web server's own where there is one (an in-memory
channel layer does not leave it), else, with Redis, the loop of a small thread. docs/live.md has every message.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec
import numpy as np
import structlog
from channels.layers import InMemoryChannelLayer, get_channel_layer

from sensors import overlay, quality
from sensors.fleet import Fleet
from sensors.readings import Batch
from sensors.spoken import spoken

log = structlog.get_logger()

GROUP = "live"
READINGS = "readings"
READINGS_WAITING = 64  # messages; beyond it the oldest goes, for a newer one says more
KEPT_WAITING = 1000  # alerts and the like; beyond it the oldest goes, and the hole in the numbers tells pages to ask
SEND_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
TOLD_OF_A_READING = (
    "mote", "site", "at", "values", "quality", "flags", "suspect", "score", "surprise", "is_anomaly",
)  # fmt: skip
LOOKED_UP = ("peak_channel", "grade", "grade_reasons", "is_suppressed")


class AlertLike(Protocol):
    """What the channel tells of an alert."""

    pk: int
    subject: str
    kind: str
    status: str
    severity: str
    words: str
    score: float
    first_seen_at: datetime
    last_seen_at: datetime
    n_events: int
    revision: int
    snoozed_until: datetime | None

    @property
    def people(self) -> Mapping[str, str | None]:
        """In whose hands it is, where that is known."""
        ...


@dataclass(slots=True)
class Counts:
    """Since this process began; /metrics shows them."""

    announced: int = 0
    failed: int = 0
    dropped: int = 0


counts = Counts()


class Outbox:
    """What waits to be sent. Any thread fills it; one task in one loop empties it, while there is something to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.source = uuid.uuid4().hex[:12]
        self.is_empty = threading.Event()
        self.is_empty.set()
        self._lock = threading.Lock()
        self._kept: deque[tuple[str, str]] = deque()
        self._readings: deque[tuple[str, str]] = deque()
        self._n_dropped = 0
        self._n_sent = 0
        self._task: asyncio.Task[None] | None = None

    def put(self, kind: str, body: str) -> None:
        with self._lock:
            waiting = self._readings if kind == READINGS else self._kept
            waiting.append((kind, body))
            if len(self._readings) > READINGS_WAITING:
                self._readings.popleft()
                self._n_dropped += 1
                counts.dropped += 1
            if len(self._kept) > KEPT_WAITING:
                self._kept.popleft()
                self._n_sent += 1
                counts.dropped += 1
            is_idle = self.is_empty.is_set()
            self.is_empty.clear()
        if is_idle:
            self.loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = self.loop.create_task(self._send_all())

    async def _send_all(self) -> None:
        pause_s = FIRST_PAUSE_S
        while (item := self._next()) is not None:
            try:
                async with asyncio.timeout(SEND_S):
                    await get_channel_layer().group_send(GROUP, self._envelope(*item))
                counts.announced += 1
                pause_s = FIRST_PAUSE_S
            except Exception as error:
                counts.failed += 1
                log.warning("announce_failed", kind=item[0], error=str(error) or type(error).__name__)
                self._put_back(item)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _next(self) -> tuple[str, str] | None:
        with self._lock:
            if self._kept:
                return self._kept.popleft()
            if self._readings:
                return self._readings.popleft()
            self.is_empty.set()
            return None

    def _put_back(self, item: tuple[str, str]) -> None:
        """Readings are not sent twice: the next ones are newer."""
        if item[0] != READINGS:
            with self._lock:
                self._kept.appendleft(item)

    def _envelope(self, kind: str, body: str) -> dict[str, Any]:
        """Numbered by source, so that a hub notices what was lost on the way."""
        with self._lock:
            self._n_sent += 1
            n, skipped = self._n_sent, self._n_dropped if kind == READINGS else 0
            self._n_dropped -= skipped
        return {
            "type": "live.message", "source": self.source, "n": n, "kind": kind, "body": body, "skipped": skipped,
        }  # fmt: skip


_outbox: Outbox | None = None
_choice = threading.Lock()


def bind_loop(loop: asyncio.AbstractEventLoop) -> None:
    """From now on announcements are sent by this loop: the web server's, where the sockets live."""
    global _outbox
    with _choice:
        if _outbox is None or _outbox.loop is not loop:
            _outbox = Outbox(loop)


def announce(message: Mapping[str, Any]) -> None:
    """Tells every open page. Best effort: never raises, never waits; failures are logged and counted."""
    try:
        outbox = _current_outbox()
        if outbox is not None:
            body = {key: value for key, value in message.items() if key != "type"}
            outbox.put(message["type"], msgspec.json.encode(body).decode())
    except Exception:
        counts.failed += 1
        log.exception("announce_failed", kind=message.get("type"))


def announce_readings(batch: Batch, fleet: Fleet) -> None:
    """Tells the newest reading of each mote of the batch as it is to be read; a late one is not news."""
    if _current_outbox() is None:
        return
    newest = newest_rows(batch)
    if len(newest):
        told = overlay.apply(batch.take(newest), fleet.corrections)
        readings = [{key: one[key] for key in TOLD_OF_A_READING} for one in spoken(told, fleet)]
        announce({"type": READINGS, "readings": readings})


def newest_rows(batch: Batch) -> Any:
    """Index of each mote's newest row that did not come late, by mote."""
    timely = np.flatnonzero((batch.flags & quality.LATE) == 0)
    order = timely[np.lexsort((batch.at[timely], batch.mote[timely]))]
    return order[np.append(np.diff(batch.mote[order]) != 0, True)] if len(order) else order


def announce_alert(alert: AlertLike) -> None:
    announce({"type": "alert", "alert": spoken_alert(alert)})


def spoken_alert(alert: AlertLike) -> dict[str, Any]:
    """An alert as the channel tells it; mote and site come from the subject, which costs no query."""
    what, _, name = alert.subject.partition(":")
    site, _, mote = name.partition("/") if what == "mote" else ("", "", "")
    return {
        "id": alert.pk,
        "subject": alert.subject,
        "mote": mote or None,
        "site": site or None,
        "kind": alert.kind,
        "status": str(alert.status),
        "severity": str(alert.severity),
        "words": alert.words,
        "score": round(alert.score, 4),
        "first_seen_at": alert.first_seen_at,
        "last_seen_at": alert.last_seen_at,
        "n_events": alert.n_events,
        "revision": alert.revision,
        "snoozed_until": alert.snoozed_until,
        **alert.people,
        # Where it was looked up: a message without them leaves what a page knows.
        **{name: getattr(alert, name) for name in LOOKED_UP if hasattr(alert, name)},
    }


def announce_health(health: Mapping[str, Any]) -> None:
    announce({"type": "health", "health": health})


def flush(wait_s: float = 2.0) -> bool:
    """Waits until all is sent, at the end of a process; not to be called from the loop that sends."""
    return _outbox is None or _outbox.is_empty.wait(wait_s)


def loop() -> asyncio.AbstractEventLoop | None:
    """Where announcements are sent and can be listened to from this process; None where nobody can."""
    outbox = _current_outbox()
    return outbox.loop if outbox is not None else None


def _current_outbox() -> Outbox | None:
    """Where to put an announcement; None where nobody can hear it."""
    outbox = _outbox
    if outbox is not None and not outbox.loop.is_closed():
        return outbox
    if isinstance(get_channel_layer(), InMemoryChannelLayer):
        return None
    _start_thread()
    return _outbox


def _start_thread() -> None:
    global _outbox
    with _choice:
        if _outbox is not None and not _outbox.loop.is_closed():
            return
        _outbox = Outbox(new_loop_in_a_thread())
        atexit.register(flush)


def new_loop_in_a_thread() -> asyncio.AbstractEventLoop:
    """A running loop for a process that has none of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="announcer", daemon=True).start()
    return loop
