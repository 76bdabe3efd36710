"""The Forecast page: the fleet by risk, and of one mote how each channel goes on, with what was said a day ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from ingestion import words
from mlops.forecasts import fleet_risks, record
from mlops.forecasts.fleet_risks import FleetRisk
from mlops.forecasts.issued_models import IssuedForecast
from mlops.forecasts.learnt import series_name
from mlops.forecasts.machine_stages import stage_times
from mlops.forecasts.record import Came
from mlops.forecasts.serving import Refusal, forecasts_of
from mlops.models import Kind, ModelVersion, TrainingJob
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Channel, Floats, micros
from sensors.registry import current_fleet
from sensors.roles import ENGINEERING, may, role_required
from sensors.stores import HotStore, StoreUnavailable, hot

DAY = timedelta(days=1)
ROWS = 24  # of a table behind a chart
NAIVE = {"naive": "the last value, which no model beat", "seasonal_naive": "the season before, which no model beat"}
MARGIN = timedelta(hours=1)  # a clock that is ahead


@dataclass(frozen=True, slots=True)
class MoteRow:
    """A mote of the fleet with the limit that it is likeliest to pass."""

    mote: MoteRef
    worst: FleetRisk | None
    is_chosen: bool

    @property
    def key(self) -> str:
        return f"{self.mote.site}/{self.mote.code}"

    @property
    def level(self) -> str:
        return self.worst.level if self.worst else "unknown"

    @property
    def chance(self) -> str:
        if self.worst is None:
            return words.NOTHING
        chance = self.worst.risk["probability"]
        return "< 1 %" if chance < 0.01 else f"{min(chance, 0.99) * 100:.0f} %"


@dataclass(frozen=True)
class Fan:
    """How a channel of a mote goes on."""

    channel: Channel
    forecast: IssuedForecast
    risks: Sequence[FleetRisk]
    record: record.TrackRecord
    past: list[tuple[float, float | None]]  # milliseconds, value
    earlier: IssuedForecast | None
    came: Floats  # at the steps of the earlier one
    by: str  # the member that its version chose for it; empty where that version is gone

    @property
    def worst(self) -> FleetRisk | None:
        return self.risks[0] if self.risks else None

    @property
    def table(self) -> list[tuple[datetime, list[str]]]:
        """At some of the steps: mean, and both intervals."""
        return [(at, [self._text(one) for one in self.forecast.rows[:, i].tolist()]) for i, at in _some(self.forecast)]

    @property
    def compared(self) -> list[tuple[datetime, list[str], str]]:
        """At some of the steps of the earlier one: mean and interval, what came, and whether it lay within."""
        if self.earlier is None:
            return []
        found = []
        for i, at in _some(self.earlier):
            mean, _, low, _, high, _ = self.earlier.rows[:, i].tolist()
            came = float(self.came[i])
            is_in = "nothing measured" if came != came else "yes" if low <= came <= high else "no"
            found.append((at, [self._text(one) for one in (mean, low, high, came)], is_in))
        return found

    def _text(self, value: float) -> str:
        return words.number(value, words.decimals_of(self.channel.resolution))

    @property
    def data(self) -> dict[str, Any]:
        """For the page's module; instants are milliseconds."""
        limits = {(one.risk["value"], one.risk["is_upper"]): one.risk["limit"] for one in self.risks}
        return {
            "code": self.channel.code, "label": self.channel.label, "unit": self.channel.unit,
            "resolution": self.channel.resolution, "past": self.past, "forecast": drawn(self.forecast),
            "earlier": drawn(self.earlier) if self.earlier else None,
            "limits": [{"value": value, "name": name} for (value, _), name in limits.items()],
        }  # fmt: skip


def drawn(forecast: IssuedForecast) -> dict[str, Any]:
    """A forecast for a chart: instants are milliseconds."""
    names = ("mean", "q025", "q10", "q50", "q90", "q975")
    rows = np.round(forecast.rows, 4).tolist()
    return {
        "origin": micros(forecast.origin_at) / 1000, "step": forecast.step_s * 1000,
        **dict(zip(names, rows, strict=True)),
    }  # fmt: skip


def _some(forecast: IssuedForecast) -> list[tuple[int, datetime]]:
    """Every so manieth step, the last among them."""
    instants = forecast.instants
    every = max(len(instants) // ROWS, 1)
    return [(i, instants[i]) for i in range(len(instants) - 1, -1, -every)][::-1]


# ---- one mote -----------------------------------------------------------------------------------------------


def fans(mote: MoteRef, risks: Sequence[FleetRisk], *, fleet: Fleet, store: HotStore, now: datetime) -> list[Fan]:
    """Of all channels that have a forecast, the likeliest to pass a limit first. StoreUnavailable."""
    profile = fleet.profiles[mote.profile]
    known = {one.code: one for one in profile.channels}
    last = {row.channel: row for row in fleet_risks.newest().filter(mote=mote.id, channel__in=known)}
    earlier = {code: _a_day_before(row) for code, row in last.items()}
    if not last:
        return []
    starts = [row.origin_at - 2 * row.step - (row.ends_at - row.origin_at) for row in last.values()]
    starts += [row.origin_at - row.step for row in earlier.values() if row]
    came = record.came_between(profile, [mote.id], min(starts), now + MARGIN, store)
    records = record.track_records([(mote.id, code) for code in last])
    chosen = _members(mote, last)
    found = [
        _fan(known[code], row, [one for one in risks if one.mote == mote and one.channel.code == code],
             records[mote.id, code], earlier[code], came, chosen[code])
        for code, row in last.items()
    ]  # fmt: skip
    return sorted(found, key=lambda one: risks.index(one.worst) if one.worst else len(risks))


def _members(mote: MoteRef, last: Mapping[str, IssuedForecast]) -> dict[str, str]:
    """By channel which member its forecast's version chose, as people are told."""
    of_channel = {
        code: KeyTransform(series_name(f"{mote.site}/{mote.code}", code), KeyTransform("series", "metrics"))
        for code in last
    }
    made = ModelVersion.every.filter(name__in={row.version for row in last.values()})
    told = made.values_list("name", *(KeyTextTransform("model", one) for one in of_channel.values()))
    by_version = {name: dict(zip(of_channel, members, strict=True)) for name, *members in told}
    found = {code: by_version.get(row.version, {}).get(code) or "" for code, row in last.items()}
    return {code: NAIVE.get(member, member) for code, member in found.items()}


def unsaid(mote: MoteRef, found: Sequence[Fan], *, fleet: Fleet, now: datetime) -> list[str]:
    """Why a mote's other channels have no forecast. StoreUnavailable."""
    told = {one.channel.code for one in found}
    rest = [one.code for one in fleet.profiles[mote.profile].channels if one.formula is None and one.code not in told]
    answers = forecasts_of([mote], rest, now=now) if rest else []
    return [one.reason for one in answers if isinstance(one, Refusal)]


def _a_day_before(row: IssuedForecast) -> IssuedForecast | None:
    """The forecast that was made a day before, or as long before as this one looks ahead."""
    until = row.origin_at - min(DAY, row.ends_at - row.origin_at)
    of_it = IssuedForecast.objects.filter(mote=row.mote_id, channel=row.channel)
    return of_it.filter(origin_at__lte=until, origin_at__gt=until - DAY).order_by("-origin_at").first()


def _fan(
    channel: Channel, row: IssuedForecast, risks: Sequence[FleetRisk], kept: record.TrackRecord,
    earlier: IssuedForecast | None, came: Came, by: str,
) -> Fan:  # fmt: skip
    n = row.rows.shape[1]
    start = row.origin_at - n * row.step
    until = came.readings[row.mote_id][0].max(initial=micros(row.origin_at))
    means = came.means(
        row.mote_id, row.channel, start, row.step_s, n + int((until - micros(row.origin_at)) // (row.step_s * 1e6))
    )
    at = micros(start) / 1000 + np.arange(len(means)) * row.step_s * 1000
    past = [(x, None if y != y else round(y, 4)) for x, y in zip(at.tolist(), means.tolist(), strict=True)]
    outcome = came.outcome(earlier)[1] if earlier else np.zeros(0)
    return Fan(channel, row, risks, kept, past, earlier, outcome, by)


# ---- the page -----------------------------------------------------------------------------------------------


@require_safe
@role_required()
def forecast(request: HttpRequest) -> HttpResponse:
    fleet, now = current_fleet(), timezone.now()
    risks = fleet_risks.fleet_risks(fleet)
    rows = _rows(fleet, risks, request.GET)
    row, asked = next((row for row in rows if row.is_chosen), None), request.GET.get("mote", "")
    chosen = row.mote if row else None
    found: list[Fan] = []
    refused: list[str] = []
    fault: StoreUnavailable | None = None
    try:
        if chosen:
            found = fans(chosen, risks, fleet=fleet, store=hot(), now=now)
            refused = unsaid(chosen, found, fleet=fleet, now=now)
    except StoreUnavailable as away:
        fault = away
    shown = {
        "rows": rows, "chosen": chosen, "fans": found, "refused": refused, "store_fault": fault,
        "unknown": asked if row and asked not in ("", row.key) else "",
        "counts": {name: sum(row.level == name for row in rows) for name in ("beyond", "high", "medium", "low")},
        "issued_at": max((one.forecast.issued_at for one in found), default=None),
        "serving": ModelVersion.every.filter(kind=Kind.FORECAST, stage=ModelVersion.Stage.PRODUCTION).exists(),
        "training": TrainingJob.objects.filter(kind=Kind.FORECAST).order_by("-queued_at").first(),
        "may_train": may(request.user, ENGINEERING),
        "profiles": sorted(fleet.profiles),
        "stages": stage_times(now, chosen.id)[chosen.id] if chosen else [],
        "data": {"channels": [one.data for one in found]},
    }  # fmt: skip
    return render(request, "forecast.html", shown)


def _rows(fleet: Fleet, risks: Sequence[FleetRisk], asked: Mapping[str, str]) -> list[MoteRow]:
    """The motes of the profiles that are forecast, the worst first; chosen is who was asked for, else the first."""
    worst: dict[int, FleetRisk | None] = {}
    for one in risks:
        worst.setdefault(one.mote.id, one)
    foretold = set(IssuedForecast.objects.order_by("mote").values_list("mote", flat=True).distinct())
    profiles = {fleet.by_id[mote].profile for mote in foretold if mote in fleet.by_id}
    silent = [one.id for one in fleet.motes if one.profile in profiles and one.state == "active" and not one.is_probe]
    for mote in [*sorted(foretold), *silent]:
        worst.setdefault(mote, None)
    motes = [fleet.by_id[mote] for mote in worst if mote in fleet.by_id and not fleet.by_id[mote].is_retired]
    keys = [f"{mote.site}/{mote.code}" for mote in motes]
    wanted = asked.get("mote", "")
    chosen = wanted if wanted in keys else next(iter(keys), "")
    return [MoteRow(mote, worst[mote.id], key == chosen) for mote, key in zip(motes, keys, strict=True)]
