"""The History page, and the readings behind its cells and bars."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from ingestion.pages import history_asked, history_page, history_readings
from ingestion.words import natural
from sensors import registry
from sensors.aggregates import aggregates
from sensors.roles import role_required
from sensors.stores import StoreUnavailable
from sensors.tiers import tiers


@require_safe
@role_required()
def history(request: HttpRequest) -> HttpResponse:
    now, fleet = timezone.now(), registry.current_fleet()
    question = history_asked.asked(request.GET, fleet, aggregates(), now)
    if question is None:
        return render(request, "history.html", {"asked": None})
    url = reverse("history-readings")
    shown = history_page.context(question, fleet, aggregates(), tiers(), readings_url=url, now=now)
    return render(request, "history.html", {**shown, **_choices(question, fleet)})


@require_safe
@role_required()
def readings(request: HttpRequest) -> HttpResponse:
    now, fleet = timezone.now(), registry.current_fleet()
    question = history_asked.asked(request.GET, fleet, aggregates(), now)
    if question is None:
        return render(request, "history.html", {"asked": None})
    about = history_readings.narrow(request.GET, question)
    shown: dict[str, Any] = {"asked": question, "about": about, "rows": [], "most": history_readings.LISTED}
    try:
        shown["rows"], shown["is_cut"] = history_readings.listed(question, about, fleet, aggregates(), tiers(), now)
    except StoreUnavailable as error:
        shown["fault"] = str(error)
    return render(request, "history/readings.html", shown)


def _choices(question: history_asked.Asked, fleet: Any) -> dict[str, Any]:
    """What the form offers: profiles that have motes, and the motes of the one that is shown."""
    code = question.selected.profile.code
    picked = {mote.id for mote in question.selected.motes} if question.picked else set()
    motes = [mote for mote in (*fleet.motes, *fleet.retired) if mote.profile == code]
    inhabited = {mote.profile for mote in fleet.motes}
    return {
        "profiles": [one for key, one in sorted(fleet.profiles.items()) if key in inhabited or key == code],
        "motes": [
            (f"{mote.site}/{mote.code}", mote, mote.id in picked)
            for mote in sorted(motes, key=lambda mote: (mote.site, natural(mote.code)))
        ],
        "n_picked": len(picked),
        "compared": history_asked.COMPARED,
    }
