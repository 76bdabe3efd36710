"""The inbox: what waits for people, what fits the filters of the address, and how the alerts do as an alarm system."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.paginator import Paginator
from django.db.models import Case, IntegerField, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts import finding
from alerts.figures import figures
from alerts.models import Alert, AlertQuerySet, Judgement, Severity
from sensors.models import Site
from sensors.roles import OPERATE, may, operators, person, role_required

ON_A_PAGE = 50
SPANS = ("7", "1", "30", "90")
ANY = ("", "any")
AWAKE = ""  # what nobody has put out of sight: the inbox as it opens
URGENCY = Case(
    *(When(status=Alert.Status.OPEN, severity=value, then=Value(10 + n)) for n, value in enumerate(Severity.values)),
    *(When(severity=value, then=Value(n)) for n, value in enumerate(Severity.values)),
    default=Value(0),
    output_field=IntegerField(),
)


class InboxFilter(forms.Form):
    """What the address narrows the list to."""

    status = forms.ChoiceField(choices=[(AWAKE, "active"), *((one, one) for one in finding.STATUSES)], required=False)
    severity = forms.ChoiceField(choices=[ANY, *((one, one) for one in reversed(Severity.values))], required=False)
    kind = forms.CharField(max_length=32, required=False)
    site = forms.CharField(max_length=64, required=False)
    mote = forms.CharField(max_length=64, required=False)
    assignee = forms.CharField(max_length=150, required=False)
    verdict = forms.ChoiceField(choices=[ANY, *Judgement.Verdict.choices], required=False)
    since = forms.DateField(required=False)
    until = forms.DateField(required=False)
    q = forms.CharField(max_length=100, required=False)

    def asked(self) -> dict[str, Any]:
        """What makes sense of the address; the rest asks for nothing."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}

    def found(self, *, now: datetime, username: str) -> AlertQuerySet:
        """Active ones by urgency, others by when they were seen last."""
        asked = self.asked()
        status = asked.setdefault("status", finding.ACTIVE)
        alerts = finding.find(asked, now=now, username=username).with_grades().with_people()
        if self.cleaned_data.get("status", AWAKE) == AWAKE:
            alerts = alerts.awake(now)
        if status in (finding.ALL, Alert.Status.RESOLVED, Alert.Status.CLOSED):
            return alerts
        return alerts.alias(urgency=URGENCY).order_by("-urgency", "-last_seen_at", "-id")


@require_safe
@role_required()
def inbox(request: HttpRequest) -> HttpResponse:
    form = InboxFilter(request.GET)
    now, me = timezone.now(), person(request)
    page = Paginator(form.found(now=now, username=me.username), ON_A_PAGE).get_page(request.GET.get("page"))
    shown = {
        "form": form,
        "asked": form.asked(),
        "page": page,
        "query": without(request, "page"),
        "unstatused": without(request, "page", "status"),
        "tabs": _tabs(now),
        "kinds": _kinds(),
        "sites": Site.objects.values_list("code", "label"),
        "people": list(operators().values_list("username", flat=True)),
        "verdicts": Judgement.Verdict.choices,
        "is_plain": not form.asked() and page.number == 1,
        "may_act": may(me, OPERATE),
    }
    return render(request, "alerts.html", shown)


@require_safe
@role_required()
def figures_page(request: HttpRequest) -> HttpResponse:
    """How the alerts do as an alarm system, over the days that the address says."""
    now = timezone.now()
    days = int(asked) if (asked := request.GET.get("days", "")) in SPANS else int(SPANS[0])
    found = figures(now - timedelta(days=days), now, n_operators=operators().count(), now=now)
    return render(request, "alerts/figures.html", {"figures": found, "days": str(days), "spans": SPANS})


def _tabs(now: datetime) -> list[tuple[str, str, int | None]]:
    """Value, label and how many; of what is over only that it is there, since counting it takes ever longer."""
    active = Alert.objects.active()
    n_snoozed = Alert.objects.snoozed(now).count()
    return [
        (AWAKE, "Active", active.count() - n_snoozed),
        (Alert.Status.OPEN, "Open", active.filter(status=Alert.Status.OPEN).count()),
        (finding.SNOOZED, "Snoozed", n_snoozed),
        (Alert.Status.RESOLVED, "Resolved", None),
        (Alert.Status.CLOSED, "Closed", None),
        (finding.ALL, "All", None),
    ]


def _kinds() -> list[str]:
    return sorted(set(Alert.objects.order_by().values_list("kind", flat=True).distinct()))


def without(request: HttpRequest, *names: str) -> str:
    """The address's query without these, for links that change them."""
    query = request.GET.copy()
    for name in names:
        query.pop(name, None)
    return query.urlencode()
