"""Peers: a mote that slowly leaves what its neighbours say at the same time.

Sun, people and the hour move a whole room; a dying battery moves one mote. Judged is what a fleet agrees on, such as
the dew point of a building: a channel in which motes differ, each from its own usual distance to the others, far less
than they wander. Derived channels are heard here though no other layer judges them. Neighbours are those whose readings
ran most alike in history. One under suspicion is no neighbour; of whoever has lost all of them
to it this is said, since nobody can judge it any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlops.detection.compiled import NO_TIME, SILENT_STEPS, STEP_TOLERANCE, Array, compiled, inlined
from mlops.detection.history import Arrays, History, grouped_median
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors.readings import Floats, Ints, Profile

NAME = "peers"
MEMORY = {
    "last": Field("channel", np.float64, np.nan),  # without what is usual between this mote and the others
    "last_at": Field("channel", np.int64, NO_TIME),
    "off": Field("channel", np.float32),
    "odd_s": Field("channel", np.float32),
    "doubt": Field("channel", np.int8),
    "moved": Field("channel", np.float32),
    "on_s": Field("channel", np.float32),
}
TAIL = None
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = True
ANY_DAY = False
NEAR = 24  # neighbours that are known of each mote; a stream's partition holds only some of them
HEARD = 8  # of these, whose median counts
FEWEST = 3  # motes that history must have, for one of them to have neighbours
HOURS, DAY_US = 24, 86_400_000_000
HEALTHY, SUSPECT, ALONE = 0, 1, 2
CELL_STEPS = 10  # history is compared in cells of so many steps
LEAST = 0.005  # of the normal band's width: what is nearer is no distance
AGREED = 0.35  # of how much motes wander: as far at most may they differ, for a channel to be the fleet's
MEMORY_S = 6000.0  # of readings: what the distance from the neighbours is averaged over
LASTS_S = 1800.0  # so long must it be far, or near again
FAR, NEARER = 8.0, 2.5  # in the fleet's usual distances
HOLD_S = 14 * 86_400.0  # unconditional release: the mote now stands elsewhere
DAYS = 3  # that show an hour, for a mote's distance at that hour to be its habit
NOBODY = np.iinfo(np.int64).min
LARGEST = 400  # motes among which neighbours are looked for


def prior(profile: Profile) -> Arrays:
    """Silent: without history nobody knows who is whose neighbour."""
    n, onset = len(profile.channels), profile.onset
    raw, surprise = line([(0.0, 0.0), (1.0 - 1e-9, 0.4 * onset), (1.0, onset), (2.0, 2 * onset), (4.0, 12.0)], n)
    low, high = profile.bounds("physical")
    return {
        "motes": np.zeros(0, dtype=np.int64),
        "near": np.zeros((0, NEAR), dtype=np.int64),
        "usual": np.zeros((0, HOURS, n), dtype=np.float32),
        "scale": np.full(n, np.inf),
        "low": low,
        "high": high,
        "raw": raw,
        "surprise": surprise,
    }


def fit(history: History) -> Arrays:
    """Neighbours, usual distances by hour and scales, of the channels that a fleet agrees on."""
    if len(history.ids) < FEWEST:
        return {}
    groups = np.array_split(history.ids, math.ceil(len(history.ids) / LARGEST))
    found = [_of_group(history.take(np.isin(history.mote, group))) for group in groups]
    near, usual, scale = zip(*found, strict=True)
    return {
        "motes": history.ids.astype(np.int64),
        "near": np.concatenate(near),
        "usual": np.concatenate(usual).astype(np.float32),
        "scale": np.median(scale, axis=0),
    }


def _of_group(history: History) -> tuple[Ints, Floats, Floats]:
    cells, hours = _cells(history)
    _, n_motes, n_channels = cells.shape
    battery = history.profile.battery.channel if history.profile.battery else ""
    judged = [c for c, one in enumerate(history.profile.channels) if one.code != battery and _is_told(cells[:, :, c])]
    wander = {c: _spread(cells[:, :, c] - np.nanmedian(cells[:, :, c], axis=0)) for c in judged}
    apart = np.zeros((n_motes, n_motes))
    for c in judged:
        apart += _apart(cells[:, :, c]) / max(wander[c], 1e-9)
    np.fill_diagonal(apart, np.inf)
    order = np.argsort(apart, axis=1, kind="stable")[:, : min(NEAR, n_motes - 1)]
    near = np.full((n_motes, NEAR), NOBODY, dtype=np.int64)
    near[:, : order.shape[1]] = history.ids[order]
    usual, scale = np.zeros((n_motes, HOURS, n_channels)), np.full(n_channels, np.inf)
    for c in judged:
        usual[:, :, c] = _by_hour(cells[:, :, c] - _middle(cells[:, :, c])[:, None], hours)
        alike = cells[:, :, c] - usual[:, hours % HOURS, c].T
        left = np.stack([alike[:, m] - _middle(alike[:, order[m, :HEARD]]) for m in range(n_motes)], axis=1)
        if np.isfinite(left).any() and _spread(left) <= AGREED * wander[c]:
            smooth = _smoothed(left, history.profile.step_s * CELL_STEPS)
            low, high = history.profile.channels[c].normal
            scale[c] = max(float(np.nanstd(smooth)), LEAST * (high - low))
    return near, usual, scale


def _cells(history: History) -> tuple[Floats, Ints]:
    """(cells, motes, channels) medians, and the local hour of each cell."""
    length = history.step_us * CELL_STEPS
    cell = history.at // length
    first, n_cells = int(cell.min()), int(np.ptp(cell)) + 1
    n_motes = len(history.ids)
    group = (cell - first) * n_motes + history.place
    columns = [grouped_median(column, group, n_cells * n_motes)[0] for column in history.whole.T]
    offset_s = int(np.median(history.local_s - history.at // 1_000_000))
    hours = ((np.arange(n_cells) + first) * length // 1_000_000 + offset_s) // 3600
    return np.stack(columns, axis=1).reshape(n_cells, n_motes, -1), hours


def _is_told(cells: Floats) -> bool:
    """By enough motes; np.nanmedian would warn of columns without any value."""
    return int(np.isfinite(cells).any(axis=0).sum()) == cells.shape[1]


def _spread(values: Floats) -> float:
    return float(np.nanmedian(np.abs(values)))


def _apart(cells: Floats) -> Floats:
    """(motes, motes): how far each pair's difference strays from its own middle."""
    some = cells[:: max(1, len(cells) // 500)]
    apart = np.empty((some.shape[1], some.shape[1]))
    for m in range(some.shape[1]):
        difference = some - some[:, m : m + 1]
        heard = np.isfinite(difference)
        middle = np.where(heard, difference, 0.0).sum(axis=0) / np.maximum(heard.sum(axis=0), 1)
        strays = np.where(heard, np.abs(difference - middle), 0.0).sum(axis=0) / np.maximum(heard.sum(axis=0), 1)
        apart[m] = np.where(heard.any(axis=0), strays, np.inf)
    return apart


def _middle(cells: Floats) -> Floats:
    """The median of each row, of at least two values."""
    enough = np.isfinite(cells).sum(axis=1) >= 2
    middle = np.full(len(cells), np.nan)
    middle[enough] = np.nanmedian(cells[enough], axis=1)
    return middle


def _by_hour(distance: Floats, hours: Ints) -> Floats:
    """(motes, hours) medians; of an hour that was seen on too few days the mote's whole.

    A day's own hours would be taken for its habit, and the next day for a departure from it.
    """
    n_motes = distance.shape[1]
    seen = np.bincount(np.unique(hours[np.isfinite(distance).any(axis=1)]) % HOURS, minlength=HOURS)
    group = np.arange(n_motes) * HOURS + hours[:, None] % HOURS
    own, _ = grouped_median(distance.ravel(), group.ravel(), n_motes * HOURS)
    whole, _ = grouped_median(distance.ravel(), np.tile(np.arange(n_motes), len(distance)), n_motes)
    whole = np.where(np.isfinite(whole), whole, 0.0)
    own = own.reshape(n_motes, HOURS)
    return np.where(np.isfinite(own) & (seen >= DAYS), own, whole[:, None])


def _smoothed(left: Floats, cell_s: float) -> Floats:
    """As the stream will: an exponential mean over MEMORY_S; NaN where nothing was said."""
    weight, smooth, mean = 1.0 - math.exp(-cell_s / MEMORY_S), np.full(left.shape, np.nan), np.zeros(left.shape[1])
    for k, row in enumerate(left):
        heard = np.isfinite(row)
        mean[heard] += weight * (row[heard] - mean[heard])
        smooth[k, heard] = mean[heard]
    return smooth


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    shape = rows.values.shape
    raw, middle, scale = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    if np.isfinite(model["scale"]).any():
        learnt = Learnt(*(model[name] for name in Learnt._fields))
        advance(rows, learnt, Kept(*(memory[name] for name in Kept._fields)), raw, middle, scale)
    return Said(raw, middle, scale)


class Learnt(NamedTuple):
    motes: Array
    near: Array
    usual: Array
    scale: Array
    low: Array
    high: Array


class Kept(NamedTuple):
    last: Array
    last_at: Array
    off: Array
    odd_s: Array
    doubt: Array
    moved: Array
    on_s: Array


@compiled
def place_of(ids: Array, wanted: int) -> int:
    """Where a sorted array has it; -1 nowhere."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) >> 1
        if ids[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(ids) and ids[low] == wanted else -1


@compiled
def put_in_order(heard: Array, n: int, value: float) -> int:
    """One more value among n ordered ones, as long as there is room."""
    if n == len(heard):
        return n
    place = n
    while place > 0 and heard[place - 1] > value:
        heard[place] = heard[place - 1]
        place -= 1
    heard[place] = value
    return n + 1


@inlined
def middle_of(
    kept: Kept, near: Array, n_near: int, c: int, at: int, silent_us: int, heard: Array, doubted: Array
) -> float:
    """The median of what healthy neighbours said last; NaN where too few speak, infinite where none is left to ask.

    One is enough where the others are under suspicion: with them gone, it is what is left to compare with. Without any,
    suspects judge each other: they agree again when what was wrong is over, and hardly while sensors die.
    """
    n, n_doubted, n_suspect, n_silent = 0, 0, 0, 0
    for k in range(n_near):
        last_at, value = kept.last_at[near[k], c], kept.last[near[k], c]
        if last_at == NO_TIME:
            continue
        is_fresh = at - last_at <= silent_us
        if kept.doubt[near[k], c] != HEALTHY:
            n_suspect += 1
            n_doubted = put_in_order(doubted, n_doubted, value) if is_fresh else n_doubted
        elif is_fresh:
            n = put_in_order(heard, n, value)
        elif at - last_at <= DAY_US:
            n_silent += 1
    if n >= 2 or (n == 1 and n_suspect > 0):
        return 0.5 * (heard[(n - 1) // 2] + heard[n // 2])
    if n_suspect < 2 or n + n_silent > 0:
        return np.nan
    if n_doubted >= 2:
        return 0.5 * (doubted[(n_doubted - 1) // 2] + doubted[n_doubted // 2])
    return np.inf


@compiled
def advance(rows: Rows, learnt: Learnt, kept: Kept, raw: Array, middle: Array, scale: Array) -> None:
    silent_us, tolerated_us = SILENT_STEPS * rows.step_us, np.int64(STEP_TOLERANCE * rows.step_us)
    near, heard, doubted = np.empty(NEAR, np.int64), np.empty(HEARD), np.empty(HEARD)
    for i in range(len(rows.slot)):
        slot, at = rows.slot[i], rows.at[i]
        place = place_of(learnt.motes, rows.mote[i]) if slot >= 0 else -1
        if place < 0:
            continue
        n_near = -1
        hour = rows.local_s[i] // 3600 % HOURS
        for c in range(rows.whole.shape[1]):
            x, usual_scale = rows.whole[i, c], learnt.scale[c]
            if np.isinf(usual_scale) or not learnt.low[c] <= x <= learnt.high[c]:
                continue
            if n_near < 0:
                n_near = 0
                for k in range(NEAR):
                    found = place_of(rows.ids, learnt.near[place, k])
                    if found >= 0:
                        near[n_near] = rows.slots[found]
                        n_near += 1
            own = learnt.usual[place, hour, c] + kept.moved[slot, c]
            last_at = kept.last_at[slot, c]
            elapsed = at - last_at if last_at != NO_TIME else rows.step_us
            said = middle_of(kept, near, n_near, c, at, silent_us, heard, doubted)
            is_step = elapsed >= tolerated_us
            if is_step:
                kept.last[slot, c], kept.last_at[slot, c] = x - own, at
            if np.isinf(said) and kept.doubt[slot, c] == HEALTHY:
                # What took all its neighbours may take it, and nobody could tell.
                kept.doubt[slot, c] = ALONE
            elif np.isfinite(said) and kept.doubt[slot, c] == ALONE:
                kept.doubt[slot, c] = HEALTHY
            if not np.isfinite(said):
                if kept.doubt[slot, c] != HEALTHY:
                    raw[i, c], middle[i, c], scale[i, c] = 1.0, x, FAR * usual_scale
                continue
            said += own
            if is_step:
                elapsed_s = min(elapsed, silent_us) / 1e6
                reach = 2.0 * FAR * usual_scale  # a spike is no drift
                weight = 1.0 - math.exp(-elapsed_s / MEMORY_S)
                kept.off[slot, c] += weight * (min(max(x - said, -reach), reach) - kept.off[slot, c])
                z = abs(kept.off[slot, c]) / usual_scale
                is_odd = z < NEARER if kept.doubt[slot, c] != HEALTHY else z >= FAR
                kept.odd_s[slot, c] = kept.odd_s[slot, c] + elapsed_s if is_odd else 0
                kept.on_s[slot, c] = kept.on_s[slot, c] + elapsed_s if kept.doubt[slot, c] != HEALTHY else 0
                has_moved = kept.on_s[slot, c] >= HOLD_S
                if has_moved:
                    kept.moved[slot, c] += kept.off[slot, c]
                    rows.adopted[i, c] = True
                    kept.off[slot, c] = 0.0
                if has_moved or kept.odd_s[slot, c] >= LASTS_S:
                    kept.doubt[slot, c] = SUSPECT - kept.doubt[slot, c]
                    kept.odd_s[slot, c] = 0.0
            z = abs(kept.off[slot, c]) / usual_scale / FAR
            raw[i, c] = max(z, 1.0) if kept.doubt[slot, c] != HEALTHY else min(z, 1.0 - 1e-9)
            middle[i, c], scale[i, c] = said, FAR * usual_scale
