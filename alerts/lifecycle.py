"""What people do with an alert: open → acknowledged → in progress → resolved → closed, and what goes with it.

Each deed locks the alert's row, looks whether it still stands where the person saw it, and writes its line in the
story. Who comes second is told where it stands now, and nothing is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from alerts import judging
from alerts.changes import Actor, keep_changes, line
from alerts.models import Alert, AlertChange
from sensors import audit, live
from sensors.roles import OPERATE, may

log = structlog.get_logger(__name__)
Status = Alert.Status
Deed = AlertChange.Deed
LONGEST_SNOOZE = timedelta(days=7)
OVER = (Status.RESOLVED, Status.CLOSED)
# From where to where a deed moves an alert.
MOVES: dict[str, tuple[Sequence[str], str]] = {
    Deed.ACKNOWLEDGE: ((Status.OPEN,), Status.ACKNOWLEDGED),
    Deed.START: ((Status.OPEN, Status.ACKNOWLEDGED), Status.IN_PROGRESS),
    Deed.RESOLVE: (Alert.ACTIVE, Status.RESOLVED),
    Deed.CLOSE: ((Status.RESOLVED,), Status.CLOSED),
    Deed.REOPEN: (OVER, Status.OPEN),
}


class CannotAct(Exception):
    """The deed makes no sense as asked; says why."""


class AlreadyMoved(Exception):
    """Somebody else was faster; says where the alert stands now."""

    def __init__(self, words: str, alert: Alert) -> None:
        super().__init__(words)
        self.alert = alert


def acknowledge(alert: Alert, *, by: Actor, now: datetime, revision: int | None = None, note: str = "") -> Alert:
    """Says that somebody has it in hand."""
    return _move(alert, Deed.ACKNOWLEDGE, by, now, revision, note, acknowledged_at=now, acknowledged_by=by.who)


def start(alert: Alert, *, by: Actor, now: datetime, revision: int | None = None, note: str = "") -> Alert:
    """Says that somebody is working on it: who starts has it, unless it is somebody's already."""

    def fields(found: Alert) -> dict[str, Any]:
        taken = {} if found.assignee_id else {"assignee": by.who}
        return taken if found.acknowledged_at else {**taken, "acknowledged_at": now, "acknowledged_by": by.who}

    return _move(alert, Deed.START, by, now, revision, note, more=fields)


@transaction.atomic
def resolve(
    alert: Alert, *, by: Actor, now: datetime, revision: int | None = None, note: str = "", verdict: str = ""
) -> Alert:
    """Ends the alert; events that still run stay with it and do not open it again. A verdict says what it was."""
    moved = _move(alert, Deed.RESOLVE, by, now, revision, note, resolved_at=now, resolved_by=by.who, snoozed_until=None)
    if verdict and by.who is not None:
        judge(moved, verdict=verdict, by=by, now=now)
    return moved


def close(alert: Alert, *, by: Actor, now: datetime, revision: int | None = None, note: str = "") -> Alert:
    """Says that there is nothing more to learn from it."""
    return _move(alert, Deed.CLOSE, by, now, revision, note)


def reopen(alert: Alert, *, by: Actor, now: datetime, revision: int | None = None, note: str = "") -> Alert:
    """Takes back that it is over, unless its subject has another active alert of the kind."""
    return _move(
        alert, Deed.REOPEN, by, now, revision, note, resolved_at=None, resolved_by=None, acknowledged_at=None,
        acknowledged_by=None,
    )  # fmt: skip


@transaction.atomic
def assign(
    alert: Alert, *, by: Actor, now: datetime, assignee: User | None, revision: int | None = None, note: str = ""
) -> Alert:
    """Puts it into somebody's hands, or into nobody's. Who takes it from another must have seen that (`revision`)."""
    if assignee is not None and not may(assignee, OPERATE):
        raise CannotAct(f"{assignee.username} may look at alerts, not act on them. Choose an operator or an engineer.")
    found = _locked(alert, Alert.ACTIVE, revision)
    if found.assignee is not None and found.assignee != assignee and revision is None:
        raise AlreadyMoved(f"{_name(found)} is in the hands of {found.assignee.username} already.", found)
    detail = {"from": _username(found.assignee), "to": _username(assignee)}
    return _keep(found, Deed.ASSIGN, by, now, note=note, detail=detail, assignee=assignee)


@transaction.atomic
def comment(alert: Alert, *, by: Actor, now: datetime, note: str) -> Alert:
    """Adds words to its story; changes nothing else."""
    if not note.strip():
        raise CannotAct("A comment needs words.")
    found = Alert.objects.select_for_update().get(pk=alert.pk)
    keep_changes([line(found, Deed.COMMENT, by=by, now=now, before=found.status, note=note.strip())])
    _tell_later(found)
    return found


@transaction.atomic
def snooze(
    alert: Alert, *, by: Actor, now: datetime, until: datetime, revision: int | None = None, note: str = ""
) -> Alert:
    """Puts it out of sight until then; it stays what it is, and ends by itself if its cause does."""
    if not now < until <= now + LONGEST_SNOOZE:
        raise CannotAct(f"An alert sleeps until an instant within the next {LONGEST_SNOOZE.days} days, not {until}.")
    found = _locked(alert, Alert.ACTIVE, revision)
    detail = {"until": until.isoformat(timespec="seconds")}
    return _keep(found, Deed.SNOOZE, by, now, note=note, detail=detail, snoozed_until=until)


@transaction.atomic
def wake(alert: Alert, *, by: Actor, now: datetime, revision: int | None = None, note: str = "") -> Alert:
    found = _locked(alert, Alert.ACTIVE, revision)
    if found.snoozed_until is None or found.snoozed_until <= now:
        raise AlreadyMoved(f"{_name(found)} does not sleep.", found)
    return _keep(found, Deed.WAKE, by, now, note=note, snoozed_until=None)


@transaction.atomic
def judge(alert: Alert, *, verdict: str, by: Actor, now: datetime, note: str = "") -> Alert:
    """Says what it was; the last word stands."""
    assert by.who is not None
    judging.judge(alert, verdict, by=by.who, note=note, now=now, actor=by)
    _tell_later(alert)
    return alert


DEEDS: dict[str, Callable[..., Alert]] = {
    "acknowledge": acknowledge, "start": start, "resolve": resolve, "close": close, "reopen": reopen,
    "assign": assign, "comment": comment, "snooze": snooze, "wake": wake, "judge": judge,
}  # fmt: skip


# ---- how a deed is done ---------------------------------------------------------------------------------------


@transaction.atomic
def _move(
    alert: Alert,
    deed: str,
    by: Actor,
    now: datetime,
    revision: int | None,
    note: str,
    more: Callable[[Alert], dict[str, Any]] | None = None,
    **fields: Any,
) -> Alert:
    sources, target = MOVES[deed]
    found = _locked(alert, sources, revision)
    if more is not None:
        fields |= more(found)
    try:
        with transaction.atomic():
            return _keep(found, deed, by, now, note=note, status=target, **fields)
    except IntegrityError:
        other = Alert.objects.active().filter(subject=found.subject, kind=found.kind).first()
        if other is None:
            raise
        words = f"{found.subject} has an active alert of this kind already, number {other.pk}; act on that one."
        raise AlreadyMoved(words, other) from None


def _locked(alert: Alert, sources: Sequence[str], revision: int | None) -> Alert:
    """The alert as it stands now, nobody else's until the transaction ends; AlreadyMoved where that is elsewhere."""
    found = Alert.objects.select_for_update().get(pk=alert.pk)
    if found.status not in sources:
        raise AlreadyMoved(f"{_name(found)} is already {found.get_status_display().lower()}{_by_whom(found)}.", found)
    if revision is not None and found.revision != revision:
        raise AlreadyMoved(f"{_name(found)} has changed since you looked: {_last(found)}.", found)
    return found


def _keep(
    found: Alert, deed: str, by: Actor, now: datetime, *, note: str, detail: dict[str, Any] | None = None, **fields: Any
) -> Alert:
    before = found.status
    for name, value in fields.items():
        setattr(found, name, value)
    found.revision += 1
    found.save(update_fields=[*fields, "revision"])
    keep_changes([line(found, deed, by=by, now=now, before=before, note=note, detail=detail)])
    if by.who is not None:
        told = {"alert": found.pk, **(detail or {}), **({"note": note} if note else {})}
        audit.record(deed=f"{deed}_alert", subject=found.subject, who=by.who, now=now, detail=told)
    shown_by = found.events.order_by("noticed_at").values_list("message", flat=True).first()
    log.info(f"{deed}_alert", correlation_id=shown_by, alert=found.pk, subject=found.subject, who=_username(by.who))
    _tell_later(found)
    return found


def _tell_later(alert: Alert) -> None:
    transaction.on_commit(partial(live.announce_alert, alert))


def _name(alert: Alert) -> str:
    return f"The alert on {alert.subject}"


def _by_whom(alert: Alert) -> str:
    who = alert.resolved_by if alert.status in OVER else alert.acknowledged_by
    return f" by {who.username}" if who else ""


def _last(alert: Alert) -> str:
    change = alert.changes.select_related("who").last()
    return f"{change.get_deed_display()} by {_username(change.who) or 'SIEIS'}" if change else "by SIEIS"


def _username(user: User | None) -> str | None:
    return user.username if user else None
