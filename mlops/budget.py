"""How many events other onsets would have told, from the surprise of stored readings. Pure.

A reading's surprise does not depend on where events begin, so that the engine's rule for events can be asked again over
what was stored, without judging anything anew. It is asked in a loop of its own here, since the engine's goes with
the layers' raw outputs; `tests/mlops/test_budget.py` holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mlops.comparing import APART_US, GRACE_US
from mlops.detection.compiled import CAP, SILENT_STEPS, STEP_TOLERANCE, Array, compiled
from mlops.detection.events import NEARLY
from mlops.detection.layers import LAYERS, VOTE_BITS, VOTE_UNIT, VOTES
from sensors.readings import LEAST_ONSET, WEEK_S, Bools, Floats, Ints, Profile

WEEK_US = WEEK_S * 1_000_000
STEP = 0.1  # between two onsets that are asked about
MOST_ONSET = CAP
SETTLED = np.array([layer.IS_SETTLED for layer in LAYERS])
PEERS = VOTES.index("peers")


class NoHistory(Exception):
    """There are no judged readings to set a budget by."""


class Unreachable(Exception):
    """More events than that are beyond every onset."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Stored readings of one profile as they were judged, by mote and instant; without those that came late."""

    profile: Profile
    mote: Ints
    at: Ints
    surprise: Floats
    votes: Ints

    @property
    def weeks(self) -> float:
        return max(float(np.ptp(self.at)) / WEEK_US, 1e-9) if len(self.at) else 0.0


class Events(NamedTuple):
    """A row an event, by mote and instant."""

    mote: Ints
    started_at: Ints
    noticed_at: Ints
    last_at: Ints
    peak: Floats


@dataclass(frozen=True, slots=True)
class Truth:
    """What people or a simulator said of a stretch of a mote; if it is no fault, nobody needed to hear of it."""

    mote: int
    first_at: int
    last_at: int
    what: str
    is_fault: bool = True


@dataclass(frozen=True, slots=True)
class Point:
    """What one onset would have told of the history."""

    onset: float
    n_events: int
    a_week: float
    busiest: float  # events of the busiest week
    n_missed: int  # of the faults that are known
    n_needless: int  # told again, of what people judged to be false or expected


@dataclass(frozen=True, slots=True)
class Choice:
    """The lowest onset that keeps a budget, beside the one that is in force."""

    at_most: float
    weeks: float
    n_readings: int
    n_motes: int
    first_at: int
    last_at: int
    n_faults: int
    n_needless: int
    curve: tuple[Point, ...]
    now: Point
    chosen: Point
    missed: tuple[Truth, ...]  # by the chosen one
    newly_missed: tuple[Truth, ...]  # of them, caught by the one in force
    gained: Events
    lost: Events


# ---- the rule for events --------------------------------------------------------------------------------------


@compiled
def _tell(
    mote: Array, at: Array, surprise: Array, is_settled: Array, outlasts: Array, step_us: int, onset: float,
    whose: Array, started: Array, noticed: Array, last: Array, peak: Array,
) -> int:  # fmt: skip
    """mlops.detection.events.conclude over surprises that are known; answers how many events there were."""
    high, clear = 2.0 * onset, 0.5 * onset
    tolerated_us = np.int64(STEP_TOLERANCE * step_us)
    silent_us = SILENT_STEPS * step_us
    n, candidate_at, started_at, noticed_at, below_at = 0, np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(len(at)):
        is_first = i == 0 or mote[i] != mote[i - 1]
        is_silence = not is_first and at[i] - at[i - 1] > silent_us
        if is_first or (is_silence and not (noticed_at != 0 and outlasts[i])):
            candidate_at = started_at = noticed_at = below_at = np.int64(0)
        s = surprise[i]
        if np.isnan(s):
            continue
        if noticed_at == 0:
            if s < NEARLY * onset:
                candidate_at = np.int64(0)
            elif candidate_at == 0:
                candidate_at = at[i]
            if s < onset:
                started_at = np.int64(0)
                continue
            if started_at == 0:
                started_at = at[i]
                peak[n] = s
            peak[n] = max(peak[n], s)
            if not (s >= high or is_settled[i] or at[i] - candidate_at >= tolerated_us):
                continue
            noticed_at, below_at = at[i], np.int64(0)
            whose[n], started[n], noticed[n], last[n] = mote[i], started_at, at[i], at[i]
            n += 1
            continue
        if s >= clear:
            peak[n - 1] = max(peak[n - 1], s)
            is_lone = s < onset and at[i] - at[i - 1] < tolerated_us and last[n - 1] != at[i - 1]
            last[n - 1] = at[i]
            if not is_lone:
                below_at = np.int64(0)
        elif below_at == 0:
            below_at = at[i]
        elif at[i] - below_at >= step_us + tolerated_us:
            candidate_at = started_at = noticed_at = below_at = np.int64(0)
    return n


@dataclass(frozen=True, slots=True)
class _Marked:
    """What the rule asks beside the surprise."""

    is_settled: Bools
    outlasts: Bools


def _marked(judged: Judged) -> _Marked:
    heard = judged.votes[:, None] >> (VOTE_BITS * np.arange(len(VOTES))) & (1 << VOTE_BITS) - 1
    bar = np.floor(judged.profile.onset / VOTE_UNIT + 0.5)
    return _Marked(SETTLED[np.argmax(heard, axis=1)], heard[:, PEERS] >= bar)


def events(judged: Judged, onset: float, marked: _Marked | None = None) -> Events:
    """What would have been told from that surprise on, by the engine's rule: hysteresis, least length, silences."""
    marks = marked or _marked(judged)
    room = int((judged.surprise >= onset).sum()) + 1
    whose, started, noticed, last = (np.zeros(room, dtype=np.int64) for _ in range(4))
    peak = np.zeros(room)
    n = _tell(
        judged.mote, judged.at, judged.surprise, marks.is_settled, marks.outlasts,
        int(judged.profile.step_s * 1e6), float(onset), whose, started, noticed, last, peak,
    )  # fmt: skip
    return Events(whose[:n], started[:n], noticed[:n], last[:n], peak[:n])


# ---- what was caught ------------------------------------------------------------------------------------------


def _touched(mote: Ints, first: Ints, last: Ints, of: Ints, begins: Ints, ends: Ints) -> Bools:
    """Which stretches are touched by one of those that lie ordered by mote and instant, none over another."""
    if not len(of):
        return np.zeros(len(mote), dtype=np.bool_)
    names, place = np.unique(np.concatenate([mote, of]), return_inverse=True)
    origin = min(int(first.min(initial=ends[0])), int(ends.min()))
    reach = max(int(last.max(initial=0)), int(first.max(initial=0)), int(ends.max())) - origin + 1
    mine, others = place[: len(mote)] * reach, place[len(mote) :] * reach
    assert len(names) * reach < 2**62, "more motes and years than fit into one number"
    k = np.minimum(np.searchsorted(others + ends - origin, mine + first - origin), len(of) - 1)
    return (of[k] == mote) & (ends[k] >= first) & (begins[k] <= last)


def caught(told: Events, truths: Sequence[Truth]) -> Bools:
    """Which of the stretches an event was noticed in, or shortly before or after."""
    mote, first, last = (
        np.array([getattr(one, name) for one in truths], dtype=np.int64) for name in ("mote", "first_at", "last_at")
    )
    return _touched(mote, first - APART_US, last + GRACE_US, told.mote, told.started_at, told.noticed_at)


def without(mine: Events, others: Events) -> Events:
    """Those that no event of the others comes near."""
    near = _touched(
        mine.mote, mine.started_at - APART_US, mine.last_at + APART_US, others.mote, others.started_at, others.last_at
    )
    return Events(*(column[~near] for column in mine))  # type: ignore[arg-type]  # each keeps its own type


# ---- choosing -------------------------------------------------------------------------------------------------


def choose(judged: Judged, at_most: float, *, in_force: float, truths: Sequence[Truth] = ()) -> Choice:
    """The lowest onset by which no week of the history had more events than that, and none above has more."""
    if not len(judged.at) or judged.weeks < 1 / 7:
        raise NoHistory(
            f"Profile {judged.profile.code} has {judged.weeks * 7:.1f} days of judged readings here; a budget needs "
            "one day at least, and four weeks to be worth something."
        )
    marks = _marked(judged)
    within = [one for one in truths if one.last_at >= judged.at.min() and one.first_at <= judged.at.max()]
    faults = [one for one in within if one.is_fault]
    needless = [one for one in within if not one.is_fault]
    grid = np.union1d(np.round(np.arange(LEAST_ONSET, MOST_ONSET + STEP / 2, STEP), 6), [in_force])
    told = [events(judged, float(onset), marks) for onset in grid]
    curve = tuple(_point(judged, float(onset), one, faults, needless) for onset, one in zip(grid, told, strict=True))
    too_many = [k for k, point in enumerate(curve) if point.busiest > at_most]
    first = too_many[-1] + 1 if too_many else 0
    if first == len(curve):
        raise Unreachable(
            f"{curve[-1].busiest:.0f} events of the busiest week are as surprising as can be, such as readings outside "
            f"what a sensor can measure, so that no threshold keeps {at_most:g}. Ask for at least "
            f"{curve[-1].busiest:.0f}, or repair the motes that tell them."
        )
    here = int(np.searchsorted(grid, in_force))
    by_chosen, by_now = caught(told[first], faults), caught(told[here], faults)
    return Choice(
        at_most=at_most, weeks=judged.weeks, n_readings=len(judged.at), n_motes=len(np.unique(judged.mote)),
        first_at=int(judged.at.min()), last_at=int(judged.at.max()), n_faults=len(faults), n_needless=len(needless),
        curve=curve, now=curve[here], chosen=curve[first],
        missed=tuple(one for one, found in zip(faults, by_chosen, strict=True) if not found),
        newly_missed=tuple(
            one for one, found, before in zip(faults, by_chosen, by_now, strict=True) if before and not found
        ),
        gained=without(told[first], told[here]), lost=without(told[here], told[first]),
    )  # fmt: skip


def _point(judged: Judged, onset: float, told: Events, faults: Sequence[Truth], needless: Sequence[Truth]) -> Point:
    a_week = len(told.mote) / judged.weeks
    return Point(
        onset=onset,
        n_events=len(told.mote),
        a_week=a_week,
        busiest=_busiest(told.noticed_at, judged) if judged.weeks >= 1 else a_week,
        n_missed=len(faults) - int(caught(told, faults).sum()),
        n_needless=int(caught(told, needless).sum()),
    )


def _busiest(noticed_at: Ints, judged: Judged) -> float:
    """Of whole weeks counted back from the last reading; what is left at the beginning is none."""
    back = (int(judged.at.max()) - noticed_at) // WEEK_US
    n_weeks = int(judged.weeks)
    return float(np.bincount(back[back < n_weeks], minlength=n_weeks).max())


def merged(truths: Sequence[Truth]) -> list[Truth]:
    """One stretch a trouble: faults of a mote that overlap are the same; others stand for themselves."""
    found: list[Truth] = []
    for one in sorted(truths, key=lambda each: (each.is_fault, each.mote, each.first_at)):
        last = found[-1] if found else None
        if last and one.is_fault and last.is_fault and last.mote == one.mote and one.first_at <= last.last_at:
            found[-1] = replace(last, last_at=max(last.last_at, one.last_at))
        else:
            found.append(one)
    return found
