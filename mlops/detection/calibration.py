"""Raw outputs on held-out normal data become the tables of surprise, combined and calibrated once more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from mlops.detection import kernels, tails
from mlops.detection.history import Arrays, History
from mlops.detection.layers import forest, jump, level
from mlops.detection.tails import Tail
from sensors.readings import Bools, Floats, Profile

ROWS = 200_000
FOLDS = 5
# Tails are never taken for thinner than this in raw units: a constant channel may move a little.
LEAST_SCALE = {"level": 0.25, "jump": 0.02, "forest": 1e-3}


def sample(history: History) -> History:
    """Whole motes on their steps, about ROWS readings of them: what is judged in order cannot be thinned."""
    steps = history.on_steps()
    if len(steps) <= ROWS:
        return steps
    return steps.some_motes(max(1, int(len(steps.ids) * ROWS / len(steps))))


def folds(history: History) -> Iterator[tuple[History, History]]:
    """Each stretch of time, and what remains without it: a calibration that has seen every kind of day.

    The end of a week alone would be a weekend, and every weekday morning a surprise.
    """
    edges = np.linspace(int(history.at.min()), int(history.at.max()) + 1, FOLDS + 1).astype(np.int64)
    for begin, end in pairwise(edges.tolist()):
        inside = (history.at >= begin) & (history.at < end)
        if inside.any() and not inside.all():
            yield history.take(inside), history.take(~inside)


def calibrated(
    profile: Profile, detail: Floats, forest_raw: Floats, learnt: Bools, *, is_young: bool
) -> tuple[Arrays, dict[str, Any]]:
    """Tables, limits and a card from a run over held-out normal rows; `learnt` says which channels have a history.

    A young history has tails that the next hour refutes, however many motes told it: it keeps the drawn tables.
    """
    fitted = {} if is_young else _fit_all(detail, forest_raw, learnt)
    drawn = _drawn(profile, learnt)
    combined = tails.fit_tail(_loudest(fitted, detail, forest_raw)) if fitted else None
    arrays: Arrays = {name: array.copy() for name, array in drawn.items()}
    for (layer, c), tail in fitted.items():
        arrays[f"{layer}_raw"][c], arrays[f"{layer}_surprise"][c] = tails.table(tail, combined)
    onset = profile.onset
    arrays["jump_limit"] = np.array([max(1.0, _reach(arrays, "jump", c, onset)) for c in range(len(learnt))])
    arrays["band"] = np.array([_reach(arrays, "level", c, onset) if learnt[c] else 1.0 for c in range(len(learnt))])
    names = profile.names
    card: dict[str, Any] = {
        f"{layer} {names[c]}" if layer != "forest" else layer: tail.card() for (layer, c), tail in fitted.items()
    }
    return arrays, {"tails": card, "combined": combined.card() if combined else None}


def _fit_all(detail: Floats, forest_raw: Floats, learnt: Bools) -> dict[tuple[str, int], Tail]:
    raw = {("forest", 0): forest_raw}
    for c in np.flatnonzero(learnt).tolist():
        raw["level", c] = detail[:, c, kernels.LEVEL_RAW]
        raw["jump", c] = detail[:, c, kernels.JUMP_RAW]
    return {
        key: tails.fit_tail(values, least_scale=LEAST_SCALE[key[0]])
        for key, values in raw.items()
        if np.isfinite(values).sum() >= tails.FEW
    }


def _loudest(fitted: dict[tuple[str, int], Tail], detail: Floats, forest_raw: Floats) -> Floats:
    """The largest surprise of each row, each layer by its own tail."""
    loudest = np.full(len(detail), np.nan)
    column = {"level": kernels.LEVEL_RAW, "jump": kernels.JUMP_RAW}
    for (layer, c), tail in fitted.items():
        raw = forest_raw if layer == "forest" else detail[:, c, column[layer]]
        knots, heights = tails.table(tail)
        loudest = np.fmax(loudest, np.where(np.isfinite(raw), np.interp(raw, *tails.rising(knots, heights)), np.nan))
    return loudest


def _drawn(profile: Profile, learnt: Bools) -> Arrays:
    """Tables for what calibration data could not show: the pack's, and a plain one for a level that was learnt."""
    arrays: Arrays = {}
    for layer in (level, jump, forest):
        prior = layer.prior(profile)
        arrays |= {name: prior[name] for name in prior if name.endswith(("_raw", "_surprise"))}
    raw, surprise = level.learnt_table(profile)
    arrays["level_raw"] = np.where(learnt[:, None], raw, arrays["level_raw"])
    arrays["level_surprise"] = np.where(learnt[:, None], surprise, arrays["level_surprise"])
    return arrays


def _reach(arrays: Arrays, layer: str, c: int, onset: float) -> float:
    return tails.inverse(arrays[f"{layer}_raw"][c], arrays[f"{layer}_surprise"][c], onset)
