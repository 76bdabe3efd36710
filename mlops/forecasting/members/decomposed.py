"""Level, damped trend, several seasons and the calendar, what people use Prophet for.

One regression on harmonics of the day and the week, on workdays and weekends by their own, and on time itself, in which
what lies further back counts less. How much less, whether there is a trend, and how long what the last readings were
off the regression lasts, is chosen on the validation part. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlops.detection.compiled import compiled
from mlops.forecasting.panel import Panel, is_known
from mlops.forecasting.seasons import USUAL_US, is_weekend, local_at, season, seasons
from sensors.readings import Floats, Ints

HARMONICS = {"day": 6, "week": 3, "weekend": 2}
HALF_LIVES_D = (3.0, 7.0, 14.0, 28.0, 84.0)
LASTS = (0.25, 1.0, 4.0, 16.0)  # seasons
RECENT = (1.0 / 12.0, 0.5)  # of a season: half-lives of what the last readings were off
PENALTY = 0.05  # steps' worth of a season of nothing, so that a young series has a level before it has seasons
MOST_VALIDATED = 60  # origins of a series
MEMORY = 4  # half-lives that are looked back on
DAY_US = USUAL_US[0]


@dataclass(frozen=True, slots=True)
class Setting:
    half_life: float  # steps
    has_trend: bool
    recent: int  # place in RECENT
    lasts: float  # steps in which half of what the last readings were off is gone


class Decomposed:
    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.needs = 2

    def fit(self, history: Panel, n_train: int) -> Decomposed:
        self.seasons_ = seasons(history, n_train)
        self.cycle_ = season(history, n_train)
        usual = [DAY_US / history.step * days for days in HALF_LIVES_D]
        fitting = [each for each in usual if 4 <= each <= n_train / 2] or [max(n_train / 4, 2.0)]
        lasting = [share * max(self.cycle_, 4) for share in LASTS]
        origins = np.arange(n_train, len(history) - self.horizon + 1)
        origins = origins[:: -(-len(origins) // MOST_VALIDATED) or 1]
        errors: dict[Setting, float] = {}
        for half_life in fitting:
            for has_trend in (False, True):
                settings = [Setting(half_life, has_trend, k, lasts) for k in range(len(RECENT)) for lasts in lasting]
                errors |= dict(zip(settings, self._errors(history, origins, settings), strict=True))
        self.setting_ = min(errors, key=lambda each: errors[each])
        self.needs = min(round(MEMORY * self.setting_.half_life), n_train)
        return self

    def _errors(self, history: Panel, origins: Ints, settings: list[Setting]) -> Floats:
        """Of settings that differ in what lasts; in units of each series' spread."""
        total, place = np.zeros(len(settings)), origins[:, None] + np.arange(self.horizon)
        for series, values in enumerate(history.values.T):
            if not len(origins) or np.isfinite(values[: origins[0]]).sum() < 2:
                continue
            regular, off = self._learnt(history, series, origins, settings[0])
            for k, each in enumerate(settings):
                miss = np.abs(values[place] - regular - self._fading(off, each))
                total[k] += np.nansum(miss) / (float(np.nanstd(values)) or 1.0)
        return total

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        out = np.full((len(origins), self.horizon), np.nan)
        known = is_known(panel.values[:, series], origins, self.needs)
        if known.any():
            asked = np.unique(origins[known])
            regular, off = self._learnt(panel, series, asked, self.setting_)
            out[known] = (regular + self._fading(off, self.setting_))[np.searchsorted(asked, origins[known])]
        return out

    def _fading(self, off: Floats, setting: Setting) -> Floats:
        return np.asarray(off[:, setting.recent, None] * 0.5 ** ((np.arange(self.horizon) + 1.0) / setting.lasts))

    def _learnt(self, panel: Panel, series: int, origins: Ints, setting: Setting) -> tuple[Floats, Floats]:
        """What the regression says (origins, horizon), and what the last readings were off it."""
        n = int(origins[-1])
        values, basis = np.ascontiguousarray(panel.values[:n, series]), self._basis(panel, n + self.horizon)
        cycle = max(self.cycle_, 4)
        every = max(cycle // 24, 1)  # steps: what is off is followed always, the weights this often
        weights, off = _learn(
            values, basis, origins, 0.5 ** (1.0 / setting.half_life), 0.5 ** (1.0 / (np.array(RECENT) * cycle)),
            PENALTY * cycle, setting.has_trend, every,
        )  # fmt: skip
        ahead = np.arange(self.horizon)
        # A trend loses half its slope in half a horizon.
        run = (1.0 - 0.5 ** ((ahead + 1.0) * 2.0 / self.horizon)) * self.horizon / 2.0 / np.log(2.0)
        said = np.einsum("ohk,ok->oh", basis[origins[:, None] + ahead], weights[:, 1:])
        return said + weights[:, :1] * run, off

    def _basis(self, panel: Panel, n: int) -> Floats:
        """What a step is of: the level, and the harmonics of its hour, its day of the week and its weekend."""
        step = np.arange(n)
        local = local_at(panel.start + panel.step * step.astype(np.int64), panel.zone)
        columns = [np.ones(n)]
        day, week = 2.0 * np.pi * local / DAY_US, 2.0 * np.pi * local / (7 * DAY_US)
        names = self._parts(panel)
        if "day" in names:
            most = min(HARMONICS["day"], DAY_US // (2 * panel.step))
            columns += _waves(day, most)
        if "week" in names:
            columns += _waves(week, HARMONICS["week"])
        if {"day", "week"} <= names:
            weekends = is_weekend(local).astype(float)
            columns += [weekends * wave for wave in _waves(day, HARMONICS["weekend"])]
        if "own" in names:
            columns += _waves(2.0 * np.pi * step / self.cycle_, min(HARMONICS["day"], self.cycle_ // 2))
        return np.column_stack(columns)

    def _parts(self, panel: Panel) -> set[str]:
        day, week = (round(us / panel.step) for us in USUAL_US)
        found = {name for name, steps in (("day", day), ("week", week)) if steps in self.seasons_}
        return found or ({"own"} if self.seasons_ and self.cycle_ > 1 else set())


def _waves(turn: Floats, most: int) -> list[Floats]:
    return [wave(k * turn) for k in range(1, most + 1) for wave in (np.sin, np.cos)]


@compiled
def _learn(values, basis, origins, decay, forget, penalty, has_trend, every):  # type: ignore[no-untyped-def]
    """At each origin the slope and the weights of the basis, and what the last values were off what was said of them.

    The first place is time, counted back from the origin: it is moved with every step instead of counted anew.
    """
    k = basis.shape[1] + 1
    square, target, row = np.zeros((k, k)), np.zeros(k), np.zeros(k)
    weights, off = np.zeros((len(origins), k)), np.zeros((len(origins), len(forget)))
    last, turn, missed, weight = np.zeros(k), 0, np.zeros(len(forget)), np.full(len(forget), 1e-9)
    for n in range(len(values) + 1):
        asked = turn < len(origins) and origins[turn] == n
        if asked or n % every == 0:
            ridge, goal = square.copy(), target.copy()
            ridge[0, 0] += 1e-6 + penalty * k * k
            ridge[1, 1] += 1e-6
            for i in range(2, k):
                ridge[i, i] += penalty
            if not has_trend:
                for i in range(k):
                    ridge[0, i] = 0.0
                    ridge[i, 0] = 0.0
                ridge[0, 0], goal[0] = 1.0, 0.0
            last = np.linalg.solve(ridge, goal)
        if asked:
            weights[turn] = last
            for i in range(len(forget)):
                off[turn, i] = missed[i] / weight[i]
            turn += 1
        if n == len(values):
            break
        # One step on: time lies one step further back, and everything counts a little less.
        for i in range(k):
            target[i] *= decay
            for j in range(k):
                square[i, j] *= decay
        corner = square[0, 0] - 2.0 * square[0, 1] + square[1, 1]
        for i in range(1, k):
            square[0, i] -= square[1, i]
            square[i, 0] = square[0, i]
        square[0, 0] = corner
        target[0] -= target[1]
        for i in range(len(forget)):
            missed[i] *= forget[i]
            weight[i] *= forget[i]
        if not np.isfinite(values[n]):
            continue
        said = 0.0
        for i in range(1, k):
            row[i] = basis[n, i - 1]
            said += last[i] * row[i]
        for i in range(len(forget)):
            missed[i] += values[n] - said
            weight[i] += 1.0
        for i in range(k):
            target[i] += row[i] * values[n]
            for j in range(k):
                square[i, j] += row[i] * row[j]
    return weights, off
