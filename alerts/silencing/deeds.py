"""What people do with silences: try one, keep it, lift it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from alerts.models import Alert
from alerts.silencing.matching import is_in_force, is_meant, spans
from alerts.silencing.models import Silence, Suppression
from alerts.weekly import BadHours, Weekly
from sensors import audit
from sensors.models import Mote

LONGEST = timedelta(days=90)  # of one that does not come again: who forgets it shall not be deaf for good
LOOK_BACK, LOOK_AHEAD = timedelta(days=7), timedelta(days=14)
SHOWN = 5


class AlreadyOver(Exception):
    """The silence cannot be lifted any more; says why."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a silence would do, before it is kept."""

    n_motes: int
    now: list[Alert]  # active alerts of its scope
    n_before: int  # alerts of the last week that it would have kept quiet, at its hours
    next: list[tuple[datetime, datetime]]


def checked(silence: Silence) -> Silence:
    """The silence with its hours in order; ValidationError says what of it cannot be."""
    if silence.weekly:
        try:
            silence.weekly = Weekly.parse(silence.weekly).as_json()
        except BadHours as wrong:
            raise ValidationError({"weekly": str(wrong)}) from wrong
    elif silence.ends_at is None:
        raise ValidationError({"ends_at": "Expected an end, or hours of the week in which it comes again."})
    elif silence.ends_at - silence.starts_at > LONGEST:
        raise ValidationError({"ends_at": f"It would last longer than {LONGEST.days} days; expected an earlier end."})
    if silence.ends_at is not None and silence.ends_at <= silence.starts_at:
        raise ValidationError({"ends_at": f"“{silence.ends_at}” is not after its beginning, “{silence.starts_at}”."})
    if silence.is_maintenance and silence.kind:
        raise ValidationError({"kind": "Maintenance is about all that its motes say; expected no kind."})
    return silence


def preview(silence: Silence, *, now: datetime) -> Preview:
    since = now - LOOK_BACK
    recent = Alert.objects.filter(last_seen_at__gte=since).select_related("mote__site", "mote__zone")
    meant = [one for one in recent.order_by("-last_seen_at") if is_meant(silence, one)]
    hours = silence.hours
    return Preview(
        n_motes=_motes(silence),
        now=[one for one in meant if one.is_active],
        n_before=sum(
            one.first_seen_at >= since and (hours is None or hours.covers(one.first_seen_at)) for one in meant
        ),
        next=list(spans(silence, max(now, silence.starts_at), max(now, silence.starts_at) + LOOK_AHEAD))[:SHOWN],
    )


def _motes(silence: Silence) -> int:
    motes = Mote.objects.on_page()
    scope = {"pk": silence.mote_id, "zone": silence.zone_id, "site": silence.site_id}
    return motes.filter(**{name: value for name, value in scope.items() if value is not None}).count()


@transaction.atomic
def keep_silence(silence: Silence, *, who: User, now: datetime) -> Silence:
    checked(silence)
    silence.made_at, silence.made_by = now, who
    silence.save()
    audit.record(deed="make_silence", subject=f"silence:{silence}"[:200], who=who, now=now, detail={"id": silence.pk})
    return silence


@transaction.atomic
def lift_silence(silence: Silence, *, who: User, now: datetime) -> Silence:
    """Ends it now; what it held back and still stands is told."""
    if silence.lifted_at is not None or (silence.ends_at is not None and silence.ends_at <= now):
        raise AlreadyOver(f"The silence of {silence.where} is over already.")
    Silence.objects.filter(pk=silence.pk).update(lifted_at=now, lifted_by=who)
    Suppression.objects.filter(silence=silence, ended_at=None, alert__status__in=Alert.ACTIVE).update(ended_at=now)
    silence.refresh_from_db()
    audit.record(deed="lift_silence", subject=f"silence:{silence}"[:200], who=who, now=now, detail={"id": silence.pk})
    return silence


def state(silence: Silence, now: datetime) -> str:
    """“now”, “coming” (later, or again), or “over”."""
    if is_in_force(silence, now):
        return "now"
    ends = [at for at in (silence.ends_at, silence.lifted_at) if at is not None]
    return "over" if ends and min(ends) <= now else "coming"
