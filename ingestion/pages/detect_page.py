"""The pages of judging a file of one's own: drop it, see how it is read, watch it being judged, see its events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from ingestion.detecting import results, runs
from ingestion.detecting.asking import TRAIN
from ingestion.detecting.models import DetectRun
from mlops.detect import CannotJudge
from mlops.detect.residual import why_not
from sensors.registry import profiles
from sensors.roles import OPERATE, person, role_required
from sensors.tables.times import ORDERS
from sensors.uploads import takes_files

ON_A_PAGE = 25
DETECTED_BY = {
    "engine": "the engine's layers",
    "ridge": "a forecast's error (ridge regression)",
    "telemanom": "a forecast's error (LSTM, telemanom)",
}
BADGES = {"done": "ok", "failed": "bad", "running": "warn", "queued": "warn"}


class SettingsForm(forms.Form):
    """How the file is to be read; what is left empty the data decide."""

    time = forms.CharField(label="Time", required=False, max_length=200)
    interval = forms.CharField(label="No times: one row every", required=False, max_length=20)
    start = forms.CharField(label="No times: first row at", required=False, max_length=40)
    values = forms.CharField(label="Columns to judge", required=False, max_length=4000)
    by = forms.CharField(label="One series for each", required=False, max_length=200)
    train = forms.CharField(label="Learn from the first", required=False, max_length=40)
    profile = forms.CharField(label="Profile of the sensors", required=False, max_length=50)
    decimal = forms.CharField(label="Decimal mark", required=False, max_length=1)
    date_order = forms.CharField(label="Dates such as 02/03/04", required=False, max_length=3)
    detector = forms.CharField(label="Judged by", required=False, max_length=20)


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of the form with what it offers: choices for a list, a placeholder for a line."""

    name: str
    label: str
    value: str
    choices: list[tuple[str, str]]
    hint: str = ""


@takes_files(runs.LARGEST)
@require_http_methods(["GET", "HEAD", "POST"])
@role_required(OPERATE)
def detect(request: HttpRequest) -> HttpResponse:
    """The list of one's own files; a POST brings one and leads to what was seen in it."""
    trouble, who = "", person(request)
    if request.method == "POST":
        upload = request.FILES.get("file")
        try:
            if upload is None:
                raise CannotJudge("Choose a file: CSV or Parquet.")
            run = runs.keep(upload, {}, storage=default_storage, who=who, trigger="person", now=timezone.now())
            return redirect("detect-run", run.pk)
        except CannotJudge as refusal:
            trouble = str(refusal)
    page = Paginator(runs.of(who).defer("seen"), ON_A_PAGE).get_page(request.GET.get("page"))
    shown = {"page": page, "trouble": trouble, "largest": runs.LARGEST, "kept_days": runs.KEPT.days}
    return render(request, "detect/list.html", shown)


@require_http_methods(["GET", "HEAD", "POST"])
@role_required(OPERATE)
def detect_run(request: HttpRequest, pk: int) -> HttpResponse:
    """One file; a POST reads it anew, judges, cancels or forgets it."""
    run, trouble = get_object_or_404(runs.of(person(request)), pk=pk), ""
    if request.method == "POST":
        try:
            return _done(request, run)
        except (CannotJudge, runs.AlreadyJudging, runs.TooLate) as refusal:
            trouble = str(refusal)
            run.refresh_from_db()
    asked = request.POST if trouble else run.asked
    shown = {
        "run": run,
        "trouble": trouble,
        "settings": list(_settings(run, asked)),
        "badge": BADGES.get(run.state, ""),
    }
    if run.state == DetectRun.State.DONE:
        shown |= _results(run)
    return render(request, "detect/run.html", shown)


def _done(request: HttpRequest, run: DetectRun) -> HttpResponse:
    who, now, deed = person(request), timezone.now(), request.POST.get("deed")
    if deed in ("look", "start"):
        form = SettingsForm(request.POST)
        if not form.is_valid():
            raise CannotJudge("; ".join(f"{name}: {' '.join(map(str, words))}" for name, words in form.errors.items()))
        runs.look_again(run, form.cleaned_data, storage=default_storage)
    if deed == "start":
        runs.start(run, who=who, now=now)
        runs.dispatch(run)
    elif deed == "cancel":
        runs.cancel(run, now=now)
    elif deed == "forget":
        runs.forget(run, storage=default_storage)
        messages.info(request, f"“{run.name}” and its results are forgotten.")
        return redirect("detect")
    return redirect("detect-run", run.pk)


def _settings(run: DetectRun, asked: Any) -> Iterator[Setting]:
    columns = run.seen.get("columns", [])
    lists = {
        "time": [("", "recognised by its name"), *((name, name) for name in columns)],
        "by": [("", "all rows are one series"), *((name, name) for name in columns)],
        "profile": [("", "none: any numbers"), *((code, each.label) for code, each in sorted(profiles().items()))],
        "decimal": [("", "recognised"), (".", "point"), (",", "comma")],
        "date_order": [("", "recognised"), *((order, order) for order in ORDERS)],
        "detector": [(name, label) for name, label in DETECTED_BY.items() if not why_not(name)],
    }
    hints = {
        "interval": "30s, 5min, 1h",
        "start": "2026-03-01 12:00",
        "values": "all with numbers: a, b, c",
        "train": TRAIN,
        "detector": " ".join(filter(None, map(why_not, DETECTED_BY))),
    }
    for name, field in SettingsForm.base_fields.items():
        yield Setting(name, str(field.label), asked.get(name, ""), lists.get(name, []), hints.get(name, ""))


def _results(run: DetectRun) -> dict[str, Any]:
    try:
        with default_storage.open(f"{run.folder}/{results.SHOWN}") as file:
            shown = json.loads(file.read())
    except FileNotFoundError:
        return {"gone": True}
    return {
        "charts": shown["charts"],
        "events": [_told(event) for event in shown["events"]],
        "files": list(results.FILES),
        "forgotten_at": run.asked_at + runs.KEPT,
    }


def _told(event: dict[str, Any]) -> dict[str, Any]:
    shares = sorted(event["contributions"].items(), key=lambda each: -each[1])
    return {
        **event,
        "shares": [{"name": name, "percent": round(100 * share)} for name, share in shares[:4] if share > 0.05],
    }


@require_safe
@role_required(OPERATE)
def detect_result(request: HttpRequest, pk: int, name: str) -> HttpResponseBase:
    """One of the three files to take along; never shown inside the product, since its report is a page of its own."""
    run = get_object_or_404(runs.of(person(request)), pk=pk, state=DetectRun.State.DONE)
    if name not in results.FILES or not default_storage.exists(f"{run.folder}/{name}"):
        raise Http404(f"There is no {name} of this file.")
    return FileResponse(
        default_storage.open(f"{run.folder}/{name}"), as_attachment=True, content_type=results.FILES[name],
        filename=f"{run.name.rsplit('.', 1)[0]}.{name}",
    )  # fmt: skip
