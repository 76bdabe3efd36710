"""The page of one's own API tokens."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from sensors.models import ApiToken
from sensors.roles import ENGINEERING, OPERATE, may, person, role_required
from sensors.token_api import DEFAULT_DAYS

LIFETIMES = ((30, "30 days"), (DEFAULT_DAYS, "90 days"), (365, "a year"))


@require_safe
@role_required()
def tokens(request: HttpRequest) -> HttpResponse:
    mine = ApiToken.objects.filter(user=person(request))
    holding = mine.filter(revoked_at=None, expires_at__gt=timezone.now())
    needs = {ApiToken.Scope.OPERATE: OPERATE, ApiToken.Scope.ENGINEER: ENGINEERING}
    scopes = [one for one in ApiToken.Scope if one not in needs or may(request.user, needs[one])]
    shown = {
        "holding": holding,
        "ended": mine.exclude(pk__in=holding)[:50],
        "scopes": [(one.value, one.label) for one in scopes],
        "lifetimes": LIFETIMES,
        "default_days": DEFAULT_DAYS,
        "address": request.build_absolute_uri(reverse("api:latest")),
    }
    return render(request, "tokens.html", shown)
