"""The Insights page: what serves and how good it is, what it noticed, what it can do, and a place to try it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from alerts.models import Event
from ingestion.capability import keeping
from ingestion.capability.models import CapabilityTable
from ingestion.capability.telling import Line, cannot, lines
from ingestion.pages.models_page import VersionRow, row_of
from mlops import calibrations, patterns
from mlops.forecasts.accuracy import DAYS as FORECAST_DAYS
from mlops.forecasts.accuracy import Accuracy, accuracy
from mlops.models import Kind as ModelKind
from mlops.models import ModelVersion, TrainingJob
from sensors.aggregates import aggregates
from sensors.fleet import Fleet
from sensors.readings import Channel, score, severity
from sensors.readings import Profile as Kind
from sensors.registry import current_fleet
from sensors.roles import ENGINEERING, OPERATE, may, role_required
from sensors.spoken import spoken_table
from sensors.stores import HotStore, StoreUnavailable, hot

FEED = 12
NEAREST = 3
MOST_MOTES = 500  # to choose from
SCORED_FOR = timedelta(minutes=15)
MOST_SCORED = 100_000
BINS = 20
GRADES = ((0.99, "all"), (0.8, "most"), (0.5, "half"), (0.01, "few"))  # how a share looks in the capability table


# ---- what serves --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What judges a profile, on the model bar."""

    kind: Kind
    row: VersionRow | None
    n_motes: int
    job: TrainingJob | None  # the newest training

    @property
    def false_events(self) -> float | None:
        return self.row.metrics.get("false_events_per_mote_week") if self.row else None


def model_cards(fleet: Fleet) -> list[ModelCard]:
    serving = ModelVersion.objects.filter(stage=ModelVersion.Stage.PRODUCTION, mote=None).select_related("profile")
    rows = {version.profile.code: row_of(version) for version in serving}
    counts = {code: sum(mote.profile == code for mote in fleet.motes) for code in fleet.profiles}
    jobs = _newest_jobs()
    return [
        ModelCard(kind, rows.get(code), counts[code], jobs.get(code)) for code, kind in sorted(fleet.profiles.items())
    ]


def _newest_jobs() -> dict[str, TrainingJob]:
    """The newest training of a whole profile's detector, by profile."""
    trainings = TrainingJob.objects.filter(mote=None, kind=ModelKind.DETECTOR)
    newest = trainings.order_by().values("profile").annotate(newest=Max("pk")).values("newest")
    return {job.profile.code: job for job in trainings.filter(pk__in=newest).select_related("profile").defer("log")}


# ---- what was noticed ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Noticed:
    """An event in the feed."""

    event: Event
    severity: str
    shares: list[tuple[str, int]]


def feed(fleet: Fleet) -> list[Noticed]:
    events = Event.objects.filter(is_history=False).select_related("mote__site", "mote__profile")[:FEED]
    return [_noticed(event, fleet.profiles.get(event.mote.profile.code), fleet) for event in events]


def _noticed(event: Event, kind: Kind | None, fleet: Fleet) -> Noticed:
    labels = {channel.code: channel.label for channel in kind.channels} if kind else {}
    shares = sorted(event.contributions.items(), key=lambda one: -one[1])[:2]
    told = [(labels.get(name, name), round(100 * share)) for name, share in shares if share >= 0.1]
    onset = fleet.onset(kind, event.model_version) if kind else 4.3
    return Noticed(event, severity(float(score(event.peak_surprise, onset))), told)


# ---- how scores lie -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """Readings with a score in a twentieth, as a bar of a drawing 400 wide and 100 high."""

    n: int
    low: float
    high: float
    x: float
    y: float
    height: float
    severity: str


def distribution(kind: Kind, motes: list[int], *, store: HotStore, fleet: Fleet, now: datetime) -> dict[str, Any]:
    """The scores of the last minutes in bins. The bars' heights are logarithms: one among thousands shall be seen."""
    table = store.between(kind, motes, now - SCORED_FOR, now + timedelta(minutes=1), limit=MOST_SCORED)
    judged = table.filter(pl.col("surprise").is_finite())
    surprise, onset = judged["surprise"].to_numpy(), fleet.onsets_of(kind, judged["model_version"].to_numpy())
    counts, _ = np.histogram(score(surprise, onset), bins=BINS, range=(0.0, 1.0))
    top = math.log10(1 + max(int(counts.max(initial=0)), 1))
    width = 400 / BINS
    bars = [
        Bar(n, k / BINS, (k + 1) / BINS, round(k * width + 1, 1), round(100 * (1 - math.log10(1 + n) / top), 1),
            round(100 * math.log10(1 + n) / top, 1), severity((k + 0.5) / BINS))
        for k, n in enumerate(counts.tolist())
    ]  # fmt: skip
    n_odd = int((surprise >= onset).sum())
    by_chance = float((10**-onset).mean()) if len(onset) else 10**-kind.onset
    return {
        "kind": kind, "bars": bars, "n": len(surprise), "n_odd": n_odd,
        "share": n_odd / len(surprise) if len(surprise) else None, "expected": round(1 / by_chance),
        "minutes": int(SCORED_FOR.total_seconds() // 60),
    }  # fmt: skip


# ---- what it can do -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """How many of a kind one layer alone would have found."""

    layer: str
    share: float | None
    grade: str

    @property
    def percent(self) -> str:
        return "" if not self.share else f"{100 * self.share:.0f}"


@dataclass(frozen=True, slots=True)
class CapabilityCard:
    """A capability table as the page shows it."""

    made: CapabilityTable
    rows: list[tuple[Line, str, list[Cell], str]]  # how its share looks, what each layer did, what to sort by
    cannot: list[str]
    false_by_layer: list[tuple[str, float | None]]

    @property
    def lengths(self) -> str:
        low, high = (seconds / 60 for seconds in self.made.table["fault_length_s"])
        return f"{low:g} to {high:g} min"

    @property
    def is_of_another(self) -> bool:
        """The version that was measured serves no more."""
        return self.made.version is not None and self.made.version.stage != ModelVersion.Stage.PRODUCTION


def capability_cards() -> list[CapabilityCard]:
    return [_card(made) for made in keeping.newest()]


def _card(made: CapabilityTable) -> CapabilityCard:
    layers = made.table["layers"]
    rows = [
        (line, _grade(line.recall), [_cell(line, name) for name in layers], _sorts(line)) for line in lines(made.table)
    ]
    false = [(name, made.table["clean"]["layers"][name]) for name in layers]
    return CapabilityCard(made, rows, cannot(made.table, keeping.labels(made)), false)


def _cell(line: Line, layer: str) -> Cell:
    return Cell(layer, line.layers[layer], _grade(line.layers[layer]))


def _sorts(line: Line) -> str:
    """What the page's module sorts a row by."""
    return json.dumps(
        {"label": line.label, "recall": line.recall, "n": line.n, "delay": line.median_delay_s, **line.layers}
    )


def _grade(share: float | None) -> str:
    return next((name for least, name in GRADES if share is not None and share >= least), "none")


# ---- trying it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slider:
    channel: Channel
    low: float
    high: float
    value: float


def sliders(kind: Kind) -> list[Slider]:
    """Each measured channel, as far as its normal band is wide on either side."""
    return [_slider(channel) for channel in kind.channels if channel.formula is None and channel.is_detected]


def _slider(channel: Channel) -> Slider:
    low, high = channel.normal
    width = high - low
    least, most = max(low - width, channel.physical[0]), min(high + 2 * width, channel.physical[1])
    step = channel.resolution or width / 100
    return Slider(channel, _on_grid(least, step), _on_grid(most, step), _on_grid((low + high) / 2, step))


def _on_grid(value: float, step: float) -> float:
    return round(round(value / step) * step, 6)


def nearest(kind: Kind, values: Mapping[str, float], latest: pl.DataFrame) -> pl.DataFrame:
    """The newest readings that are most like these values, each channel counted in widths of its normal band."""
    apart = [
        ((pl.col(each.code) - values[each.code]) / max(each.normal[1] - each.normal[0], 1e-9)) ** 2
        for each in kind.channels
        if each.code in values
    ]
    if not apart:
        return latest.head(0)
    distance = latest.with_columns(apart=pl.mean_horizontal(apart).sqrt())
    return distance.filter(pl.col("apart").is_finite()).sort("apart").head(NEAREST).drop("apart")


def _numbers(kind: Kind, query: Mapping[str, str]) -> dict[str, float]:
    """The channels' values in an address; what is no number is left out."""
    found = {}
    for name in kind.names:
        try:
            found[name] = float(query.get(name, ""))
        except ValueError:
            continue
    return {name: value for name, value in found.items() if math.isfinite(value)}


# ---- how good forecasts were --------------------------------------------------------------------------------


def forecast_accuracy(fleet: Fleet, now: datetime) -> list[tuple[Kind, Accuracy]]:
    """Of the profiles of which any forecast is over."""
    found = [(kind, accuracy(code, FORECAST_DAYS, now=now)) for code, kind in sorted(fleet.profiles.items())]
    return [(kind, one) for kind, one in found if one.stretches]


# ---- the page -----------------------------------------------------------------------------------------------


@require_safe
@role_required()
def insights(request: HttpRequest) -> HttpResponse:
    fleet, now = current_fleet(), timezone.now()
    day = Event.objects.filter(is_history=False, noticed_at__gte=now - timedelta(days=1))
    cards = model_cards(fleet)
    tries = [
        (card, sliders(card.kind), [mote for mote in fleet.motes if mote.profile == card.kind.code][:MOST_MOTES])
        for card in cards
        if card.n_motes
    ]
    shown = {
        "cards": cards,
        "feed": feed(fleet),
        "n_events": day.count(),
        "layers": day.order_by().values("layer").annotate(n=Count("id")).order_by("-n")[:4],
        "tries": tries,
        "capability": capability_cards(),
        "may_judge_files": may(request.user, OPERATE),
        "may_train": may(request.user, ENGINEERING),
        "extras": ["insights/_calibration.html", "insights/_forecasts.html", "insights/_seasonality.html"],
        "forecast_accuracy": forecast_accuracy(fleet, now),
        **calibrations.context(),
        **patterns.context(request.GET, fleet=fleet, aggregates=aggregates(), now=now),
    }
    return render(request, "insights.html", shown)


@require_safe
@role_required()
def insights_feed(request: HttpRequest) -> HttpResponse:
    """The newest events, for the page's module."""
    return render(request, "insights/_feed.html", {"feed": feed(current_fleet())})


@require_safe
@role_required()
def insights_scores(request: HttpRequest) -> HttpResponse:
    """How the scores of the last minutes lie, profile by profile."""
    fleet, now = current_fleet(), timezone.now()
    try:
        found = [
            distribution(kind, own, store=hot(), fleet=fleet, now=now)
            for code, kind in sorted(fleet.profiles.items())
            if (own := [mote.id for mote in fleet.motes if mote.profile == code])
        ]
    except StoreUnavailable as away:
        return render(
            request, "insights/_scores.html", {"trouble": f"The hot store does not answer: {away}"}, status=503
        )
    return render(request, "insights/_scores.html", {"distributions": found})


@require_safe
@role_required()
def insights_nearest(request: HttpRequest) -> JsonResponse:
    """The newest readings that are most like made-up values, or the newest one of a mote, for the sliders."""
    fleet = current_fleet()
    kind = fleet.profiles.get(request.GET.get("profile", ""))
    if kind is None:
        return JsonResponse(
            {"detail": f"There is no such profile; there are: {', '.join(fleet.profiles)}."}, status=400
        )
    key = request.GET.get("mote", "")
    own = [mote.id for mote in fleet.motes if mote.profile == kind.code and key in ("", f"{mote.site}/{mote.code}")]
    try:
        latest = hot().latest(kind, own)
        like = latest if key else nearest(kind, _numbers(kind, request.GET.dict()), latest)
    except StoreUnavailable as away:
        return JsonResponse({"detail": f"The hot store does not answer: {away}"}, status=503)
    return JsonResponse({"readings": spoken_table(like, kind.code, fleet) if len(like) else []})
