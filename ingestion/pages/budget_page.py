"""The page of alert budgets: a slider over events a week, what it would have missed, and making it so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from alerts.services import instant
from mlops import budgets, registry, training_jobs
from mlops.budget import Choice, Events, NoHistory, Point, Truth, Unreachable
from sensors.fleet import Fleet
from sensors.lake import lake
from sensors.registry import current_fleet
from sensors.roles import ENGINEERING, may, person, role_required

WIDTH, HEIGHT = 640, 200  # of the drawing, without the room for its words
TICKS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
REFUSED = (
    budgets.BadBudget, budgets.NothingServes, budgets.NoBudget, NoHistory, Unreachable, training_jobs.UnknownMote,
    registry.ModelUnloadable, registry.ArtefactUnavailable,
)  # fmt: skip


class BudgetForm(forms.Form):
    """What is asked for; as addresses carry it."""

    profile = forms.CharField(max_length=50)
    mote = forms.CharField(max_length=120, required=False)
    at_most = forms.FloatField()
    days = forms.FloatField(initial=budgets.DAYS)


@dataclass(frozen=True, slots=True)
class Spot:
    """A point of the curve with its place in the drawing."""

    point: Point
    x: float
    y: float

    def to_json(self) -> dict[str, float]:
        one = self.point
        return {
            "onset": one.onset, "busiest": one.busiest, "aWeek": one.a_week, "missed": one.n_missed,
            "needless": one.n_needless, "x": self.x, "y": self.y,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawing:
    """Events of the busiest week against missed faults; the way across is logarithmic."""

    spots: list[Spot]
    now: Spot
    chosen: Spot
    ticks: list[tuple[int, float]]

    @property
    def line(self) -> str:
        return " ".join(f"{one.x},{one.y}" for one in self.spots)


def drawn(found: Choice) -> Drawing:
    widest = math.log1p(max(one.busiest for one in found.curve) or 1.0)

    def across(n: float) -> float:
        return round(WIDTH * math.log1p(n) / widest, 1)

    def spot(one: Point) -> Spot:
        return Spot(one, across(one.busiest), round(HEIGHT * (1 - one.n_missed / max(found.n_faults, 1)), 1))

    ticks = [(n, across(n)) for n in TICKS if math.log1p(n) <= widest]
    return Drawing([spot(one) for one in found.curve], spot(found.now), spot(found.chosen), ticks)


@require_safe
@role_required()
def budget(request: HttpRequest) -> HttpResponse:
    fleet = current_fleet()
    asked = {**_usual(fleet, request), **{name: value for name, value in request.GET.items() if value}}
    shown: dict[str, Any] = {
        "asked": asked, "profiles": [fleet.profiles[code] for code in sorted(fleet.profiles)],
        "motes": [mote for mote in fleet.motes if mote.profile == asked["profile"] and mote.state == "active"],
        "may_operate": may(request.user, ENGINEERING), "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip
    if asked["profile"]:
        shown |= _looked_at(asked, fleet, timezone.now())
    return render(request, "budget/budget.html", shown, status=400 if shown.get("trouble") else 200)


def _usual(fleet: Fleet, request: HttpRequest) -> dict[str, Any]:
    """The first profile with motes, and one event a mote and week: what every model begins with."""
    counts = {
        code: sum(mote.profile == code and mote.state == "active" for mote in fleet.motes) for code in fleet.profiles
    }
    profile = request.GET.get("profile") or max(sorted(counts), key=lambda code: counts[code] > 0, default="")
    n = 1 if request.GET.get("mote") else max(counts.get(profile, 1), 1)
    return {"profile": profile, "mote": "", "at_most": n, "days": budgets.DAYS}


def _looked_at(asked: dict[str, Any], fleet: Fleet, now: datetime) -> dict[str, Any]:
    try:
        of = budgets.scope(fleet, asked["profile"], asked["mote"])
    except (budgets.BadBudget, training_jobs.UnknownMote) as wrong:
        return {"trouble": str(wrong)}
    shown: dict[str, Any] = {
        "of": of, "story": budgets.story(of.profile)[: budgets.SHOWN], "standing": budgets.in_force(of),
        "has_model": budgets.serving(of) is not None,
    }  # fmt: skip
    form = BudgetForm(asked)
    if not form.is_valid():
        return shown | {"trouble": "Days and events a week are numbers."}
    try:
        found = budgets.preview(
            of, form.cleaned_data["at_most"], lake=lake(), fleet=fleet, now=now, days=form.cleaned_data["days"]
        )
    except budgets.BadBudget as wrong:
        return shown | {"trouble": str(wrong)}
    except (NoHistory, Unreachable) as refusal:
        return shown | {"lacking": str(refusal)}
    drawing = drawn(found)
    return shown | {
        "found": found, "warned": budgets.warnings_a_week(of, found), "drawing": drawing,
        "spots": [one.to_json() for one in drawing.spots],
        "most": math.ceil(max(4 * found.now.busiest, 2 * found.at_most, 20)),
        "first_at": instant(found.first_at), "last_at": instant(found.last_at),
        "missed": [_truth(one, fleet) for one in found.newly_missed[: budgets.SHOWN]],
        "lost": _events(found.lost, fleet), "gained": _events(found.gained, fleet),
        "n_lost": len(found.lost.mote), "n_gained": len(found.gained.mote),
    }  # fmt: skip


def _truth(one: Truth, fleet: Fleet) -> dict[str, Any]:
    return {
        "mote": fleet.by_id[one.mote], "what": one.what, "first_at": instant(one.first_at),
        "minutes": (one.last_at - one.first_at) / 60e6,
    }  # fmt: skip


def _events(told: Events, fleet: Fleet) -> list[dict[str, Any]]:
    """The loudest ones."""
    order = sorted(range(len(told.mote)), key=lambda k: -float(told.peak[k]))[: budgets.SHOWN]
    return [
        {"mote": fleet.by_id[int(told.mote[k])], "at": instant(int(told.noticed_at[k])), "peak": float(told.peak[k])}
        for k in order
    ]


@role_required(ENGINEERING)
@require_POST
def apply(request: HttpRequest) -> HttpResponse:
    fleet, now, form = current_fleet(), timezone.now(), BudgetForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was changed: days and events a week are numbers.")
        return _back(request)
    asked = form.cleaned_data
    try:
        of = budgets.scope(fleet, asked["profile"], asked["mote"])
        found = budgets.preview(of, asked["at_most"], lake=lake(), fleet=fleet, now=now, days=asked["days"])
        version = budgets.apply(of, found, who=person(request), now=now)
    except REFUSED as refusal:
        messages.error(request, f"Nothing was changed: {refusal}")
    else:
        messages.success(request, f"At most {found.at_most:g} events a week: {version.name} judges {of.words} now.")
    return _back(request)


@role_required(ENGINEERING)
@require_POST
def undo(request: HttpRequest) -> HttpResponse:
    try:
        of = budgets.scope(current_fleet(), request.POST.get("profile", ""), request.POST.get("mote", ""))
        version = budgets.undo(of, who=person(request), now=timezone.now())
    except REFUSED as refusal:
        messages.error(request, f"Nothing was changed: {refusal}")
    else:
        messages.success(request, f"Taken back: {version.name} judges {of.words} now.")
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    kept = {name: request.POST[name] for name in ("profile", "mote", "at_most", "days") if request.POST.get(name)}
    return redirect(f"{reverse('model-budget')}?{urlencode(kept)}")
