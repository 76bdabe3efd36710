"""Periods of an hourly series, with how much of it each foretells. Pure.

A period counts only if it foretells what it has not seen: each cycle is predicted from the mean of the others, and the
strength is the share of the movement that this explains. Noise and random walks have peaks in every spectrum, and
foretell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from sensors.readings import Floats, Ints

LEAST_CYCLES = 3
LEAST_HOURS = 48
LEAST_STRENGTH = 0.1  # less than a tenth foretold is told to nobody
FEW = 0.5  # divided by the number of cycles comes on top: few cycles happen to be alike
CHANCE = {
    True: 1e-3,
    False: 1e-5,
}  # of cycles that agree by accident: for the usual periods, and for those searched for
MOST_PERIODS = 3
CANDIDATES = 8
USUAL_H = (24.0, 168.0)  # days and weeks are asked about, whatever the spectrum says
SHORTEST_H = 3.0
BINS = 48  # of a cycle, at most
FILLED = 0.5  # of the hours, at least, must have a value


@dataclass(frozen=True, slots=True)
class Period:
    hours: float
    strength: float  # share of the movement that other cycles foretell; 1 is a clock
    amplitude: float  # from the lowest to the highest of the usual cycle
    peak_hour: float  # of the series, counted from its first hour
    n_cycles: int


@dataclass(frozen=True, slots=True)
class Seasonality:
    """`note` says why there is none."""

    n: int
    periods: tuple[Period, ...]
    note: str = ""


def seasonality(values: Floats) -> Seasonality:
    """Of values an hour apart, NaN where there is none."""
    there = np.isfinite(values)
    n = int(there.sum())
    if n < LEAST_HOURS:
        return Seasonality(n, (), f"{n} hours have a value; at least {LEAST_HOURS} are needed")
    if n < FILLED * len(values):
        return Seasonality(n, (), f"{n} of {len(values)} hours have a value; at least half are needed")
    if np.ptp(values[there]) <= 1e-9 * max(float(np.abs(values[there]).max()), 1e-300):
        return Seasonality(n, (), "the value never changes")
    found: list[Period] = []
    rest = values.copy()
    for _ in range(MOST_PERIODS):
        period = _strongest(rest, values)
        if period is None:
            break
        found.append(period)
        rest = rest - _cycle(rest, period.hours)[0]
    return Seasonality(n, tuple(found), "" if found else "no period foretells a tenth of it")


def _strongest(rest: Floats, values: Floats) -> Period | None:
    """The period that foretells most of what is left; of two alike the shorter, since the longer repeats it."""
    best: Period | None = None
    for hours in sorted(_candidates(rest)):
        refined = _refined(rest, hours)
        strength = _strength(rest, refined) * _left(rest, values, refined)
        least = LEAST_STRENGTH + FEW / (len(rest) / refined)
        if strength >= least and (best is None or strength > 1.02 * best.strength):
            usual = _cycle(rest, refined)[1]
            phase = int(np.nanargmax(usual)) * refined / len(usual)
            best = Period(round(refined, 2), round(strength, 4), float(np.nanmax(usual) - np.nanmin(usual)),
                          round(phase, 2), _n_cycles(rest, refined))  # fmt: skip
    return best


def _n_cycles(values: Floats, hours: float) -> int:
    return len(np.unique(_phase(len(values), hours)[1][np.isfinite(values)]))


def _candidates(values: Floats) -> set[float]:
    """Periods at the peaks of the spectrum, and the usual ones; gaps blur a spectrum, but each is asked on its own."""
    span = len(values)
    longest = span / LEAST_CYCLES
    usual = {hours for hours in USUAL_H if hours <= longest}
    centred = np.nan_to_num(values - np.nanmean(values))
    size = 4 * span
    power, frequency = np.abs(np.fft.rfft(centred, size)) ** 2, np.fft.rfftfreq(size)
    within = (frequency >= 1.0 / longest) & (frequency <= 1.0 / SHORTEST_H)
    power, frequency = power[within], frequency[within]
    peaks = np.flatnonzero((power[1:-1] >= power[:-2]) & (power[1:-1] >= power[2:])) + 1
    highest = peaks[np.argsort(power[peaks])[::-1][:CANDIDATES]]
    return usual | {round(float(1.0 / frequency[k]), 2) for k in highest}


def _refined(values: Floats, hours: float) -> float:
    """The neighbour that foretells most, within what the length of the series can tell apart; whole hours first."""
    width = hours * hours / len(values) / 2.0
    near = (
        {hours, float(round(hours)), *np.linspace(hours - width, hours + width, 5).tolist()}
        if width > 0.05
        else {hours, float(round(hours))}
    )
    fit = [each for each in near if SHORTEST_H <= each <= len(values) / LEAST_CYCLES] or [hours]
    return max(fit, key=lambda each: (round(_strength(values, each), 3), each == round(each)))


def _phase(n: int, hours: float) -> tuple[Ints, Ints, int]:
    """Of each hour the bin of its cycle, and which cycle it is in."""
    bins = int(min(max(round(hours), 3), BINS))
    turn = np.arange(n) / hours
    cycle = np.floor(turn + 1e-9).astype(np.int64)
    return np.minimum(((turn - cycle) * bins + 1e-6).astype(np.int64), bins - 1).clip(0), cycle, bins


def _level(values: Floats, cycle: Ints) -> Floats:
    """The mean of each cycle: what drifts from cycle to cycle is no period."""
    there = np.isfinite(values)
    total = np.bincount(cycle[there], values[there], minlength=cycle[-1] + 1)
    count = np.bincount(cycle[there], minlength=cycle[-1] + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count)[cycle]


def _cycle(values: Floats, hours: float) -> tuple[Floats, Floats]:
    """The usual course at each hour, around 0, and the usual cycle by bin."""
    phase, cycle, bins = _phase(len(values), hours)
    moved = values - _level(values, cycle)
    there = np.isfinite(moved)
    total = np.bincount(phase[there], moved[there], minlength=bins)
    count = np.bincount(phase[there], minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = total / count
    return np.nan_to_num(usual)[phase], usual


def _strength(values: Floats, hours: float) -> float:
    """How much of the movement within cycles is foretold by the other cycles; below 0 where they mislead."""
    phase, cycle, bins = _phase(len(values), hours)
    moved = values - _level(values, cycle)
    there = np.isfinite(moved)
    moved, phase, cycle = moved[there], phase[there], cycle[there]
    if len(np.unique(cycle)) < LEAST_CYCLES:
        return 0.0
    total = np.bincount(phase, moved, minlength=bins)
    count = np.bincount(phase, minlength=bins)
    own = cycle * bins + phase
    own_total = np.bincount(own, moved, minlength=int(own.max()) + 1)[own]
    own_count = np.bincount(own, minlength=int(own.max()) + 1)[own]
    others = count[phase] - own_count
    known = others >= LEAST_CYCLES - 1
    if known.sum() < LEAST_HOURS / 2:
        return 0.0
    foretold = (total[phase] - own_total)[known] / others[known]
    if not _agree(moved[known] * foretold, cycle[known], CHANCE[hours in USUAL_H]):
        return 0.0
    whole = float((moved[known] ** 2).sum())
    return 1.0 - float(((moved[known] - foretold) ** 2).sum()) / whole if whole > 0 else 0.0


def _agree(gain: Floats, cycle: Ints, chance: float) -> bool:
    """Whether one cycle after the other moves as the others foretell: a long walk has a few that happen to."""
    _, place = np.unique(cycle, return_inverse=True)
    each = np.bincount(place, gain) / np.maximum(np.bincount(place), 1)
    n = len(each)
    sigma = float(each.std(ddof=1)) / np.sqrt(n)
    return bool(each.mean() > 0 and stdtr(n - 1, -each.mean() / max(sigma, 1e-300)) < chance)


def _left(rest: Floats, values: Floats, hours: float) -> float:
    """The share of the whole movement that is still to be explained: strengths are shares of the whole."""
    _, cycle, _ = _phase(len(values), hours)
    whole = float(np.nansum((values - _level(values, cycle)) ** 2))
    return min(float(np.nansum((rest - _level(rest, cycle)) ** 2)) / whole, 1.0) if whole > 0 else 0.0
