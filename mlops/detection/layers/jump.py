"""Jump: a change since the last accepted value that the fleet was never seen to make in that time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlops.detection.compiled import NO_TIME, SILENT_STEPS, STEP_TOLERANCE, Array, compiled, inlined, interpolate
from mlops.detection.history import FLEET_SAMPLE, Arrays, History
from mlops.detection.layers import stuck
from mlops.detection.layers.stuck import runs_us
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors import quality
from sensors.readings import Ints, Profile

NAME = "jump"
HOURS = 24
N_PAST = 9  # accepted values remembered, the k-th 2^k to 2^(k+1) steps old: up to four hours of 30 s steps
MEMORY = {
    "accepted": Field("channel", np.float64, np.nan),
    "accepted_at": Field("channel", np.int64, NO_TIME),
    "step_value": Field("channel", np.float64, np.nan),
    "step_at": Field("channel", np.int64, NO_TIME),
    "held_since": Field("channel", np.int64),
    "plausible_since": Field("channel", np.int64),
    "stepped_back": Field("channel", np.int8),
    "n_alive": Field("channel", np.int16),
    "farthest": Field("channel", np.float32),
    "past": Field("channel", np.float32, np.nan, width=N_PAST),
    "past_at": Field("channel", np.int64, NO_TIME, width=N_PAST),
    "habit": Field("channel", np.uint8, width=HOURS),
    "repeated": Field("channel", np.uint8),
}
TAIL = 0.02
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = False
ANY_DAY = True
LAGS = tuple(2**k for k in range(13))  # steps; the longest is 34 hours of 30 s, beyond it a mote begins anew
MARGIN = 1.2
RARE = 0.9999
FEW = 2000  # differences of a lag that say something about its extremes
QUANTA = 4  # changes below this many steps of resolution are no jump
ALIVE_STEPS = 30  # a lively signal on a new level: the world really changed
LEAST_ALIVE = 6  # of these for a change that the fleet nearly makes
HOLD_STEPS = 720  # unconditional release, six hours of 30 s steps
HABIT, HABIT_UNIT = 1.2, 0.01  # what the world did at an hour it may do again, and a little more
MOST_HABIT = 2.0  # of what is allowed: farther than that is no habit
FORGETS = 5  # each day an hour's habit loses 1 / 2^5: it outlasts a weekend
VISIBLE = 0.5  # of the allowed change in one step
ASTRAY = 1.0  # ten times as rare at this hour as what is measured now: accepted, but not what the mote usually shows
FLAG, SHIFT = quality.JUMP, quality.CHANNEL_SHIFT


def prior(profile: Profile) -> Arrays:
    """Allowed is what the pack's rate allows, at most the whole physical range."""
    low, high = profile.bounds("physical")
    rate = np.array([channel.max_rate_per_s for channel in profile.channels], dtype=np.float64)
    quanta = QUANTA * np.array([channel.resolution for channel in profile.channels], dtype=np.float64)
    rate = np.where(rate > 0, rate, np.inf)
    allowed = np.minimum(rate[:, None] * profile.step_s * np.array(LAGS, dtype=np.float64), (high - low)[:, None])
    onset = profile.onset
    raw, surprise = line([(0.0, 0.0), (0.8, 0.3 * onset), (1.0, onset), (2.0, 2 * onset), (4.0, 12.0)], len(rate))
    return {
        "allowed": (allowed := np.maximum(allowed, np.maximum(quanta, 1e-9)[:, None])),
        "allowed_ever": allowed,
        "limit": np.ones(len(rate)),
        "margin": np.ones(1),
        "natural_us": stuck.prior(profile)["flat_us"],  # resting for longer is no sign of life
        "raw": raw,
        "surprise": surprise,
    }


def fit(history: History) -> Arrays:
    """The fleet's rarest changes by lag: one mote's day would give limits ten times too small on Monday."""
    allowed = prior(history.profile)["allowed"]
    quanta = np.array([QUANTA * channel.resolution for channel in history.profile.channels], dtype=np.float64)
    largest = np.full(allowed.shape, np.nan)
    for grid in history.some_motes(FLEET_SAMPLE).on_steps().grids():
        for place, lag in enumerate(LAGS):
            if lag >= len(grid):
                break
            change = np.abs(grid[lag:] - grid[:-lag])
            for c in range(grid.shape[1]):
                seen = change[np.isfinite(change[:, c]), c]
                if len(seen) >= FEW:
                    rare = np.partition(seen, k := min(int(RARE * len(seen)), len(seen) - 1))[k]
                    largest[c, place] = np.fmax(largest[c, place], rare)
    known = np.isfinite(largest)
    limits = np.where(known, MARGIN * np.maximum(largest, quanta[:, None] / MARGIN), allowed)
    limits = np.maximum.accumulate(np.maximum(limits, 1e-9), axis=1)
    return {
        "allowed": limits,
        "allowed_ever": np.maximum(limits, allowed),
        "natural_us": _natural(history),
        "margin": np.array([max(1.0, history.margin / MARGIN)]),
    }


def _natural(history: History) -> Ints:
    """The longest that each channel was seen to rest."""
    natural = prior(history.profile)["natural_us"]
    for c in range(len(natural)):
        present = np.isfinite(history.values[:, c])
        if present.any():
            mote, at = history.mote[present], history.at[present]
            natural[c] = runs_us(mote, at, history.values[present, c], SILENT_STEPS * history.step_us).max()
    return natural


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    shape = rows.values.shape
    raw, middle, scale = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    learnt = Learnt(*(model[name] for name in Learnt._fields))
    advance(rows, learnt, Kept(*(memory[name] for name in Kept._fields)), raw, middle, scale)
    return Said(raw, middle, scale)


class Learnt(NamedTuple):
    allowed: Array  # (channels, lags 1, 2, 4, ... steps)
    allowed_ever: Array  # on kinds of days that history has not shown: no less than the pack's rate
    limit: Array
    margin: Array  # for motes that were not in the history
    natural_us: Array


class Kept(NamedTuple):
    accepted: Array
    accepted_at: Array
    step_value: Array
    step_at: Array
    held_since: Array
    plausible_since: Array
    stepped_back: Array
    n_alive: Array
    farthest: Array
    past: Array
    past_at: Array
    habit: Array
    repeated: Array


@inlined
def allowed_change(allowed: Array, channel: int, lag: float) -> float:
    """The change that the fleet was seen to make in so many steps; between powers of two by interpolation."""
    if lag <= 1.0:
        return allowed[channel, 0]
    place, power = 0, 1.0
    while lag >= 2.0 * power:
        power *= 2.0
        place += 1
    if place >= allowed.shape[1] - 1:
        return allowed[channel, allowed.shape[1] - 1]
    return allowed[channel, place] + (lag / power - 1.0) * (allowed[channel, place + 1] - allowed[channel, place])


@inlined
def is_astray(rows: Rows, i: int, c: int, value: float) -> bool:
    """Whether what was once accepted is, at this hour, much odder than what is measured now."""
    off = abs(value - rows.usual[i, c])
    if off <= abs(rows.values[i, c] - rows.usual[i, c]):
        return False
    return interpolate(rows.odd_raw, rows.odd_surprise, c, off / rows.spread[i, c]) >= rows.oddness[i, c] + ASTRAY


@inlined
def from_past(rows: Rows, kept: Kept, allowed: Array, i: int, c: int, is_ordinary: bool, most: float) -> float:
    """The largest of `most` and the changes since remembered accepted values, in units of what is allowed: ramps."""
    slot, x, at = rows.slot[i], rows.values[i, c], rows.at[i]
    last = allowed.shape[1] - 1
    for k in range(N_PAST):
        if kept.past_at[slot, c, k] == NO_TIME:
            break
        age, off = at - kept.past_at[slot, c, k], abs(x - kept.past[slot, c, k])
        place = k  # of the power of two below the age; mostly it is this
        while place < last and age >= rows.step_us << (place + 1):
            place += 1
        while place > 0 and age < rows.step_us << place:
            place -= 1
        if off <= most * allowed[c, place]:
            continue
        ratio = off / allowed_change(allowed, c, age / rows.step_us)
        if ratio > most and not (is_ordinary and is_astray(rows, i, c, kept.past[slot, c, k])):
            most = ratio
    return most


@inlined
def remember(kept: Kept, slot: int, c: int, x: float, at: int, step_us: int) -> None:
    """Each place takes over its younger neighbour's value when its own grows too old."""
    for k in range(N_PAST - 1, 0, -1):
        if kept.past_at[slot, c, k - 1] == NO_TIME:
            continue
        if kept.past_at[slot, c, k] == NO_TIME or at - kept.past_at[slot, c, k] >= (step_us << (k + 1)):
            kept.past[slot, c, k] = kept.past[slot, c, k - 1]
            kept.past_at[slot, c, k] = kept.past_at[slot, c, k - 1]
    kept.past[slot, c, 0] = x
    kept.past_at[slot, c, 0] = at


@inlined
def forget(kept: Kept, slot: int, c: int) -> None:
    for k in range(N_PAST):
        kept.past_at[slot, c, k] = NO_TIME


@inlined
def habitual(habit: Array, slot: int, c: int, hour: int) -> float:
    """How many times what is allowed this mote does about this hour, since the world did before."""
    most = max(habit[slot, c, hour], habit[slot, c, (hour + 1) % HOURS], habit[slot, c, (hour + HOURS - 1) % HOURS])
    return max(1.0, HABIT * HABIT_UNIT * most)


@inlined
def begin_hour(kept: Kept, slot: int, c: int, before: int, hour: int) -> None:
    """What habit let pass in the hour before, the world did again; what it no longer does is forgotten day by day.

    Learnt at once, a fault that grows would widen its own limit.
    """
    kept.habit[slot, c, before] = max(kept.habit[slot, c, before], kept.repeated[slot, c])
    kept.repeated[slot, c] = 0
    kept.habit[slot, c, hour] -= kept.habit[slot, c, hour] >> FORGETS


@compiled
def advance(rows: Rows, learnt: Learnt, kept: Kept, raw: Array, middle: Array, scale: Array) -> None:
    """Against the last accepted value, by elapsed steps; what jumped is held until it is plausible again."""
    step_us, onset = rows.step_us, rows.onset
    clear = 0.5 * onset
    tolerated_us = np.int64(STEP_TOLERANCE * step_us)
    longest_lag = float(1 << (learnt.allowed.shape[1] - 1))
    for i in range(len(rows.slot)):
        slot, at = rows.slot[i], rows.at[i]
        if slot < 0:
            continue
        margin = 1.0 if rows.is_known[i] else learnt.margin[0]
        table = learnt.allowed if rows.is_shown[i] else learnt.allowed_ever
        local_s = rows.local_s[i]
        hour, into_hour_us = local_s // 3600 % HOURS, local_s % 3600 * 1_000_000 + at % 1_000_000
        for c in range(rows.values.shape[1]):
            x = rows.values[i, c]
            if np.isnan(x):
                continue
            usual, oddness, is_step = rows.usual[i, c], rows.oddness[i, c], rows.is_step[i, c]
            elapsed_us = at - kept.step_at[slot, c]
            if is_step and elapsed_us > into_hour_us and kept.step_at[slot, c] != NO_TIME:
                begin_hour(kept, slot, c, (local_s - elapsed_us // 1_000_000) // 3600 % HOURS, hour)
            is_odd, is_noisy = oddness >= onset, rows.noisy[i, c] >= onset
            is_ordinary = rows.is_known[i] and oddness < clear and not is_noisy  # by the mote's own learnt hour
            is_held, is_struck = kept.held_since[slot, c] != 0, rows.held[i, c]  # by what spike said of it
            accepted = kept.accepted[slot, c]
            ratio, habit = 0.0, 1.0
            if not np.isnan(accepted):
                lag = (at - kept.accepted_at[slot, c]) / step_us
                if lag > longest_lag:
                    # Longer ago than any change was learnt for: begin anew.
                    accepted = np.nan
                    kept.accepted[slot, c] = np.nan
                    kept.held_since[slot, c] = 0
                    is_held = False
                    forget(kept, slot, c)
                else:
                    allowed = allowed_change(table, c, lag)
                    ratio = abs(x - accepted) / allowed
                    habit = habitual(kept.habit, slot, c, hour)
                    wide = margin * habit
                    ratio = from_past(rows, kept, table, i, c, is_ordinary, ratio) / wide
                    middle[i, c], scale[i, c] = accepted, allowed * wide
            is_bad = ratio > learnt.limit[c] or is_noisy

            # A ramp within a step leads the accepted value astray: from there to the ordinary is a return, no jump.
            is_return = False
            if is_ordinary and not np.isnan(accepted) and (is_held or ratio > 0.5 * learnt.limit[c]):
                is_return = is_astray(rows, i, c, accepted)
            is_plausible, is_over, stepped_back, is_alive = False, False, False, False
            if is_held or is_odd:
                lag = (at - kept.step_at[slot, c]) / step_us if kept.step_at[slot, c] != NO_TIME else 1.0
                before, in_step = kept.step_value[slot, c], margin * allowed_change(table, c, lag)
                moved = abs(x - before)
                is_alive = (
                    rows.calm[i, c] and moved <= in_step * learnt.limit[c] and rows.run_us[i, c] <= learnt.natural_us[c]
                )
                if is_held and np.isnan(accepted):
                    is_plausible = not is_odd
                elif is_held:
                    is_nearer = abs(x - accepted) < abs(before - accepted)
                    is_nearer |= is_ordinary and abs(x - usual) < abs(before - usual)
                    stepped_back = kept.stepped_back[slot, c] != 0 or (moved > VISIBLE * in_step / margin and is_nearer)
                    is_plausible = is_return or (stepped_back and (is_ordinary or (rows.calm[i, c] and not is_bad)))
            if is_plausible or (is_ordinary and (is_held or is_bad)):
                if kept.plausible_since[slot, c] == 0:
                    kept.plausible_since[slot, c] = at
                # What is only ordinary, without a way back seen, is doubted for as long as an event needs.
                seen_at = at if is_plausible else rows.previous_at[i]
                is_over = seen_at - kept.plausible_since[slot, c] >= tolerated_us
            else:
                kept.plausible_since[slot, c] = 0
            if is_return or is_plausible or is_over:
                ratio = 0.0 if is_bad or is_return else ratio
            elif (is_held or is_bad) and not np.isnan(accepted):
                rows.flags[i] |= FLAG | (np.int64(1) << np.int64(SHIFT + c))
                if is_held or is_step:
                    ratio = max(ratio, learnt.limit[c])
            raw[i, c] = ratio
            rows.held[i, c] = is_struck or ((is_held or is_bad or is_odd) and not (is_return or is_over))

            accept = is_held and is_over
            if is_step:
                if is_held or is_odd:
                    kept.n_alive[slot, c] = kept.n_alive[slot, c] + 1 if is_alive else 0
                else:
                    kept.n_alive[slot, c] = 0
                if is_held:
                    kept.stepped_back[slot, c] = 1 if stepped_back else 0
                    kept.farthest[slot, c] = max(kept.farthest[slot, c], ratio)
                    doubt = min(1.0, kept.farthest[slot, c] / learnt.limit[c] - 1.0)
                    if kept.n_alive[slot, c] >= max(LEAST_ALIVE, ALIVE_STEPS * doubt):
                        accept = rows.adopted[i, c] = True
                        did = kept.farthest[slot, c] / learnt.limit[c] * habit
                        if did <= MOST_HABIT:
                            kept.habit[slot, c, hour] = max(kept.habit[slot, c, hour], np.uint8(did / HABIT_UNIT))
                    if at - kept.held_since[slot, c] >= HOLD_STEPS * step_us:
                        accept = rows.adopted[i, c] = True
                elif (is_bad and not (is_return or is_over)) or (np.isnan(accepted) and is_odd):
                    kept.held_since[slot, c] = at
                    kept.farthest[slot, c] = ratio
                    kept.stepped_back[slot, c] = ratio <= learnt.limit[c]  # what only trembles has no way to come
                    # The first reading of a jump does not yet speak for it.
                    if kept.plausible_since[slot, c] == at:
                        kept.plausible_since[slot, c] = 0
                    kept.n_alive[slot, c] = 0
                else:
                    did = ratio / learnt.limit[c] * habit
                    if did > 1.0 and not (is_bad or is_odd or is_struck):
                        again = np.uint8(min(did, MOST_HABIT) / HABIT_UNIT)
                        kept.repeated[slot, c] = max(kept.repeated[slot, c], again)
                    # Learnt from, an odd reading would make a jump of the way back to normal.
                    accept = not is_struck and (not is_odd or kept.n_alive[slot, c] >= ALIVE_STEPS)
                kept.step_value[slot, c] = x
                kept.step_at[slot, c] = at
            if accept:
                if is_return or (is_held and is_bad):  # not a way back to what was accepted: that is history
                    forget(kept, slot, c)
                if is_step:
                    remember(kept, slot, c, x, at, step_us)
                kept.accepted[slot, c] = x
                kept.accepted_at[slot, c] = at
                kept.held_since[slot, c] = 0
                kept.plausible_since[slot, c] = 0
