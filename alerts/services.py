"""How alerts come and go by themselves. Those of readings: alerts/recording.py; what people do: alerts/lifecycle.py."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction

from alerts.changes import SIEIS, Actor, keep_changes, line
from alerts.events import instant as instant
from alerts.models import Alert, AlertChange, Event
from alerts.recording import ATTEMPTS
from alerts.recording import Told as Told
from alerts.recording import record_events as record_events
from sensors import audit, live
from sensors.models import Mote

Deed = AlertChange.Deed


def _active_or_saved(fresh: Alert) -> tuple[Alert, bool]:
    """The active alert of that subject and kind, locked, or else the new one: the constraint decides between writers.

    Who finds one that another ends at this moment looks again, so that nothing joins an alert that is over.
    """
    for _ in range(ATTEMPTS):
        active = Alert.objects.active().select_for_update().filter(subject=fresh.subject, kind=fresh.kind).first()
        if active is not None:
            return active, False
        try:
            with transaction.atomic():
                fresh.save(force_insert=True)
        except IntegrityError as error:
            fresh.pk, refused = None, error
        else:
            return fresh, True
    raise refused


@transaction.atomic
def follow_state(mote: Mote, *, who: User | None, now: datetime) -> list[Alert]:
    """A retired mote reports no more, so what is open of it would stay so for ever: it ends with its last reading.

    In maintenance and commissioning an alert stays in the hands it is in, and hears how its event ends.
    """
    if mote.state != Mote.State.RETIRED:
        return []
    Event.objects.filter(mote=mote, ended_at=None).update(ended_at=models.F("last_at"))
    ended = list(Alert.objects.active().select_for_update().filter(mote=mote))
    for alert in ended:
        alert.resolved_by = who
        _end(alert, at=now, now=now, by=Actor(who), why="the mote was retired")
        audit.record(
            deed="resolve_alert", subject=alert.subject, who=who, now=now,
            detail={"alert": alert.pk, "why": "the mote was retired"},
        )  # fmt: skip
        transaction.on_commit(partial(live.announce_alert, alert))
    return ended


@transaction.atomic
def end_by_silence(motes: Collection[int]) -> list[Alert]:
    """Ends what runs of these motes, which report no more, with its last reading; answers the alerts that ends.

    The engine ends it there, too, when the mote speaks again: whoever comes first, the event is the same.
    """
    running = Event.objects.filter(mote__in=motes, ended_at=None, is_history=False)
    touched = set(running.exclude(alert=None).values_list("alert", flat=True))
    running.update(ended_at=models.F("last_at"))
    over = Alert.objects.active().select_for_update().filter(pk__in=touched).exclude(events__ended_at=None)
    ended = list(over)
    for alert in ended:
        last = alert.events.aggregate(last=models.Max("ended_at"))["last"]
        _end(alert, at=last, now=last, why="its mote reports no more")
    return ended


def _end(alert: Alert, *, at: datetime, now: datetime, why: str, by: Actor = SIEIS) -> None:
    before, alert.status, alert.resolved_at = alert.status, Alert.Status.RESOLVED, at
    alert.revision += 1
    alert.save(update_fields=["status", "resolved_at", "resolved_by", "last_seen_at", "revision"])
    keep_changes([line(alert, Deed.RESOLVE, by=by, now=now, before=before, note=why)])


@transaction.atomic
def raise_system_alert(
    *, subject: str, kind: str, words: str, severity: str, now: datetime, mote: int | None = None
) -> Alert:
    """Opens the alert of that subject and kind, or notes that its cause still stands."""
    fresh = Alert(
        subject=subject, kind=kind, severity=severity, words=words[:400], first_seen_at=now, last_seen_at=now,
        mote_id=mote,
    )  # fmt: skip
    active, is_new = _active_or_saved(fresh)
    if is_new:
        keep_changes([line(active, Deed.OPEN, now=now, note=active.words, detail={"severity": str(severity)})])
        return active
    active.last_seen_at, active.words = now, words[:400]
    active.save(update_fields=["last_seen_at", "words"])
    return active


def clear_system_alert(*, subject: str, kind: str, now: datetime, why: str = "its cause is gone") -> list[Alert]:
    """Resolves the alert whose cause is gone; answers what was resolved."""
    standing = Alert.objects.active().filter(subject=subject, kind=kind)
    if not standing.exists():  # asked often, and mostly in vain: no write lock for nothing
        return []
    with transaction.atomic():
        active = list(standing.select_for_update())
        for alert in active:
            alert.last_seen_at = now
            _end(alert, at=now, now=now, why=why)
    return active
