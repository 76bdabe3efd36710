"""How alerts come, go and are acted on. An event is kept once by its key; an alert gathers the events of a subject."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction

from alerts.events import EventChange
from alerts.models import Alert, Event, MaintenanceWindow, Severity
from sensors import audit, live
from sensors.fleet import Fleet
from sensors.models import Mote
from sensors.readings import micros, score, severity

log = structlog.get_logger(__name__)
ANOMALY = "anomaly"
ORDER = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)


class AlreadyMoved(Exception):
    """Somebody else moved the alert first; says where it stands now."""


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
    for one in told:
        mote = fleet.by_id[one.change.mote]
        event = _keep_event(one, is_history)
        is_quiet = mote.state != "active" or one.change.mote in under_maintenance
        if is_history or (is_quiet and event.alert_id is None):  # an alert that stands hears how its event ends
            continue
        alert = _gather(event, one, subject=mote.subject, onset=fleet.profiles[mote.profile].onset)
        if one.message:
            log.info(
                "event_noticed", correlation_id=one.message, mote=mote.subject, words=one.words, alert=event.alert_id
            )
        if alert is not None:
            changed.add(alert.pk)
    return list(Alert.objects.with_grades().filter(pk__in=changed)) if changed else []


def _keep_event(one: Told, is_history: bool) -> Event:
    change = one.change
    fields = {
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
    key = {"mote_id": change.mote, "noticed_at": instant(change.noticed_at)}
    _leave_if_it_goes_on(key, instant(change.last_at))
    event, _ = Event.objects.update_or_create(
        **key, defaults=fields, create_defaults={**fields, "message": one.message}
    )
    return event


def _leave_if_it_goes_on(key: dict[str, object], last_at: datetime) -> None:
    """An event beyond its own end was ended by a silence that was none: its alert is over, and it needs another.

    A replay tells no more of an event than was told before, so it never comes here.
    """
    over = Event.objects.filter(**key, ended_at__lt=last_at, alert__resolved_by=None)
    over.exclude(alert__status__in=Alert.ACTIVE).update(alert=None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _gather(event: Event, one: Told, *, subject: str, onset: float) -> Alert | None:
    """The alert that the event belongs to, opened where there is none, set to what its events say."""
    if event.alert_id is None:
        event.alert = _active_alert(event, one, subject)
        event.save(update_fields=["alert"])
    alert = Alert.objects.select_for_update().get(events=event)
    if alert.status not in Alert.ACTIVE:
        return None
    events = alert.events.aggregate(
        n=models.Count("id"),
        first=models.Min("started_at"),
        last=models.Max("last_at"),
        peak=models.Max("peak_surprise"),
        unended=models.Count("id", filter=models.Q(ended_at=None)),
    )
    value = float(score(events["peak"], onset))
    if event.peak_surprise >= events["peak"]:
        alert.words = event.words
    alert.n_events, alert.peak_surprise, alert.score = events["n"], events["peak"], value
    alert.severity = Severity(severity(value))
    alert.first_seen_at, alert.last_seen_at = events["first"], events["last"]
    if not events["unended"]:
        alert.status, alert.resolved_at = Alert.Status.RESOLVED, event.ended_at
    alert.save()
    return alert


def _active_alert(event: Event, one: Told, subject: str) -> Alert:
    active = Alert.objects.active().filter(subject=subject, kind=ANOMALY).first()
    if active is not None:
        return active
    fresh = Alert(
        subject=subject,
        kind=ANOMALY,
        mote_id=one.change.mote,
        severity=Severity.LOW,
        words=one.words[:400],
        first_seen_at=event.started_at,
        last_seen_at=event.last_at,
    )
    return _saved_or_active(fresh)


def _saved_or_active(fresh: Alert) -> Alert:
    """The new alert, or the one that another writer opened meanwhile: the constraint decides."""
    try:
        with transaction.atomic():
            fresh.save()
    except IntegrityError:
        return Alert.objects.active().get(subject=fresh.subject, kind=fresh.kind)
    return fresh


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


def acknowledge_alert(alert: Alert, *, who: User, now: datetime) -> Alert:
    """Says that somebody has it in hand."""
    return _move(
        alert, (Alert.Status.OPEN,), Alert.Status.ACKNOWLEDGED, "acknowledge_alert", who, now,
        acknowledged_at=now, acknowledged_by=who,
    )  # fmt: skip


def resolve_alert(alert: Alert, *, who: User, now: datetime) -> Alert:
    """Ends the alert; events that are still running stay with it and do not open it again."""
    return _move(
        alert, Alert.ACTIVE, Alert.Status.RESOLVED, "resolve_alert", who, now, resolved_at=now, resolved_by=who
    )


@transaction.atomic
def _move(
    alert: Alert, sources: Sequence[str], target: str, deed: str, who: User, now: datetime, **fields: object
) -> Alert:
    moved = Alert.objects.filter(pk=alert.pk, status__in=sources).update(status=target, **fields)
    alert.refresh_from_db()
    if not moved:
        raise AlreadyMoved(f"The alert on {alert.subject} is already {alert.get_status_display().lower()}.")
    audit.record(deed=deed, subject=alert.subject, who=who, now=now, detail={"alert": alert.pk})
    shown_by = alert.events.order_by("noticed_at").values_list("message", flat=True).first()
    log.info(deed, correlation_id=shown_by, alert=alert.pk, subject=alert.subject, who=who.username)
    return alert


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
        alert.status, alert.resolved_at, alert.resolved_by = Alert.Status.RESOLVED, now, who
        alert.save(update_fields=["status", "resolved_at", "resolved_by"])
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
        alert.status = Alert.Status.RESOLVED
        alert.resolved_at = alert.events.aggregate(last=models.Max("ended_at"))["last"]
        alert.save(update_fields=["status", "resolved_at"])
    return ended


@transaction.atomic
def raise_system_alert(
    *, subject: str, kind: str, words: str, severity: str, now: datetime, mote: int | None = None
) -> Alert:
    """Opens the alert of that subject and kind, or notes that its cause still stands."""
    fresh = Alert(
        subject=subject, kind=kind, severity=severity, words=words[:400], first_seen_at=now, last_seen_at=now,
        mote_id=mote,
    )  # fmt: skip
    active = Alert.objects.active().filter(subject=subject, kind=kind).first() or _saved_or_active(fresh)
    Alert.objects.filter(pk=active.pk).update(last_seen_at=now, words=words[:400])
    active.refresh_from_db()
    return active


def clear_system_alert(*, subject: str, kind: str, now: datetime) -> list[Alert]:
    """Resolves the alert whose cause is gone; answers what was resolved."""
    active = list(Alert.objects.active().filter(subject=subject, kind=kind))
    Alert.objects.filter(pk__in=[alert.pk for alert in active]).update(
        status=Alert.Status.RESOLVED, resolved_at=now, last_seen_at=now
    )
    for alert in active:
        alert.refresh_from_db()
    return active
