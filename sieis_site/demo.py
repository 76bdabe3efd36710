"""The demo: simulated motes of the indoor pack, with a past to learn from and a present to watch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from ingestion import tour
from ingestion.running import build_label_reader, build_runner
from ingestion.simulating import simulation
from ingestion.simulating.simulator import Simulator
from ingestion.streams import stream
from sensors import audit
from sensors.models import AuditEntry, Mote, Site
from sensors.packs import Pack, read_pack
from sensors.readings import micros

PACK = "indoor"
SEED = 42
LIVE_INTERVAL_S = 1.0
LIVELY = 2.0  # times the pack's rate of faults: whoever looks for a minute shall see one
PAST = "load_history"


def pack() -> Pack:
    return read_pack(PACK)


def _simulator(site: Site, *, is_history: bool) -> Simulator:
    chosen = pack()
    rate = None if is_history else LIVELY * chosen.simulator["anomaly_rate"]
    return Simulator.of(
        chosen, site=site.code, time_zone=site.time_zone, seed=SEED, is_history=is_history, anomaly_rate=rate
    )


def _site() -> Site:
    return Site.objects.get(code=settings.SIEIS_DEFAULT_SITE)


def simulate(stop: threading.Event) -> None:
    """Sends what the demo's motes report, once a second, until `stop`."""
    site = _site()
    simulator = _simulator(site, is_history=False)
    simulator.schedule.asked = partial(tour.asked_faults, simulator)
    simulation.simulate_live(
        simulator=simulator,
        stream=stream("readings"),
        labels=stream("labels"),
        site=site.code,
        interval_s=LIVE_INTERVAL_S,
        stop=stop,
    )


def has_past() -> bool:
    return AuditEntry.objects.filter(deed=PAST, detail__is_complete=True).exists()


def load_past(days: float, tell: Callable[[float, str], None]) -> int:
    """Brings `days` of simulated history through the reading path; an interrupted one goes on where it stopped."""
    site, begun = _site(), _begin(days, timezone.now())
    start, end = (datetime.fromisoformat(begun.detail[name]) for name in ("start", "end"))
    simulator, history = _simulator(site, is_history=True), stream("history")
    history.ensure()
    total = int((end - start).total_seconds() / simulator.profile.interval_s) * Mote.objects.filter(site=site).count()
    _append(simulator, start, end, lambda n: tell(0.2 * n / max(total, 1), f"{n:,} readings made"))

    def judged(n: int) -> None:
        tell(0.2 + 0.8 * n / max(total, 1), f"{n:,} readings judged" if n else "the engine begins to judge them")

    build_runner("history").run(threading.Event(), until_end=True, progress=judged)
    simulation.tell_truth(simulator, micros(start), micros(end), labels=stream("labels"), site=site.code)
    build_label_reader().run(threading.Event(), until_end=True)
    AuditEntry.objects.filter(pk=begun.pk).update(detail={**begun.detail, "is_complete": True})
    return total


def _begin(days: float, now: datetime) -> AuditEntry:
    """The range, kept before the first reading: a second attempt must make the very same readings."""
    begun = AuditEntry.objects.filter(deed=PAST).first()
    if begun is not None:
        return begun
    end = now.replace(second=0, microsecond=0)
    detail = {"start": (end - timedelta(days=days)).isoformat(), "end": end.isoformat(), "is_complete": False}
    return audit.record(deed=PAST, subject=f"site:{settings.SIEIS_DEFAULT_SITE}", now=now, detail=detail)


def _append(simulator: Simulator, start: datetime, end: datetime, progress: Callable[[int], None]) -> None:
    history = stream("history")
    there = sum(last for _, last in history.bounds().values())
    made = 0
    for values, keys in simulation.history_chunks(simulator, start, end):
        missing = max(there - made, 0)
        made += len(values)
        if missing < len(values):
            history.append(values[missing:], list(keys[missing:]))
        progress(made)
