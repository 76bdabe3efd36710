"""How fast readings are judged, on one core: the whole engine in batches, one reading, and the forest alone.

    python -m bench.predict [--seed 1]

A fleet of simulated indoor motes at 30 s; the model has learnt two days of twelve of them. What is timed is
`FittedEngine.step` with everything it does, warm, every reading a step of its mote. Rates are per second of this
process's own processor time, on one thread, so that what else the machine does is not measured; the times of single
readings are by the clock on the wall, and once more (`cpu`) by the processor. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bench._place import ROOT

STEP_US = 30_000_000
BEGIN_US = 1_772_409_600_000_000  # a Monday
LEARNT_MOTES, LEARNT_DAYS = 12, 2
FLEETS = (42, 4_200, 42_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    figures = measure(options.seed)
    for name, value in figures.items():
        print(f"{name:45}{value:>14,.4g}")
    print(json.dumps(figures))


def measure(seed: int) -> dict[str, Any]:
    from mlops.detection import Engine

    history = readings(range(LEARNT_MOTES), LEARNT_DAYS * 2880, seed)
    engine = Engine().fit(history)
    figures: dict[str, Any] = {"engine_readings_per_s": in_batches(engine, 42, 2000, seed)}
    figures["engine_readings_per_s_batches_of_100"] = in_batches(engine, 42, 100, seed)
    for n_motes in FLEETS[1:]:
        figures[f"engine_readings_per_s_{n_motes}_motes"] = in_batches(engine, n_motes, 2000, seed)
    figures |= one_by_one(engine, seed)
    return figures | forest_alone(engine, history)


def readings(motes: Any, n_steps: int, seed: int, *, begin: int = BEGIN_US) -> Any:
    """Indoor readings in the order of time: a daily course, each mote at its own level, noise."""
    from sensors.packs import read_pack
    from sensors.readings import Batch

    ids, rng = np.asarray(list(motes), dtype=np.int64) + 1, np.random.default_rng(seed)
    at = begin + STEP_US * np.arange(n_steps, dtype=np.int64)
    course = np.sin(at % 86_400_000_000 / 86_400_000_000 * 2 * np.pi)[:, None]
    shape, level = (n_steps, len(ids)), (ids % 7 - 3.0)[None, :] / 4.0
    columns = (
        22.0 + level + 1.5 * course + rng.normal(0.0, 0.05, shape),
        42.0 - 2.0 * level - 4.0 * course + rng.normal(0.0, 0.2, shape),
        200.0 + 150.0 * np.broadcast_to(course, shape) + rng.normal(0.0, 5.0, shape),
        2.7 + 0.01 * level + rng.normal(0.0, 0.004, shape),
    )
    n = n_steps * len(ids)
    profile = replace((indoor := read_pack("indoor").profile), channels=indoor.channels[:4])
    zeros, when = np.zeros(n, dtype=np.int64), np.repeat(at, len(ids))
    return Batch(
        profile=profile, mote=np.tile(ids, n_steps), at=when, values=np.stack(columns, axis=2).reshape(-1, 4),
        utc_offset_s=zeros, partition=zeros, offset=np.arange(n), received_at=when,
    )  # fmt: skip


def in_batches(engine: Any, n_motes: int, size: int, seed: int) -> float:
    """Readings a second of `step`, after a first pass in which every mote is met and every loop compiled."""
    later = BEGIN_US + LEARNT_DAYS * 2880 * STEP_US
    n_steps = max(4, 60_000 // n_motes)
    state, _, _ = engine.step(engine.start(), readings(range(n_motes), 2, seed, begin=later))
    stream = readings(range(n_motes), n_steps, seed + 1, begin=later + 2 * STEP_US)
    parts = [stream.take(slice(begin, begin + size)) for begin in range(0, len(stream), size)]
    began = time.process_time()
    for part in parts:
        engine.step(state, part)
    return len(stream) / (time.process_time() - began)


def one_by_one(engine: Any, seed: int) -> dict[str, float]:
    later = BEGIN_US + LEARNT_DAYS * 2880 * STEP_US
    stream = readings(range(42), 60, seed, begin=later)
    ones, state = [stream.take(slice(i, i + 1)) for i in range(len(stream))], engine.start()
    acts = [partial(engine.step, state, one) for one in ones]
    return {"one_engine_p99_ms": p99_ms(acts), "one_engine_cpu_p99_ms": p99_ms(acts, time.thread_time)}


def forest_alone(engine: Any, history: Any) -> dict[str, Any]:
    """The forest beside scikit-learn's own, grown on the same features with the same seed."""
    from sklearn.ensemble import IsolationForest

    from mlops.detection.layers import forest

    own = engine.models["forest"]
    local_s = history.at // 1_000_000
    features = forest.feature_table(own, history.values, local_s, len(own["mean"]) - history.values.shape[1])
    scaled = (features - own["mean"]) / own["spread"]
    trees = IsolationForest(n_estimators=forest.N_TREES, max_samples=forest.MAX_SAMPLES, random_state=42).fit(scaled)
    arrays = {**own, **forest.flatten(trees)}
    some = slice(0, 50_000)
    apart = np.abs(-(2.0 ** forest.raw_scores(arrays, features[some])) - trees.score_samples(scaled[some])).max()
    one = np.ascontiguousarray(features[:1])
    return {
        "forest_readings_per_s": per_second(lambda: forest.raw_scores(arrays, features[some]), 50_000),
        "sklearn_readings_per_s": per_second(lambda: trees.score_samples(scaled[some]), 50_000),
        "one_forest_p99_ms": p99_ms([lambda: forest.raw_scores(arrays, one)] * 3000),
        "one_sklearn_p99_ms": p99_ms([lambda: trees.score_samples(scaled[:1])] * 100),
        "forest_off_from_sklearn": float(apart),
    }


def per_second(act: Callable[[], Any], n: int, times: int = 3) -> float:
    """The best of a few: another process on the same core is not what is measured."""
    act()
    best = np.inf
    for _ in range(times):
        began = time.process_time()
        act()
        best = min(best, time.process_time() - began)
    return n / best


def p99_ms(acts: Sequence[Callable[[], Any]], clock: Callable[[], float] = time.perf_counter) -> float:
    for act in acts[: len(acts) // 10]:
        act()
    took = []
    for act in acts[len(acts) // 10 :]:
        began = clock()
        act()
        took.append(clock() - began)
    return float(np.quantile(took, 0.99)) * 1000.0


if __name__ == "__main__":
    main()
