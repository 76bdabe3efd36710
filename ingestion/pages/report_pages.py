"""The pages of quality reports: the list with its form, a report, and the readings behind a verdict."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from ingestion.api.report_api import REPORTS, FailingQuery
from ingestion.models import QualityReport
from ingestion.pages import report_page
from ingestion.validation import failing, reports
from sensors import registry
from sensors.lake import lake
from sensors.roles import OPERATE, demand, may, person, role_required
from sensors.stores import StoreUnavailable, hot

ON_A_PAGE = 25
DAY = timedelta(days=1)


class AskForm(forms.Form):
    """What a report shall look at; days are those of UTC, as the lake keeps them."""

    scope = forms.ChoiceField(label="Profile and site")
    first = forms.DateField(label="First day", required=False, widget=forms.DateInput({"type": "date"}))
    last = forms.DateField(label="Last day", required=False, widget=forms.DateInput({"type": "date"}))
    interval_s = forms.FloatField(label="Expected interval, s", required=False, min_value=0.001)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.fields["scope"].choices = report_page.scope_choices()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        try:
            given["span"] = reports.Span(*self._days(given), given.get("interval_s"))
        except reports.CannotValidate as wrong:
            raise forms.ValidationError(str(wrong)) from wrong
        return given

    def _days(self, given: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
        first, last = given.get("first"), given.get("last")
        return (
            datetime.combine(first, time(), UTC) if first else None,
            datetime.combine(last, time(), UTC) + DAY if last else None,
        )


@require_http_methods(["GET", "HEAD", "POST"])
@role_required()
def all_reports(request: HttpRequest) -> HttpResponse:
    """The list; a POST asks for a report and leads to it."""
    form = AskForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        demand(request.user, OPERATE)
        if form.is_valid() and (made := _ask(request, form)):
            return redirect("report", made.pk)
    found = Paginator(REPORTS.defer("detail"), ON_A_PAGE).get_page(request.GET.get("page"))
    shown = {"form": form, "page": found, "lines": [report_page.line(one) for one in found.object_list]}
    return render(request, "reports/list.html", {**shown, "may_ask": may(request.user, OPERATE)})


def _ask(request: HttpRequest, form: AskForm) -> QualityReport | None:
    """The report that was asked for, or the one that is being made already; None with a word on the form."""
    profile, _, site = form.cleaned_data["scope"].partition("@")
    try:
        scope = reports.one_scope(profile, site)
        made = reports.ask(scope, form.cleaned_data["span"], trigger="person", who=person(request), now=timezone.now())
    except reports.CannotValidate as refusal:
        form.add_error(None, str(refusal))
        return None
    except reports.AlreadyValidating as already:
        messages.info(request, str(already))
        return already.report
    reports.dispatch(made)
    return made


@require_safe
@role_required()
def report(request: HttpRequest, pk: int) -> HttpResponse:
    made = get_object_or_404(REPORTS, pk=pk)
    return render(request, "reports/report.html", {**report_page.context(made), "may_ask": may(request.user, OPERATE)})


@require_safe
@role_required()
def report_readings(request: HttpRequest, pk: int) -> HttpResponse:
    """The readings behind a check; an address that makes no sense says so in place of them."""
    made = get_object_or_404(REPORTS, pk=pk)
    query = FailingQuery(data=request.GET.dict())
    shown: dict[str, Any] = {"asked": request.GET, "trouble": "", "rows": [], "flags": list(failing.FLAGS)}
    if not query.is_valid():
        shown["trouble"] = " ".join(f"{name}: {' '.join(map(str, told))}" for name, told in query.errors.items())
    else:
        fleet, mote = registry.current_fleet(), query.validated_data["mote"]
        try:
            page = reports.failing_readings(made, query.asked(), mote=mote, lake=lake(), hot=hot(), fleet=fleet)
            shown |= report_page.failing_context(made, page, fleet)
        except (failing.NoReadings, StoreUnavailable) as trouble:
            shown["trouble"] = str(trouble)
    return render(request, "reports/readings.html", {**report_page.listing_context(made, request.GET), **shown})
