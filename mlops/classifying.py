"""A smoke classifier as a version of the registry keeps it: with the seconds before a reading, and without. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlops.smoke import (
    STEADY_S,
    THRESHOLD,
    Figures,
    Recording,
    SmokeClassifier,
    figures_of,
    one_figure,
)  # fmt: skip
from sensors.readings import Bools, Floats

SMOKE = "smoke"  # the profile's code
FOLDS = 4  # most detectors that are left out in turn, or groups of them
LEAST_PAST = 60  # readings before one, of a second each, from which its change can be told


@dataclass(frozen=True, slots=True)
class Profiled:
    """Of the profile that it was made for, what has to be the same when it serves."""

    code: str
    version: int


@dataclass(frozen=True, slots=True)
class FittedClassifier:
    """Two classifiers of the same recordings: of a reading with what came before it, and of a reading alone."""

    profile: Profiled
    features: tuple[str, ...]
    parameters: dict[str, Any]
    with_past: SmokeClassifier
    alone: SmokeClassifier
    number: int = 0

    own_onset = None  # a probability knows no surprise
    calibration: Any = ()

    def numbered(self, number: int) -> FittedClassifier:
        return replace(self, number=number)

    def probability(self, values: Floats) -> tuple[float, bool]:
        """Of smoke at the last of these seconds, and whether what came before it was enough to be asked."""
        if len(values) >= LEAST_PAST:
            steady = self.with_past.probability_of(values)[-STEADY_S:]
            return float(steady.mean()), True
        return float(self.alone.probability_of(values[-1:])[0]), False


def fit(recordings: Sequence[Recording], *, seed: int) -> tuple[SmokeClassifier, SmokeClassifier]:
    return (
        SmokeClassifier(seed=seed).fit(recordings),
        SmokeClassifier(seed=seed, windows=()).fit(recordings),
    )


def hold_out(recordings: Sequence[Recording], *, seed: int) -> tuple[Figures, Figures]:
    """Each detector judged by what learnt from the others only: with its past, and each reading alone."""
    families = sorted({one.family for one in recordings})
    if len(families) < 2:
        raise ValueError("these recordings are of one detector; one that was never met is needed to judge by")
    judged: list[Recording] = []
    said: tuple[list[Bools], list[Bools]] = ([], [])
    for part in np.array_split(np.array(families), min(FOLDS, len(families))):
        held = [one for one in recordings if one.family in part]
        with_past, alone = fit([one for one in recordings if one.family not in part], seed=seed)
        judged += held
        said[0].extend(with_past.alarms(one) for one in held)
        said[1].extend(alone.probability(one) >= THRESHOLD for one in held)
    return figures_of(judged, said[0]), one_figure(judged, said[1])
