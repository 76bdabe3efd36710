"""The books as people read them, and what was put aside with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Sum
from django.utils import timezone

from ingestion.models import LedgerHour, Quarantined
from ingestion.wire import REASONS
from sensors.models import Profile

COLUMNS = ("received", "stored", "quarantined", "duplicate", "held")


@dataclass(frozen=True, slots=True)
class Line:
    """The books of a profile."""

    label: str
    received: int
    stored: int
    quarantined: int
    duplicate: int
    held: int

    @property
    def is_balanced(self) -> bool:
        return self.received == self.stored + self.quarantined + self.duplicate + self.held


def books_of_today(now: datetime) -> list[Line]:
    """One line a profile and the sum of all, since midnight of the pages' time zone."""
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    sums = {name: Sum(name) for name in COLUMNS}
    rows = LedgerHour.objects.filter(hour__gte=midnight).order_by("profile").values("profile").annotate(**sums)
    labels = dict(Profile.objects.values_list("code", "label"))
    found: list[dict[str, Any]] = [dict(row) for row in rows]
    lines = [
        Line(labels.get(one["profile"], one["profile"]) or "not known", *(one[name] for name in COLUMNS))
        for one in found
    ]
    total = Line("All", *(sum(getattr(line, name) for line in lines) for name in COLUMNS))
    return [total, *lines] if len(lines) > 1 else lines or [total]


def n_aside() -> int:
    return Quarantined.objects.filter(status__in=Quarantined.WAITING).count()


def reasons() -> list[dict[str, Any]]:
    """How many messages wait for which reason, the most frequent first."""
    rows = (
        Quarantined.objects.filter(status__in=Quarantined.WAITING)
        .order_by()
        .values("reason")
        .annotate(n=Count("id"))
        .order_by("-n")
    )
    return [{**row, "words": REASONS.get(row["reason"], row["reason"])} for row in rows]
