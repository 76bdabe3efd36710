"""How long everything is kept, and what another number of days would take away, told before anybody sets it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from alerts.models import Alert, Event
from ingestion.words import count
from sensors import retention
from sensors.retention import Cut
from sensors.roles import role_required
from sensors.stores import HotStore, StoreUnavailable, hot

SHORTEST_DAYS, LONGEST_DAYS = 0.1, 36_500


class DaysForm(forms.Form):
    days = forms.FloatField(min_value=SHORTEST_DAYS, max_value=LONGEST_DAYS, required=False)

    def asked(self) -> float:
        """The days that the address asks for, else those of the setting."""
        given = self.cleaned_data.get("days") if self.is_valid() else None
        return float(given or settings.SIEIS_HOT_DAYS)


@dataclass(frozen=True, slots=True)
class Preview:
    """What keeping for `days` would mean now."""

    days: float
    cuts: list[Cut]
    n_alerts: int
    n_events: int

    @property
    def n_leaving(self) -> int:
        return sum(cut.n_leaving for cut in self.cuts)

    @property
    def n_motes(self) -> int | None:
        known = [cut.n_motes for cut in self.cuts if cut.n_motes is not None]
        return sum(known) if len(known) == len(self.cuts) else None

    @property
    def words(self) -> str:
        now = settings.SIEIS_HOT_DAYS
        instead = f"With {self.days:g} days" + (f" instead of {now:g}" if self.days != now else ", as it is set")
        if not self.n_leaving:
            return f"{instead}: no reading would leave the hot store now."
        motes = "" if self.n_motes is None else f" of {count(self.n_motes)} mote{'s'[: self.n_motes != 1]}"
        would = f"{count(self.n_leaving)} reading{'s'[: self.n_leaving != 1]}{motes} would leave the hot store"
        return f"{instead}: {would} in the next night; {self._evidence()}; the lake keeps everything."

    def _evidence(self) -> str:
        if not self.n_alerts:
            return "no open alert has evidence that old"
        return f"{count(self.n_alerts)} open alert{'s have' if self.n_alerts != 1 else ' has'} evidence older than that"


def preview(store: HotStore, days: float) -> Preview:
    """Asks the hot store and the alerts; changes nothing."""
    cuts = retention.preview(store, keep=timedelta(days=days))
    n_alerts = n_events = 0
    for cut in (one for one in cuts if one.n_leaving):
        old = Event.objects.filter(
            mote__site__code=cut.site, mote__profile__code=cut.profile, started_at__lt=cut.cut_at
        ).order_by()
        n_events += old.count()
        n_alerts += old.filter(alert__status__in=Alert.ACTIVE).values("alert").distinct().count()
    return Preview(days, cuts, n_alerts, n_events)


@require_safe
@role_required()
def retention_page(request: HttpRequest) -> HttpResponse:
    form = DaysForm(request.GET)
    shown: dict[str, Any] = {"form": form, "days": form.asked(), "hot_days": settings.SIEIS_HOT_DAYS}
    shown |= {
        "days_text": f"{shown['days']:g}",
        "quarantine_days": settings.SIEIS_QUARANTINE_DAYS, "quarantine_max": settings.SIEIS_QUARANTINE_MAX,
        "stream_days": settings.SIEIS_STREAM["OPTIONS"].get("keep_days"),
    }  # fmt: skip
    try:
        shown["preview"] = preview(hot(), shown["days"])
    except StoreUnavailable as away:
        shown["trouble"] = str(away)
    return render(request, "quarantine/retention.html", shown)
