"""Who did what: one line a deed, written by the deed itself inside its own transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User

from sensors.models import AuditEntry


def record(
    *, deed: str, subject: str, now: datetime, who: User | None = None, detail: dict[str, Any] | None = None
) -> AuditEntry:
    """Keeps the deed; who=None is SIEIS itself."""
    return AuditEntry.objects.create(at=now, who=who, deed=deed, subject=subject, detail=detail or {})
