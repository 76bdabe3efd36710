"""The Silences page: what is kept quiet now, what will be, what was; and the form that shows what it would do."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts.models import Alert
from alerts.silencing.deeds import state
from alerts.silencing.models import Silence
from alerts.weekly import DAYS
from ingestion.pages.notifications_page import KINDS
from sensors.models import Mote, Site, Zone
from sensors.roles import OPERATE, may, role_required

PAST = 50
SECTIONS = (("now", "In force"), ("coming", "To come"), ("over", "Over"))


@require_safe
@role_required()
def silences(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    rows = Silence.objects.select_related("site", "zone__site", "mote__site", "made_by", "lifted_by")
    counted: list[Any] = list(
        rows.annotate(n_alerts=Count("suppressions__alert", distinct=True)).order_by("-starts_at")
    )
    found: dict[str, list[Any]] = {name: [] for name, _ in SECTIONS}
    for one in counted:
        found[state(one, now)].append(one)
    found["over"] = found["over"][:PAST]
    quiet = Alert.objects.active().filter(suppressions__ended_at=None, suppressions__isnull=False).distinct()
    return render(
        request,
        "silences/page.html",
        {
            "sections": [(name, label, found[name]) for name, label in SECTIONS if found[name] or name == "now"],
            "suppressed": quiet.select_related("mote__site").prefetch_related("suppressions__silence"),
            "may_act": may(request.user, OPERATE),
            "sites": Site.objects.all(),
            "zones": Zone.objects.select_related("site"),
            "motes": Mote.objects.on_page(),
            "kinds": KINDS,
            "days": DAYS,
            "time_zone": settings.SIEIS_TIME_ZONE,
        },
    )
