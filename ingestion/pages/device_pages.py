"""The Devices page: the keys with which devices send readings by HTTP."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from ingestion.models import DeviceKey
from sensors.models import Mote, Site
from sensors.roles import ENGINEERING, role_required


@require_safe
@role_required(ENGINEERING)
def devices(request: HttpRequest) -> HttpResponse:
    keys = DeviceKey.objects.select_related("site", "mote", "made_by", "revoked_by")
    return render(
        request,
        "devices.html",
        {
            "keys": keys.filter(revoked_at=None),
            "revoked": keys.exclude(revoked_at=None),
            "sites": Site.objects.all(),
            "motes": Mote.objects.on_page(),
            "address": request.build_absolute_uri(reverse("api:ingest")),
            "per_minute": settings.SIEIS_INGEST_PER_MINUTE,
        },
    )
