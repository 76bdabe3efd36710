"""When a machine will be in a stage of wear, by what became of machines that were as worn before. Pure.

Machines of a kind wear alike: how far one is from its usual to where degrading begins, now, a while ago and longer ago,
is a state; of the states of all machines before, the most alike say how often a stage followed, and when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.spatial import cKDTree

from mlops.forecasting.panel import Panel
from mlops.forecasting.risk import INTERVAL, Risk
from sensors.readings import Bools, Floats, Ints
from sensors.wear import DEGRADING, FAILING, Limits, severities, worn

STAGES = (DEGRADING, FAILING)
AHEAD = timedelta(hours=4)
LOOKED_BACK = (timedelta(0), timedelta(minutes=15), timedelta(hours=1))
SEEN = 10  # times that a stage began; what came less often tells nothing
MACHINES = 64  # that are learnt from, at most
LEAST_ALIKE = 40


@dataclass(frozen=True)
class Course:
    """What one machine's channels measured on one grid: (rows, channels) from `start` on, in microseconds."""

    values: Floats
    start: int
    step: int

    def severity(self, limits: Sequence[Limits]) -> Floats:
        return np.asarray(np.nan_to_num(severities(limits, self.values)).max(axis=1))

    def states(self, limits: Sequence[Limits]) -> Floats:
        """(rows, times looked back); NaN where nothing was measured then."""
        wear = worn(limits, self.values)
        back = [round(one / timedelta(microseconds=self.step)) for one in LOOKED_BACK]
        return np.column_stack([np.concatenate([np.full(k, np.nan), wear])[: len(wear)] for k in back])


def course_of(panels: Sequence[Panel]) -> Course:
    """Of a machine, by the panels of its channels, where they overlap."""
    (step,) = {one.step for one in panels}
    start, end = max(one.start for one in panels), min(one.start + len(one) * step for one in panels)
    rows = [slice((start - one.start) // step, (end - one.start) // step) for one in panels]
    return Course(np.column_stack([one.values[k, 0] for one, k in zip(panels, rows, strict=True)]), start, step)


@dataclass(frozen=True)
class Seen:
    """By stage the states from which it was yet to come, and how many steps later it came; infinite where it did not
    within the steps ahead.
    """

    limits: Sequence[Limits]
    steps: int
    trees: Mapping[int, cKDTree]
    later: Mapping[int, Floats]

    def risks(self, course: Course) -> dict[int, Risk]:
        """Of the stages that came often enough to know, from the machine's last measurement on."""
        states = course.states(self.limits)
        known = np.flatnonzero(np.isfinite(states).all(axis=1))
        if not len(known):
            return {}
        row = known[-1]
        severity = course.severity(self.limits)[row]
        origin_at = course.start + int(row) * course.step
        return {stage: self._risk(stage, states[row], severity, origin_at, course.step) for stage in self.trees}

    def _risk(self, stage: int, state: Floats, severity: float, origin_at: int, step: int) -> Risk:
        if severity > stage - 1:
            return Risk(1.0, is_beyond=True)
        later = self.later[stage]
        _, places = self.trees[stage].query(state, k=min(max(LEAST_ALIKE, round(len(later) ** 0.5)), len(later)))
        came = later[places]
        there = came[np.isfinite(came)]
        if not len(there):
            return Risk(0.0)
        early, middle, late = np.quantile(there, [INTERVAL[0], 0.5, INTERVAL[1]])
        at = (datetime.fromtimestamp((origin_at + each * step) / 1e6, UTC) for each in (middle, early, late))
        return Risk(len(there) / len(came), False, *at)


def seen(limits: Sequence[Limits], courses: Sequence[Course]) -> Seen:
    """What machines of a kind went through."""
    courses = courses[:: max(-(-len(courses) // MACHINES), 1)]
    steps = round(AHEAD / timedelta(microseconds=courses[0].step)) if courses else 0
    trees, later = {}, {}
    for stage in STAGES:
        parts = [_before(limits, each, stage, steps) for each in courses]
        if sum(n for _, _, n in parts) >= SEEN:
            trees[stage] = cKDTree(np.concatenate([states for states, _, _ in parts]))
            later[stage] = np.concatenate([steps_later for _, steps_later, _ in parts])
    return Seen(limits, steps, trees, later)


def _before(limits: Sequence[Limits], course: Course, stage: int, steps: int) -> tuple[Floats, Floats, int]:
    """The states from which the stage was yet to come and of which is known what did, how much later, and how often
    it began.
    """
    is_in = course.severity(limits) > stage - 1
    states = course.states(limits)
    after = _until(is_in)
    counts = ~is_in & np.isfinite(states).all(axis=1)
    counts[max(len(counts) - steps, 0) :] = False
    later = np.where(after <= steps, after, np.inf)
    return states[counts], later[counts], int((np.diff(is_in.astype(np.int8)) == 1).sum())


def _until(is_in: Bools) -> Floats:
    """Of each row, how many later the next is that is in it; infinite where none is."""
    rows: Ints = np.flatnonzero(is_in)
    place = np.searchsorted(rows, np.arange(len(is_in)), side="right")
    ends = np.append(rows.astype(np.float64), np.inf)
    return np.asarray(ends[place] - np.arange(len(is_in)))
