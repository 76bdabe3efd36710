"""A marked reading, sent every minute and followed to the hot store and the live channel: how long a reading takes.

Its mote is a probe: in commissioning, so that it alerts nobody, and apart from the fleet, so that no figure counts it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any

import msgspec
import numpy as np
import structlog
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction

from alerts import services
from ingestion.flow import looking
from ingestion.streams import Stream, StreamUnavailable
from sensors import live, registry
from sensors.models import Mote, ProcessHeartbeat, ProfileVersion, Site
from sensors.readings import Profile, micros
from sensors.spoken import instants
from sensors.stores import HotStore, StoreUnavailable

log = structlog.get_logger(__name__)
CODE, KIND = "sieis-canary", "canary"
WAIT_S = 15.0
LOOK_S = 0.02
KEPT = 60  # runs
BEGINS = timedelta(seconds=60)  # a consumer that loads its compiled loops and catches up
IN_A_ROW, SLOW_MS = 3, 5000.0


@dataclass(frozen=True, slots=True)
class Run:
    """How many milliseconds a reading took; None where it did not arrive, or where nobody listens."""

    sent_at: str
    stored_ms: float | None = None
    heard_ms: float | None = None
    error: str = ""


def send(*, stream: Stream, store: HotStore, now: datetime, wait_s: float = WAIT_S) -> Run | None:
    """Sends one and waits for it; None while there is nobody who would know its mote."""
    mote = probe()
    if mote is None:
        return None
    profile = registry.profiles()[mote.profile.code]
    told = instants(np.array([micros(now)]))[0]
    ears = Ears(mote.site.code, told, wait_s)
    began = time.perf_counter()
    try:
        stream.append([message(profile, mote.site.code, now)], [mote.site.code.encode()])
        stored_ms = _until(lambda: _is_stored(store, profile, mote.pk, now), began, wait_s)
        heard_ms = ears.heard_ms(began, wait_s if stored_ms is None else 1.0)
    except (StreamUnavailable, StoreUnavailable) as away:
        return Run(told, error=" ".join(str(away).split())[:300])
    finally:
        ears.close()
    return Run(told, stored_ms, heard_ms, "" if stored_ms is not None else f"not stored within {wait_s:g} s")


def record(run: Run, *, site: str, now: datetime) -> None:
    """Keeps the run with those before it; several that were lost or slow in a row make an alert."""
    kept = ProcessHeartbeat.objects.filter(kind=KIND).first()
    runs = [*(kept.detail.get("runs", []) if kept else []), asdict(run)][-KEPT:]
    detail = {"runs": runs, **figures([Run(**one) for one in runs])}
    ProcessHeartbeat.objects.update_or_create(name=KIND, defaults={"kind": KIND, "beat_at": now, "detail": detail})
    last = runs[-IN_A_ROW:]
    bad = [one for one in last if one["stored_ms"] is None or one["stored_ms"] > SLOW_MS]
    if len(bad) == IN_A_ROW:
        words = f"{IN_A_ROW} marked readings in a row were lost or slow on their way to the hot store: {_story(last)}."
        alert = services.raise_system_alert(
            subject=f"canary:{site}", kind="slow_path", words=words, severity="medium", now=now
        )
        looking.announce([alert] if alert.first_seen_at == now else [])
    elif not bad:
        looking.announce(services.clear_system_alert(subject=f"canary:{site}", kind="slow_path", now=now))


def _story(runs: Sequence[dict[str, Any]]) -> str:
    return "; ".join(one["error"] or f"{one['stored_ms']:,.0f} ms" for one in runs)


def figures(runs: Sequence[Run]) -> dict[str, float | int | None]:
    """Median and 99th percentile of the kept runs, and how many were lost."""
    found: dict[str, float | int | None] = {"n": len(runs), "n_lost": sum(one.stored_ms is None for one in runs)}
    for hop in ("stored", "heard"):
        known = [ms for one in runs if (ms := getattr(one, f"{hop}_ms")) is not None]
        cuts = quantiles(known, n=100, method="inclusive") if len(known) > 1 else known * 99
        found |= {f"{hop}_p50_ms": round(cuts[49], 1), f"{hop}_p99_ms": round(cuts[98], 1)} if cuts else {}
    return found


def is_too_early(topic: str, now: datetime) -> bool:
    """Whether the consumers began just now, were told to stop, or have not heard of the fleet as it is.

    What is sent then is late because of the beginning, and says nothing of the path. One that was killed is no excuse.
    """
    beats = ProcessHeartbeat.objects.filter(kind="consumer", detail__topic=topic, beat_at__gt=now - BEGINS)
    told = [beat.detail for beat in beats]
    running = [one for one in told if one.get("state") == "running"]
    if not running:
        return bool(told)
    began = max(datetime.fromisoformat(one["running_since"]) for one in running)
    return began > now - BEGINS or min(one.get("fleet", 0) for one in running) < registry.revision()


# ---- the mote -----------------------------------------------------------------------------------------------


def probe() -> Mote | None:
    """The canary's mote; None where it was made just now, for the consumers have yet to hear of it."""
    found = Mote.objects.filter(is_probe=True, code=CODE).exclude(state=Mote.State.RETIRED)
    known = found.select_related("site", "profile").first()
    return known if known is not None else _make()


@transaction.atomic
def _make() -> None:
    version = ProfileVersion.objects.filter(is_current=True).order_by("profile_id").first()
    site = Site.objects.filter(code=settings.SIEIS_DEFAULT_SITE).first()
    if version is None or site is None:
        log.debug("canary_without_fleet")
        return
    Mote.objects.update_or_create(
        site=site, code=CODE,
        defaults={
            "profile": version.profile, "state": Mote.State.COMMISSIONING, "is_probe": True,
            "label": "Marked readings that measure how long the path takes",
        },
    )  # fmt: skip
    registry.touch_fleet()


def message(profile: Profile, site: str, at: datetime) -> bytes:
    """In the middle of every normal band, so that it looks like nothing in particular."""
    values = {one.code: sum(one.normal) / 2 for one in profile.channels if one.formula is None}
    return msgspec.json.encode({"mote_id": CODE, "site": site, "timestamp": at.isoformat(), **values})


# ---- following ----------------------------------------------------------------------------------------------


def _is_stored(store: HotStore, profile: Profile, mote: int, at: datetime) -> bool:
    return not store.between(profile, [mote], at, at + timedelta(microseconds=1)).is_empty()


def _until(look: Callable[[], bool], began: float, wait_s: float) -> float | None:
    while time.perf_counter() - began < wait_s:
        if look():
            return round((time.perf_counter() - began) * 1000, 1)
        time.sleep(LOOK_S)
    return None


class Ears:
    """Listens to the live channel as a web process does, in the loop where announcements are heard."""

    def __init__(self, site: str, told: str, wait_s: float) -> None:
        self._key = (CODE, site, told)
        self._future: Future[float] | None = None
        loop = live.loop()
        if loop is not None:
            ready: Future[str] = asyncio.run_coroutine_threadsafe(_join(), loop)
            with suppress(TimeoutError, OSError):
                self._channel = ready.result(2.0)
                self._future = asyncio.run_coroutine_threadsafe(self._listen(wait_s + 5.0), loop)

    def heard_ms(self, began: float, wait_s: float) -> float | None:
        if self._future is None:
            return None
        try:
            return round((self._future.result(wait_s) - began) * 1000, 1)
        except Exception as error:
            log.info("canary_not_heard", reason=str(error) or type(error).__name__)
            return None

    def close(self) -> None:
        if self._future is not None:
            self._future.cancel()

    async def _listen(self, wait_s: float) -> float:
        layer = get_channel_layer()
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    envelope = await layer.receive(self._channel)
                    if envelope["kind"] == live.READINGS and self._tells(json.loads(envelope["body"])["readings"]):
                        return time.perf_counter()
        finally:
            await layer.group_discard(live.GROUP, self._channel)

    def _tells(self, readings: Sequence[dict[str, Any]]) -> bool:
        return any((one["mote"], one["site"], one["at"]) == self._key for one in readings)


async def _join() -> str:
    layer = get_channel_layer()
    channel: str = await layer.new_channel("canary.")
    await layer.group_add(live.GROUP, channel)
    return channel
