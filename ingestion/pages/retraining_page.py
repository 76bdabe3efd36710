"""The page of watching models: when each is trained again, how precise it was, and a new one beside the old one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django_celery_beat.models import PeriodicTask

from alerts.services import instant
from mlops import candidates, feedback, policies
from mlops.comparing import BINS
from mlops.models import ModelVersion, RetrainPolicy, TrainingJob
from sensors.models import Mote, Profile
from sensors.roles import ENGINEERING, may, person, role_required

SHOWN = 12
WIDTH, HEIGHT = 480, 150  # of the histogram's own units


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = RetrainPolicy
        fields = ("mode", "days", "on_labels", "rest_hours", "after_import", "on_drift")
        labels = {
            "mode": "Who decides", "days": "Days to learn from", "on_labels": "After so many judgements",
            "rest_hours": "At most every so many hours", "after_import": "After an import", "on_drift": "On drift",
        }  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if not isinstance(field, forms.BooleanField):
                field.widget.attrs["class"] = "field"


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A profile with its policy as a form, and its line in the schedule."""

    profile: Profile
    form: PolicyForm
    scheduled: PeriodicTask | None


def profile_rows(bound: PolicyForm | None = None) -> list[ProfileRow]:
    scheduled = {one.name: one for one in PeriodicTask.objects.select_related("crontab", "interval")}
    rows = []
    for profile in Profile.objects.all():
        held = policies.policy(profile)
        is_bound = bound is not None and bound.instance.profile_id == profile.pk
        form = bound if bound and is_bound else PolicyForm(instance=held, auto_id=f"{profile.code}-%s")
        rows.append(ProfileRow(profile, form, scheduled.get(f"Retrain {profile.code}")))
    return rows


@require_safe
@role_required()
def watching(request: HttpRequest) -> HttpResponse:
    return _watching(request)


def _watching(request: HttpRequest, bound: PolicyForm | None = None) -> HttpResponse:
    jobs = TrainingJob.objects.filter(result__isnull=False).select_related("profile", "result")[:SHOWN]
    return render(
        request,
        "retraining/watching.html",
        {
            "rows": profile_rows(bound),
            "precision": feedback.precision(),
            "compared": [job for job in jobs if "comparison" in job.result.metrics],  # type: ignore[union-attr]
            "may_operate": may(request.user, ENGINEERING),
        },
        status=400 if bound else 200,
    )


@role_required(ENGINEERING)
@require_POST
def change_policy(request: HttpRequest, code: str) -> HttpResponse:
    profile = get_object_or_404(Profile, code=code)
    form = PolicyForm(request.POST, instance=policies.policy(profile), auto_id=f"{code}-%s")
    if not form.is_valid():
        return _watching(request, form)
    policies.change_policy(profile, form.cleaned_data, who=person(request), now=timezone.now())
    messages.success(request, f"{profile.label} is trained again as you said.")
    return redirect("watching")


@require_safe
@role_required()
def comparison(request: HttpRequest, name: str) -> HttpResponse:
    """A version beside the one that served when it was made."""
    version = get_object_or_404(ModelVersion.objects.select_related("profile"), name=name)
    found = version.metrics.get("comparison")
    if not found:
        raise Http404(f"When {name} was made, nothing served that it could be compared with.")
    motes = Mote.objects.select_related("site").in_bulk()
    learnt_until = datetime.fromisoformat(found["serving_learnt_until"]) if found.get("serving_learnt_until") else None
    first_at = instant(found["first_at_us"])
    shown = {
        "version": version, "found": found, "gate": version.metrics.get("gate", {}), "rows": candidates.rows(version),
        "learnt_until": learnt_until if learnt_until and learnt_until > first_at else None,
        "first_at": first_at, "last_at": instant(found["last_at_us"]),
        "changed": [*_named(found["gained"]["first"], motes, "gained"), *_named(found["lost"]["first"], motes, "lost")],
        "lost_confirmed": _named(found.get("confirmed", {}).get("lost", []), motes, "lost"),
        "bars": bars(found["serving"]["scores"], found["candidate"]["scores"]), "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip
    return render(request, "retraining/comparison.html", shown)


def _named(events: list[dict[str, Any]], motes: dict[Any, Mote], way: str) -> list[dict[str, Any]]:
    return [{**one, "way": way, "mote": motes.get(one["mote"]), "at": instant(one["started_at_us"])} for one in events]


def bars(before: list[int], after: list[int]) -> list[dict[str, Any]]:
    """Both histograms as bars side by side; heights go by the logarithm, since most readings are no surprise."""
    most = math.log10(1 + max(*before, *after, 1))
    wide = WIDTH / BINS
    drawn = []
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        for side, (kind, n) in enumerate((("serving", old), ("candidate", new))):
            height = HEIGHT * math.log10(1 + n) / most
            drawn.append({
                "kind": kind, "n": n, "from": place / BINS, "to": (place + 1) / BINS,
                "x": round(place * wide + side * wide / 2 + 1, 2), "width": round(wide / 2 - 1.5, 2),
                "y": round(HEIGHT - height, 2), "height": round(height, 2),
            })  # fmt: skip
    return drawn
