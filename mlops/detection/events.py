"""The last loops over a batch: what came before whom, what all layers say together, and which events that makes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlops.detection.compiled import NO_TIME, SILENT_STEPS, STEP_TOLERANCE, Array, compiled, interpolate, straight
from mlops.detection.rows import Field, Rows

# A mote's integers. The first block is also what an event is made of.
(MOTE, NEWEST_AT, CANDIDATE_AT, STARTED_AT, NOTICED_AT, LAST_AT, BELOW_AT, N_READINGS, PEAK_AT, PEAK_CHANNEL,
 PEAK_LAYER, ADOPTED) = range(12)  # fmt: skip
N_INTS = 12
ENDED_AT = 12  # only in the record of a closed event
# A mote's floats; the channels' shares of the peak are an array of their own.
PEAK, PEAK_VALUE, PEAK_LOW, PEAK_HIGH = range(4)
N_FLOATS = 4

NEARLY = 0.75  # of onset: far enough for chance to be rare, early enough to tell a growing fault from a lone reading
HUSHED = 0.49  # of onset: what a layer says of a kind of day that it has not seen begins no event and prolongs none

NAME = "engine"
MEMORY = {
    "ints": Field("mote", np.int64, width=N_INTS),
    "floats": Field("mote", np.float64, width=N_FLOATS),
    "shares": Field("channel", np.float64),
    "step_at": Field("channel", np.int64, NO_TIME),
}


class Kept(NamedTuple):
    """MEMORY, as the loop takes it."""

    ints: Array
    floats: Array
    shares: Array
    step_at: Array


class Opinions(NamedTuple):
    """What each layer said, in their order: tuples of arrays of equal types."""

    raw: tuple[Array, ...]  # (rows, channels), or (rows, 1)
    middle: tuple[Array, ...]  # (rows, channels), or (0, 0)
    scale: tuple[Array, ...]
    share: tuple[Array, ...]


class Tables(NamedTuple):
    """How raw becomes surprise, by layer and channel."""

    raw: Array  # (layers, channels, knots)
    surprise: Array
    limit: Array  # (layers, channels): the raw output at onset
    onset: float  # the surprise at which an event begins
    low: Array  # the physical range
    high: Array
    bends: Array
    is_settled: Array  # (layers): at onset it has waited long enough
    any_day: Array  # (layers): what it learnt holds on kinds of days that history has not shown
    level: int  # places of layers that are told differently
    stuck: int
    peers: int
    spike: int
    vote_bits: int
    vote_unit: float


class Verdicts(NamedTuple):
    """What becomes of each reading."""

    surprise: Array
    votes: Array
    is_anomaly: Array
    event_id: Array
    flags: Array
    by_channel: Array  # (rows, channels): the loudest layer that judges channels; -1 where nothing was measured


@compiled
def tick(rows: Rows, ints: Array, step_at: Array) -> None:
    """Tells late readings from those in order, and steps from what lies between them."""
    tolerated_us = np.int64(STEP_TOLERANCE * rows.step_us)
    for i in range(len(rows.slot)):
        slot = rows.slot[i]
        if slot >= 0 and rows.at[i] <= ints[slot, NEWEST_AT]:
            rows.slot[i] = slot = -1
        if slot < 0:
            rows.previous_at[i] = NO_TIME
            continue
        rows.previous_at[i] = ints[slot, NEWEST_AT]
        ints[slot, NEWEST_AT] = rows.at[i]
        for c in range(rows.values.shape[1]):
            if np.isnan(rows.values[i, c]):
                continue
            if step_at[slot, c] == NO_TIME or rows.at[i] - step_at[slot, c] >= tolerated_us:
                rows.is_step[i, c] = True
                step_at[slot, c] = rows.at[i]


@compiled
def _close(kept: Kept, slot: int, ended_at: int, ints: Array, floats: Array, shares: Array, place: int) -> None:
    # Element by element: copies of whole rows take seconds to compile.
    for k in range(N_INTS):
        ints[place, k] = kept.ints[slot, k]
    ints[place, ENDED_AT] = ended_at
    for k in range(N_FLOATS):
        floats[place, k] = kept.floats[slot, k]
    for c in range(shares.shape[1]):
        shares[place, c] = kept.shares[slot, c]
    for k in (CANDIDATE_AT, STARTED_AT, NOTICED_AT, LAST_AT, BELOW_AT, N_READINGS):
        kept.ints[slot, k] = 0


@compiled
def goes_on(said: Opinions, tables: Tables, i: int, onset: float) -> bool:
    """Whether what was wrong before a silence is still known to be: neighbours' memory outlasts it."""
    raw = said.raw[tables.peers]
    for c in range(raw.shape[1]):
        if np.isnan(raw[i, c]):
            continue
        if interpolate(tables.raw[tables.peers], tables.surprise[tables.peers], c, raw[i, c]) >= onset:
            return True
    return False


@compiled
def conclude(
    start: int, rows: Rows, measured: Array, said: Opinions, tables: Tables, kept: Kept, out: Verdicts, dirty: Array,
    closed_ints: Array, closed_floats: Array, closed_shares: Array,
) -> tuple[int, int]:  # fmt: skip
    """Judges rows from `start` on, changing events and out; stops when `closed_*` is full.

    Returns the row to go on with and how many events closed. `dirty` marks the slots whose running event changed.
    """
    n, n_channels = measured.shape
    step_us, onset = rows.step_us, tables.onset
    high, clear = 2.0 * onset, 0.5 * onset
    tolerated_us = np.int64(STEP_TOLERANCE * step_us)
    silent_us = SILENT_STEPS * step_us
    mi, mf = kept.ints, kept.floats
    n_closed = 0

    for i in range(start, n):
        if n_closed == closed_ints.shape[0]:
            return i, n_closed
        slot, at, previous_at = rows.slot[i], rows.at[i], rows.previous_at[i]
        is_after_silence = slot >= 0 and previous_at != NO_TIME and at - previous_at > silent_us
        if is_after_silence and not (mi[slot, NOTICED_AT] != 0 and goes_on(said, tables, i, rows.onset)):
            if mi[slot, NOTICED_AT] != 0:
                _close(kept, slot, mi[slot, LAST_AT], closed_ints, closed_floats, closed_shares, n_closed)
                n_closed += 1
            mi[slot, CANDIDATE_AT] = 0
            mi[slot, STARTED_AT] = 0

        # The loudest opinion; of equal ones the earlier layer's.
        top, top_layer, top_channel, votes = -1.0, 0, 0, np.int64(0)
        n_spoke = 0
        # What a layer that looks back over many steps still says after a spike does not make the spike last; nor does
        # what any other half says after one of light, which is restless below onset.
        is_sudden = slot >= 0 and mi[slot, NOTICED_AT] != 0 and not tables.is_settled[mi[slot, PEAK_LAYER]]
        is_struck = is_sudden and mi[slot, PEAK_LAYER] == tables.spike
        for c in range(n_channels):
            is_measured = np.isfinite(measured[i, c])
            out.by_channel[i, c] = 0.0 if is_measured else -1.0
            n_spoke += is_measured
        if n_spoke == 0:
            continue
        for layer in range(len(said.raw)):
            raw = said.raw[layer]
            loudest = 0.0
            for c in range(raw.shape[1]):
                if np.isnan(raw[i, c]):
                    continue
                s = interpolate(tables.raw[layer], tables.surprise[layer], c, raw[i, c])
                if not (rows.is_shown[i] or tables.any_day[layer]):
                    s = min(s, HUSHED * onset)
                loudest = max(loudest, s)
                if raw.shape[1] == n_channels and s > out.by_channel[i, c]:
                    out.by_channel[i, c] = s
                is_echo = (is_struck and layer != tables.spike) or (is_sudden and tables.is_settled[layer])
                if s > top and not (is_echo and s < rows.onset):
                    top, top_layer, top_channel = s, layer, c
            tenths = np.int64(np.floor(loudest / tables.vote_unit + 0.5))
            most = (np.int64(1) << np.int64(tables.vote_bits)) - 1
            votes |= min(tenths, most) << np.int64(tables.vote_bits * layer)
        top = max(top, 0.0)
        shares = said.share[top_layer]
        has_share = shares.shape[0] > 0
        if has_share:
            top_channel = int(np.argmax(shares[i]))
        elif said.raw[top_layer].shape[1] != n_channels:
            top_channel = int(np.argmax(out.by_channel[i]))
        out.surprise[i] = top
        out.votes[i] = votes
        if slot < 0:
            out.is_anomaly[i] = top >= onset
            continue

        # The event: from the first reading at onset, noticed at once when it is high, or when it lasts a step; what
        # grew has lasted since it was nearly at onset.
        if mi[slot, NOTICED_AT] == 0:
            if top < NEARLY * onset:
                mi[slot, CANDIDATE_AT] = 0
            elif mi[slot, CANDIDATE_AT] == 0:
                mi[slot, CANDIDATE_AT] = at
            if top < onset:
                mi[slot, STARTED_AT] = 0
                continue
            if mi[slot, STARTED_AT] == 0:
                mi[slot, STARTED_AT] = at
                mf[slot, PEAK] = -1.0
            if top_layer == tables.stuck:
                mi[slot, STARTED_AT] = min(mi[slot, STARTED_AT], at - rows.run_us[i, top_channel])
            if top >= high or tables.is_settled[top_layer] or at - mi[slot, CANDIDATE_AT] >= tolerated_us:
                mi[slot, NOTICED_AT] = at
                mi[slot, N_READINGS] = 0
                mi[slot, BELOW_AT] = 0
                mi[slot, ADOPTED] = 0
        if top >= clear and top > mf[slot, PEAK]:
            told = top_layer
            if said.middle[told].shape[0] == 0 or np.isnan(said.middle[told][i, top_channel]):
                told = tables.level
            middle, scale = said.middle[told][i, top_channel], said.scale[told][i, top_channel]
            reach = scale * tables.limit[told, top_channel]
            mf[slot, PEAK] = top
            mf[slot, PEAK_VALUE] = measured[i, top_channel]
            bend = tables.bends[top_channel]
            mf[slot, PEAK_LOW] = max(straight(middle - reach, bend), tables.low[top_channel])
            mf[slot, PEAK_HIGH] = min(straight(middle + reach, bend), tables.high[top_channel])
            mi[slot, PEAK_AT] = at
            mi[slot, PEAK_CHANNEL] = top_channel
            mi[slot, PEAK_LAYER] = top_layer
            for c in range(n_channels):
                kept.shares[slot, c] = shares[i, c] if has_share else max(out.by_channel[i, c], 0.0)
        if mi[slot, NOTICED_AT] == 0:
            continue
        out.event_id[i] = mi[slot, NOTICED_AT]
        if top >= clear:  # whatever was adopted before, the event goes on
            mi[slot, ADOPTED] = 0
        for c in range(n_channels):
            mi[slot, ADOPTED] |= np.int64(rows.adopted[i, c]) << np.int64(c)
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
            _close(kept, slot, at, closed_ints, closed_floats, closed_shares, n_closed)
            n_closed += 1
    return n, n_closed
