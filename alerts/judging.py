"""What people say an alert was worth: a real event, expected, a false alarm, or what is normal from now on."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from alerts.changes import Actor, keep_changes, line
from alerts.models import Alert, AlertChange, Judgement
from sensors import audit


class UnknownVerdict(ValueError):
    """Not one of the four things that can be said of an alert."""


@transaction.atomic
def judge(
    alert: Alert, verdict: str, *, by: User, note: str = "", now: datetime | None = None, actor: Actor | None = None
) -> Judgement:
    """Keeps what a person says; it stands instead of what was said of the alert before."""
    if verdict not in Judgement.Verdict.values:
        raise UnknownVerdict(
            f"An alert is judged as {', '.join(Judgement.Verdict.values)}; {verdict!r} is none of them."
        )
    at = now or timezone.now()
    kept = Judgement.objects.create(alert=alert, verdict=verdict, by=by, note=note[:400], at=at)
    detail = {"verdict": verdict}
    said = line(
        alert, AlertChange.Deed.JUDGE, by=actor or Actor(by), now=at, before=alert.status, note=kept.note, detail=detail
    )
    keep_changes([said])
    told = {"alert": alert.pk, "verdict": verdict, "note": note[:400]}
    audit.record(deed="judge_alert", subject=alert.subject, who=by, now=at, detail=told)
    return kept
