"""The Numenta Anomaly Benchmark by its own scorer, on what `manage.py detect` says with nothing but its defaults.

    python -m bench.nab --data FOLDER_OF_NAB

A file's first 15 % are learnt from and not scored. `default` is the product's own threshold, a score of 0.3; `tuned`
the best single one for all files, as the benchmark's rules allow; `halves` has it from every other file and reports the
rest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT
from sensors.readings import Floats, Ints

# What a missed window and a false reading cost; a found window is worth 1 at its beginning.
PROFILES = {"standard": (1.0, 0.11), "low false positives": (1.0, 0.22), "low false negatives": (2.0, 0.11)}
PROBATION, LONGEST_PROBATION = 0.15, 750
DEFAULT = 0.3


@dataclass(frozen=True)
class Series:
    """One file: what a detection at each row is worth, 1 at most in a window, -1 at worst outside."""

    name: str
    path: Path
    at: Ints
    values: Floats
    window: Ints  # -1 outside
    worth: Floats  # 0 in the probation
    n_windows: int

    @property
    def days(self) -> float:
        return float(self.at[-1] - self.at[probation(len(self.at))]) / 86_400e6


def sigmoid(y: float) -> float:
    return 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0 if y <= 3.0 else -1.0


def probation(n: int) -> int:
    return min(int(PROBATION * n), LONGEST_PROBATION)


def load(folder: Path) -> list[Series]:
    windows = json.loads((folder / "combined_windows.json").read_text())
    found = [(name, folder / name) for name in sorted(windows)]
    return [_read(name, path, windows[name]) for name, path in found if path.exists()]


def _read(name: str, path: Path, windows: Sequence[Sequence[str]]) -> Series:
    table = pl.read_csv(path).with_columns(pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S"))
    instants = table["timestamp"].dt.timestamp("us")
    at = instants.to_numpy().astype(np.int64)
    edges = [[int(np.datetime64(edge, "us").astype(np.int64)) for edge in pair] for pair in windows]
    window, worth = np.full(len(at), -1, np.int64), np.full(len(at), -1.0)
    for k, (begin, end) in enumerate(edges):
        left, right = (int(np.flatnonzero(at == edge)[0]) for edge in (begin, end))
        width = right - left + 1
        for i in range(left, right + 1):
            window[i], worth[i] = k, sigmoid(-(right - i + 1) / width) / sigmoid(-1.0)
        for i in range(right + 1, len(at)):
            worth[i] = sigmoid((i - right) / (width - 1))
    worth[: probation(len(at))] = 0.0
    window[: probation(len(at))] = -1
    return Series(name, path, at, table["value"].to_numpy().astype(np.float64), window, worth, len(edges))


def increments(corpus: Sequence[Series], scores: Sequence[Floats], miss: float, false: float) -> tuple[Floats, Floats]:
    """Each score that changes the sum when the threshold falls to it, and by how much; highest first."""
    heights, gains = [], []
    for series, score in zip(corpus, scores, strict=True):
        outside = (series.window < 0) & (series.worth != 0.0)
        heights.append(score[outside])
        gains.append(false * series.worth[outside])
        for k in range(series.n_windows):
            inside = np.flatnonzero(series.window == k)
            inside = inside[np.argsort(-score[inside], kind="stable")]
            best = np.maximum.accumulate(series.worth[inside])
            heights.append(score[inside])
            gains.append(np.diff(best, prepend=-miss))
    height, gain = np.concatenate(heights), np.concatenate(gains)
    order = np.argsort(-height, kind="stable")
    return height[order], gain[order]


def normalised(corpus: Sequence[Series], total: float, miss: float) -> float:
    """0 for the detector that says nothing, 100 for the one that finds each window at its beginning and no more."""
    n = sum(series.n_windows for series in corpus)
    return 100.0 * total / (n * (1.0 + miss))


def score_at(corpus: Sequence[Series], scores: Sequence[Floats], threshold: float, profile: str = "standard") -> float:
    miss, false = PROFILES[profile]
    height, gain = increments(corpus, scores, miss, false)
    return normalised(corpus, float(gain[height >= threshold].sum()), miss)


def tuned(corpus: Sequence[Series], scores: Sequence[Floats], profile: str = "standard") -> tuple[float, float]:
    """The best single threshold for all files, as the benchmark's own optimiser finds it, and the score at it."""
    miss, false = PROFILES[profile]
    height, gain = increments(corpus, scores, miss, false)
    totals = np.cumsum(gain)
    last = np.append(height[1:] != height[:-1], True)
    best = int(np.argmax(np.where(last, totals, -np.inf)))
    if totals[best] <= 0:
        return math.inf, 0.0
    return float(height[best]), normalised(corpus, float(totals[best]), miss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with combined_windows.json")
    parser.add_argument("--files", action="store_true", help="tell each file too")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    corpus = load(options.data)
    said = [judged(series.path) for series in corpus]
    scores = [score for score, _ in said]
    if options.files:
        for series, score in zip(corpus, scores, strict=True):
            print(told(series, score))
    days = sum(series.days for series in corpus)
    false = sum(n_false_events(series, noticed) for series, (_, noticed) in zip(corpus, said, strict=True))
    print(json.dumps(measure(corpus, scores) | {"false_events_per_day": round(false / days, 3)}))


def judged(path: Path, without: Sequence[str] = (), detector: str = "engine") -> tuple[Floats, list[int]]:
    """The column `score`, for each row of the file, and when events were noticed."""
    from mlops.detect import Request, judge_file

    found = judge_file(path, Request(without=without, detector=detector))
    noticed = [event.change.noticed_at for event in found.events]
    return found.scored()["score"].fill_null(0.0).to_numpy(), noticed


def n_false_events(series: Series, noticed: Sequence[int]) -> int:
    rows = np.flatnonzero(np.isin(series.at, noticed))
    return int(((series.window[rows] < 0) & (series.worth[rows] != 0.0)).sum())


def measure(corpus: Sequence[Series], scores: Sequence[Floats]) -> dict[str, Any]:
    days = sum(series.days for series in corpus)
    thresholds = {name: tuned(corpus, scores, name) for name in PROFILES}
    return {
        "files": len(corpus),
        "windows": sum(series.n_windows for series in corpus),
        "default": {name: round(score_at(corpus, scores, DEFAULT, name), 1) for name in PROFILES},
        "tuned": {name: {"at": round(at, 4), "score": round(best, 1)} for name, (at, best) in thresholds.items()},
        "halves": halves(corpus, scores),
        "false_readings_per_day": round(sum(map(n_false, corpus, scores)) / days, 3),
    }


def n_false(series: Series, score: Floats) -> int:
    return int(((score >= DEFAULT) & (series.window < 0) & (series.worth != 0.0)).sum())


def halves(corpus: Sequence[Series], scores: Sequence[Floats]) -> dict[str, Any]:
    """Each half of the files by the threshold that is best for the other, and by the product's own."""
    told = {}
    for name, begin in (("first", 0), ("second", 1)):
        half, rest = slice(begin, None, 2), slice(1 - begin, None, 2)
        at, _ = tuned(corpus[rest], scores[rest])
        told[name] = {
            "default": round(score_at(corpus[half], scores[half], DEFAULT), 1),
            "tuned_on_the_other": round(score_at(corpus[half], scores[half], at), 1),
            "tuned": round(tuned(corpus[half], scores[half])[1], 1),
        }
    return told


def told(series: Series, score: Floats) -> str:
    heard = [score[series.window == k].max(initial=0.0) >= DEFAULT for k in range(series.n_windows)]
    return f"{series.name}: {sum(heard)} of {len(heard)} windows, {n_false(series, score)} false readings"


if __name__ == "__main__":
    main()
