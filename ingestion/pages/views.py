"""The pages. Each asks one module for what it shows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from ingestion import health
from ingestion.pages import (
    books_page,
    floor_past,
    health_page,
    live_page,
    models_page,
    quality_page,
    report_page,
    training_page,
)
from sensors.models import Profile
from sensors.roles import ENGINEERING, OPERATE, may, role_required
from sensors.stores import StoreUnavailable, hot
from sensors.tiers import tiers

WINDOWS = (("300", "5 min"), ("900", "15 min"), ("3600", "1 h"), ("21600", "6 h"))
DEMO_ROLES = {"viewer": "looks", "operator": "acts on alerts", "engineer": "owns the models", "admin": "runs it"}


class Login(LoginView):
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        found = super().get_context_data(**kwargs)
        if settings.SIEIS_DEMO:
            found |= {"demo_roles": DEMO_ROLES, "demo_password": settings.SIEIS_DEMO_PASSWORD}
        return found


@require_safe
@role_required()
def live(request: HttpRequest) -> HttpResponse:
    shown = live_page.context(tiers=tiers(), now=timezone.now(), may_act=may(request.user, OPERATE))
    back = {"hours_back": floor_past.HOURS, "steps_back": floor_past.STEPS}
    return render(request, "live.html", {**shown, **back, "windows": WINDOWS})


@require_safe
@role_required()
def trails(request: HttpRequest) -> HttpResponse:
    """The last minutes of every mote, for the Live page's sparklines."""
    try:
        return JsonResponse(live_page.trails(store=hot(), now=timezone.now()))
    except StoreUnavailable as away:
        return JsonResponse({"detail": f"The hot store does not answer: {away}"}, status=503)


@require_safe
@role_required()
def past(request: HttpRequest) -> JsonResponse:
    """How the fleet stood over the last hours, for the floor map's slider."""
    asked = request.GET.get("hours", "6")
    allowed = [str(hours) for hours, _ in floor_past.HOURS]
    if asked not in allowed:
        return JsonResponse({"detail": f"hours is “{asked}”; expected one of {', '.join(allowed)}."}, status=400)
    try:
        return JsonResponse(floor_past.past(store=hot(), now=timezone.now(), hours=int(asked)))
    except StoreUnavailable as away:
        return JsonResponse({"detail": f"The hot store does not answer: {away}"}, status=503)


@require_safe
@role_required()
def system(request: HttpRequest) -> HttpResponse:
    found = health.checks(timezone.now())
    waiting = [partition.lag for partition in found.pipeline.partitions if partition.lag is not None]
    return render(
        request,
        "system.html",
        {
            "health": found,
            "lag": str(sum(waiting)) if waiting else "",
            "n_aside": quality_page.n_aside(),
            **health_page.context(found.at),
        },
    )


@require_safe
@role_required()
def quality(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "quality.html",
        {
            "books": quality_page.books_of_today(timezone.now()),
            "reasons": quality_page.reasons(),
            "reports": report_page.latest(),
            **books_page.context(request),
        },
    )


@require_safe
@role_required()
def models(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "models.html",
        {
            "rows": models_page.versions(),
            "jobs": models_page.jobs(),
            "periods": training_page.history_of_serving(),
            "profiles": Profile.objects.all(),
            "may_operate": may(request.user, ENGINEERING),
        },
    )
