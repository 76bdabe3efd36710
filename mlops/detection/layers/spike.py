"""Spike: of a channel of many decades, a change far larger than the mote's last ones, at an hour without such changes.

Lamps and the sun change light as much as any broken sensor does; what tells them apart is when they do it, in which
direction, and how lively the channel was before. How many times as large as the mote's last changes a rise or a fall
may be is learnt for each hour of the day. A fall to where most motes are darkest at that hour is the light going out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlops.detection.compiled import CAP, NO_TIME, SILENT_STEPS, Array, compiled, inlined
from mlops.detection.history import FLEET_SAMPLE, Arrays, History
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors.readings import Floats, Ints, Profile

NAME = "spike"
HOURS, WEEK_HOURS = 24, 7 * 24
MEMORY = {
    "accepted": Field("channel", np.float32),
    "before": Field("channel", np.float32),
    "before_at": Field("channel", np.int64, NO_TIME),
    "lively": Field("channel", np.float32),
    "n_off": Field("channel", np.int16),
}
TAIL = None
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = False
ANY_DAY = False
FADES = 1 / 40  # a step, of the largest change
RARE = 0.9995  # of a mote's changes: smaller ones are no spike
LEAST_TIMES = 2.0
MARGIN = 1.2
DAYS = 3  # that show an hour, for what it brings to be known
A_WEEK = 0.1  # changes of a mote's history that may lie beyond what is allowed, over all hours
DARK = 0.01  # of an hour's readings lie lower
ALIKE = 0.5  # of the least spike
STAYS = 5  # steps on a new level: switched, not broken
HOLD_STEPS = 720  # unconditional release


def prior(profile: Profile) -> Arrays:
    """Silent: without history nobody knows which changes an hour brings."""
    n, onset = len(profile.channels), profile.onset
    # A spike lasts no longer than its reading: told at once or never.
    raw, surprise = line([(0.0, 0.0), (1.0 - 1e-9, 0.4 * onset), (1.0, 2 * onset), (10.0, CAP)], n)
    return {
        "least": np.full(n, np.inf),
        "times": np.full((HOURS, 2, n), np.inf),
        "dark": np.full((HOURS, n), -np.inf),
        "floor": np.array([max(channel.resolution, 1e-9) for channel in profile.channels]),
        "margin": np.ones(1),
        "raw": raw,
        "surprise": surprise,
    }


def fit(history: History) -> Arrays:
    """The fleet's largest rises and falls of each hour, in units of what the mote itself did just before."""
    start = prior(history.profile)
    least, times, dark, floor = start["least"], start["times"], start["dark"], start["floor"]
    steps = history.some_motes(FLEET_SAMPLE).on_steps()
    hours = steps.local_s // 3600
    spare = int(A_WEEK * len(np.unique(np.stack([steps.mote, hours]), axis=1)[0]) / (WEEK_HOURS * HOURS))
    is_known = np.bincount(np.unique(hours) % HOURS, minlength=HOURS) >= DAYS
    hour = (hours % HOURS).astype(np.int64)
    for c in np.flatnonzero(history.bends > 0.0):
        least[c] = max(_rare(steps, int(c)), 2.0 * floor[c])
        dark[:, c] = _darkest(steps, int(c), hour)
        change, ratio = _traced(steps, int(c), float(least[c]), float(floor[c]), dark[hour, c])
        is_large = np.abs(change) > least[c]
        way = 2 * hour[is_large] + (change[is_large] > 0)
        most = _rarest(ratio[is_large], way, 2 * HOURS, spare).reshape(HOURS, 2)
        most = np.maximum(most, np.maximum(np.roll(most, 1, axis=0), np.roll(most, -1, axis=0)))
        times[:, :, c] = np.where(is_known[:, None], np.maximum(MARGIN * most, LEAST_TIMES), np.inf)
    return {"least": least, "times": times, "dark": dark, "margin": np.array([max(1.0, history.margin / MARGIN)])}


def _series(steps: History, c: int) -> Iterator[tuple[slice, Floats]]:
    """Where each mote's rows lie, and what they say of a channel."""
    bounds = np.searchsorted(steps.mote, np.append(steps.ids, np.iinfo(np.int64).max))
    for begin, end in pairwise(bounds.tolist()):
        yield slice(begin, end), np.ascontiguousarray(steps.values[begin:end, c])


def _rare(steps: History, c: int) -> float:
    """A change from step to step that the typical mote makes this rarely."""
    seen = (values[np.isfinite(values)] for _, values in _series(steps, c))
    rare = [np.quantile(np.abs(np.diff(values)), RARE) for values in seen if len(values) > 1]
    return float(np.median(rare)) if rare else np.inf


def _traced(steps: History, c: int, least: float, floor: float, dark: Floats) -> tuple[Floats, Floats]:
    """Of one channel each change as it will be seen, and how many times as large as the last ones it is."""
    change, ratio = np.zeros(len(steps)), np.zeros(len(steps))
    for rows, values in _series(steps, c):
        silent_us = SILENT_STEPS * steps.step_us
        trace(values, steps.at[rows], silent_us, least, floor, dark[rows], change[rows], ratio[rows])
    return change, ratio


def _rarest(ratio: Floats, group: Ints, n_groups: int, spare: int) -> Floats:
    """Each group's largest but for the `spare` ones; 0 where it has no more."""
    rarest = np.zeros(n_groups)
    for k in np.unique(group).tolist():
        own = np.sort(ratio[group == k])
        rarest[k] = own[-1 - spare] if len(own) > spare else 0.0
    return rarest


def _darkest(steps: History, c: int, hour: Ints) -> Floats:
    """(hours) what is nearly the least that most motes show then."""
    lows = np.full((len(steps.ids), HOURS), np.nan)
    place = steps.place * HOURS + hour
    there = np.isfinite(steps.values[:, c])
    order = np.argsort(place[there], kind="stable")
    groups, begin = np.unique(place[there][order], return_index=True)
    for group, own in zip(groups.tolist(), np.split(steps.values[there, c][order], begin[1:]), strict=True):
        lows[divmod(group, HOURS)] = np.quantile(own, DARK)
    seen = np.isfinite(lows).any(axis=0)
    darkest = np.full(HOURS, -np.inf)
    darkest[seen] = np.nanmedian(lows[:, seen], axis=0)
    return darkest


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    shape = rows.values.shape
    raw, middle, scale = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    if np.isfinite(model["least"]).any():
        learnt = Learnt(*(model[name] for name in Learnt._fields))
        advance(rows, learnt, Kept(*(memory[name] for name in Kept._fields)), raw, middle, scale)
    return Said(raw, middle, scale)


class Learnt(NamedTuple):
    least: Array
    times: Array  # (hours, falls and rises, channels)
    dark: Array
    floor: Array
    margin: Array  # for motes that were not in the history


class Kept(NamedTuple):
    accepted: Array
    before: Array  # at the last step, accepted or not
    before_at: Array
    lively: Array
    n_off: Array


@inlined
def since(kept: Kept, slot: int, c: int, x: float, at: int, silent_us: int, near_dark: float) -> float:
    """The change from the last accepted value; none after a silence, and none into the dark."""
    if kept.before_at[slot, c] == NO_TIME or at - kept.before_at[slot, c] > silent_us:
        return 0.0
    change = x - float(kept.accepted[slot, c])
    return 0.0 if change < 0.0 and x <= near_dark else change


@inlined
def follow(kept: Kept, slot: int, c: int, x: float, at: int, change: float, is_off: bool, least: float) -> bool:
    """Accepts the value of a step, unless it is off and has not stayed; answers whether a new level was adopted."""
    is_calm = abs(x - float(kept.before[slot, c])) <= ALIKE * least
    kept.before[slot, c], kept.before_at[slot, c] = x, at
    kept.n_off[slot, c] = kept.n_off[slot, c] + 1 if is_off else 0
    if is_off and not (is_calm and kept.n_off[slot, c] >= STAYS) and kept.n_off[slot, c] < HOLD_STEPS:
        return False
    kept.n_off[slot, c] = 0
    kept.accepted[slot, c] = x
    if not is_off:
        kept.lively[slot, c] = max(abs(change), float(kept.lively[slot, c]) * (1.0 - FADES))
    return is_off


@compiled
def trace(
    values: Array, at: Array, silent_us: int, least: float, floor: float, dark: Array, changes: Array, ratios: Array
) -> None:
    """The changes of one series from its beginning."""
    one = (1, 1)
    kept = Kept(
        np.zeros(one, np.float32), np.zeros(one, np.float32), np.full(one, NO_TIME), np.zeros(one, np.float32),
        np.zeros(one, np.int16),
    )  # fmt: skip
    for i in range(len(values)):
        if np.isnan(values[i]):
            continue
        change = since(kept, 0, 0, values[i], at[i], silent_us, dark[i] + ALIKE * least)
        lively = max(float(kept.lively[0, 0]), floor)
        changes[i], ratios[i] = change, abs(change) / lively
        follow(kept, 0, 0, values[i], at[i], change, abs(change) > max(least, LEAST_TIMES * lively), least)


@compiled
def advance(rows: Rows, learnt: Learnt, kept: Kept, raw: Array, middle: Array, scale: Array) -> None:
    """Against the last accepted value; what stays calm on a new level is accepted."""
    silent_us = SILENT_STEPS * rows.step_us
    for i in range(len(rows.slot)):
        slot, at = rows.slot[i], rows.at[i]
        if slot < 0:
            continue
        hour = rows.local_s[i] // 3600 % HOURS
        margin = 1.0 if rows.is_known[i] else learnt.margin[0]
        for c in range(rows.values.shape[1]):
            x, least = rows.values[i, c], learnt.least[c]
            if np.isnan(x) or np.isinf(least):
                continue
            change = since(kept, slot, c, x, at, silent_us, learnt.dark[hour, c] + ALIKE * least)
            lively = max(float(kept.lively[slot, c]), learnt.floor[c])
            allowed = max(least, margin * learnt.times[hour, 1 if change > 0.0 else 0, c] * lively)
            raw[i, c] = abs(change) / allowed
            middle[i, c], scale[i, c] = kept.accepted[slot, c], allowed
            is_off = abs(change) > max(least, LEAST_TIMES * lively)  # told or not: the next readings will say
            rows.held[i, c] = is_off
            if rows.is_step[i, c]:
                rows.adopted[i, c] |= follow(kept, slot, c, x, at, change, is_off, least)
