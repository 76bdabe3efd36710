"""The page of one alert: how it stands, its evidence, its story, what it gathers, and what people may do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts.grouping.models import Incident
from alerts.lifecycle import MOVES
from alerts.models import Alert, AlertChange, Judgement
from alerts.notifying.models import Delivery
from alerts.silencing.matching import suppressed
from ingestion import evidencing
from ingestion.flow import skew, watch
from ingestion.patience import KIND as SINK_DOWN
from sensors.roles import OPERATE, may, operators, role_required

SHOWN_CHANGES, SHOWN_EVENTS = 200, 50
SNOOZES = (("1", "1 h"), ("8", "8 h"), ("24", "1 day"), ("168", "7 days"))
# Where an alert of the system's own kind is looked into.
HEALTH = ("system", "Health")
WHERE = {
    "books_differ": ("quality", "Data quality"),
    **dict.fromkeys((watch.SILENT, skew.KIND, watch.AWAY, watch.BEHIND), HEALTH),
    **dict.fromkeys((SINK_DOWN, "slow_path", "watcher_away"), HEALTH),
}
# What the buttons say, in the order in which a person uses them.
STEPS = (
    ("acknowledge", "Acknowledge"), ("start", "Start work"), ("resolve", "Resolve…"), ("close", "Close"),
    ("reopen", "Open again"),
)  # fmt: skip


@require_safe
@role_required()
def alert(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Alert.objects.with_grades().with_people(), pk=pk)
    asked = request.GET.get("evidence", "")
    shown = context(found, now=timezone.now()) | evidence_context(found, int(asked) if asked.isdecimal() else None)
    acting = may(request.user, OPERATE)
    names = list(operators().values_list("username", flat=True)) if acting else []
    return render(request, "alerts/alert.html", {**shown, "may_act": acting, "people": names})


def context(alert: Alert, *, now: datetime) -> dict[str, Any]:
    changes = AlertChange.objects.filter(alert=alert).select_related("who").order_by("-at", "-id")
    return {
        "alert": alert,
        "where": WHERE.get(alert.kind),
        "is_snoozed": alert.is_active and alert.snoozed_until is not None and alert.snoozed_until > now,
        "steps": [(deed, label) for deed, label in STEPS if alert.status in MOVES[deed][0]],
        "snoozes": SNOOZES,
        "verdicts": Judgement.Verdict.choices,
        "judged": alert.judgements.select_related("by").first(),
        "events": alert.events.all()[:SHOWN_EVENTS],
        "n_running": alert.events.filter(ended_at=None).count(),
        "changes": changes[:SHOWN_CHANGES],
        "deliveries": Delivery.objects.told().filter(pk__in=alert.mentions.values("delivery"), target__owner=None),
        "silence": suppressed([alert], now).get(alert.pk),
        "incident": Incident.objects.of_many().filter(memberships__alert=alert).first(),
    }


def evidence_context(alert: Alert, asked: int | None) -> dict[str, Any]:
    """The evidence that the address asks for, else the newest; a file that cannot be read is said."""
    taken = list(alert.evidence.order_by("pk"))
    chosen = next((one for one in taken if one.pk == asked), taken[-1] if taken else None)
    if chosen is None:
        return {"taken": [], "evidence": None, "told": None}
    try:
        told = evidencing.opened(chosen).told
    except evidencing.EvidenceAway as away:
        return {"taken": taken, "evidence": chosen, "told": None, "fault": str(away)}
    return {
        "taken": taken,
        "evidence": chosen,
        "told": told,
        "votes": sorted(told["votes"].items(), key=lambda one: -one[1]),
        "contributions": sorted(told["event"]["contributions"].items(), key=lambda one: -one[1]),
    }
