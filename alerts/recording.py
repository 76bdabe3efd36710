"""How the events of the reading path become alerts: many at once, a handful of statements however many they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Count, Max, Min, Q

from alerts.changes import keep_changes, line
from alerts.events import EventChange, instant
from alerts.models import Alert, AlertChange, Event, MaintenanceWindow, Severity
from sensors.fleet import Fleet
from sensors.readings import micros, score, severity

log = structlog.get_logger(__name__)
ANOMALY = "anomaly"
AT_ONCE = 500  # events of one transaction, so that people's own deeds come in between
ATTEMPTS = 10
Deed = AlertChange.Deed
ORDER = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
TOLD = (
    "started_at", "last_at", "ended_at", "n_readings", "peak_surprise", "peak_at", "peak_channel", "peak_value",
    "expected_low", "expected_high", "layer", "contributions", "words", "model_version", "is_history", "alert_id",
)  # fmt: skip
GATHERED = (
    "n_events", "peak_surprise", "score", "severity", "words", "first_seen_at", "last_seen_at", "status",
    "resolved_at", "revision",
)  # fmt: skip
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Told:
    """An event change with the sentence that people read, and the message that showed it if that is in hand."""

    change: EventChange
    words: str
    message: str = ""

    @property
    def key(self) -> Key:
        return self.change.mote, self.change.noticed_at


def record_events(told: Sequence[Told], *, fleet: Fleet, is_history: bool = False) -> list[Alert]:
    """Keeps each event as it now stands, and answers the alerts that were opened or changed by it, with grades.

    Telling the same change twice changes nothing, and never reopens what a person resolved.
    """
    changed: set[int] = set()
    for first in range(0, len(told), AT_ONCE):
        changed |= _record(told[first : first + AT_ONCE], fleet, is_history)
    return list(Alert.objects.with_grades().filter(pk__in=changed)) if changed else []


def _record(told: Sequence[Told], fleet: Fleet, is_history: bool) -> set[int]:
    """In one transaction; where another writer opens one of its alerts at this moment, all is looked at anew."""
    for _ in range(ATTEMPTS):
        try:
            with transaction.atomic():
                recording = Recording(told, fleet, is_history)
                changed = recording.keep()
        except IntegrityError as error:
            refused = error
        else:
            recording.log_noticed()
            return changed
    raise refused


@dataclass(slots=True)
class Gathering:
    """An alert in hand with its events that are told now, and what its other events come to."""

    alert: Alert
    others: Mapping[str, Any] = field(default_factory=dict)
    opened_by: Event | None = None
    events: dict[Key, Event] = field(default_factory=dict)
    before: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.before = {name: getattr(self.alert, name) for name in GATHERED}

    @property
    def is_changed(self) -> bool:
        return any(getattr(self.alert, name) != was for name, was in self.before.items())

    @property
    def is_over(self) -> bool:
        return not self.others.get("unended") and all(one.ended_at is not None for one in self.events.values())

    def settle(self, onset: float, over: Event | None = None) -> list[AlertChange]:
        """Sets the alert to what its events say, over with the last of them; answers the lines of its story."""
        alert, told, others = self.alert, self.events.values(), self.others
        worst = max(told, key=lambda one: (one.peak_surprise, one.last_at))
        if worst.peak_surprise >= others.get("peak", -math.inf):
            alert.words = worst.words
        alert.n_events = others.get("n", 0) + len(told)
        alert.peak_surprise = max(worst.peak_surprise, others.get("peak", -math.inf))
        alert.score = float(score(alert.peak_surprise, onset))
        alert.severity = Severity(severity(alert.score))
        alert.first_seen_at = min(_known(others.get("first"), *(one.started_at for one in told)))
        alert.last_seen_at = max(_known(others.get("last"), *(one.last_at for one in told)))
        lines = self._lines_so_far(worst)
        if over is not None:
            was, alert.status, alert.resolved_at = alert.status, Alert.Status.RESOLVED, over.ended_at
            alert.revision += 1
            at = over.ended_at or over.last_at
            lines.append(line(alert, Deed.RESOLVE, now=at, before=was, note="its last event ended"))
        return lines

    def _lines_so_far(self, worst: Event) -> list[AlertChange]:
        """Opened, or grown worse."""
        alert, was = self.alert, Severity(self.before["severity"])
        now = Severity(alert.severity)
        if self.opened_by is not None:
            detail = {"severity": str(now)}
            return [line(alert, Deed.OPEN, now=self.opened_by.noticed_at, note=alert.words, detail=detail)]
        if ORDER.index(now) <= ORDER.index(was):
            return []
        detail = {"from": str(was), "to": str(now)}
        return [line(alert, Deed.WORSEN, now=worst.last_at, before=alert.status, note=alert.words, detail=detail)]


def _known(*instants: Any) -> list[Any]:
    return [one for one in instants if one is not None]


class Recording:
    """One look at what is told: reads and locks what stands, works out what becomes of it, writes it down at once."""

    def __init__(self, told: Sequence[Told], fleet: Fleet, is_history: bool) -> None:
        self.told, self.fleet, self.is_history = told, fleet, is_history
        self.events = _told_before(told)
        self.before = {key: _state(event) for key, event in self.events.items()}
        self.by_alert = self._standing()
        self.active = {one.alert.subject: one for one in self.by_alert.values() if one.alert.is_active}
        self.opened: list[Gathering] = []
        self.lines: list[AlertChange] = []

    def _standing(self) -> dict[int, Gathering]:
        """The alerts of these events and those that stand for their motes, locked, always in the same order."""
        theirs = [one.alert_id for one in self.events.values() if one.alert_id is not None]
        subjects = {self.fleet.by_id[one.change.mote].subject for one in self.told}
        # Two looks, each by its index: together they would read all alerts that ever were.
        active = list(Alert.objects.active().filter(kind=ANOMALY, subject__in=subjects).values_list("pk", flat=True))
        wanted = Alert.objects.filter(pk__in={*theirs, *active}).order_by("pk")
        found = {alert.pk: Gathering(alert) for alert in wanted.select_for_update()}
        for pk, others in _others([one.alert.pk for one in found.values() if one.alert.is_active], self.events).items():
            found[pk].others = others
        for key, event in self.events.items():
            if event.alert_id in found:
                found[event.alert_id].events[key] = event
        return found

    def keep(self) -> set[int]:
        """Answers the alerts that it opened or changed."""
        quiet = _under_maintenance(self.told, self.fleet)
        of = {key: self.by_alert.get(event.alert_id or 0) for key, event in self.events.items()}
        for one in self.told:
            mote = self.fleet.by_id[one.change.mote]
            event, gathering = self._set(one, of.get(one.key))
            is_quiet = mote.state != "active" or one.change.mote in quiet
            # An alert that stands hears how its event ends, whatever the mote's state is by then.
            if not self.is_history and not (is_quiet and gathering is None):
                of[one.key] = self._gather(one.key, event, gathering, mote.subject, self._onset(event))
        for gathering in self.active.values() if not self.is_history else ():
            if gathering.events:
                self.lines += gathering.settle(self._onset(next(iter(gathering.events.values()))))
        return self._write(of)

    def _set(self, one: Told, gathering: Gathering | None) -> tuple[Event, Gathering | None]:
        """The event with what the change says of it, and the alert that it stays with."""
        change = one.change
        event = self.events.get(one.key)
        if event is None:
            event = Event(mote_id=change.mote, noticed_at=instant(change.noticed_at), message=one.message)
            self.events[one.key] = event
        elif gathering is not None and _goes_on(event, gathering.alert, change):
            event.alert = gathering = None
        for name, value in _fields(one, self.is_history).items():
            setattr(event, name, value)
        return event, gathering

    def _gather(
        self, key: Key, event: Event, gathering: Gathering | None, subject: str, onset: float
    ) -> Gathering:  # fmt: skip
        """The alert of the event: its own, the one that stands for its mote, or a new one."""
        gathering = gathering or self.active.get(subject) or self._open(event, subject)
        gathering.events[key] = event
        if gathering.alert.is_active and event.ended_at is not None and gathering.is_over:
            self.lines += gathering.settle(onset, over=event)
            self.active.pop(subject, None)
        return gathering

    def _open(self, event: Event, subject: str) -> Gathering:
        alert = Alert(
            subject=subject, kind=ANOMALY, mote_id=event.mote_id, severity=Severity.LOW, words=event.words,
            first_seen_at=event.started_at, last_seen_at=event.last_at,
        )  # fmt: skip
        gathering = self.active[subject] = Gathering(alert, opened_by=event)
        self.opened.append(gathering)
        return gathering

    def _onset(self, event: Event) -> float:
        """Of the version that judged it."""
        return self.fleet.onset(self.fleet.profiles[self.fleet.by_id[event.mote_id].profile], event.model_version)

    def _write(self, of: Mapping[Key, Gathering | None]) -> set[int]:
        """What is over first: only then may another alert of its subject be opened."""
        changed = [one.alert for one in self.by_alert.values() if one.is_changed]
        _set_all(Alert, changed, by=("id",), fields=GATHERED)
        fresh = Alert.objects.bulk_create([one.alert for one in self.opened])
        for key, gathering in of.items():
            if gathering is not None:
                self.events[key].alert = gathering.alert
        events = [event for key, event in self.events.items() if _state(event) != self.before.get(key)]
        for event in events:
            event.pk = None  # its key decides, also between two writers who tell it for the first time
        _set_all(Event, events, by=("mote", "noticed_at"), fields=[name.removesuffix("_id") for name in TOLD])
        keep_changes(self.lines)
        return {alert.pk for alert in (*changed, *fresh)}

    def log_noticed(self) -> None:
        for one in self.told:
            event = self.events[one.key]
            if one.message and event.alert_id is not None:
                subject = self.fleet.by_id[one.change.mote].subject
                log.info(
                    "event_noticed", correlation_id=one.message, mote=subject, words=one.words, alert=event.alert_id
                )


def _set_all(model: Any, rows: Sequence[Any], *, by: Sequence[str], fields: Sequence[str]) -> None:
    """Inserts those that are new and sets the others, by their key: one statement for many rows."""
    if rows:
        model.objects.bulk_create(rows, update_conflicts=True, unique_fields=by, update_fields=fields)


def _told_before(told: Iterable[Told]) -> dict[Key, Event]:
    """Those of the events that were told before, locked."""
    motes = {one.change.mote for one in told}
    noticed = {instant(one.change.noticed_at) for one in told}
    keys = {one.key for one in told}
    found = Event.objects.select_for_update().filter(mote__in=motes, noticed_at__in=noticed).order_by("pk")
    return {key: one for one in found if (key := (one.mote_id, micros(one.noticed_at))) in keys}


def _others(alerts: Sequence[int], events: Mapping[Key, Event]) -> dict[int, dict[str, Any]]:
    """What the events of each alert come to, without those in hand."""
    if not alerts:
        return {}
    rest = Event.objects.filter(alert__in=alerts).exclude(pk__in=[one.pk for one in events.values()])
    figures = rest.order_by().values("alert").annotate(
        n=Count("id"), first=Min("started_at"), last=Max("last_at"), peak=Max("peak_surprise"),
        unended=Count("id", filter=Q(ended_at=None)),
    )  # fmt: skip
    return {one["alert"]: dict(one) for one in figures}


def _state(event: Event) -> tuple[Any, ...]:
    return tuple(getattr(event, name) for name in TOLD)


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


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _goes_on(event: Event, alert: Alert, change: EventChange) -> bool:
    """An event beyond its own end was ended by a silence that was none: its alert is over, and it needs another.

    A replay tells no more of an event than was told before, so it never comes here.
    """
    if event.ended_at is None or event.ended_at >= instant(change.last_at):
        return False
    return not alert.is_active and alert.resolved_by_id is None


def _under_maintenance(told: Sequence[Told], fleet: Fleet) -> set[int]:
    """The motes whose event was noticed inside a maintenance window of theirs or of their zone."""
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
