"""Whether a forecast's residual with a dynamic threshold would earn a place among the layers; on NAB, by its scorer.

    python -m bench.forecast_residual --data FOLDER_OF_NAB [--every 1]

The idea of telemanom (Hundman et al. 2018) with a predictor that each mote could afford: ridge regression on lags 1, 2,
4 ... 128, horizons 1, 4, 7 and 10 averaged, the error smoothed over 105 steps, and a threshold without parameters: the
mean of the last 2,100 smoothed errors and as many deviations as part them best, pruned by 13 %. It learns the first 15
hundredths of a file and sees nothing later than it judges. Told are the engine as it is, this alone, and the louder.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from bench import nab
from bench._place import ROOT
from sensors.readings import Floats

LAGS = tuple(2**k for k in range(8))
HORIZONS = (1, 4, 7, 10)
SPAN, WINDOW, EVERY, PRUNE = 105, 2100, 35, 0.13
PENALTY = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with combined_windows.json")
    parser.add_argument("--every", type=int, default=1, help="each n-th file")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    corpus = nab.load(options.data)[:: options.every]
    engine = [nab.judged(series.path)[0] for series in corpus]
    forecast = [forecast_scores(series.values) for series in corpus]
    both = [np.maximum(one, other) for one, other in zip(engine, forecast, strict=True)]
    days = sum(series.days for series in corpus)
    figures = {
        name: {
            "default": round(nab.score_at(corpus, scores, nab.DEFAULT), 1),
            "tuned": round(nab.tuned(corpus, scores)[1], 1),
            "false_readings_per_day": round(sum(map(nab.n_false, corpus, scores)) / days, 2),
        }
        for name, scores in {"engine": engine, "forecast": forecast, "louder": both}.items()
    }
    print(json.dumps({"files": len(corpus), **figures}))


def forecast_scores(values: Floats) -> Floats:
    """0.3 at the threshold; told once, when it is passed, and a little less while it stays so."""
    n_training = nab.probation(len(values))
    scale = float(values[:n_training].std()) or 1.0
    error = smoothed_error((values - values[:n_training].mean()) / scale, n_training)
    scores, threshold, was_beyond = np.zeros(len(values)), np.inf, False
    for i in range(n_training, len(values)):
        if (i - n_training) % EVERY == 0:
            threshold = dynamic_threshold(error[max(0, i - WINDOW) : i])
        share = error[i] / threshold
        beyond = share >= 1.0
        scores[i] = min(nab.DEFAULT * share, 1.0) if not was_beyond else min(nab.DEFAULT * share, 0.29)
        was_beyond = beyond
    return scores


def smoothed_error(x: Floats, n_training: int) -> Floats:
    longest = LAGS[-1]
    table = np.stack([np.concatenate([np.full(lag, x[0]), x[:-lag]]) for lag in LAGS], axis=1)
    total, n = np.zeros(len(x)), np.zeros(len(x))
    for horizon in HORIZONS:
        past = np.concatenate([np.repeat(table[:1], horizon - 1, axis=0), table[: len(x) - horizon + 1]])
        rows = slice(min(longest + horizon, n_training // 2), n_training)
        gram = past[rows].T @ past[rows] + PENALTY * n_training * np.eye(len(LAGS)) / 10.0
        total += past @ np.linalg.solve(gram, past[rows].T @ x[rows])
        n += 1
    error, weight = np.abs(x - total / n), 2.0 / (SPAN + 1)
    smooth = np.empty(len(x))
    level = float(error[:n_training].mean())
    for i, one in enumerate(error):
        level += weight * (one - level)
        smooth[i] = level
    return smooth


def dynamic_threshold(past: Floats) -> float:
    """That mean and z deviations which, taking away what lies beyond, calms the rest most for the fewest stretches."""
    mean, deviation = float(past.mean()), float(past.std())
    best, chosen = -np.inf, mean + 10.0 * deviation
    for z in np.arange(2.0, 10.0, 0.5):
        limit = mean + z * deviation
        beyond = past > limit
        rest = past[~beyond]
        if not beyond.any() or not len(rest) or deviation == 0.0:
            continue
        stretches = int((np.diff(beyond.astype(np.int8), prepend=0) == 1).sum())
        gain = ((mean - rest.mean()) / mean + (deviation - rest.std()) / deviation) / (beyond.sum() + stretches**2)
        if gain > best and past[beyond].max() >= (1.0 + PRUNE) * rest.max():
            best, chosen = float(gain), limit
    return max(chosen, 1e-9)


if __name__ == "__main__":
    main()
