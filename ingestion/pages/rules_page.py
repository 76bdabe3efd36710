"""The Rules page: what people asked to be told of, each as a sentence; and the form that tries one on the past."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from alerts.models import Alert
from alerts.rules import deeds
from alerts.rules.api import units
from alerts.rules.models import Rule
from alerts.rules.saying import MEANINGS
from alerts.weekly import DAYS
from sensors import registry
from sensors.models import Mote, Site, Zone
from sensors.roles import ENGINEERING, may, role_required

EXAMPLE = {
    "name": "", "severity": "medium", "profile": None, "site": None, "zone": None, "mote": None,
    "definition": {"conditions": [{"kind": "value", "is": "above"}], "for_s": 300},
}  # fmt: skip


@require_safe
@role_required()
def rules(request: HttpRequest) -> HttpResponse:
    found: list[Any] = list(Rule.objects.standing().select_related("changed_by", "state"))
    raised = _raised(found)
    for one in found:
        one.words, one.raised = one.sentence(units(one)), raised.get(one.pk, {})
    return render(
        request, "rules/list.html", {"rules": found, "may_engineer": may(request.user, ENGINEERING)}
    )  # fmt: skip


@require_safe
@role_required()
def rule(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """One rule, or a new one, as a form that is a sentence."""
    known = get_object_or_404(Rule.objects.standing(), pk=pk) if pk is not None else None
    profiles = registry.profiles()
    return render(
        request,
        "rules/rule.html",
        {
            "rule": known,
            "given": deeds.as_json(known) if known else EXAMPLE,
            "profiles": list(profiles.values()),
            "channels": {
                code: [{"code": one.code, "label": one.label, "unit": one.unit} for one in profile.channels]
                for code, profile in profiles.items()
            },
            "sites": Site.objects.all(),
            "zones": Zone.objects.select_related("site"),
            "motes": Mote.objects.on_page(),
            "meanings": MEANINGS,
            "days": DAYS,
            "time_zone": settings.SIEIS_TIME_ZONE,
            "may_engineer": may(request.user, ENGINEERING),
        },
    )


def _raised(found: list[Rule]) -> dict[int, dict[str, int]]:
    """How many alerts each rule has raised, and how many of them are active."""
    rows = Alert.objects.filter(kind__startswith="rule:").order_by().values("kind")
    counted = rows.annotate(n=Count("pk"), active=Count("pk", filter=Q(status__in=Alert.ACTIVE)))
    by_kind = {one["kind"]: (one["n"], one["active"]) for one in counted}
    none = (0, 0)
    pairs = {one.pk: [by_kind.get(kind, none) for kind in (one.kind, one.silence_kind)] for one in found}
    return {
        pk: {"n": sum(n for n, _ in some), "active": sum(active for _, active in some)} for pk, some in pairs.items()
    }
