"""Which alerts are meant: one search for the inbox, the API, bulk deeds and the export."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Q

from alerts.models import Alert, AlertQuerySet, Judgement

ACTIVE, SNOOZED, ALL = "active", "snoozed", "all"
STATUSES = (ACTIVE, SNOOZED, *Alert.Status.values, ALL)
MINE, NOBODY = "me", "nobody"
NAMED = {"severity": "severity", "kind": "kind", "mote": "mote__code", "site": "mote__site__code"}


def find(asked: Mapping[str, Any], *, now: datetime, username: str = "") -> AlertQuerySet:
    """The alerts that fit, the last seen first; what is not asked for narrows nothing."""
    alerts = _with_status(asked.get("status") or ALL, now)
    alerts = alerts.filter(**{field: asked[name] for name, field in NAMED.items() if asked.get(name)})
    if assignee := asked.get("assignee"):
        wanted = username if assignee == MINE else assignee
        alerts = alerts.filter(assignee=None) if assignee == NOBODY else alerts.filter(assignee__username=wanted)
    if verdict := asked.get("verdict"):
        alerts = alerts.filter(pk__in=Judgement.objects.standing().filter(verdict=verdict).values("alert"))
    if since := asked.get("since"):
        alerts = alerts.filter(last_seen_at__gte=_instant(since))
    if until := asked.get("until"):
        alerts = alerts.filter(first_seen_at__lt=_instant(until, days=1))
    for word in (asked.get("q") or "").split():
        told = Q(words__icontains=word) | Q(subject__icontains=word) | Q(changes__note__icontains=word)
        alerts = alerts.filter(pk__in=Alert.objects.filter(told).values("pk"))
    return alerts.newest_first()


def _with_status(status: str, now: datetime) -> AlertQuerySet:
    if status == ALL:
        return Alert.objects.all()
    if status == ACTIVE:
        return Alert.objects.active()
    return Alert.objects.snoozed(now) if status == SNOOZED else Alert.objects.filter(status=status)


def _instant(value: date | datetime, days: int = 0) -> datetime:
    """A day is meant whole, an instant as it is."""
    if isinstance(value, datetime):
        return value
    return datetime.combine(min(value, date.max - timedelta(days=days)), time(), UTC) + timedelta(days=days)
