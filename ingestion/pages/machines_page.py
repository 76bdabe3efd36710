"""Machines by their health: what the page and the API say of each, and how its score went of late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from ingestion import words
from ingestion.machine_health import Health, health, scores
from ingestion.pages.live_page import silent_after_s
from mlops.forecasts.machine_stages import stage_times
from mlops.forecasts.stages import StageTime
from sensors import corrections, quality, registry
from sensors.fleet import Fleet
from sensors.machines import Kind, kinds
from sensors.models import Mote
from sensors.readings import score
from sensors.roles import role_required
from sensors.spoken import Spoken, instants, spoken_table
from sensors.stores import HotStore, StoreUnavailable, hot
from sensors.wear import HEALTHY, Limits, severities

STEPS = 90
MOST_READINGS = 200_000  # what the histories may read at once; a larger fleet sees less of the past
WINDOWS = (("900", "15 min"), ("3600", "1 h"), ("21600", "6 h"))
SHAPES = ("low", "medium", "high")
LOOKS = ("ok", "warn", "bad")


@dataclass(frozen=True, slots=True)
class Gauge:
    """A channel of a machine as it is drawn; places are shares of the gauge in percent."""

    limits: Limits
    value: float | None
    is_suspect: bool
    stage: int | None
    names: Sequence[str]

    @property
    def text(self) -> str:
        return words.number(self.value, words.decimals_of(self.limits.channel.resolution))

    @property
    def word(self) -> str:
        if self.value is not None and self.is_suspect:
            return "not to be trusted"
        return "unknown" if self.stage is None else "normal" if self.stage == HEALTHY else self.names[self.stage]

    @property
    def look(self) -> str:
        return "none" if self.stage is None else LOOKS[self.stage]

    @property
    def zones(self) -> list[tuple[str, str, str]]:
        """Look, from, width."""
        return [
            (LOOKS[stage], self._percent(start), f"{self._place(end) - self._place(start):.2f}%")
            for stage, start, end in self.limits.zones
        ]

    @property
    def at(self) -> str:
        return "" if self.value is None else self._percent(self.value)

    def _percent(self, value: float) -> str:
        return f"{self._place(value):.2f}%"

    def _place(self, value: float) -> float:
        low, high = self.limits.span
        return float(np.clip((value - low) / (high - low), 0.0, 1.0)) * 100


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with its last reading. One that is silent has no stage and no score: what it said no longer holds."""

    mote: Mote
    kind: Kind
    reading: Spoken | None
    age_s: float | None
    is_silent: bool
    health: Health
    foretold: Sequence[StageTime] = ()  # when it will be in which stage

    @property
    def key(self) -> str:
        return f"{self.mote.site.code}/{self.mote.code}"

    @property
    def stage(self) -> str:
        if self.is_silent:
            return "silent" if self.reading else "never heard"
        return "unknown" if self.health.stage is None else self.kind.names[self.health.stage]

    @property
    def look(self) -> str:
        return "none" if self.health.stage is None else LOOKS[self.health.stage]

    @property
    def shape(self) -> str:
        return SHAPES[self.health.stage or 0]

    @property
    def score_text(self) -> str:
        return words.number(self.health.score, 0)

    @property
    def seen_text(self) -> str:
        return words.ago(self.age_s)

    @property
    def gauges(self) -> list[Gauge]:
        reading = self.reading or {"values": {}, "suspect": []}
        return [
            Gauge(
                one,
                reading["values"].get(one.channel.code),
                one.channel.code in reading["suspect"],
                None if self.is_silent else stage,
                self.kind.names,
            )
            for one, stage in zip(self.kind.limits, self.health.stages, strict=True)
        ]


def machines(*, store: HotStore, now: datetime) -> list[Machine]:
    """All, who needs somebody first at the head: by score, then those of which nothing is known. StoreUnavailable."""
    fleet = registry.current_fleet()
    known = kinds(fleet)
    motes = [mote for mote in Mote.objects.on_page() if mote.profile.code in known]
    latest: dict[int, Spoken] = {}
    for code, kind in known.items():
        members = [mote.pk for mote in motes if mote.profile.code == code]
        table = corrections.latest(store, kind.profile, members) if members else pl.DataFrame()
        if len(table):
            latest |= zip(table["mote"].to_list(), spoken_table(table, code, fleet), strict=True)
    foretold = stage_times(now)
    found = [
        _machine(mote, known[mote.profile.code], latest.get(mote.pk), foretold.get(mote.pk, []), now) for mote in motes
    ]
    return sorted(found, key=lambda one: (one.health.score is None, one.health.score or 0.0, words.natural(one.key)))


def _machine(mote: Mote, kind: Kind, reading: Spoken | None, foretold: Sequence[StageTime], now: datetime) -> Machine:
    age_s = (now - datetime.fromisoformat(reading["at"])).total_seconds() if reading else None
    is_silent = age_s is None or age_s > silent_after_s(kind.profile)
    values: list[float | None] = [
        None if reading is None or one.channel.code in reading["suspect"] else reading["values"].get(one.channel.code)
        for one in kind.limits
    ]
    found = health(kind.limits, values, reading["score"] if reading else None, names=kind.names)
    nothing = Health(None, None, (), tuple(None for _ in kind.limits))
    return Machine(
        mote, kind, reading, age_s, is_silent, nothing if is_silent else found, () if is_silent else foretold
    )


# ---- how the score went -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class History:
    """Equal steps from `start` on; each is told by its mean readings, None where nothing was heard or trusted."""

    start: datetime
    step_s: float
    scores: Mapping[str, list[float | None]]
    stages: Mapping[str, list[int | None]]

    @property
    def at(self) -> list[str]:
        first = int(self.start.timestamp() * 1e6)
        return instants(first + np.arange(STEPS, dtype=np.int64) * round(self.step_s * 1e6))


def history(*, store: HotStore, now: datetime, window_s: float) -> History:
    """Of all machines over the window, or over as much of it as may be read at once. StoreUnavailable."""
    fleet = registry.current_fleet()
    known = kinds(fleet)
    per_s = sum(1 / known[mote.profile].profile.interval_s for mote in fleet.motes if mote.profile in known)
    step_s = max(1, round(min(window_s, MOST_READINGS / max(per_s, 1e-9)) / STEPS))
    first = int(now.timestamp()) // step_s - STEPS + 1
    start = datetime.fromtimestamp(first * step_s, UTC)
    found: dict[str, tuple[list[float | None], list[int | None]]] = {}
    for code, kind in known.items():
        members = [mote.id for mote in fleet.motes if mote.profile == code]
        if not members:
            continue
        table = corrections.between(store, kind.profile, members, start, now + timedelta(seconds=1))
        found |= {_name(fleet, mote): told for mote, told in _stepped(table, kind, members, first, step_s).items()}
    return History(
        start, step_s, {key: one for key, (one, _) in found.items()}, {key: one for key, (_, one) in found.items()}
    )


def _name(fleet: Fleet, mote: int) -> str:
    return f"{fleet.by_id[mote].site}/{fleet.by_id[mote].code}"


def _stepped(
    table: pl.DataFrame, kind: Kind, members: Sequence[int], first: int, step_s: int
) -> dict[int, tuple[list[float | None], list[int | None]]]:
    names = [one.channel.code for one in kind.limits]
    places = [kind.profile.names.index(name) for name in names]
    is_suspect = quality.suspects(table["flags"].to_numpy(), len(kind.profile.names))
    clean = [
        pl.when(pl.Series(is_suspect[:, place])).then(None).otherwise(pl.col(name)).alias(name)
        for place, name in zip(places, names, strict=True)
    ]
    step = (pl.col("at").cast(pl.Int64) // (step_s * 1_000_000) - first).alias("step")
    model = pl.Series("score", score(table["surprise"].to_numpy(), kind.profile.onset)).fill_nan(None)
    means = table.with_columns(*clean, model).group_by("mote", step).agg(pl.col(*names, "score").mean())
    every = pl.DataFrame({"mote": members}, schema={"mote": pl.Int64}).join(
        pl.DataFrame({"step": range(STEPS)}, schema={"step": pl.Int64}), how="cross"
    )
    full = every.join(means, on=["mote", "step"], how="left").sort("mote", "step")
    severity = severities(kind.limits, full.select(pl.col(names).fill_null(float("nan"))).to_numpy())
    total, stage = scores(severity, full["score"].fill_null(float("nan")).to_numpy())
    rows = {mote: slice(i * STEPS, (i + 1) * STEPS) for i, mote in enumerate(sorted(members))}
    return {
        mote: (
            [None if one != one else one for one in np.round(total[some], 1).tolist()],
            [None if one < 0 else one for one in stage[some].tolist()],
        )
        for mote, some in rows.items()
    }


# ---- the page -----------------------------------------------------------------------------------------------


@require_safe
@role_required()
def machines_page(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    found: list[Machine] = []
    fault: StoreUnavailable | None = None
    try:
        found = machines(store=hot(), now=now)
    except StoreUnavailable as away:
        fault = away
    shown = {
        "machines": found,
        "store_fault": fault,
        "counts": _counts(found),
        "windows": WINDOWS,
        "data": {"now": now.isoformat(), "machines": [_told(one) for one in found]},
    }
    return render(request, "machines.html", shown)


def _counts(found: Sequence[Machine]) -> dict[str, int]:
    stages = [one.health.stage for one in found]
    places = {"failing": 2, "degrading": 1, "healthy": 0, "unknown": None}
    return {name: stages.count(stage) for name, stage in places.items()}


def _told(one: Machine) -> dict[str, Any]:
    """For the page's module, by json_script."""
    reading = one.reading or {}
    return {
        "key": one.key,
        "code": one.mote.code,
        "silentAfterS": silent_after_s(one.kind.profile),
        "names": one.kind.names,
        "channels": [
            {
                "code": of.channel.code,
                "label": of.channel.label,
                "unit": of.channel.unit,
                "resolution": of.channel.resolution,
                "high": of.high,
                "low": of.low,
                "span": of.span,
            }
            for of in one.kind.limits
        ],
        **{name: reading.get(name) for name in ("at", "values", "suspect", "score", "is_anomaly", "quality", "flags")},
    }
