"""Level, damped trend, several seasons and the calendar, what people use Prophet for.

One regression on harmonics of the day and the week, on workdays and weekends by their own, and on time itself, in which
what lies further back counts less; how much less, and whether there is a trend, is chosen on the validation part. What
the last readings were off the regression fades out as it usually does. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from mlops.detection.compiled import compiled
from mlops.forecasting.panel import Panel, is_known
from mlops.forecasting.seasons import USUAL_US, season, seasons
from sensors.readings import Floats, Ints

HARMONICS = {"day": 6, "week": 3, "weekend": 2}
HALF_LIVES_D = (3.0, 7.0, 14.0, 28.0, 84.0)
LEAST_CYCLES = 4  # of the longest season, for a mote that has none of a day
PENALTY = 0.05  # steps' worth of a season of nothing, so that a young series has a level before it has seasons
MOST_VALIDATED = 60  # origins of a series
MEMORY = 4  # half-lives that are looked back on
DAY_US = USUAL_US[0]


@dataclass(frozen=True, slots=True)
class Setting:
    half_life: float  # steps
    has_trend: bool


class Decomposed:
    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.needs = 2

    def fit(self, history: Panel, n_train: int) -> Decomposed:
        self.seasons_ = seasons(history, n_train)
        self.cycle_ = season(history, n_train)
        usual = [DAY_US / history.step * days for days in HALF_LIVES_D]
        fitting = [each for each in usual if 4 <= each <= n_train / 2] or [max(n_train / 4, 2.0)]
        settings = [Setting(each, has_trend) for each in fitting for has_trend in (False, True)]
        origins = np.arange(n_train, len(history) - self.horizon + 1)
        origins = origins[:: -(-len(origins) // MOST_VALIDATED) or 1]
        self.setting_ = min(settings, key=lambda each: self._error(history, origins, each))
        self.needs = min(round(MEMORY * self.setting_.half_life), n_train)
        return self

    def _error(self, history: Panel, origins: Ints, setting: Setting) -> float:
        """In units of each series' spread; without one measured outcome the first setting is as good as any."""
        self.setting_, self.needs = setting, 2
        total, n = 0.0, 0
        for series, values in enumerate(history.values.T):
            spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
            place = origins[:, None] + np.arange(self.horizon)
            miss = np.abs(values[place] - self.foretell(history, series, origins))
            there = np.isfinite(miss)
            total += float(miss[there].sum()) / (spread or 1.0)
            n += int(there.sum())
        return total / n if n else 0.0

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        values = np.ascontiguousarray(panel.values[:, series])
        out = np.full((len(origins), self.horizon), np.nan)
        known = is_known(values, origins, self.needs)
        if not known.any():
            return out
        asked = np.unique(origins[known])
        n = int(asked[-1])
        basis = self._basis(panel, n + self.horizon)
        decay = 0.5 ** (1.0 / self.setting_.half_life)
        penalty = PENALTY * max(self.cycle_, 4)
        every = max(self.cycle_ // 24, 1)  # steps: what is off is followed always, the weights this often
        weights, off, memory = _learn(values[:n], basis, asked, decay, penalty, self.setting_.has_trend, every)
        ahead = np.arange(self.horizon)
        # A trend loses half its slope in half a horizon.
        run = (1.0 - 0.5 ** ((ahead + 1.0) * 2.0 / self.horizon)) * self.horizon / 2.0 / np.log(2.0)
        place = asked[:, None] + ahead
        said = np.einsum("ohk,ok->oh", basis[place], weights[:, 1:]) + weights[:, :1] * run
        said += off[:, None] * memory[:, None] ** (ahead + 1.0)
        out[known] = said[np.searchsorted(asked, origins[known])]
        return out

    def _basis(self, panel: Panel, n: int) -> Floats:
        """What a step is of: the level, and the harmonics of its hour, its day of the week and its weekend."""
        step = np.arange(n)
        local = _local(panel.start + panel.step * step.astype(np.int64), panel.zone)
        columns = [np.ones(n)]
        day, week = 2.0 * np.pi * local / DAY_US, 2.0 * np.pi * local / (7 * DAY_US)
        names = self._parts(panel)
        if "day" in names:
            most = min(HARMONICS["day"], DAY_US // (2 * panel.step))
            columns += _waves(day, most)
        if "week" in names:
            columns += _waves(week, HARMONICS["week"])
        if {"day", "week"} <= names:
            is_weekend = ((local // DAY_US + 3) % 7 >= 5).astype(float)  # 1970 began on a Thursday
            columns += [is_weekend * wave for wave in _waves(day, HARMONICS["weekend"])]
        if "own" in names:
            columns += _waves(2.0 * np.pi * step / self.cycle_, min(HARMONICS["day"], self.cycle_ // 2))
        return np.column_stack(columns)

    def _parts(self, panel: Panel) -> set[str]:
        day, week = (round(us / panel.step) for us in USUAL_US)
        found = {name for name, steps in (("day", day), ("week", week)) if steps in self.seasons_}
        return found or ({"own"} if self.seasons_ and self.cycle_ > 1 else set())


def _waves(turn: Floats, most: int) -> list[Floats]:
    return [wave(k * turn) for k in range(1, most + 1) for wave in (np.sin, np.cos)]


def _local(at: Ints, zone: str) -> Floats:
    """As the clocks on the wall say, so that a day's course stays where people put it when they change."""
    if zone == "UTC":
        return at.astype(np.float64)
    hours, place = np.unique(at // 3_600_000_000, return_inverse=True)
    clock = ZoneInfo(zone)
    offsets = [datetime.fromtimestamp(int(hour) * 3600, UTC).astimezone(clock).utcoffset() for hour in hours]
    return (at + np.array([offset.total_seconds() * 1e6 if offset else 0.0 for offset in offsets])[place]).astype(float)


@compiled
def _learn(values, basis, origins, decay, penalty, has_trend, every):  # type: ignore[no-untyped-def]
    """At each origin the slope and the weights of the basis, what the last values were off, and how that lasts.

    The first place is time, counted back from the origin: it is moved with every step instead of counted anew.
    """
    k = basis.shape[1] + 1
    square, target, row = np.zeros((k, k)), np.zeros(k), np.zeros(k)
    weights, off, memory = np.zeros((len(origins), k)), np.zeros(len(origins)), np.zeros(len(origins))
    last, turn, latest, before = np.zeros(k), 0, 0.0, np.nan
    own, with_before = 1e-9, 0.0
    for n in range(len(values) + 1):
        asked = turn < len(origins) and origins[turn] == n
        if asked or n % every == 0:
            ridge = square.copy()
            for i in range(k):
                ridge[i, i] += penalty if i > 1 else (1e-6 if i == 1 else 1e-6 + penalty * k * k)
            if not has_trend:
                ridge[0, :], ridge[:, 0] = 0.0, 0.0
                ridge[0, 0] = 1.0
            goal = target.copy()
            if not has_trend:
                goal[0] = 0.0
            last = np.linalg.solve(ridge, goal)
        if asked:
            weights[turn] = last
            off[turn] = latest
            memory[turn] = min(max(with_before / own, 0.0), 0.9999)
            turn += 1
        if n == len(values):
            break
        # One step on: time lies one step further back, and everything counts a little less.
        square *= decay
        target *= decay
        old = square[0].copy()
        square[0, :] = old - square[1, :]
        square[:, 0] = square[0, :]
        square[0, 0] = old[0] - 2.0 * old[1] + square[1, 1]
        target[0] -= target[1]
        own *= decay
        with_before *= decay
        if not np.isfinite(values[n]):
            latest *= min(max(with_before / own, 0.0), 0.9999)
            before = np.nan
            continue
        row[0] = 0.0
        row[1:] = basis[n]
        said = 0.0
        for i in range(1, k):
            said += last[i] * row[i]
        latest = values[n] - said
        if np.isfinite(before):
            own += before * before
            with_before += before * latest
        before = latest
        for i in range(k):
            for j in range(k):
                square[i, j] += row[i] * row[j]
            target[i] += row[i] * values[n]
    return weights, off, memory
