"""Keeps, in the transaction of an alert's change, that people are to hear of it. Nothing is sent from here."""

from __future__ import annotations

from alerts.models import AlertChange
from alerts.notifying.models import Notice

TOLD = {
    AlertChange.Deed.OPEN, AlertChange.Deed.WORSEN, AlertChange.Deed.REOPEN, AlertChange.Deed.RESOLVE,
}  # fmt: skip


def follow_change(change: AlertChange) -> None:
    """One row, which costs one insert; a worker finds it within a second."""
    if change.deed in TOLD:
        Notice.objects.create(alert_id=change.alert_id, what=change.deed, at=change.at)
