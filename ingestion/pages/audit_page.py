"""The page of the audit log: who did what to what, when."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from sensors import audit
from sensors.audit_api import AuditQuery
from sensors.models import AuditEntry
from sensors.roles import ENGINEERING, role_required

ON_A_PAGE = 50
FILTERS = ("who", "deed", "subject", "since", "until")


@require_safe
@role_required(ENGINEERING)
def audit_log(request: HttpRequest) -> HttpResponse:
    given = {name: value for name in FILTERS if (value := request.GET.get(name, "").strip())}
    asked = AuditQuery(data=given)
    is_right = asked.is_valid()
    found = audit.entries(**asked.validated_data) if is_right else AuditEntry.objects.none()
    query = urlencode(given)
    page = Paginator(found, ON_A_PAGE).get_page(request.GET.get("page"))
    for one in page:
        one.told = _told(one)  # type: ignore[attr-defined]
    return render(
        request,
        "audit.html",
        {
            "page": page,
            "given": given,
            "trouble": [] if is_right else [f"{name}: {words[0]}" for name, words in asked.errors.items()],
            "query": query,
            "people": _people(),
            "deeds": AuditEntry.objects.order_by("deed").values_list("deed", flat=True).distinct(),
        },
    )


def _told(one: AuditEntry) -> list[tuple[str, str]]:
    """Its detail for people: lists as words, what was changed as from where to where, nothing that says nothing."""
    is_change = one.deed.startswith("change_")

    def words(value: Any) -> str:
        if not isinstance(value, list):
            return str(value)
        return (" → " if is_change and len(value) == 2 else "; ").join(str(part) or "nothing" for part in value)

    return [
        (name.replace("_", " "), words(value)) for name, value in one.detail.items() if value not in ("", None, {}, [])
    ]


def _people() -> list[tuple[str, str]]:
    """Those who did anything."""
    known = User.objects.filter(pk__in=AuditEntry.objects.values("who")).order_by("username")
    names = known.values_list("username", flat=True)
    return [(audit.OURSELVES, f"{audit.OURSELVES} itself"), *((name, name) for name in names)]
