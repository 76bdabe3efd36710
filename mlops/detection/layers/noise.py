"""Noise: a channel that trembles more than any sensor of the fleet, wherever its level is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlops.detection.compiled import NO_TIME, SILENT_STEPS, Array, compiled, interpolate
from mlops.detection.history import FLEET_SAMPLE, Arrays, History
from mlops.detection.layers.level import DAYS, HOURS, bins_of, days_of
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors.readings import Bools, Floats, Profile

NAME = "noise"
WINDOW = 9  # second differences
PLACE = 2  # the third smallest of them, a quarter: one outlier or a step of the world is no noise
CALM_PLACE = 5  # what has trembled for a window is calm again when its sixth is too: three quiet moments are no rest
MEMORY = {
    "before": Field("channel", np.float64, width=2),
    "tremble": Field("channel", np.float32, width=WINDOW),
    "n": Field("channel", np.int32),
    "at": Field("channel", np.int64, NO_TIME),
    "quarter": Field("channel", np.float32, np.nan),
    "most": Field("channel", np.float32, np.nan),
    "n_leaps": Field("channel", np.int8),
    "n_noisy": Field("channel", np.int8),
}
TAIL = 0.1
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = False
ANY_DAY = True
PATIENCE = 3  # leaps in a row that are passed over: spikes; a fourth is where the channel now is
LEAP = 1.2  # of the fleet's rarest changes within a step
RARE = 0.9999
STRANGER = 2.0  # motes differ more in how they tremble than in how they move
LIVELY = 0.99  # of a mote's windows: what is still its own noise
A_WEEK = 1.0  # stretches of a mote's history that may lie beyond the scale of a bent channel
FINER = 1.1
WEEK_HOURS, HOUR_US = 7 * 24, 3_600_000_000


def prior(profile: Profile) -> Arrays:
    resolution = np.array([max(channel.resolution, 1e-9) for channel in profile.channels])
    raw, surprise = line([(0.0, 0.0)], len(resolution))  # what is noise is only learnt
    endless = np.full(len(resolution), np.inf)
    return {
        "scale": resolution,
        "most_scale": resolution,
        "leap": endless,
        "margin": np.ones(1),
        "any_day": np.ones(len(resolution), dtype=np.bool_),  # (channels): on kinds of days not shown it trembles alike
        "shown": np.ones((2, HOURS), dtype=np.bool_),  # (weekend, hour): else that hour was seen on enough of them
        "raw": raw,
        "surprise": surprise,
    }


def fit(history: History) -> Arrays:
    """The typical mote's lively quarter of second differences, never finer than the sensor's resolution."""
    start = prior(history.profile)
    fleet = history.some_motes(FLEET_SAMPLE).on_steps()
    own = np.array([_lively(grid) for grid in fleet.grids()])
    seen = np.isfinite(own).all(axis=1).any(axis=0)
    scale, most, leap = start["scale"].copy(), start["scale"].copy(), start["leap"].copy()
    scale[seen] = np.maximum(scale[seen], np.nanmedian(own[:, 0, seen], axis=0))
    most[seen] = np.maximum(most[seen], np.nanmedian(own[:, 2, seen], axis=0))
    leap[seen] = LEAP * np.maximum(np.nanmax(own[:, 1, seen], axis=0), scale[seen])
    for c in np.flatnonzero(seen & (history.bends > 0.0)):
        scale[c] = _seldom(fleet, int(c), float(scale[c]))
    return {
        "scale": scale,
        "most_scale": most,
        "leap": leap,
        "margin": np.array([1.0 + STRANGER * (history.margin - 1.0)]),
        "any_day": history.bends == 0.0,
        "shown": days_of(steps := history.on_steps(), bins_of(steps.local_s)) >= DAYS,
    }


def _seldom(fleet: History, c: int, level: float) -> float:
    """The level, or the least above it that the fleet's windows pass at most A_WEEK times a mote and week.

    Light trembles for an hour under a cloud and not at all at night: a quantile of readings says little of how often.
    """
    quarters = [_quarters(grid[:, c]) for grid in fleet.grids()]
    hours = np.unique(np.stack([fleet.mote, fleet.at // HOUR_US]), axis=1).shape[1]
    most = A_WEEK * hours / WEEK_HOURS
    while sum(map(_stretches, (quarter > level for quarter in quarters))) > most:
        level *= FINER
    return level


def _quarters(values: Floats) -> Floats:
    """The statistic of each window of one mote's channel."""
    seen = values[np.isfinite(values)]
    if len(seen) < WINDOW + 2:
        return np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(np.diff(seen, 2)), WINDOW)
    return np.partition(windows, PLACE, axis=1)[:, PLACE]


def _stretches(is_beyond: Bools) -> int:
    """Of windows beyond; those that share readings are one."""
    return int((np.diff(np.flatnonzero(is_beyond), prepend=-2 * WINDOW) > WINDOW).sum())


def _lively(grid: Floats) -> Floats:
    """Of each channel the high quantile of the window's statistic, and the rarest change; NaN where too little."""
    lively = np.full((3, grid.shape[1]), np.nan)
    for c in range(grid.shape[1]):
        seen = grid[np.isfinite(grid[:, c]), c]
        if len(seen) >= 10 * WINDOW:
            tremble = np.abs(np.diff(seen, 2))
            windows = np.lib.stride_tricks.sliding_window_view(tremble, WINDOW)[:: WINDOW // 4]
            lively[1, c] = np.quantile(np.abs(np.diff(seen)), RARE)
            for k, place in ((0, PLACE), (2, CALM_PLACE)):
                lively[k, c] = np.quantile(np.partition(windows, place, axis=1)[:, place], LIVELY)
    return lively


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    raw = np.full(rows.values.shape, np.nan)
    # Models of earlier releases know kinds of days, not how many there were.
    shown = model["shown"].reshape(-1)[bins_of(rows.local_s)] if "shown" in model else rows.is_shown
    tremble(
        rows, shown, model["scale"], model["most_scale"], model["leap"], model["raw"], model["surprise"],
        model["margin"], model["any_day"], memory["before"], memory["tremble"], memory["n"], memory["at"],
        memory["quarter"], memory["most"], memory["n_leaps"], memory["n_noisy"], raw,
    )  # fmt: skip
    return Said(raw)


@compiled
def tremble(
    rows: Rows, shown: Array, scale: Array, most_scale: Array, leap: Array, knots: Array, heights: Array, margin: Array,
    any_day: Array, before: Array, window: Array, n: Array, seen_at: Array, quarter: Array, most: Array, n_leaps: Array,
    n_noisy: Array, raw: Array,
) -> None:  # fmt: skip
    """The quarter of the last second differences of steps, in units of the fleet's."""
    silent_us = SILENT_STEPS * rows.step_us
    smallest = np.empty(CALM_PLACE + 1)
    for i in range(len(rows.slot)):
        slot = rows.slot[i]
        if slot < 0:
            continue
        for c in range(rows.values.shape[1]):
            x = rows.values[i, c]
            if np.isnan(x):
                continue
            is_fresh = seen_at[slot, c] == NO_TIME or rows.at[i] - seen_at[slot, c] > silent_us
            is_leap = abs(x - before[slot, c, 0]) > leap[c] * margin[0] or rows.oddness[i, c] >= 0.5 * rows.onset
            is_leap |= rows.held[i, c]
            if rows.is_step[i, c]:
                n_leaps[slot, c] = min(n_leaps[slot, c] + 1, PATIENCE + 1) if is_leap and not is_fresh else 0
            is_passed_over = 0 < n_leaps[slot, c] <= PATIENCE
            if rows.is_step[i, c] and not is_passed_over:
                if is_fresh:
                    n[slot, c] = 0
                    quarter[slot, c] = most[slot, c] = np.nan
                if n[slot, c] >= 2:
                    window[slot, c, n[slot, c] % WINDOW] = abs(x - 2.0 * before[slot, c, 0] + before[slot, c, 1])
                n[slot, c] += 1
                before[slot, c, 1] = before[slot, c, 0]
                before[slot, c, 0] = x
                seen_at[slot, c] = rows.at[i]
                if n[slot, c] >= WINDOW + 2:
                    smallest[:] = np.inf
                    for k in range(WINDOW):
                        new = window[slot, c, k]
                        for place in range(CALM_PLACE + 1):
                            if new < smallest[place]:
                                new, smallest[place] = smallest[place], new
                    quarter[slot, c] = smallest[PLACE] / scale[c]
                    most[slot, c] = smallest[CALM_PLACE] / most_scale[c]
            own = quarter[slot, c] * (1.0 if (rows.is_shown[i] and shown[i]) or any_day[c] else 0.0)
            raw[i, c] = own if rows.is_known[i] else own / margin[0]
            if not np.isnan(raw[i, c]):
                rows.noisy[i, c] = interpolate(knots, heights, c, raw[i, c])
                # A stranger may be livelier than the fleet; that it is alive is told by the fleet's own measure.
                is_calm = interpolate(knots, heights, c, own) < 0.5 * rows.onset
                if n_noisy[slot, c] >= WINDOW:
                    is_calm &= interpolate(knots, heights, c, most[slot, c]) < 0.5 * rows.onset
                rows.calm[i, c] = is_calm
                if rows.is_step[i, c]:
                    n_noisy[slot, c] = (
                        0 if is_calm else min(n_noisy[slot, c] + (rows.noisy[i, c] >= rows.onset), WINDOW)
                    )
