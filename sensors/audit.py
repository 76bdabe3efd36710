"""Who did what: one line a deed, written by the deed itself inside its own transaction."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from sensors.models import AuditEntry

OURSELVES = "SIEIS"
DAY = timedelta(days=1)


def record(
    *, deed: str, subject: str, now: datetime, who: User | None = None, detail: dict[str, Any] | None = None
) -> AuditEntry:
    """Keeps the deed; who=None is SIEIS itself."""
    return AuditEntry.objects.create(at=now, who=who, deed=deed, subject=subject, detail=detail or {})


def entries(
    *, who: str = "", deed: str = "", subject: str = "", since: date | None = None, until: date | None = None
) -> QuerySet[AuditEntry]:
    """What fits, the newest first; days are those of UTC, both told ones are within."""
    found = AuditEntry.objects.select_related("who")
    if who:
        found = found.filter(who=None) if who == OURSELVES else found.filter(who__username=who)
    if deed:
        found = found.filter(deed=deed)
    if subject:
        found = found.filter(subject__icontains=subject)
    if since:
        found = found.filter(at__gte=datetime.combine(since, time(), UTC))
    if until and until < date.max:
        found = found.filter(at__lt=datetime.combine(until + DAY, time(), UTC))
    return found
