"""Learning a version of forecasts: each channel by several members, held to days that none of them had seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings

from mlops.classifying import Profiled
from mlops.forecasting import CannotForecast, Fitted, Forecaster, Panel
from mlops.forecasting.choosing import Tried, best, measured, offered, tried
from mlops.forecasting.file import AUTO
from mlops.forecasting.fitting import MOST_STEPS
from mlops.forecasting.intervals import REMEMBERED
from mlops.forecasting.measuring import Figures, score
from mlops.forecasting.members import DEFAULT, MEMBERS, NAIVES
from mlops.forecasting.seasons import CYCLES
from mlops.forecasts.learnt import FittedForecasts
from mlops.forecasts.recent import gridded, panel_of_grid
from mlops.history import History, TooLittleData
from mlops.parameters import Parameters
from sensors.fleet import Fleet
from sensors.readings import Profile

USUAL_STEP_S = 300.0
LEAST_STEPS = 6
# Of the steps, to learn from and to validate on. The rest, held out, is the largest part of a short past: intervals
# need 40 hours of forecasts that are over before the first origin that can be judged.
SHARES = (0.4, 0.25)
DAY_US = 86_400_000_000
TOLD = ("mae", "rmse", "mase", "crps", "coverage80", "coverage95", "width80", "r2", "mape")

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Held:
    """A channel's series, the rows to learn from and to validate on, and how each member did on the rest."""

    channel: str
    panel: Panel
    n_train: int
    n_validate: int
    results: tuple[Tried, ...] = ()


def step_s(profile: Profile) -> float:
    """Five minutes, or the interval of a mote that reports less often."""
    return max(USUAL_STEP_S, profile.interval_s)


def learn(
    past: History, asked: Parameters, *, fleet: Fleet, tell: Tell
) -> tuple[FittedForecasts, list[Held], dict[str, Any]]:
    """The version, what it was held to, and its figures there. Raises TooLittleData, CannotForecast."""
    profile, step = past.train.profile, step_s(past.train.profile)
    channels = [one.code for one in profile.channels if one.formula is None]
    parts = [_held(past, channel, profile, step, fleet) for channel in channels]
    horizon = _horizon(parts, min(round(asked.horizon_h * 3600 / step), MOST_STEPS))
    names = members_for(asked.model)
    held = []
    for place, part in enumerate(parts):
        tell(0.3 + 0.6 * place / len(parts), f"Learning {part.channel} by {', '.join(names)}, {horizon} steps ahead")
        held.append(replace(part, results=tuple(tried(part.panel, part.n_train, part.n_validate, horizon, names))))
    _refuse_unlearnt(asked.model, held)
    chosen, left_out = _chosen(held)
    learnt = FittedForecasts(
        profile=Profiled(profile.code, profile.version), features=tuple(channels), step_s=step, horizon=horizon,
        parameters={
            "seed": asked.seed, "step_s": step, "horizon": horizon, "models": names, "model": asked.model,
            "horizon_h": asked.horizon_h,
        },
        fits={part.channel: _remembering(part) for part in held}, chosen=chosen, left_out=left_out,
    )  # fmt: skip
    return learnt, held, figures(held, chosen, left_out)


def _refuse_unlearnt(model: str, held: Sequence[Held]) -> None:
    """A member that was asked for by name and learnt nothing: no other stands in for it."""
    whys = [one.why for part in held for one in part.results if one.name == model]
    if whys and all(whys):
        raise CannotForecast(f"{model} has learnt no channel: {whys[0]}")


def members_for(model: str) -> list[str]:
    """Both naive ones, which the others have to beat, and the one that was asked for."""
    if model == AUTO:
        return list(MEMBERS)
    return [*NAIVES, *([model or DEFAULT] if model not in NAIVES else [])]


def _held(past: History, channel: str, profile: Profile, step: float, fleet: Fleet) -> Held:
    us = round(step * 1e6)
    rows = pl.concat([part.to_table() for part in (past.train, past.calibrate, past.held_out)])
    grid = gridded(rows, [channel], us)
    motes = sorted(rows["mote"].unique().to_list())
    panel = panel_of_grid(grid, motes, profile, channel, us, fleet)
    n_train, n_validate = (int(share * len(panel)) for share in SHARES)
    return Held(channel, panel, n_train, n_validate)


def _horizon(parts: Sequence[Held], asked: int) -> int:
    """The farthest that these days can hold a forecast to: halved until they can, from every hour of a day."""
    horizon, why = asked, ""
    while horizon >= min(LEAST_STEPS, asked):
        for part in parts:
            try:
                if _n_held(part, horizon) >= DAY_US / part.panel.step:
                    return horizon
            except CannotForecast as too_little:
                why = str(too_little)
        horizon //= 2
    hours = len(parts[0].panel) * parts[0].panel.step / 3.6e9
    raise TooLittleData(
        f"{hours:,.1f} hours of clean readings are too few for a forecast of {asked:,} steps of "
        f"{parts[0].panel.step / 1e6:g} s, or of fewer: it has to be held to days that it has not learnt from. "
        f"{why or 'Five days are enough for some hours ahead, ten for a day'}."
    )


def _n_held(part: Held, horizon: int) -> float:
    """From how many held-out origins a series can be forecast with intervals: the most of any."""
    naive = Forecaster(NAIVES[0], horizon, part.n_train, part.n_validate).fit(part.panel)
    first = part.n_train + part.n_validate
    n = [measured(naive, part.panel, k, part.n_train, first).n_crps for k in range(len(part.panel.names))]
    return max(n) / horizon


def _chosen(held: Sequence[Held]) -> tuple[dict[str, str], dict[str, str]]:
    """By series the member that forecasts it, or why none does. Raises TooLittleData where none has any."""
    chosen, left_out = {}, {}
    for part in held:
        results, too_short = [one for one in part.results if one.figures], _too_short(part)
        for series in part.panel.names:
            try:
                name = best(results, series)
            except CannotForecast:
                left_out[series] = "too few clean readings were there to hold a forecast to"
                continue
            if name in NAIVES and too_short:
                left_out[series] = too_short
            else:
                chosen[series] = name
    if not chosen:
        raise TooLittleData(f"no channel of a mote can be forecast: {'; '.join(sorted(set(left_out.values())))}")
    return chosen, left_out


def _too_short(part: Held) -> str:
    """Why nobody can say that a channel stays as it is, where nothing beat that: it may follow a day not seen twice."""
    learnt, there = (n * part.panel.step / DAY_US for n in (part.n_train, len(part.panel)))
    if learnt >= CYCLES or part.panel.step * CYCLES > DAY_US:
        return ""
    return (
        f"nothing beat saying that the last value stays, and {learnt:.1f} days to learn from are too few to know the "
        f"course of a day; enough with {CYCLES / SHARES[0]:.0f} days of readings, {there:.1f} were there"
    )


def _remembering(part: Held) -> dict[str, Fitted]:
    """What was fitted, each with all that its last forecasts can be looked up in, up to the last reading."""
    fits = [one.fitted for one in part.results if one.fitted is not None]
    rows = max((one.member.needs + REMEMBERED * one.every + 2 * one.horizon for one in fits), default=0)
    memory = part.panel.tail(rows)
    return {one.name: replace(one, memory=memory) for one in fits}


def parts(held: Sequence[Held]) -> dict[str, Any]:
    """Which days were learnt from, validated on and held out; readings are means over a step of a channel."""
    panel, n_train, n_validate = held[0].panel, held[0].n_train, held[0].n_validate
    at = [datetime.fromtimestamp(one / 1e6, UTC).isoformat() for one in panel.at.tolist()]
    first = {"train": 0, "calibrate": n_train, "held_out": n_train + n_validate}
    last = {"train": n_train, "calibrate": n_train + n_validate, "held_out": len(panel)}
    return {
        name: {
            "readings": sum(int(np.isfinite(part.panel.values[first[name] : last[name]]).sum()) for part in held),
            "first_at": at[first[name]],
            "last_at": at[last[name] - 1],
        }
        for name in first
    }


# ---- figures --------------------------------------------------------------------------------------------------


def figures(held: Sequence[Held], chosen: Mapping[str, str], left_out: Mapping[str, str]) -> dict[str, Any]:
    """On the held-out days: means over all series of what was chosen for each; by channel, and by series."""
    series = {name: _series(part, name, chosen[name]) for part in held for name in part.panel.names if name in chosen}
    channels = {
        part.channel: _means([series[name] for name in part.panel.names if name in series])
        | {
            "models": dict(Counter(chosen[name] for name in part.panel.names if name in chosen)),
            "not_tried": {one.name: one.why for one in part.results if one.why},
            "left_out": dict(Counter(left_out[name] for name in part.panel.names if name in left_out)),
        }
        for part in held
    }
    return {**_means(list(series.values())), "n_series": len(series), "channels": channels, "series": series}


def _series(part: Held, name: str, member: str) -> dict[str, Any]:
    of = {one.name: one.figures[name] for one in part.results if name in one.figures}
    naive = [value for naive in NAIVES if naive in of and (value := of[naive]["crps"]) is not None]
    return {
        "model": member,
        "offered": offered(part.results, name),
        **_told(of[member]),
        "naive_crps": min(naive, default=None),
    }


def _told(found: Figures) -> dict[str, float | None]:
    weight = settings.SIEIS_FORECAST_MAPE_WEIGHT
    told = {key: found[key] for key in TOLD} | {"score": score(found["r2"], found["mape"], (1.0 - weight, weight))}
    return {key: None if value is None else round(value, 5) for key, value in told.items()}


def _means(series: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each figure over the series that have it; a MAPE of values near zero is none, and counted as left out."""
    found: dict[str, Any] = {}
    for key in (*TOLD, "score", "naive_crps"):
        known = [one[key] for one in series if one[key] is not None]
        found[key] = round(fmean(known), 5) if known else None
    return {**found, "n_without_mape": sum(one["mape"] is None for one in series)}


def of_serving(learnt: FittedForecasts, held: Sequence[Held]) -> dict[str, Any] | None:
    """The same of a version that serves, on the same days; None where it cannot be asked about them."""
    found = []
    for part in held:
        for series in part.panel.names:
            member = learnt.chosen.get(series)
            fitted = learnt.fits.get(part.channel, {}).get(member or "")
            if fitted is None or part.panel.step != round(learnt.step_s * 1e6):
                continue
            place = part.panel.names.index(series)
            of = measured(fitted, part.panel, place, part.n_train, part.n_train + part.n_validate).figures
            found.append(_told(of) | {"naive_crps": None})
    return _means(found) if found else None
