"""The engine's compiled loops: everything that happens to a reading, row by row, so that no cut of a stream shows.

One file on purpose: numba's cache does not notice a change in another file's callees. No fastmath, no parallel, no
vectorised mathematics: a row's arithmetic never depends on its neighbours in the batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sensors import quality

Array = NDArray[Any]

# Layers by their place in `votes`; on equal surprise the earlier one is named as the reason.
GATE, STUCK, LEVEL, JUMP, FOREST = range(5)
N_LAYERS = 5

CAP = 12.0  # surprise beyond which more says nothing
NEVER = np.iinfo(np.int64).max
NO_TIME = np.iinfo(np.int64).min

# A mote's integers. The first block is also what an event is made of.
(MOTE, NEWEST_AT, CANDIDATE_AT, STARTED_AT, NOTICED_AT, LAST_AT, BELOW_AT, N_READINGS, PEAK_AT, PEAK_CHANNEL,
 PEAK_LAYER) = range(11)  # fmt: skip
N_MOTE_INTS = 11
ENDED_AT = 11  # only in the record of a closed event
# A mote's floats; the contributions of the channels at the peak follow.
PEAK, PEAK_VALUE, PEAK_LOW, PEAK_HIGH = range(4)
N_MOTE_FLOATS = 4
# A channel's integers and floats.
ACCEPTED_AT, STEP_AT, SEEN_AT, RUN_US, HELD_SINCE, STEPPED_BACK, PLAUSIBLE_SINCE, N_ALIVE = range(8)
N_CHANNEL_INTS = 8
ACCEPTED, SEEN, STEP_VALUE = range(3)
N_CHANNEL_FLOATS = 3
# What a row can tell of each channel when it is asked to.
LEVEL_RAW, JUMP_RAW, CHANNEL_SURPRISE, BAND_LOW, BAND_HIGH = range(5)
N_DETAILS = 5

ALIVE_STEPS = 30  # a lively signal on a new level: the world really changed
HOLD_STEPS = 720  # unconditional release, six hours of 30 s steps
SILENT_STEPS = 20
STEP_TOLERANCE = 0.9  # senders jitter: a step counts as passed a little early
VISIBLE = 0.5  # of the allowed change in one step
ASTRAY = 1.0  # ten times as rare at this hour as what is measured now: accepted, but not what the mote usually shows

STUCK_FLAG = quality.STUCK
JUMP_FLAG = quality.JUMP
SHIFT = quality.CHANNEL_SHIFT
BLOCK = 64  # rows that walk a tree together: their features and the tree stay in the first-level cache


class Model(NamedTuple):
    """What was learnt, as the kernel reads it."""

    step_us: int
    onset: float
    physical_low: Array
    physical_high: Array
    flat_us: Array  # a longer run of equal values is stuck
    natural_us: Array  # a longer one is no sign of life
    allowed: Array  # (channels, lags 1, 2, 4, ... steps)
    jump_limit: Array
    jump_raw: Array
    jump_surprise: Array
    center: Array  # (motes + 1, weekend, hour, channels); row 0 is the fleet
    scale: Array  # (motes + 1, hour, channels)
    level_raw: Array
    level_surprise: Array
    band: Array  # how many scales around the centre are expected
    forest_raw: Array
    forest_surprise: Array


class State(NamedTuple):
    """What is remembered, as the kernel writes it."""

    mote_ints: Array
    mote_floats: Array
    channel_ints: Array
    channel_floats: Array


class Rows(NamedTuple):
    """What the kernel reads of each reading."""

    slot: Array  # -1: a mote of which nothing is remembered, only late readings have it
    level_row: Array
    at: Array
    local_s: Array
    values: Array
    is_late: Array
    forest: Array  # NaN: the forest does not vote


class Verdicts(NamedTuple):
    """What the kernel writes for each reading; `detail` is (0, 0, 0) when nobody asked."""

    surprise: Array
    votes: Array
    is_anomaly: Array
    event_id: Array
    flags: Array
    detail: Array


@njit(cache=True, nogil=True)
def interpolate(knots: Array, heights: Array, row: int, x: float) -> float:
    """Height at x of the line through a row of knots; level beyond its ends."""
    last = knots.shape[1] - 1
    if x <= knots[row, 0]:
        return heights[row, 0]
    if x >= knots[row, last]:
        return heights[row, last]
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) >> 1
        if knots[row, middle] <= x:
            low = middle
        else:
            high = middle
    share = (x - knots[row, low]) / (knots[row, high] - knots[row, low])
    return heights[row, low] + share * (heights[row, high] - heights[row, low])


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _close(state: State, slot: int, ended_at: int, closed_ints: Array, closed_floats: Array, place: int) -> None:
    for k in range(N_MOTE_INTS):
        closed_ints[place, k] = state.mote_ints[slot, k]
    closed_ints[place, ENDED_AT] = ended_at
    for k in range(state.mote_floats.shape[1]):
        closed_floats[place, k] = state.mote_floats[slot, k]
    for k in (CANDIDATE_AT, STARTED_AT, NOTICED_AT, LAST_AT, BELOW_AT, N_READINGS):
        state.mote_ints[slot, k] = 0


@njit(cache=True, nogil=True)
def advance(
    start: int, rows: Rows, model: Model, state: State, out: Verdicts, dirty: Array, closed_ints: Array,
    closed_floats: Array,
) -> tuple[int, int]:  # fmt: skip
    """Judges rows from `start` on, changing state and out; stops when `closed_*` is full.

    Returns the row to go on with and how many events closed. `dirty` marks the slots whose running event changed.
    """
    n, n_channels = rows.values.shape
    step_us, onset = model.step_us, model.onset
    high, clear = 2.0 * onset, 0.5 * onset
    tolerated_us = np.int64(STEP_TOLERANCE * step_us)
    silent_us = SILENT_STEPS * step_us
    longest_lag = float(1 << (model.allowed.shape[1] - 1))
    wants_detail = out.detail.shape[0] > 0
    mi, mf, ci, cf = state.mote_ints, state.mote_floats, state.channel_ints, state.channel_floats
    by_channel = np.empty(n_channels)
    band_low = np.empty(n_channels)
    band_high = np.empty(n_channels)
    by_layer = np.empty(N_LAYERS)
    n_closed = 0

    for i in range(start, n):
        if n_closed == closed_ints.shape[0]:
            return i, n_closed
        slot, at, row = rows.slot[i], rows.at[i], rows.level_row[i]
        previous_at = mi[slot, NEWEST_AT]
        late = rows.is_late[i] or at <= previous_at
        if not late:
            if previous_at != NO_TIME and at - previous_at > silent_us:
                if mi[slot, NOTICED_AT] != 0:
                    _close(state, slot, mi[slot, LAST_AT], closed_ints, closed_floats, n_closed)
                    n_closed += 1
                mi[slot, CANDIDATE_AT] = 0
                mi[slot, STARTED_AT] = 0
            mi[slot, NEWEST_AT] = at

        # The two hours whose middles lie around this instant, each with its own day's kind: midnight is no cliff.
        hour = (rows.local_s[i] - 1800) // 3600
        toward = (rows.local_s[i] - 1800 - hour * 3600) / 3600.0
        day, next_day = hour // 24, (hour + 1) // 24
        kind = 1 if (day + 3) % 7 >= 5 else 0
        next_kind = 1 if (next_day + 3) % 7 >= 5 else 0
        this_hour, next_hour = hour - day * 24, hour + 1 - next_day * 24

        by_layer[:] = 0.0
        spoke = False
        top, top_layer, top_channel, top_low, top_high, stuck_us = -1.0, 0, 0, 0.0, 0.0, 0
        for c in range(n_channels):
            x = rows.values[i, c]
            by_channel[c] = -1.0
            if not np.isfinite(x):
                continue
            spoke = True
            here, there = model.center[row, kind, this_hour, c], model.center[row, next_kind, next_hour, c]
            center = here + toward * (there - here)
            here, there = model.scale[row, this_hour, c], model.scale[row, next_hour, c]
            scale = here + toward * (there - here)
            band_low[c] = max(center - model.band[c] * scale, model.physical_low[c])
            band_high[c] = min(center + model.band[c] * scale, model.physical_high[c])
            mark = np.int64(1) << np.int64(SHIFT + c)
            z, ratio, s_stuck, s_jump = 0.0, 0.0, 0.0, 0.0
            jump_low, jump_high = band_low[c], band_high[c]

            if x < model.physical_low[c] or x > model.physical_high[c]:
                # Not a measurement of the world: no layer learns from it or compares with it.
                s_level, s_gate = 0.0, CAP
            else:
                s_gate = 0.0
                z = abs(x - center) / scale
                s_level = interpolate(model.level_raw, model.level_surprise, c, z)
                if not late:
                    # stuck: seconds of equal values, silences not counted
                    elapsed = at - ci[slot, c, SEEN_AT] if ci[slot, c, SEEN_AT] != NO_TIME else NEVER
                    if x == cf[slot, c, SEEN] and elapsed <= silent_us:
                        ci[slot, c, RUN_US] += elapsed
                    else:
                        ci[slot, c, RUN_US] = 0
                    ci[slot, c, SEEN_AT] = at
                    cf[slot, c, SEEN] = x
                    run = ci[slot, c, RUN_US]
                    if run >= model.flat_us[c]:
                        s_stuck = min(CAP, onset * (run / model.flat_us[c]))
                        out.flags[i] |= STUCK_FLAG | mark

                    # jump: against the last accepted value, by elapsed steps
                    is_held = ci[slot, c, HELD_SINCE] != 0
                    is_step = ci[slot, c, STEP_AT] == NO_TIME or at - ci[slot, c, STEP_AT] >= tolerated_us
                    accepted = cf[slot, c, ACCEPTED]
                    if not np.isnan(accepted):
                        lag = (at - ci[slot, c, ACCEPTED_AT]) / step_us
                        if lag > longest_lag:
                            # Longer ago than any change was learnt for: begin anew.
                            accepted = np.nan
                            cf[slot, c, ACCEPTED] = np.nan
                            ci[slot, c, HELD_SINCE] = 0
                            is_held = False
                        else:
                            allowed = allowed_change(model.allowed, c, lag)
                            ratio = abs(x - accepted) / allowed
                            s_jump = interpolate(model.jump_raw, model.jump_surprise, c, ratio)
                            reach = allowed * model.jump_limit[c]
                            jump_low = max(accepted - reach, model.physical_low[c])
                            jump_high = min(accepted + reach, model.physical_high[c])
                    is_bad = ratio > model.jump_limit[c]

                    is_odd = s_level >= onset
                    # Ordinary by the mote's own learnt hour. A ramp within a step leads the accepted value astray: from
                    # there to the ordinary is a return, no jump.
                    is_ordinary = row > 0 and s_level < clear
                    is_return = False
                    if is_ordinary and not np.isnan(accepted) and (is_held or s_jump >= clear):
                        z_accepted = abs(accepted - center) / scale
                        s_accepted = interpolate(model.level_raw, model.level_surprise, c, z_accepted)
                        is_return = s_accepted >= s_level + ASTRAY
                    is_plausible, is_over, stepped_back, is_alive = False, False, False, False
                    if is_held or is_odd:
                        lag = (at - ci[slot, c, STEP_AT]) / step_us if ci[slot, c, STEP_AT] != NO_TIME else 1.0
                        moved, in_step = abs(x - cf[slot, c, STEP_VALUE]), allowed_change(model.allowed, c, lag)
                        is_alive = moved <= in_step * model.jump_limit[c] and run <= model.natural_us[c]
                    if is_held:
                        if np.isnan(accepted):
                            is_plausible = not is_odd
                        else:
                            before = cf[slot, c, STEP_VALUE]
                            is_nearer = abs(x - accepted) < abs(before - accepted)
                            is_nearer |= is_ordinary and abs(x - center) < abs(before - center)
                            stepped_back = ci[slot, c, STEPPED_BACK] != 0 or (moved > VISIBLE * in_step and is_nearer)
                            is_plausible = is_return or (stepped_back and (is_ordinary or not is_bad))
                    if is_plausible or (is_ordinary and (is_held or is_bad)):
                        if ci[slot, c, PLAUSIBLE_SINCE] == 0:
                            ci[slot, c, PLAUSIBLE_SINCE] = at
                        # What is only ordinary, without a way back seen, is doubted for as long as an event needs.
                        seen_at = at if is_plausible else previous_at
                        is_over = seen_at - ci[slot, c, PLAUSIBLE_SINCE] >= tolerated_us
                    else:
                        ci[slot, c, PLAUSIBLE_SINCE] = 0
                    if is_return or is_plausible or is_over:
                        s_jump = 0.0 if is_bad or is_return else s_jump
                    elif (is_held or is_bad) and not np.isnan(accepted):
                        out.flags[i] |= JUMP_FLAG | mark
                        if is_held or is_step:
                            s_jump = max(s_jump, onset)

                    accept = is_held and is_over
                    if is_step:
                        if is_held or is_odd:
                            ci[slot, c, N_ALIVE] = ci[slot, c, N_ALIVE] + 1 if is_alive else 0
                        else:
                            ci[slot, c, N_ALIVE] = 0
                        if is_held:
                            ci[slot, c, STEPPED_BACK] = 1 if stepped_back else 0
                            accept |= ci[slot, c, N_ALIVE] >= ALIVE_STEPS
                            accept |= at - ci[slot, c, HELD_SINCE] >= HOLD_STEPS * step_us
                        elif (is_bad and not (is_return or is_over)) or (np.isnan(accepted) and is_odd):
                            ci[slot, c, HELD_SINCE] = at
                            ci[slot, c, STEPPED_BACK] = 0
                            # The first reading of a jump does not yet speak for it.
                            if ci[slot, c, PLAUSIBLE_SINCE] == at:
                                ci[slot, c, PLAUSIBLE_SINCE] = 0
                            ci[slot, c, N_ALIVE] = 0
                        else:
                            # Learnt from, an odd reading would make a jump of the way back to normal.
                            accept = not is_odd or ci[slot, c, N_ALIVE] >= ALIVE_STEPS
                        cf[slot, c, STEP_VALUE] = x
                        ci[slot, c, STEP_AT] = at
                    if accept:
                        cf[slot, c, ACCEPTED] = x
                        ci[slot, c, ACCEPTED_AT] = at
                        ci[slot, c, HELD_SINCE] = 0
                        ci[slot, c, PLAUSIBLE_SINCE] = 0

            by_channel[c] = max(max(s_gate, s_stuck), max(s_level, s_jump))
            for layer in range(FOREST):
                if layer == GATE:
                    s = s_gate
                elif layer == STUCK:
                    s = s_stuck
                elif layer == LEVEL:
                    s = s_level
                else:
                    s = s_jump
                by_layer[layer] = max(by_layer[layer], s)
                if s > top or (s == top and layer < top_layer):
                    top, top_layer, top_channel = s, layer, c
                    top_low = jump_low if layer == JUMP else band_low[c]
                    top_high = jump_high if layer == JUMP else band_high[c]
                    stuck_us = ci[slot, c, RUN_US] if layer == STUCK and not late else 0
            if wants_detail:
                out.detail[i, c, LEVEL_RAW] = z
                out.detail[i, c, JUMP_RAW] = ratio
                out.detail[i, c, CHANNEL_SURPRISE] = by_channel[c]
                out.detail[i, c, BAND_LOW] = band_low[c]
                out.detail[i, c, BAND_HIGH] = band_high[c]

        if not spoke:
            continue
        if not np.isnan(rows.forest[i]):
            by_layer[FOREST] = interpolate(model.forest_raw, model.forest_surprise, 0, rows.forest[i])
            if by_layer[FOREST] > top:
                top, top_layer, top_channel, stuck_us = by_layer[FOREST], FOREST, int(np.argmax(by_channel)), 0
                top_low, top_high = band_low[top_channel], band_high[top_channel]
        out.surprise[i] = top
        votes = np.int64(0)
        for layer in range(N_LAYERS):
            votes |= np.int64(min(255.0, np.floor(by_layer[layer] * 10.0 + 0.5))) << np.int64(8 * layer)
        out.votes[i] = votes
        if late:
            out.is_anomaly[i] = top >= onset
            continue

        # The event: a candidate from the first reading at onset, noticed when it lasts a step or is high at once.
        if mi[slot, NOTICED_AT] == 0:
            if top < onset:
                mi[slot, CANDIDATE_AT] = 0
                mi[slot, STARTED_AT] = 0
                continue
            if mi[slot, CANDIDATE_AT] == 0:
                mi[slot, CANDIDATE_AT] = at
                mi[slot, STARTED_AT] = at
                mf[slot, PEAK] = -1.0
            mi[slot, STARTED_AT] = min(mi[slot, STARTED_AT], at - stuck_us)
            if top >= high or at - mi[slot, CANDIDATE_AT] >= tolerated_us:
                mi[slot, NOTICED_AT] = at
                mi[slot, N_READINGS] = 0
                mi[slot, BELOW_AT] = 0
        if top >= clear and top > mf[slot, PEAK]:
            mf[slot, PEAK] = top
            mf[slot, PEAK_VALUE] = rows.values[i, top_channel]
            mf[slot, PEAK_LOW] = top_low
            mf[slot, PEAK_HIGH] = top_high
            mi[slot, PEAK_AT] = at
            mi[slot, PEAK_CHANNEL] = top_channel
            mi[slot, PEAK_LAYER] = top_layer
            for c in range(n_channels):
                mf[slot, N_MOTE_FLOATS + c] = max(by_channel[c], 0.0)
        if mi[slot, NOTICED_AT] == 0:
            continue
        out.event_id[i] = mi[slot, NOTICED_AT]
        if top >= clear:
            # Among thirty readings a step, chance lifts one over `clear` now and then: alone, it prolongs no event.
            is_lone = top < onset and at - previous_at < tolerated_us and mi[slot, LAST_AT] != previous_at
            out.is_anomaly[i] = True
            mi[slot, N_READINGS] += 1
            mi[slot, LAST_AT] = at
            dirty[slot] = 1
            if not is_lone:
                mi[slot, BELOW_AT] = 0
        elif mi[slot, BELOW_AT] == 0:
            mi[slot, BELOW_AT] = at
        elif at - mi[slot, BELOW_AT] >= step_us + tolerated_us:
            _close(state, slot, at, closed_ints, closed_floats, n_closed)
            n_closed += 1
    return n, n_closed


@njit(cache=True, nogil=True)
def forest_features(
    values: Array, local_s: Array, low: Array, high: Array, median: Array, hour_wave: Array, week_wave: Array,
    features: Array,
) -> None:  # fmt: skip
    """Fills (rows, features): channels, then hour and week as points on a circle; row NaN at 0 when half is missing.

    The waves are tables by minute: sines computed here could differ between a vector's body and its rest.
    """
    n, n_channels = values.shape
    for i in range(n):
        n_missing = 0
        for c in range(n_channels):
            x = values[i, c]
            if not np.isfinite(x) or x < low[c] or x > high[c]:
                n_missing += 1
                x = median[c]
            features[i, c] = x
        minute = local_s[i] // 60
        features[i, n_channels] = hour_wave[minute % 1440, 0]
        features[i, n_channels + 1] = hour_wave[minute % 1440, 1]
        if features.shape[1] > n_channels + 2:
            features[i, n_channels + 2] = week_wave[minute % 10080, 0]
            features[i, n_channels + 3] = week_wave[minute % 10080, 1]
        if 2 * n_missing > n_channels:
            features[i, 0] = np.nan


@njit(cache=True, nogil=True)
def forest_depths(
    features: Array, mean: Array, spread: Array, split_feature: Array, split_at: Array, leaf_depth: Array, depths: Array
) -> None:
    """Sum over the trees of the depth at which each row is alone; NaN where it may not vote.

    Trees are complete heaps of equal depth, so that a walk has no branch; sums run in tree order, as scikit-learn's.
    """
    n, n_features = features.shape
    n_trees, n_splits = split_at.shape
    n_levels = 0
    while (1 << n_levels) - 1 < n_splits:
        n_levels += 1
    block = np.empty((BLOCK, n_features), dtype=np.float32)
    for begin in range(0, n, BLOCK):
        size = min(BLOCK, n - begin)
        for r in range(size):
            depths[begin + r] = 0.0
            for f in range(n_features):
                block[r, f] = np.float32((features[begin + r, f] - mean[f]) / spread[f])
        for tree in range(n_trees):
            for r in range(size):
                node = 0
                for _ in range(n_levels):
                    node = 2 * node + 1 + (block[r, split_feature[tree, node]] > split_at[tree, node])
                depths[begin + r] += leaf_depth[tree, node - n_splits]
        for r in range(size):
            if np.isnan(features[begin + r, 0]):
                depths[begin + r] = np.nan
