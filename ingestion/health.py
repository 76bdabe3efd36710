"""How SIEIS itself is: each part it leans on, asked with a time limit, and what its processes last said."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import DatabaseError, close_old_connections, connection

from ingestion.models import Checkpoint
from ingestion.streams import stream
from sensors.lake import lake
from sensors.models import ProcessHeartbeat
from sensors.stores import hot

log = structlog.get_logger(__name__)

PATIENCE_S = 3.0
FRESH = timedelta(seconds=2)
ALIVE = timedelta(seconds=30)
LOOKS = ("watch", "canary")  # no processes, but what the looks of every minute leave behind
LOOKED = timedelta(seconds=150)
FORGOTTEN = timedelta(hours=1)  # a process silent for longer was replaced, not lost
UP, DOWN, UNKNOWN = "up", "down", "unknown"
HEALTHY, DEGRADED = "healthy", "degraded"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A part and how it answered last; `error` is the last trouble there was, even when it is over."""

    name: str
    state: str = UNKNOWN
    since: datetime | None = None
    latency_ms: float | None = None
    error: str | None = None
    error_at: datetime | None = None

    def answered(self, latency_s: float, now: datetime) -> Dependency:
        since = self.since if self.state == UP else now
        return replace(self, state=UP, since=since, latency_ms=round(latency_s * 1000, 1))

    def failed(self, error: str, now: datetime) -> Dependency:
        since = self.since if self.state == DOWN else now
        return replace(self, state=DOWN, since=since, latency_ms=None, error=error[:400], error_at=now)


@dataclass(frozen=True, slots=True)
class Process:
    name: str
    kind: str
    state: str
    beat_at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Partition:
    """How far a partition is saved, and how much waits behind the consumer that has it; None where nobody has."""

    topic: str
    partition: int
    next_offset: int
    saved_at: datetime | None
    lag: int | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    state: str
    readings_per_s: float
    last_batch_at: datetime | None
    serving: Mapping[str, Any]
    partitions: tuple[Partition, ...]
    stuck: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float] = field(default_factory=dict)  # that the consumers spent in each step since they began


@dataclass(frozen=True, slots=True)
class Troubled:
    """A mote that the watch found silent, slow, or with a wrong clock."""

    mote: str
    site: str
    trouble: str
    since: datetime | None
    words: str


@dataclass(frozen=True, slots=True)
class Canary:
    """The marked readings of the last hour: how many milliseconds they took to the hot store and to open pages."""

    at: datetime
    stored_ms: float | None
    heard_ms: float | None
    n: int
    n_lost: int
    error: str
    stored_p50_ms: float | None = None
    stored_p99_ms: float | None = None
    heard_p50_ms: float | None = None
    heard_p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What the last look at the motes found; counts are of all, `troubled` names the worst."""

    state: str
    looked_at: datetime | None = None
    n_motes: int = 0
    n_silent: int = 0
    n_slow: int = 0
    n_skewed: int = 0
    troubled: tuple[Troubled, ...] = ()
    canary: Canary | None = None


@dataclass(frozen=True, slots=True)
class Health:
    status: str
    at: datetime
    dependencies: tuple[Dependency, ...]
    pipeline: Pipeline
    flow: Flow
    processes: tuple[Process, ...]


NO_LOOK = Flow(UNKNOWN)
NOTHING_KNOWN = Pipeline(UNKNOWN, 0.0, None, {}, (), ())
Ping = Callable[[], object]


def _ping_database() -> None:
    close_old_connections()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def _ping_files() -> None:
    default_storage.exists("models")


def _ping_redis() -> None:
    import redis

    client = redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    finally:
        client.close()


def pings() -> dict[str, Ping]:
    """What is leaned on in this mode; an in-memory part cannot be away."""
    always: dict[str, Ping] = {
        "database": _ping_database,
        "stream": lambda: stream().ping(),
        "hot_store": lambda: hot().ping(),
        "lake": lambda: lake().ping(),
        "artefacts": _ping_files,
    }
    return {**always, "redis": _ping_redis} if settings.HAS_REDIS else always


class Watch:
    """Asks each part in a thread of its own, and remembers how it answered. One that hangs is not asked again."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self._known: dict[str, Dependency] = {}
        self._asked: dict[str, Future[float]] = {}
        self._threads = ThreadPoolExecutor(max_workers=12, thread_name_prefix="health")
        self._lock = threading.Lock()
        self._looked_at: datetime | None = None

    def look(self, parts: Mapping[str, Ping], now: datetime) -> tuple[Dependency, ...]:
        """How the parts are, asked anew unless that was done just now; never takes longer than the patience."""
        with self._lock:
            is_fresh = self._looked_at is not None and timedelta(0) <= now - self._looked_at < FRESH
            if not is_fresh or self._known.keys() != parts.keys():
                self._ask(parts, now)
                self._looked_at = now
            return tuple(self._known[name] for name in parts)

    def _ask(self, parts: Mapping[str, Ping], now: datetime) -> None:
        self._known = {name: self._known.get(name, Dependency(name)) for name in parts}
        hanging = {name for name, future in self._asked.items() if not future.done()}
        fresh = {name: self._threads.submit(_timed, ping) for name, ping in parts.items() if name not in hanging}
        wait(fresh.values(), timeout=self.patience_s)
        self._asked |= fresh
        for name in parts:
            self._known[name] = self._judged(self._known[name], self._asked[name], now)

    def _judged(self, before: Dependency, asked: Future[float], now: datetime) -> Dependency:
        if not asked.done():
            return before.failed(f"no answer within {self.patience_s:g} s", now)
        error = asked.exception()
        if error is None:
            return before.answered(asked.result(), now)
        return before.failed(str(error) or type(error).__name__, now)


def _timed(ping: Ping) -> float:
    began = time.perf_counter()
    ping()
    return time.perf_counter() - began


_watch = Watch()


def checks(now: datetime) -> Health:
    """How everything is; asked at most every two seconds, however many ask."""
    dependencies = _watch.look(pings(), now)
    is_readable = next(one.state for one in dependencies if one.name == "database") == UP
    processes, pipeline, flow = _said(now) if is_readable else ((), NOTHING_KNOWN, NO_LOOK)
    return Health(_status(dependencies, pipeline), now, dependencies, pipeline, flow, processes)


def _said(now: datetime) -> tuple[tuple[Process, ...], Pipeline, Flow]:
    """What the processes wrote; two queries."""
    try:
        beats = [_process(beat, now) for beat in ProcessHeartbeat.objects.filter(beat_at__gt=now - FORGOTTEN)]
        processes = [beat for beat in beats if beat.kind not in LOOKS]
        pipeline = _pipeline([beat for beat in processes if beat.kind == "consumer"])
        return tuple(processes), pipeline, _flow({beat.kind: beat for beat in beats if beat.kind in LOOKS}, now)
    except DatabaseError as error:
        log.warning("health_without_heartbeats", error=str(error))
        return (), NOTHING_KNOWN, NO_LOOK


def _process(beat: ProcessHeartbeat, now: datetime) -> Process:
    state = "alive" if now - beat.beat_at <= ALIVE else "silent"
    if beat.detail.get("state") == "stopped":
        state = "stopped"
    return Process(beat.name, beat.kind, state, beat.beat_at, beat.detail)


def _flow(looks: Mapping[str, Process], now: datetime) -> Flow:
    """What the looks of every minute left; one that did not come is itself news."""
    watched, sent = looks.get("watch"), looks.get("canary")
    canary = _canary(sent) if sent is not None and now - sent.beat_at <= LOOKED else None
    if watched is None:
        return Flow("not_started", canary=canary)
    detail = watched.detail
    return Flow(
        state="watching" if now - watched.beat_at <= LOOKED else "silent",
        looked_at=watched.beat_at,
        troubled=tuple(_troubled(detail)),
        canary=canary,
        **{name: detail[name] for name in ("n_motes", "n_silent", "n_slow", "n_skewed")},
    )


def _troubled(detail: Mapping[str, Any]) -> Iterator[Troubled]:
    for one in detail["silent"]:
        since = datetime.fromisoformat(one["since"])
        yield Troubled(
            one["mote"], one["site"], "silent", since, f"a reading is expected every {one['expected_s']:g} s"
        )
    for one in detail["skewed"]:
        yield Troubled(one["mote"], one["site"], "clock", None, one["words"])
    for one in detail["slow"]:
        words = f"{one['n']} of {one['owed']:.0f} expected readings ({one['share']:.0%})"
        yield Troubled(one["mote"], one["site"], "slow", None, words)


def _canary(sent: Process) -> Canary:
    last, told = sent.detail["runs"][-1], {name for name in Canary.__dataclass_fields__ if "_p" in name}
    return Canary(
        at=sent.beat_at,
        stored_ms=last["stored_ms"],
        heard_ms=last["heard_ms"],
        error=last["error"],
        n=sent.detail["n"],
        n_lost=sent.detail["n_lost"],
        **{name: sent.detail[name] for name in told if name in sent.detail},
    )


def _pipeline(consumers: list[Process]) -> Pipeline:
    alive = [one.detail for one in consumers if one.state == "alive"]
    lag = {place: n for detail in alive for place, n in detail.get("lag", {}).items()}
    stuck = [
        {"sink": detail["stuck_at"], "since": detail.get("since"), "error": detail.get("error")}
        for detail in alive
        if detail.get("stuck_at")
    ]
    batches = [datetime.fromisoformat(detail["last_batch_at"]) for detail in alive if detail.get("last_batch_at")]
    return Pipeline(
        state="stuck" if stuck else "running" if alive else "silent" if consumers else "not_started",
        readings_per_s=round(sum(detail.get("readings_per_s", 0.0) for detail in alive), 1),
        last_batch_at=max(batches, default=None),
        serving={code: version for detail in alive for code, version in detail.get("serving", {}).items()},
        partitions=tuple(
            Partition(row.topic, row.partition, row.next_offset, row.saved_at, lag.get(f"{row.topic}/{row.partition}"))
            for row in Checkpoint.objects.filter(topic=settings.SIEIS_TOPICS["readings"])
        ),
        stuck=tuple(stuck),
        seconds=_seconds(alive),
    )


def _seconds(consumers: Iterable[Mapping[str, Any]]) -> Mapping[str, float]:
    total: Counter[str] = Counter()
    for detail in consumers:
        total.update(detail.get("seconds", {}))
    return {step: round(spent, 3) for step, spent in total.items()}


def _status(dependencies: tuple[Dependency, ...], pipeline: Pipeline) -> str:
    """Down: nobody can be served. Degraded: something is missing that people will notice."""
    states = {one.name: one.state for one in dependencies}
    if states["database"] == DOWN:
        return DOWN
    all_up = all(state == UP for state in states.values())
    return HEALTHY if all_up and pipeline.state == "running" else DEGRADED
