"""Series: a channel that leaves its own past: off its time of day, for a moment or for long; rougher than it was; far
from where it has been.

Each of these four has a tail of its own in the mote's memory and goes on learning, so the layer needs little history
and follows a series whose habits change. What it says is news: a stretch is loud when it begins and when it gets
worse, and in between only loud enough to keep its event open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlops.detection.compiled import CAP, NO_TIME, SILENT_STEPS, Array, compiled, inlined
from mlops.detection.history import FLEET_SAMPLE, Arrays, History
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import line
from sensors.readings import Floats, Profile

NAME = "series"
N_STATISTICS = 4  # quick and slow distance from the time of day, roughness, distance from its place
OF_TIME = 2  # the first ones, which say nothing at a time of day that was not seen before
N_BINS, BIN, RARE_BIN = 24, 0.075, 8.0  # of a tail, in decades; the fleet's rarest hundredth begins at RARE_BIN
HALF_HOURS = 48
EARLIER = 1 << 15  # of visits to a half-hour of the day: one was on an earlier day
MEMORY = {
    "n": Field("channel", np.int32),
    "seen_at": Field("channel", np.int64, NO_TIME),
    "seen": Field("channel", np.float32),
    "quick": Field("channel"),
    "slow": Field("channel"),
    "rough": Field("channel"),
    "place": Field("channel"),
    "usual": Field("channel", np.float32, width=HALF_HOURS),
    "visits": Field("channel", np.uint16, width=HALF_HOURS),
    "tails": Field("channel", np.float32, width=N_STATISTICS * N_BINS),
    "told": Field("channel", np.float32),
    "told_at": Field("channel", np.int64, NO_TIME),
}
TAIL = 0.1
OWN_LIMITS = True
BY_HEART = False
IS_SETTLED = True
ANY_DAY = False

# Weights of a step in moving means.
QUICK, SLOW, ROUGH, PLACE = 0.5, 0.05, 0.02, 1 / 8000
HABIT_S = 3000.0  # of readings in a half-hour of the day, after which two thirds of its usual value are new
RAREST = 0.01  # of a tail: what lies above it is extrapolated
FEW = 5.0
WARM, LEAST_WARM = 100, 40  # steps of its own before a mote's tails say anything: two thirds of a shorter history
FEWEST = 20  # steps of a mote that tell anything of the fleet's
BORROWED, MOST_BORROWED = 1 / 6, 2000.0  # of the fleet's steps a mote: what its tails are worth to one without a past
REMEMBERED = 10_000.0  # steps, then the past counts half
NEWS_STEPS = 100
# Bins are counted as if all lay at their edge, and news is rarer than what it tells of. Measured on white, coloured,
# daily, discrete and heavy-tailed noise: so often, one false event a week at five minutes is one.
CORRECTION = 1.1
ASIDE = 0.6  # of onset: what is no news


def prior(profile: Profile) -> Arrays:
    """Silent: without history nobody knows how far such a channel strays."""
    n = len(profile.channels)
    raw, surprise = line([(0.0, 0.0), (CAP, CAP)], n)
    return {
        "rare": np.zeros((n, N_STATISTICS)),
        "tails": np.zeros((n, N_STATISTICS * N_BINS)),
        "warm": np.array([WARM]),
        "limit": np.full(n, profile.onset),
        "raw": raw,
        "surprise": surprise,
    }


def fit(history: History) -> Arrays:
    """The fleet's tails: how far its motes' statistics reach, as a mote without a past shall begin."""
    start = prior(history.profile)
    rare, tails, longest = start["rare"], start["tails"], 0
    steps = history.some_motes(FLEET_SAMPLE).on_steps()
    bounds = np.searchsorted(steps.mote, np.append(steps.ids, np.iinfo(np.int64).max))
    for c, channel in enumerate(history.profile.channels):
        reached = []
        for begin, end in pairwise(bounds.tolist()):
            there = np.isfinite(steps.values[begin:end, c])
            values, local_s = steps.values[begin:end, c][there], steps.local_s[begin:end][there]
            if len(values) >= FEWEST:
                traced = np.zeros((len(values), N_STATISTICS))
                trace(
                    np.ascontiguousarray(values), np.ascontiguousarray(local_s), habit(history.profile.step_s), traced
                )
                longest = max(longest, len(values))
                reached.append(traced[min(len(traced) // 3, WARM) :])
        if not reached:
            continue
        floor = max(channel.resolution / 10.0, 1e-9)
        rare[c] = np.maximum(np.median([np.quantile(own, 1.0 - RAREST, axis=0) for own in reached], axis=0), floor)
        worth = min(BORROWED * float(np.median([len(own) for own in reached])), MOST_BORROWED)
        tails[c] = worth * shares(np.concatenate(reached), rare[c]).ravel()
    return {"rare": rare, "tails": tails, "warm": np.array([min(WARM, max(LEAST_WARM, longest * 2 // 3))])}


def shares(statistics: Floats, rare: Floats) -> Floats:
    """Of each statistic's bins: (statistics, bins), together 1."""
    place = np.log10(np.maximum(statistics, 1e-300) / rare) / BIN + RARE_BIN
    bins = np.clip(place, 0, N_BINS - 1).astype(np.int64)
    return np.stack([np.bincount(bins[:, j], minlength=N_BINS) / len(bins) for j in range(N_STATISTICS)])


def habit(step_s: float) -> float:
    """Weight of one step in the usual value of its half-hour."""
    return min(0.3, 1.0 - math.exp(-step_s / HABIT_S))


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    shape = rows.values.shape
    raw, middle, scale = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    kept = Kept(*(memory[name] for name in Kept._fields))
    warm = int(model["warm"][0]) if "warm" in model else WARM  # models of earlier releases have none
    advance(rows, model["rare"], model["tails"], warm, habit(rows.step_us / 1e6), kept, raw, middle, scale)
    return Said(raw, middle, scale)


class Kept(NamedTuple):
    n: Array
    seen_at: Array
    seen: Array
    quick: Array
    slow: Array
    rough: Array
    place: Array
    usual: Array
    visits: Array
    tails: Array
    told: Array
    told_at: Array


@inlined
def measure(kept: Kept, slot: int, c: int, x: float, half_hour: int, habit: float, learns: bool, out: Array) -> float:
    """The four statistics of a step; answers what is usual now."""
    n = kept.n[slot, c]
    visits = kept.visits[slot, c, half_hour] & (EARLIER - 1)
    place = kept.place[slot, c] if n > 0 else x
    usual = float(kept.usual[slot, c, half_hour]) if visits > 0 else place
    off = x - usual
    quick, slow, rough = kept.quick[slot, c], kept.slow[slot, c], kept.rough[slot, c]
    quick += QUICK * (off - quick)
    slow += max(SLOW, 1.0 / (n + 1)) * (off - slow)
    if n > 0:
        rough += max(ROUGH, 1.0 / n) * (abs(x - kept.seen[slot, c]) - rough)
    out[0], out[1], out[2], out[3] = abs(quick), abs(slow), rough, abs(x - place)
    kept.quick[slot, c], kept.slow[slot, c], kept.rough[slot, c], kept.seen[slot, c] = quick, slow, rough, x
    if learns:
        kept.place[slot, c] = place + max(PLACE, 1.0 / (n + 1)) * (x - place)
        kept.usual[slot, c, half_hour] = usual + max(habit, 1.0 / (visits + 1)) * (x - usual) if visits > 0 else x
        kept.visits[slot, c, half_hour] = kept.visits[slot, c, half_hour] & EARLIER | min(visits + 1, EARLIER - 1)
        kept.n[slot, c] = n + 1
    return usual


@compiled
def trace(values: Array, local_s: Array, habit: float, out: Array) -> None:
    """The statistics of one series from its beginning."""
    one = (1, 1)
    kept = Kept(
        np.zeros(one, np.int32), np.zeros(one, np.int64), np.zeros(one, np.float32), np.zeros(one), np.zeros(one),
        np.zeros(one), np.zeros(one), np.zeros((1, 1, HALF_HOURS), np.float32),
        np.zeros((1, 1, HALF_HOURS), np.uint16), np.zeros((1, 1, 1), np.float32), np.zeros(one, np.float32),
        np.zeros(one, np.int64),
    )  # fmt: skip
    for i in range(len(values)):
        measure(kept, 0, 0, values[i], local_s[i] // 1800 % HALF_HOURS, habit, True, out[i])


@inlined
def has_a_past(kept: Kept, slot: int, c: int, local_s: int, ago_us: int, warm: int) -> bool:
    """Whether this half-hour of the day was seen on an earlier one, or for long today; else what is usual then?"""
    half_hour = local_s // 1800 % HALF_HOURS
    is_entered = local_s // 1800 != (local_s - ago_us // 1_000_000) // 1800
    if is_entered and kept.visits[slot, c, half_hour] > 0:
        kept.visits[slot, c, half_hour] |= np.uint16(EARLIER)
    return kept.visits[slot, c, half_hour] >= min(warm, EARLIER)


@inlined
def weigh(counts: Array) -> tuple[float, float, float, float]:
    """How much each statistic's bins hold; side by side, since a sum waits for its last addition."""
    quick, slow, rough, place = 0.0, 0.0, 0.0, 0.0
    for k in range(N_BINS):
        quick += float(counts[k])
        slow += float(counts[N_BINS + k])
        rough += float(counts[2 * N_BINS + k])
        place += float(counts[3 * N_BINS + k])
    return quick, slow, rough, place


@inlined
def rarity(counts: Array, total: float, begin: int, place: float) -> float:
    """−log10 of the share of the past that lay as far out; beyond its rarest hundredth by an exponential tail."""
    own = min(max(int(place), 0), N_BINS - 1)
    above = 0.0
    for k in range(begin + N_BINS - 1, begin + own, -1):
        above += float(counts[k])
    beyond = above + float(counts[begin + own])
    needed = max(RAREST * total, FEW)
    if above >= needed:
        return -math.log10(beyond / total)
    mass, k = beyond, own
    while k > 0 and mass < needed:
        k -= 1
        mass += float(counts[begin + k])
    if place < k:
        return -math.log10(mass / total)
    edge = 10.0 ** (0.5 * BIN * k)
    excess = 0.0
    for above in range(k, N_BINS):
        if counts[begin + above] > 0.0:
            excess += float(counts[begin + above]) * (10.0 ** (0.5 * BIN * (above + 0.5)) - edge)
    out = (10.0 ** (0.5 * BIN * place) - edge) * mass / excess
    said = -math.log10(mass / total) + out / math.log(10.0)
    # What was seen there is at least as frequent as that.
    return min(said, -math.log10(beyond / total)) if beyond >= 1.0 else said


@compiled
def advance(
    rows: Rows,
    rare: Array,
    borrowed: Array,
    warm: int,
    habit: float,
    kept: Kept,
    raw: Array,
    middle: Array,
    scale: Array,
) -> None:
    statistics = np.empty(N_STATISTICS)
    silent_us, news_us = SILENT_STEPS * rows.step_us, (NEWS_STEPS + 0.5) * rows.step_us
    # Among several channels the loudest is loud more often than each.
    crowd = math.log10(rows.values.shape[1])
    aside = ASIDE * rows.onset - crowd
    for i in range(len(rows.slot)):
        slot, at = rows.slot[i], rows.at[i]
        if slot < 0:
            continue
        for c in range(rows.values.shape[1]):
            x = rows.values[i, c]
            if np.isnan(x) or not rows.is_step[i, c] or rare[c, 0] == 0.0:
                continue
            tails = kept.tails[slot, c]
            is_timed = kept.n[slot, c] > 0 and has_a_past(
                kept, slot, c, rows.local_s[i], at - kept.seen_at[slot, c], warm
            )
            if kept.n[slot, c] == 0:
                for k in range(len(tails)):
                    tails[k] = borrowed[c, k]
            elif at - kept.seen_at[slot, c] > silent_us:
                # What happened meanwhile is no change from one step to the next.
                kept.seen[slot, c] = x
                kept.quick[slot, c] = 0.0
            kept.seen_at[slot, c] = at
            learns = not rows.held[i, c]
            half_hour = rows.local_s[i] // 1800 % HALF_HOURS
            usual = measure(kept, slot, c, x, half_hour, habit, learns, statistics)

            loudest, is_full = 0.0, False
            totals = weigh(tails)
            for j in range(N_STATISTICS):
                begin, total = j * N_BINS, totals[j]
                place = math.log10(max(statistics[j], 1e-300) / rare[c, j]) / BIN + RARE_BIN
                if kept.n[slot, c] >= warm and (is_timed or j >= OF_TIME):
                    loudest = max(loudest, rarity(tails, total, begin, place))
                if learns:
                    tails[begin + min(max(int(place), 0), N_BINS - 1)] += 1.0
                is_full = is_full or total >= REMEMBERED
            if is_full:
                for k in range(len(tails)):
                    tails[k] *= 0.5
            said = min(max(loudest * CORRECTION - crowd, 0.0), CAP)

            is_news = kept.told_at[slot, c] == NO_TIME or at - kept.told_at[slot, c] > news_us
            if is_news or said > float(kept.told[slot, c]):
                kept.told[slot, c], kept.told_at[slot, c] = said, at
            else:
                said = min(said, aside)
            raw[i, c] = said
            if said > 0.0:
                middle[i, c], scale[i, c] = usual, abs(x - usual) / said
