"""The pages of a model's making: trainings, a version's card, two side by side, and which scored a reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from rest_framework.exceptions import NotFound

from ingestion import words
from ingestion.pages.models_page import row_of
from mlops import registry, reports, tracing_api, training_jobs
from mlops.models import Kind, ModelVersion, ServingPeriod, TrainingJob
from mlops.parameters import BadParameters
from mlops.reports import FOREST_SHARE
from sensors.models import AuditEntry, Profile
from sensors.roles import ENGINEERING, may, person, role_required

ON_A_PAGE, CHARTED, SHOWN_PERIODS = 25, 20, 40
WIDTH, HEIGHT = 360, 110  # of a chart's own units
CHARTS = (
    ("false_events_per_mote_week", "False events a mote and week", 2),
    ("found_share", "Share of planted faults found", 2),
    ("flagged_share", "Share of clean readings flagged", 4),
)
# What no version of ours can find, whatever it learnt; the card says it beside what this one missed.
BLIND = (
    "a fault that all motes share from the first day on: it was learnt as normal",
    "a drift slower than the baseline that follows a mote, some hours of steps",
    "silence: a mote that says nothing is told by Health and the flow, not by a model",
    "a value that is wrong within what its mote shows at that hour",
)


BLIND_AHEAD = (
    "what has no sign in the readings before it: a window that is opened, a machine that is switched on",
    "a course that the days it learnt from did not have: another season, a new use of the room",
    "a mote that it has not learnt from, or one that has been silent for too long",
)
BLIND_TO_SMOKE = (
    "smoke unlike what was labelled: another fire, another place, another sensor",
    "anything where a channel that it learnt from is missing for long",
)


class TrainingForm(forms.Form):
    profile = forms.ModelChoiceField(Profile.objects.all(), to_field_name="code", empty_label=None)
    kind = forms.ChoiceField(
        choices=(
            (Kind.DETECTOR, "the engine"), (Kind.CLASSIFIER, "the classifier (smoke)"), (Kind.FORECAST, "forecasts"),
        ),
        required=False, label="What",
    )  # fmt: skip
    scope = forms.CharField(
        required=False,
        max_length=130,
        label="Only mote",
        help_text="Its code, or each for one model a mote; empty: all",
    )
    days = forms.FloatField(required=False, min_value=0.1, max_value=3660, label="Last days", help_text="10 if empty")
    start = forms.CharField(required=False, label="Or from", help_text="Such as 2026-03-01T00:00Z")
    end = forms.CharField(required=False, label="to")
    promote = forms.ChoiceField(
        choices=(("gate", "the gate decides"), ("never", "leave it a candidate")), required=False, label="Promotion"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "field"

    def parameters(self) -> dict[str, Any]:
        given = {name: self.cleaned_data.get(name) for name in ("days", "start", "end", "promote")}
        return {name: value for name, value in given.items() if value not in (None, "")}


@require_safe
@role_required()
def trainings(request: HttpRequest) -> HttpResponse:
    return _page(request, TrainingForm())


def _page(request: HttpRequest, form: TrainingForm, status: int = 200) -> HttpResponse:
    found = TrainingJob.objects.select_related("profile", "mote__site", "requested_by", "result")
    shown = {
        "form": form, "page": Paginator(found, ON_A_PAGE).get_page(request.GET.get("page")), "charts": charts(),
        "groups": groups(), "may_operate": may(request.user, ENGINEERING), "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip
    return render(request, "training/trainings.html", shown, status=status)


@role_required(ENGINEERING)
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    form = TrainingForm(request.POST)
    if not form.is_valid():
        return _page(request, form, 400)
    given: dict[str, Any] = {"trigger": "person", "who": person(request), "now": timezone.now()}
    code, scope = form.cleaned_data["profile"].code, form.cleaned_data["scope"]
    try:
        kind = form.cleaned_data["kind"] or Kind.DETECTOR
        if scope == "each" and kind != Kind.CLASSIFIER:
            jobs, refused = training_jobs.request_each(code, parameters=form.parameters(), kind=kind, **given)
        else:
            mote = training_jobs.find_mote(code, scope) if scope else None
            jobs = [training_jobs.request(code, parameters=form.parameters(), mote=mote, kind=kind, **given)]
            refused = []
    except (BadParameters, training_jobs.UnknownMote, training_jobs.AlreadyTraining) as wrong:
        form.add_error(None, str(wrong))
        return _page(request, form, 409 if isinstance(wrong, training_jobs.AlreadyTraining) else 400)
    for job in jobs:
        training_jobs.dispatch(job)
    also = f" {len(refused)} run already." if refused else ""
    messages.success(request, f"{len(jobs)} training{'s' if len(jobs) != 1 else ''} asked for.{also}")
    return redirect("training")


@dataclass(frozen=True, slots=True)
class Group:
    """Trainings that were asked for at once: how many came out well, and which did not and why."""

    queued_at: datetime
    n: int
    n_succeeded: int
    n_unfinished: int
    failed: Sequence[TrainingJob]


def groups(most: int = 3) -> list[Group]:
    recent = TrainingJob.objects.exclude(mote=None).select_related("mote__site").order_by("-queued_at")[:500]
    by_instant: dict[datetime, list[TrainingJob]] = {}
    for job in recent:
        by_instant.setdefault(job.queued_at, []).append(job)
    many = [(at, jobs) for at, jobs in by_instant.items() if len(jobs) > 1][:most]
    return [
        Group(
            at, len(jobs), sum(job.status == TrainingJob.Status.SUCCEEDED for job in jobs),
            sum(job.status in TrainingJob.UNFINISHED for job in jobs),
            [job for job in jobs if job.status in (TrainingJob.Status.FAILED, TrainingJob.Status.CANCELLED)],
        )
        for at, jobs in many
    ]  # fmt: skip


# ---- held-out figures over versions ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dot:
    version: ModelVersion
    value: str
    x: float
    y: float

    @property
    def is_serving(self) -> bool:
        return self.version.stage == ModelVersion.Stage.PRODUCTION


@dataclass(frozen=True, slots=True)
class Chart:
    label: str
    profile: str
    dots: Sequence[Dot]
    line: str
    top: str


def charts() -> list[Chart]:
    """One a profile and figure, over the last versions of the profile as a whole."""
    drawn = []
    for profile in Profile.objects.all():
        newest = (
            ModelVersion.objects.filter(profile=profile, mote=None).exclude(metrics={}).order_by("-number")[:CHARTED]
        )
        versions = list(reversed(newest))
        if len(versions) > 1:
            drawn += [_chart(profile.label, label, name, digits, versions) for name, label, digits in CHARTS]
    return drawn


def _chart(profile: str, label: str, name: str, digits: int, versions: Sequence[ModelVersion]) -> Chart:
    values = [one.metrics.get(name) for one in versions]
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    dots = [
        Dot(
            one,
            words.number(value, digits),
            (i + 0.5) * WIDTH / len(versions),
            HEIGHT - 8 - value / top * (HEIGHT - 24),
        )
        for i, (one, value) in enumerate(zip(versions, values, strict=True))
        if value is not None
    ]
    line = " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in dots)
    return Chart(label, profile, dots, line, words.number(top, digits))


# ---- the card of a version ------------------------------------------------------------------------------------


@require_safe
@role_required()
def card(request: HttpRequest, name: str) -> HttpResponse:
    version = get_object_or_404(ModelVersion.every.select_related("profile", "mote__site", "job"), name=name)
    shown = {
        "row": row_of(version), "version": version,
        **told(version),
        "rules": version.metrics.get("gate", {}).get("rules", []),
        "deeds": AuditEntry.objects.filter(subject=registry.subject(version)).select_related("who")[:SHOWN_PERIODS],
        "periods": version.serving_periods.order_by("-started_at")[:SHOWN_PERIODS],
        "validations": version.validations.order_by("-made_at")[:SHOWN_PERIODS],
        "may_operate": may(request.user, ENGINEERING),
    }  # fmt: skip
    return render(request, "training/card.html", shown)


def told(version: ModelVersion) -> dict[str, Any]:
    """Its figures, and what it cannot do."""
    if version.is_forecast:
        return {"figures": figures_of_forecasts(version), "blind": BLIND_AHEAD, "cannot": "foresee"}
    if version.is_classifier:
        return {"figures": figures_of_classifier(version), "blind": BLIND_TO_SMOKE}
    return {"figures": figures(version), "blind": blind_spots(version)}


def figures(version: ModelVersion) -> list[tuple[str, str]]:
    """What a person compares of a version, in words."""
    metrics, data = version.metrics, version.data
    left_out = data.get("left_out", {})
    parts: Mapping[str, Any] = data.get("parts", {})
    low, high = FOREST_SHARE
    return [
        ("Held-out readings", _count(metrics.get("n_readings"))),
        ("Clean readings flagged", _share(metrics.get("flagged_share"))),
        ("False events a mote and week", words.number(metrics.get("false_events_per_mote_week"), 2)),
        ("Planted faults found", _of(metrics.get("n_found"), metrics.get("n_planted"))),
        (f"Forest alone, anomalous ({low:.0%} to {high:.0%} expected)", _share(metrics.get("forest_anomaly_ratio"))),
        ("Readings learnt from", _count(data.get("readings_used"))),
        ("Motes", _count(data.get("n_motes"))),
        ("Left out", ", ".join(f"{why.replace('_', ' ')} {_count(n)}" for why, n in left_out.items()) or words.NOTHING),
        ("Learnt from", _span(parts.get("train"))),
        ("Calibrated on", _span(parts.get("calibrate"))),
        ("Held out", _span(parts.get("held_out"))),
        ("Lake version", str(data.get("lake_version", words.NOTHING))),
        ("Content hash", str(data.get("content_hash", words.NOTHING))[:16]),
        ("Seconds to train", words.number(data.get("seconds"), 1)),
        ("Size", f"{version.size / 1e6:.2f} MB"),
        ("Features", ", ".join(version.features)),
        ("Seed", str(version.seed)),
        ("Libraries", ", ".join(f"{name} {release}" for name, release in version.libraries.items())),
        ("SHA-256", version.sha256[:16]),
    ]


def figures_of_classifier(version: ModelVersion) -> list[tuple[str, str]]:
    """What a person must know of a classifier's figures, with how few recordings may stand behind them."""
    metrics, data = version.metrics, version.data
    alone = metrics.get("alone", {})
    told = ", ".join(f"{source} {_count(n)}" for source, n in data.get("told_by", {}).items())
    only = ": simulated: no evidence for real smoke" if metrics.get("is_simulated") else ""
    return [
        ("Judged on", f"{metrics.get('n_recordings')} recordings of {metrics.get('n_families')} detectors, each judged "
                      "by what had learnt from the others"),
        ("Truth told by", f"{told}{only}"),
        ("Held-out readings", _count(metrics.get("n_readings"))),
        ("Precision and recall", f"{_digits(metrics.get('precision'))} and {_digits(metrics.get('recall'))}"),
        ("False alarms an hour", words.number(metrics.get("false_alarms_per_hour"), 2)),
        ("Fires found", _of(metrics.get("n_found"), metrics.get("n_alarms"))),
        ("Delay in the middle", f"{words.number(metrics.get('median_delay_s'), 0)} s"),
        ("Accuracy", _digits(metrics.get("accuracy")) + (f": {metrics['warning']}" if metrics.get("warning") else "")),
        ("Of a reading alone", f"precision {_digits(alone.get('precision'))}, recall {_digits(alone.get('recall'))}"),
        ("Readings learnt from", _count(data.get("readings_used"))),
        ("Lake version", str(data.get("lake_version", words.NOTHING))),
        ("Seconds to train", words.number(data.get("seconds"), 1)),
        ("Size", f"{version.size / 1e6:.2f} MB"),
        ("Features", ", ".join(version.features)),
        ("Seed", str(version.seed)),
        ("Libraries", ", ".join(f"{name} {release}" for name, release in version.libraries.items())),
        ("SHA-256", version.sha256[:16]),
    ]  # fmt: skip


def figures_of_forecasts(version: ModelVersion) -> list[tuple[str, str]]:
    """How good it was on days that it had not seen, as a whole and by channel."""
    metrics, data, made = version.metrics, version.data, version.parameters
    parts: Mapping[str, Any] = data.get("parts", {})
    steps, step_s = made["horizon"], made["step_s"]
    return [
        ("Looks ahead", f"{steps * step_s / 3600:g} hours in {steps} steps of {step_s / 60:g} min"),
        ("All channels", reports.forecasts(metrics)),
        *((code, reports.forecasts_of_channel(one)) for code, one in metrics["channels"].items()),
        ("MAPE left out near zero", f"{metrics['n_without_mape']} of {metrics['n_series']} series"),
        ("On the same days before", reports.forecasts_before(metrics)),
        ("Readings learnt from", _count(data.get("readings_used"))),
        ("Motes", _count(data.get("n_motes"))),
        ("Learnt from", _span(parts.get("train"))),
        ("Validated on", _span(parts.get("calibrate"))),
        ("Held out", _span(parts.get("held_out"))),
        ("Lake version", str(data.get("lake_version", words.NOTHING))),
        ("Seconds to train", words.number(data.get("seconds"), 1)),
        ("Size", f"{version.size / 1e6:.2f} MB"),
        ("Seed", str(version.seed)),
        ("Libraries", ", ".join(f"{name} {release}" for name, release in version.libraries.items())),
        ("SHA-256", version.sha256[:16]),
    ]


def _digits(share: float | None) -> str:
    return words.number(share, 4)


def blind_spots(version: ModelVersion) -> list[str]:
    """What it cannot detect: what it missed of the planted faults, what it does not know, and what none can."""
    found, planted = version.metrics.get("n_found"), version.metrics.get("n_planted")
    own = []
    if planted:
        own.append(
            f"{planted - found} of {planted} faults that were planted into held-out days: one channel moved by six "
            "tenths of its normal band for two hours"
        )
    if version.metrics.get("forest_anomaly_ratio") is None:
        own.append("unusual combinations of values: it has no forest")
    scope = f"other motes than {version.mote}" if version.mote else f"other profiles than {version.profile.code}"
    own.append(f"{scope}, and other versions of the profile than {version.profile_version}")
    return [*own, *BLIND]


def _count(n: int | None) -> str:
    return words.NOTHING if n is None else words.count(n)


def _share(share: float | None) -> str:
    return words.NOTHING if share is None else f"{share * 100:.2f} %"


def _of(n: int | None, of: int | None) -> str:
    return f"{n} of {of}" if of else words.NOTHING


def _span(part: Mapping[str, Any] | None) -> str:
    if not part:
        return words.NOTHING
    first, last = (part[name][:16].replace("T", " ") for name in ("first_at", "last_at"))
    return f"{_count(part['readings'])}, {first} to {last} UTC"


# ---- two versions, and what scored a reading ------------------------------------------------------------------


@require_safe
@role_required()
def beside(request: HttpRequest) -> HttpResponse:
    names = [request.GET.get(side, "") for side in ("a", "b")]
    found = {
        one.name: one for one in ModelVersion.objects.filter(name__in=names).select_related("profile", "mote__site")
    }
    if missing := [name for name in names if name not in found]:
        raise Http404(f"There is no version “{missing[0]}”.")
    left, right = (found[name] for name in names)
    rows = [
        (label, one, other, one != other)
        for (label, one), (_, other) in zip(figures(left), figures(right), strict=True)
    ]
    is_alike = left.data.get("parts", {}).get("held_out") == right.data.get("parts", {}).get("held_out")
    return render(request, "training/beside.html", {"left": left, "right": right, "rows": rows, "is_alike": is_alike})


@require_safe
@role_required()
def scored(request: HttpRequest) -> HttpResponse:
    """Which model scored this: asked as the API is."""
    asked = {name: value for name, value in request.GET.items() if value and name in tracing_api.ScoredQuery().fields}
    shown: dict[str, Any] = {"asked": asked, "profiles": Profile.objects.all()}
    if asked:
        query = tracing_api.ScoredQuery(data=asked)
        if query.is_valid():
            try:
                shown["found"] = tracing_api.answer(query.validated_data)
            except (NotFound, Http404) as missing:
                shown["trouble"] = str(getattr(missing, "detail", "")) or "There is no such alert."
        else:
            shown["trouble"] = " ".join(str(one) for told in query.errors.values() for one in told)
    return render(request, "training/scored.html", shown, status=404 if "trouble" in shown else 200)


def history_of_serving() -> list[ServingPeriod]:
    """From when on which version judged what, the newest first."""
    periods = ServingPeriod.objects.select_related("version__profile", "version__mote__site")
    return list(periods.order_by("-started_at", "topic", "partition")[:SHOWN_PERIODS])
