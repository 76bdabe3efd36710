"""The Incidents page: what one cause made, with the likely first mover on top."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from alerts.grouping.models import Incident
from sensors.roles import role_required

ON_A_PAGE = 25
CAUSES = {
    "gateway": "fell silent together", "zone": "the same zone", "channel": "the same channel",
    "system": "parts of SIEIS itself", "": "alone",
}  # fmt: skip


@require_safe
@role_required()
def incidents(request: HttpRequest) -> HttpResponse:
    found = Incident.objects.of_many().select_related("first_mover__mote__site", "site")
    page = Paginator(found, ON_A_PAGE).get_page(request.GET.get("page"))
    rows: list[Any] = list(page.object_list)
    for one in rows:
        one.cause_words = CAUSES[one.cause]
    return render(request, "incidents/list.html", {"page": page, "incidents": rows, "query": ""})


@require_safe
@role_required()
def incident(request: HttpRequest, pk: int) -> HttpResponse:
    known: Any = get_object_or_404(Incident.objects.select_related("first_mover__mote__site", "site"), pk=pk)
    known.cause_words = CAUSES[known.cause]
    members = known.memberships.select_related("alert__mote__site").order_by("began_at", "pk")
    return render(request, "incidents/incident.html", {"incident": known, "members": members})
