"""The tour of the demo: a fault that somebody asks for, on a sensor that is simulated in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db.models import F, Max

from alerts.models import Alert
from ingestion.simulating.faults import Incident
from ingestion.simulating.simulator import Simulator
from sensors import audit
from sensors.models import Mote
from sensors.readings import micros

ASKED = "tour-fault"
CHANNEL = "temperature"
# Off by all its normal band at once: what every visitor sees, and no layer misses.
KIND, SIZE = "bias", 0.7
BEGINS_IN = timedelta(seconds=3)
LASTS = timedelta(seconds=120)
KEPT_S = 600.0


class NoTour(Exception):
    """Why there is none here."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A fault that was asked for."""

    site: str
    mote: str
    channel: str
    starts_at: datetime
    ends_at: datetime


def is_there() -> bool:
    """In the demo of one process: there the simulator hears what is asked of it."""
    return settings.SIEIS_DEMO and not settings.HAS_REDIS


def ask_fault(*, who: User | None, now: datetime) -> Asked:
    """A fault on a sensor of which nothing is told now; the one that is under way where there is one."""
    if not is_there():
        raise NoTour("There is no tour here: only the demo of one process (SIEIS_DEMO=1) injects faults when asked.")
    running: Asked | None = cache.get(ASKED)
    if running is not None and running.ends_at > now:
        return running
    mote = _calm_mote()
    starts_at = now + BEGINS_IN
    asked = Asked(mote.site.code, mote.code, CHANNEL, starts_at, starts_at + LASTS)
    cache.set(ASKED, asked, KEPT_S)
    audit.record(deed="ask_demo_fault", subject=mote.subject, who=who, now=now, detail={"channel": CHANNEL})
    return asked


def _calm_mote() -> Mote:
    busy = Alert.objects.active().exclude(mote=None).values("mote")
    calm = Mote.objects.on_page().filter(site__code=settings.SIEIS_DEFAULT_SITE, state=Mote.State.ACTIVE)
    # One that was told of a minute ago would confuse.
    quietest = F("told_at").asc(nulls_first=True)
    found = calm.exclude(pk__in=busy).exclude(last_seen_at=None).annotate(told_at=Max("alerts__last_seen_at"))
    mote = found.order_by(quietest, "pk").first()
    if mote is None:
        raise NoTour("Each simulated sensor has an alert now. Resolve one, or wait until one is over by itself.")
    return mote


def asked_faults(simulator: Simulator) -> Sequence[Incident]:
    """What the simulator adds to what chance brings."""
    asked: Asked | None = cache.get(ASKED)
    codes, names = simulator.places.codes, simulator.profile.names
    if asked is None or asked.mote not in codes or asked.channel not in names:
        return ()
    place, channel = codes.index(asked.mote), names.index(asked.channel)
    starts_us, ends_us = micros(asked.starts_at), micros(asked.ends_at)
    return (Incident(place, (channel,), KIND, starts_us, ends_us, size=SIZE, sign=1.0, shape=1),)
