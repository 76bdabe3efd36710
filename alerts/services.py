"""How alerts come and go by themselves: an event is kept once by its key, an alert gathers the events of a subject.

What people do with them is alerts/lifecycle.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction

from alerts.changes import SIEIS, Actor, keep_change
from alerts.events import EventChange
from alerts.models import Alert, AlertChange, Event, MaintenanceWindow, Severity
from sensors import audit, live
from sensors.fleet import Fleet
from sensors.models import Mote
from sensors.readings import micros, score, severity

log = structlog.get_logger(__name__)
ANOMALY = "anomaly"
Deed = AlertChange.Deed
ATTEMPTS = 10
ORDER = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)


@dataclass(frozen=True, slots=True)
class Told:
    """An event change with the sentence that people read, and the message that showed it if that is in hand."""

    change: EventChange
    words: str
    message: str = ""


def instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)


@transaction.atomic
def record_events(told: Sequence[Told], *, fleet: Fleet, is_history: bool = False) -> list[Alert]:
    """Keeps each event as it now stands, and answers the alerts that were opened or changed by it, with grades.

    Telling the same change twice changes nothing, and never reopens what a person resolved.
    """
    changed: set[int] = set()
    under_maintenance = _under_maintenance(told, fleet)
    known = _known(told)
    for one in told:
        mote = fleet.by_id[one.change.mote]
        event, key = _as_told(one, known, is_history), (one.change.mote, one.change.noticed_at)
        is_quiet = mote.state != "active" or one.change.mote in under_maintenance
        # An alert that stands hears how its event ends, whatever the mote's state is by then.
        is_alerting = not is_history and not (is_quiet and event.alert_id is None)
        alert, is_new = _alert_of(event, one, mote.subject) if is_alerting else (None, False)
        known[key] = _kept(event, one, alert)
        if one.message and is_alerting:
            log.info(
                "event_noticed", correlation_id=one.message, mote=mote.subject, words=one.words, alert=event.alert_id
            )
        if alert is not None and alert.is_active:
            _gather(alert, known[key], onset=fleet.profiles[mote.profile].onset, is_new=is_new)
            changed.add(alert.pk)
    return list(Alert.objects.with_grades().filter(pk__in=changed)) if changed else []


def _known(told: Sequence[Told]) -> dict[tuple[int, int], Event]:
    """Those of the events that were told before, locked."""
    if not told:
        return {}
    motes = {one.change.mote for one in told}
    noticed = {instant(one.change.noticed_at) for one in told}
    found = Event.objects.select_for_update(of=("self",)).filter(mote__in=motes, noticed_at__in=noticed)
    return {(one.mote_id, micros(one.noticed_at)): one for one in found.select_related("alert")}


def _as_told(one: Told, known: Mapping[tuple[int, int], Event], is_history: bool) -> Event:
    """The event with what the change says of it, not saved yet."""
    change = one.change
    event = known.get((change.mote, change.noticed_at))
    if event is None:
        event = Event(mote_id=change.mote, noticed_at=instant(change.noticed_at), message=one.message)
    elif _goes_on(event, instant(change.last_at)):
        event.alert = None
    for name, value in _fields(one, is_history).items():
        setattr(event, name, value)
    return event


def _fields(one: Told, is_history: bool) -> dict[str, Any]:
    change = one.change
    return {
        "started_at": instant(change.started_at),
        "last_at": instant(change.last_at),
        "ended_at": instant(change.ended_at) if change.ended_at is not None else None,
        "n_readings": change.n_readings,
        "peak_surprise": change.peak_surprise,
        "peak_at": instant(change.peak_at),
        "peak_channel": change.peak_channel,
        "peak_value": _finite(change.peak_value),
        "expected_low": _finite(change.expected[0]),
        "expected_high": _finite(change.expected[1]),
        "layer": change.layer,
        "contributions": dict(change.contributions),
        "words": one.words[:400],
        "model_version": change.model_version,
        "is_history": is_history,
    }


def _goes_on(event: Event, last_at: datetime) -> bool:
    """An event beyond its own end was ended by a silence that was none: its alert is over, and it needs another.

    A replay tells no more of an event than was told before, so it never comes here.
    """
    if event.ended_at is None or event.ended_at >= last_at or event.alert is None:
        return False
    return not event.alert.is_active and event.alert.resolved_by_id is None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _alert_of(event: Event, one: Told, subject: str) -> tuple[Alert, bool]:
    """The alert that the event belongs to, locked, and whether it was opened for it."""
    if event.alert_id is None:
        return _active_alert(event, one, subject)
    return Alert.objects.select_for_update().get(pk=event.alert_id), False


def _kept(event: Event, one: Told, alert: Alert | None) -> Event:
    """The event, saved with its alert; of two writers who tell it for the first time the second one sets it anew."""
    if alert is not None:
        event.alert = alert
    if event.pk is not None:
        event.save()
        return event
    try:
        with transaction.atomic():
            event.save(force_insert=True)
    except IntegrityError:
        key = {"mote_id": event.mote_id, "noticed_at": event.noticed_at}
        event, _ = Event.objects.update_or_create(**key, defaults=_fields(one, event.is_history))
        if event.alert_id is None and alert is not None:
            event.alert = alert
            event.save(update_fields=["alert"])
    return event


def _gather(alert: Alert, event: Event, *, onset: float, is_new: bool) -> None:
    """Sets the alert to what its events say."""
    events = alert.events.aggregate(
        n=models.Count("id"),
        first=models.Min("started_at"),
        last=models.Max("last_at"),
        peak=models.Max("peak_surprise"),
        unended=models.Count("id", filter=models.Q(ended_at=None)),
    )
    before, was = alert.status, alert.severity
    value = float(score(events["peak"], onset))
    if event.peak_surprise >= events["peak"]:
        alert.words = event.words
    alert.n_events, alert.peak_surprise, alert.score = events["n"], events["peak"], value
    alert.severity = Severity(severity(value))
    alert.first_seen_at, alert.last_seen_at = events["first"], events["last"]
    if is_over := not events["unended"]:
        alert.status, alert.resolved_at = Alert.Status.RESOLVED, event.ended_at
        alert.revision += 1
    alert.save()
    _keep_what_changed(alert, event, before, was, is_new=is_new, is_over=is_over)


def _keep_what_changed(alert: Alert, event: Event, before: str, was: str, *, is_new: bool, is_over: bool) -> None:
    """Lines for the story: opened, grown worse, over."""
    if is_new:
        keep_change(alert, Deed.OPEN, now=event.noticed_at, note=alert.words, detail={"severity": alert.severity})
    elif ORDER.index(Severity(alert.severity)) > ORDER.index(Severity(was)):
        detail = {"from": was, "to": str(alert.severity)}
        keep_change(alert, Deed.WORSEN, now=event.last_at, before=before, note=alert.words, detail=detail)
    if is_over:
        keep_change(
            alert, Deed.RESOLVE, now=event.ended_at or event.last_at, before=before, note="its last event ended"
        )


def _active_alert(event: Event, one: Told, subject: str) -> tuple[Alert, bool]:
    fresh = Alert(
        subject=subject,
        kind=ANOMALY,
        mote_id=one.change.mote,
        severity=Severity.LOW,
        words=one.words[:400],
        first_seen_at=event.started_at,
        last_seen_at=event.last_at,
    )
    return _active_or_saved(fresh)


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


def _under_maintenance(told: Sequence[Told], fleet: Fleet) -> set[int]:
    """The motes whose event was noticed inside a maintenance window of theirs or of their zone."""
    if not told:
        return set()
    noticed = [one.change.noticed_at for one in told]
    windows = MaintenanceWindow.objects.filter(
        starts_at__lte=instant(max(noticed)), ends_at__gt=instant(min(noticed))
    ).select_related("zone__site")
    spans = [
        (window.mote_id, f"{window.zone.site.code}/{window.zone.code}" if window.zone else None,
         micros(window.starts_at), micros(window.ends_at))
        for window in windows
    ]  # fmt: skip
    return {
        one.change.mote
        for one in told
        for mote, zone, starts, ends in spans
        if starts <= one.change.noticed_at < ends
        and (mote == one.change.mote or zone == fleet.by_id[one.change.mote].group_key)
    }


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
    keep_change(alert, Deed.RESOLVE, by=by, now=now, before=before, note=why)


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
        keep_change(active, Deed.OPEN, now=now, note=active.words, detail={"severity": str(severity)})
        return active
    active.last_seen_at, active.words = now, words[:400]
    active.save(update_fields=["last_seen_at", "words"])
    return active


def clear_system_alert(*, subject: str, kind: str, now: datetime) -> list[Alert]:
    """Resolves the alert whose cause is gone; answers what was resolved."""
    standing = Alert.objects.active().filter(subject=subject, kind=kind)
    if not standing.exists():  # asked often, and mostly in vain: no write lock for nothing
        return []
    with transaction.atomic():
        active = list(standing.select_for_update())
        for alert in active:
            alert.last_seen_at = now
            _end(alert, at=now, now=now, why="its cause is gone")
    return active
