"""The Notifications page: targets, routes as sentences, and the log of messages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from alerts.notifying.models import Delivery, Route, Target
from alerts.weekly import DAYS, Weekly
from sensors.models import Zone
from sensors.packs.changes import duration
from sensors.roles import ENGINEERING, OPERATE, may, person, role_required

ON_A_PAGE = 25
KINDS = (
    ("anomaly", "anomaly"), ("rule", "a rule's"), ("silent", "silent"), ("clock_skew", "wrong clock"),
    ("sink_down", "a store is away"), ("target_failing", "messages do not arrive"),
)  # fmt: skip
STATES = (("", "all"), *((value, label.lower()) for value, label in Delivery.State.choices))


@require_safe
@role_required()
def notifications(request: HttpRequest) -> HttpResponse:
    user = person(request)
    state = request.GET.get("state", "")
    log = Delivery.objects.told().filter(Q(target__owner=None) | Q(target__owner=user))
    if state in Delivery.State.values:
        log = log.filter(state=state)
    routes = Route.objects.filter(target__removed_at=None).filter(Q(target__owner=None) | Q(target__owner=user))
    return render(
        request,
        "notifications/page.html",
        {
            "targets": _targets(user),
            "routes": [_spoken(one, user) for one in routes.select_related("target__owner", "site", "zone__site")],
            "page": Paginator(log, ON_A_PAGE).get_page(request.GET.get("page")),
            "query": f"state={state}" if state else "",
            "state": state,
            "states": STATES,
            "zones": Zone.objects.select_related("site"),
            "kinds": KINDS,
            "has_mail": bool(settings.EMAIL_HOST) or not Target.objects.standing().filter(kind="email").exists(),
            "may_act": may(user, OPERATE),
            "may_engineer": may(user, ENGINEERING),
            "days": DAYS,
            "time_zone": settings.SIEIS_TIME_ZONE,
        },
    )


def _targets(user: Any) -> list[Any]:
    found: list[Any] = list(Target.objects.shared_or_of(user).select_related("owner"))
    newest = Target.objects.filter(pk__in=[one.pk for one in found]).annotate(last=Max("deliveries")).values("last")
    last = {one.target_id: one for one in Delivery.objects.filter(pk__in=newest)}
    for target in found:
        target.last, target.is_mine = last.get(target.pk), target.owner_id == user.pk
    return found


def _spoken(route: Any, user: Any) -> Any:
    """The route with its sentence."""
    route.is_mine = route.target.owner_id == user.pk
    route.after_words = duration(route.after_s)
    route.words = words(route)
    return route


def words(route: Route) -> str:
    what = "All alerts" if route.least_severity == "low" else f"Alerts of {route.least_severity} severity and above"
    if route.least_severity == "high":
        what = "Alerts of high severity"
    kinds = f" of kind {', '.join(route.kinds)}" if route.kinds else ""
    where = f" in zone {route.zone}" if route.zone else f" at site {route.site}" if route.site else ""
    late = f" that nobody acknowledged for {duration(route.after_s)}" if route.after_s else ""
    when = f", {Weekly.parse(route.hours)}" if route.hours else ""
    how = f", {route.get_mode_display()}" if not route.after_s else ""
    over = ", and when they are over" if route.tells_recovery else ""
    return f"{what}{kinds}{where}{late} → {route.target.name}{how}{when}{over}."
