"""Secrets that programs and devices hold: found by what is sent, noted when used, ended for good."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import models
from django.db.models import Q

from sensors.keys import is_right, public_id_of

NOTED_EVERY = timedelta(minutes=1)
# With public_id, secret_sha256, last_used_at and revoked_at.
Held = TypeVar("Held", bound=models.Model)


def held(rows: models.QuerySet[Held], text: str, scheme: str) -> Held | None:
    """The one of these that a text stands for."""
    found: Any = rows.filter(public_id=public_id_of(text)).first()
    return found if is_right(text, scheme, found.secret_sha256 if found else None) else None


def note_use(one: models.Model, now: datetime) -> None:
    """Once a minute at most: who sends each second shall not write each second."""
    is_old = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTED_EVERY)
    type(one)._default_manager.filter(is_old, pk=one.pk).update(last_used_at=now)


def end(one: models.Model, now: datetime, **more: Any) -> bool:
    """Ends it at once; False where it had ended already."""
    is_done = type(one)._default_manager.filter(pk=one.pk, revoked_at=None).update(revoked_at=now, **more)
    one.refresh_from_db()
    return bool(is_done)
