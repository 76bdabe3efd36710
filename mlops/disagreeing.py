"""What two models say of the same readings: how often they agree, and the stretches in which they do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from sensors.readings import Batch, Bools, Ints

APART_US = 10 * 60 * 1_000_000  # rows of one mote that lie closer are one stretch
AUDIT_US = 10 * 60 * 1_000_000
HOUR_US = 3_600_000_000
ONLY_SERVING, ONLY_CANDIDATE, AUDIT = "only_serving", "only_candidate", "audit"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Readings of one mote that a person might look at; surprises are the highest of each model."""

    mote: int
    kind: str
    first_at: int
    last_at: int
    n_readings: int
    serving: float
    candidate: float

    def disagreement(self, onset: float) -> float:
        """How far apart the two are, in onsets."""
        return abs(self.candidate - self.serving) / onset


@dataclass(frozen=True, slots=True)
class Counts:
    n_readings: int
    n_both: int
    n_only_serving: int
    n_only_candidate: int


def counts(serving: Batch, candidate: Batch) -> Counts:
    """Of the same rows, judged by each."""
    old, new = serving.is_anomaly, candidate.is_anomaly
    return Counts(len(serving), int((old & new).sum()), int((old & ~new).sum()), int((new & ~old).sum()))


def disagreements(serving: Batch, candidate: Batch) -> list[Stretch]:
    """The stretches in which only one of them says that something is wrong."""
    old, new = serving.is_anomaly, candidate.is_anomaly
    return [
        *_stretches(serving, candidate, old & ~new, ONLY_SERVING),
        *_stretches(serving, candidate, new & ~old, ONLY_CANDIDATE),
    ]


def _stretches(serving: Batch, candidate: Batch, chosen: Bools, kind: str) -> Iterator[Stretch]:
    rows = np.flatnonzero(chosen)
    rows = rows[np.lexsort((serving.at[rows], serving.mote[rows]))]
    if not len(rows):
        return
    mote, at = serving.mote[rows], serving.at[rows]
    begins = np.flatnonzero((np.diff(mote, prepend=mote[0] - 1) != 0) | (np.diff(at, prepend=at[0]) > APART_US))
    for part in np.split(rows, begins[1:]):
        yield _stretch(serving, candidate, part, kind)


def _stretch(serving: Batch, candidate: Batch, rows: Ints, kind: str) -> Stretch:
    highest = [float(np.max(np.nan_to_num(batch.surprise[rows]))) for batch in (serving, candidate)]
    first, last = int(serving.at[rows].min()), int(serving.at[rows].max())
    return Stretch(int(serving.mote[rows[0]]), kind, first, last, len(rows), highest[0], highest[1])


def audits(serving: Batch, candidate: Batch, *, seed: int) -> list[Stretch]:
    """The first ten minutes of each hour of one mote drawn by lot: what nobody disagreed on is looked at, too.

    The lot of an hour is always the same, however the stream is cut.
    """
    motes = np.unique(serving.mote)
    found = []
    for hour in np.unique(serving.at // HOUR_US).tolist():
        mote = Random(f"{seed} {hour}").choice(motes.tolist())  # noqa: S311  (a sample, no secret)
        is_there = (serving.mote == mote) & (serving.at >= hour * HOUR_US) & (serving.at < hour * HOUR_US + AUDIT_US)
        if is_there.any():
            found.append(_stretch(serving, candidate, np.flatnonzero(is_there), AUDIT))
    return found
