"""A supervised classifier of smoke, judged as it would serve: on recordings that it has never met. Pure.

Readings of one recording resemble each other so much that any split by row puts near copies of the test readings into
training. So everything here goes by recording, and by recordings that are no copies of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from sensors.readings import Bools, Floats, Ints

WINDOWS_S = (10, 60, 300)
STEADY_S = 5  # an alarm stands once the probability of so many seconds is high on average
THRESHOLD = 0.5
N_TREES = 60
EVERY = 3  # seconds between two that are learnt from: neighbours say nothing new
COPIED = 0.99  # of the rows of a channel that are equal
LEAST_ALARM_S = 10  # a shorter stretch of the label is a flicker: not counted as an alarm to be found
PERFECT = 0.999
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Readings of one second each, in order, with the truth; `family` names what it is a copy of."""

    name: str
    values: Floats
    label: Bools
    family: str = ""

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, slots=True)
class Figures:
    """How a classifier does on readings; `n_recordings` and `n_families` say how little or much that is."""

    n_recordings: int
    n_families: int
    n_readings: int
    accuracy: float
    precision: float | None
    recall: float | None
    false_alarms_per_hour: float | None
    n_alarms: int
    n_found: int
    delays_s: list[float] = field(default_factory=list)

    @property
    def warning(self) -> str:
        if self.accuracy < PERFECT:
            return ""
        return (
            f"{self.accuracy:.2%} of held-out readings right is too good to be true: suspect that near copies of them "
            "were learnt from."
        )


class SmokeClassifier:
    """Histogram gradient boosting over each channel, its change and its spread in the last seconds to minutes.

    Without windows it looks at each reading alone.
    """

    def __init__(self, *, seed: int = 42, n_trees: int = N_TREES, windows: tuple[int, ...] = WINDOWS_S) -> None:
        self.seed = seed
        self.n_trees = n_trees
        self.windows = windows

    def fit(self, recordings: Sequence[Recording]) -> SmokeClassifier:
        rows = np.concatenate([features(one.values, self.windows)[::EVERY] for one in recordings])
        label = np.concatenate([one.label[::EVERY] for one in recordings])
        if label.all() or not label.any():
            raise ValueError("these recordings have only one of smoke and no smoke; nothing can be told apart by them")
        return self.fit_rows(rows, label)

    def fit_rows(self, rows: Floats, label: Bools) -> SmokeClassifier:
        from sklearn.ensemble import HistGradientBoostingClassifier  # dear to load, and only training needs it

        model = HistGradientBoostingClassifier(
            max_iter=self.n_trees, max_leaf_nodes=15, class_weight="balanced", early_stopping=False,
            random_state=self.seed,
        )  # fmt: skip
        with _threads().limit(limits=1, user_api="openmp"):
            self.model_ = model.fit(rows, label)
        return self

    def of_rows(self, rows: Floats) -> Floats:
        with _threads().limit(limits=1, user_api="openmp"):
            found: Floats = self.model_.predict_proba(rows)[:, 1]
        return found

    def probability(self, recording: Recording) -> Floats:
        """Of smoke at each second, from what came before it only."""
        return self.probability_of(recording.values)

    def probability_of(self, values: Floats) -> Floats:
        return self.of_rows(features(values, self.windows))

    def alarms(self, recording: Recording) -> Bools:
        """When the alarm stands."""
        return _rolling(self.probability(recording)[:, None], STEADY_S, "mean")[:, 0] >= THRESHOLD


@cache
def _threads() -> ThreadpoolController:
    """Threads that wait for each other by spinning take ten times as long where others want the cores, too."""
    return ThreadpoolController()


def features(values: Floats, windows: Sequence[int] = WINDOWS_S) -> Floats:
    """Values, and over each window how far they are from its first one and how restless it was."""
    parts = [values]
    for window in windows:
        first = values[np.maximum(np.arange(len(values)) - window, 0)]
        parts += [values - first, _rolling(values, window, "std")]
    return np.concatenate(parts, axis=1)


def _rolling(values: Floats, window: int, what: str) -> Floats:
    table = pl.DataFrame(values)
    over = [getattr(pl.all(), f"rolling_{what}")(window, min_samples=1)]
    return table.select(over).fill_null(0.0).to_numpy()


# ---- recordings -------------------------------------------------------------------------------------------------


def recordings(values: Floats, label: Bools, max_rate: Floats) -> list[Recording]:
    """Cut where a channel jumps by more than it can in a second: there another recording was glued on."""
    with np.errstate(invalid="ignore"):
        jumps = (np.abs(np.diff(values, axis=0)) > max_rate).any(axis=1)
    borders = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(label)]
    found = [
        Recording(f"recording {n + 1}", values[begin:end], label[begin:end])
        for n, (begin, end) in enumerate(pairwise(borders))
    ]
    return in_families(found)


def in_families(found: Sequence[Recording]) -> list[Recording]:
    """Those that share a channel second for second are copies: one of them must not judge what learnt from another."""
    named: list[Recording] = []
    for one in found:
        original = next((other for other in named if _is_copy(one, other)), None)
        named.append(replace(one, family=original.family if original else one.name))
    return named


def _is_copy(one: Recording, other: Recording) -> bool:
    n = min(len(one), len(other))
    if n < len(one) * COPIED or n < len(other) * COPIED:
        return False
    same = one.values[:n] == other.values[:n]
    restless = np.ptp(one.values[:n], axis=0) > 0
    return bool((same.mean(axis=0)[restless] >= COPIED).any())


# ---- judging ----------------------------------------------------------------------------------------------------


def judge(classifier: SmokeClassifier, held_out: Sequence[Recording]) -> Figures:
    return figures_of(held_out, [classifier.alarms(one) for one in held_out])


def leave_one_out(found: Sequence[Recording], *, by_family: bool, seed: int = 42, n_trees: int = N_TREES) -> Figures:
    """Each recording judged by what learnt from the others, or with `by_family` from those that are no copies of it."""
    said, judged = [], []
    for one in found:
        others = [other for other in found if (other.family != one.family if by_family else other is not one)]
        try:
            said.append(SmokeClassifier(seed=seed, n_trees=n_trees).fit(others).alarms(one))
        except ValueError:  # what is left has only one class
            continue
        judged.append(one)
    if not judged:
        raise ValueError("no recording can be left out: what is left never has both smoke and no smoke")
    return figures_of(judged, said)


def random_split(found: Sequence[Recording], *, share: float = 0.2, seed: int = 42, n_trees: int = N_TREES) -> Figures:
    """The figure that is often quoted: rows drawn by lot are held out, and their neighbours of a second are learnt."""
    rows = np.concatenate([features(one.values) for one in found])
    label = np.concatenate([one.label for one in found])
    is_held_out = np.random.default_rng(seed).random(len(label)) < share
    classifier = SmokeClassifier(seed=seed, n_trees=n_trees).fit_rows(rows[~is_held_out], label[~is_held_out])
    said = classifier.of_rows(rows[is_held_out]) >= THRESHOLD
    families = len({one.family for one in found})
    return _of_rows(label[is_held_out], said, len(found), families)


def _of_rows(truth: Bools, said: Bools, n_recordings: int, n_families: int) -> Figures:
    """Without what needs an order in time."""
    n_right = int((truth & said).sum())
    return Figures(
        n_recordings=n_recordings,
        n_families=n_families,
        n_readings=len(truth),
        accuracy=float((truth == said).mean()),
        precision=n_right / int(said.sum()) if said.any() else None,
        recall=n_right / int(truth.sum()) if truth.any() else None,
        false_alarms_per_hour=None,
        n_alarms=0,
        n_found=0,
    )


def one_figure(judged: Sequence[Recording], said: Sequence[Bools]) -> Figures:
    """Of readings each judged alone, without what needs an order in time."""
    families = len({one.family for one in judged})
    return _of_rows(np.concatenate([one.label for one in judged]), np.concatenate(said), len(judged), families)


def figures_of(judged: Sequence[Recording], said: Sequence[Bools]) -> Figures:
    whole = one_figure(judged, said)
    clean_s = sum(int((~one.label).sum()) for one in judged)
    n_false = sum(_n_begins(alarm & ~one.label, alarm) for one, alarm in zip(judged, said, strict=True))
    alarms = [found for one, alarm in zip(judged, said, strict=True) for found in _delays(one.label, alarm)]
    return replace(
        whole,
        false_alarms_per_hour=n_false / (clean_s / HOUR_S) if clean_s else None,
        n_alarms=len(alarms),
        n_found=sum(delay is not None for delay in alarms),
        delays_s=[delay for delay in alarms if delay is not None],
    )


def _n_begins(false: Bools, alarm: Bools) -> int:
    """How often an alarm begins while nothing is wrong."""
    before = np.concatenate([[False], alarm[:-1]])
    return int((false & ~before).sum())


def _delays(label: Bools, alarm: Bools) -> list[float | None]:
    """For each stretch of smoke the seconds until the alarm stands; None where it never does."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], label, [False]]).astype(np.int8)))
    found: list[float | None] = []
    for begin, end in edges.reshape(-1, 2).tolist():
        if end - begin >= LEAST_ALARM_S:
            inside: Ints = np.flatnonzero(alarm[begin:end])
            found.append(float(inside[0]) if len(inside) else None)
    return found


def lines(name: str, figures: Figures) -> list[str]:
    """As text, with how many recordings stand behind it."""
    delay = f"{np.median(figures.delays_s):.0f} s" if figures.delays_s else "none found"
    shown: dict[str, Any] = {
        "recordings": f"{figures.n_recordings}, {figures.n_families} of them no copies",
        "readings": f"{figures.n_readings:,}",
        "accuracy": f"{figures.accuracy:.4f}",
        "precision": _share(figures.precision),
        "recall": _share(figures.recall),
    }
    if figures.false_alarms_per_hour is not None:
        shown["false alarms an hour"] = f"{figures.false_alarms_per_hour:.2f}"
        shown["fires found"] = f"{figures.n_found} of {figures.n_alarms}, after {delay} in the middle"
    warning = [f"  WARNING: {figures.warning}"] if figures.warning else []
    return [name, *(f"  {key:<22}{value}" for key, value in shown.items()), *warning]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
