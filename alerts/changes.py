"""The story of an alert: each change is a row, written with it in one transaction; whoever must know is called there.

>>> Actor(None).door
'sieis'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request

from alerts.models import Alert, AlertChange
from sensors.roles import person

# Called with new changes, inside their transaction: who wants to send something keeps rows there and sends it later.
followers: list[Callable[[Sequence[AlertChange]], None]] = []


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something to an alert, and from where."""

    who: User | None
    door: str = "sieis"
    address: str | None = None

    @classmethod
    def of(cls, request: HttpRequest | Request, door: str = "") -> Actor:
        """Whoever sent the request; the pages speak to the API with their session."""
        by_session = "sessionid" in request.COOKIES and not request.META.get("HTTP_AUTHORIZATION")
        return cls(person(request), door or ("page" if by_session else "api"), request.META.get("REMOTE_ADDR") or None)


SIEIS = Actor(None)


def line(
    alert: Alert,
    deed: str,
    *,
    by: Actor = SIEIS,
    now: datetime,
    before: str = "",
    note: str = "",
    detail: dict[str, Any] | None = None,
) -> AlertChange:
    """The line of the story, not written yet."""
    return AlertChange(
        alert=alert, at=now, who=by.who, deed=deed, before=before, after=alert.status, note=note,
        detail=detail or {}, door=by.door, address=by.address,
    )  # fmt: skip


def keep_changes(lines: Sequence[AlertChange]) -> None:
    """Writes the lines and tells those who follow alerts; to be called inside the transaction of their changes."""
    if lines:
        AlertChange.objects.bulk_create(lines)
        for follow in followers:
            follow(lines)
