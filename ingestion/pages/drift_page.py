"""The page of drift: how far each day lies from what the serving models have learnt, and what they still hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from mlops.drift import measuring, watching
from mlops.models import DriftDay, ModelVersion, Validation
from sensors.models import Mote
from sensors.roles import ENGINEERING, may, role_required

SHOWN_DAYS = 31
SHOWN_VALIDATIONS = 20
HIGH = 22  # of a strip, in its own units; the limit is half of it


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a profile: its last days as bars, and whether it has drifted."""

    kind: str
    name: str
    days: list[DriftDay]  # the oldest first
    n_over: int
    worst: list[Mote]

    @property
    def last(self) -> DriftDay:
        return self.days[-1]

    @property
    def has_drifted(self) -> bool:
        return self.n_over >= measuring.DAYS

    @property
    def label(self) -> str:
        if self.kind == measuring.SCORE:
            return "surprising readings"
        return self.name.replace("_", " ") + (" against the model" if self.kind == measuring.RESIDUAL else "")

    @property
    def unit(self) -> str:
        return {
            measuring.CHANNEL: "normal bands", measuring.RESIDUAL: "half bands", measuring.SCORE: "powers of ten",
        }[self.kind]  # fmt: skip

    @property
    def far(self) -> float:
        return measuring.FAR[self.kind]

    @property
    def bars(self) -> list[dict[str, Any]]:
        """A bar a day, from the middle up or down; the dashed lines are the limit."""
        drawn = []
        for place, row in enumerate(self.days):
            height = min(abs(row.shift) / self.far * HIGH / 2, HIGH)
            drawn.append({
                "x": place * 8 + 1, "y": round(HIGH - height if row.shift > 0 else HIGH, 2),
                "height": round(max(height, 0.5), 2), "is_over": row.is_over, "row": row,
            })  # fmt: skip
        return drawn


def figures(version: ModelVersion) -> list[Figure]:
    by_figure: dict[tuple[str, str], list[DriftDay]] = {}
    for row in DriftDay.objects.filter(version=version).order_by("day"):
        by_figure.setdefault((row.kind, row.name), []).append(row)
    motes = Mote.objects.select_related("site").in_bulk()
    found = []
    for (kind, name), days in by_figure.items():
        n_over = measuring.days_in_a_row([watching.as_shift(day) for day in days])
        worst = [motes[pk] for pk in days[-1].worst[:3] if pk in motes]
        found.append(Figure(kind, name, days[-SHOWN_DAYS:], n_over, worst))
    order = (measuring.CHANNEL, measuring.RESIDUAL, measuring.SCORE)
    return sorted(found, key=lambda one: (not one.has_drifted, order.index(one.kind)))


@require_safe
@role_required()
def drift(request: HttpRequest) -> HttpResponse:
    serving = ModelVersion.objects.filter(stage=ModelVersion.Stage.PRODUCTION, mote=None).select_related("profile")
    shown = {
        "profiles": [{"version": one, "figures": figures(one), "next": _next(one)} for one in serving],
        "validations": Validation.objects.select_related("version__profile", "who")[:SHOWN_VALIDATIONS],
        "width": SHOWN_DAYS * 8, "height": HIGH * 2, "middle": HIGH, "upper": HIGH / 2, "lower": HIGH * 1.5,
        "may_operate": may(request.user, ENGINEERING), "today": timezone.now().date(), "days": measuring.DAYS,
    }  # fmt: skip
    return render(request, "drift/drift.html", shown)


def _next(version: ModelVersion) -> date | None:
    """The first day that can be measured, while none is."""
    learnt = version.data.get("parts", {}).get("held_out", {}).get("last_at", "")
    return date.fromisoformat(learnt[:10]) if learnt else None
