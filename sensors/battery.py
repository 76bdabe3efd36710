"""How long a battery will last, from the voltage that a mote reports. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensors.readings import Battery, Floats, Ints

DAY_US = 86_400_000_000
LOOKBACK_DAYS = 28
LEAST_DAYS = 7
# How far off the estimate was for most motes whose end is known: docs/data-quality.md says for how many.
BAND = (0.5, 1.5)
FLAT_V_PER_DAY = 0.001  # slower than this the end is years away, and nobody can say when


@dataclass(frozen=True, slots=True)
class Estimate:
    """Days until a battery is empty: best guess and band, from the voltages since an instant (UTC microseconds)."""

    days: float
    low: float
    high: float
    since: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why nothing can be said of a battery, in words."""

    why: str


def outlook(at: Ints, volts: Floats, battery: Battery) -> Estimate | Unknown:
    """Days counted from the newest reading, or why nothing can be said. The order of the readings does not matter."""
    day, level, since = _daily(at, volts)
    if not len(day):
        return Unknown("no voltage was reported")
    if level[-1] <= battery.empty:
        return Estimate(0.0, 0.0, 0.0, since)
    if len(day) < LEAST_DAYS:
        n = "one day" if len(day) == 1 else f"{len(day)} days"
        return Unknown(f"the voltage of {n} only; an estimate needs {LEAST_DAYS}")
    slope = trend(day, level)
    if slope >= FLAT_V_PER_DAY:
        return Unknown("the voltage is rising: new batteries, or it is being charged")
    if slope > -FLAT_V_PER_DAY:
        return Unknown("the voltage hardly changes, so its end is not in sight")
    left = _until(battery.empty, day, level, slope)
    return Estimate(left, BAND[0] * left, BAND[1] * left, since)


def _daily(at: Ints, volts: Floats) -> tuple[Floats, Floats, int]:
    """Days back from the newest reading (0 is the last), the median voltage of each, and where they begin."""
    is_there = np.isfinite(volts)
    at, volts = at[is_there], volts[is_there]
    if not len(at):
        return np.empty(0), np.empty(0), 0
    age = (at.max() - at) // DAY_US
    recent = age < LOOKBACK_DAYS
    ages = np.unique(age[recent])[::-1]
    level = np.array([np.median(volts[age == one]) for one in ages])
    return -ages.astype(np.float64), level, int(at[recent].min())


def _until(empty: float, day: Floats, level: Floats, slope: float) -> float:
    """When the curve comes to `empty`. A discharge steepens towards its end: a straight line promised twice as much."""
    bend, now_slope, now = np.polyfit(day, level, 2)
    if bend < 0.0:
        fall = (-now_slope - np.sqrt(now_slope**2 - 4.0 * bend * (now - empty))) / (2.0 * bend) if now > empty else 0.0
        return float(max(fall, 0.0))
    return float(max(np.median(level - slope * day) - empty, 0.0) / -slope)


def trend(x: Floats, y: Floats) -> float:
    """Theil–Sen: the median of the slopes between all pairs of points; a quarter of them may lie anywhere."""
    i, j = np.triu_indices(len(x), 1)
    return float(np.median((y[j] - y[i]) / (x[j] - x[i])))
