"""What the badge on every page says: how many alerts wait for somebody."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef

from alerts.models import Alert
from alerts.notifying.models import SEVERITIES
from alerts.silencing.models import Suppression


def waiting(now: datetime) -> dict[str, Any]:
    """Open, awake, and kept quiet by nothing; and how bad the worst of them is."""
    quiet = Suppression.objects.filter(alert=OuterRef("pk"), ended_at=None)
    rows = Alert.objects.filter(status=Alert.Status.OPEN).awake(now).exclude(Exists(quiet))
    found = list(rows.order_by().values_list("severity", flat=True))
    return {"open": len(found), "worst": max(found, key=SEVERITIES.index, default=None)}
