"""The page of shadows: how a candidate does beside what serves, and what a person shall look at."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from mlops import feedback, shadowing
from mlops.models import ModelVersion, Review, ShadowRun
from sensors.roles import ENGINEERING, OPERATE, may, person, role_required

ON_A_PAGE = 30
SHOWN_RUNS = 10
Stage = ModelVersion.Stage


@require_safe
@role_required()
def review(request: HttpRequest) -> HttpResponse:
    """The queue: the rarest and strongest disagreements first, or the sample by lot, or what was settled."""
    which = request.GET.get("which", "disagreements")
    every = Review.objects.select_related("run__version__profile", "mote__site", "said_by")
    chosen = {
        "audit": every.filter(verdict="", kind=Review.Kind.AUDIT).order_by("-starts_at"),
        "settled": every.exclude(verdict="").order_by("-said_at"),
    }.get(which, every.filter(verdict="").exclude(kind=Review.Kind.AUDIT))
    runs = ShadowRun.objects.select_related("version__profile", "started_by")[:SHOWN_RUNS]
    shown: dict[str, Any] = {
        "which": which, "page": Paginator(chosen, ON_A_PAGE).get_page(request.GET.get("page")),
        "runs": [(run, shadowing.tally(run)) for run in runs],
        "may_label": may(request.user, OPERATE), "may_operate": may(request.user, ENGINEERING),
        "startable": ModelVersion.objects.filter(mote=None, stage__in=(Stage.CANDIDATE, Stage.ARCHIVED))
        .select_related("profile")[:20],
    }  # fmt: skip
    return render(request, "review/review.html", shown)


@role_required(OPERATE)
@require_POST
def settle(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Review.objects.select_related("mote__site", "run__version"), pk=pk)
    try:
        shadowing.settle(found, request.POST.get("verdict", ""), who=person(request), now=timezone.now())
    except (shadowing.AlreadySettled, feedback.BadLabel) as refusal:
        messages.info(request, str(refusal))
    return redirect(f"{reverse('review')}?which=audit" if found.kind == Review.Kind.AUDIT else "review")


@role_required(ENGINEERING)
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    version = get_object_or_404(ModelVersion.objects.select_related("profile"), name=request.POST.get("version"))
    try:
        shadowing.start(version, who=person(request), now=timezone.now())
    except shadowing.CannotShadow as refusal:
        messages.info(request, str(refusal))
    return redirect("review")


@role_required(ENGINEERING)
@require_POST
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    run = get_object_or_404(ShadowRun.objects.select_related("version"), pk=pk)
    shadowing.stop(run, who=person(request), now=timezone.now())
    return redirect("review")
