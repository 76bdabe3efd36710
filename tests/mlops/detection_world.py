"""A small fleet whose days are alike, for the engine to learn from, and streams in which everything happens."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from mlops.detection import Engine, EngineState, FittedEngine
from sensors import quality
from sensors.readings import Batch, Profile
from tests.builders import channel, profile

STEP_S = 30
DAY_STEPS = 86_400 // STEP_S
MONDAY_US = 1_772_409_600_000_000  # 2026-03-02T00:00Z

INDOOR = profile(
    channel(),
    channel("humidity", unit="%", physical=(0.0, 100.0), normal=(25.0, 60.0), max_rate_per_s=1.0),
    channel("voltage", unit="V", physical=(2.0, 3.3), normal=(2.3, 3.1), resolution=0.001, max_rate_per_s=0.1),
)


def normal(
    *,
    motes: Any = 6,
    days: float = 3,
    start_us: int = MONDAY_US,
    seed: int = 1,
    step_s: float = STEP_S,
    of: Profile = INDOOR,
) -> Batch:
    """Readings in order of time: a daily course, each mote at its own level, short-lived noise."""
    ids = np.arange(1, motes + 1) if isinstance(motes, int) else np.asarray(motes)
    rng, n = np.random.default_rng(seed), int(days * 86_400 / step_s)
    at = start_us + (np.arange(n) * step_s * 1e6).astype(np.int64)
    course = np.sin((at % 86_400_000_000) / 86_400_000_000 * 2 * np.pi)[:, None]
    level = (ids % 7 - 3.0)[None, :] / 4.0
    temperature = 22.0 + level + 1.5 * course + rng.normal(0.0, 0.15, (n, len(ids)))
    humidity = 42.0 - 2.0 * level - 4.0 * course + rng.normal(0.0, 0.5, (n, len(ids)))
    voltage = 2.7 + 0.01 * level + rng.normal(0.0, 0.004, (n, len(ids)))
    values = np.round(np.stack([temperature, humidity, voltage], axis=2), (3)).reshape(-1, 3)
    when = np.repeat(at, len(ids))
    return Batch(
        profile=of,
        mote=np.tile(ids, n).astype(np.int64),
        at=when,
        values=values,
        utc_offset_s=np.zeros(len(when), dtype=np.int64),
        partition=np.zeros(len(when), dtype=np.int64),
        offset=np.arange(len(when), dtype=np.int64),
        received_at=when + 50_000,
    )


@cache
def trained() -> FittedEngine:
    return Engine().fit(normal()).numbered(7)


def after(days: float = 3.0) -> int:
    """An instant in the life after training; by default its first midnight."""
    return MONDAY_US + int(days * 86_400) * 1_000_000


def changed(batch: Batch, rows: Any, channel_place: int, value: Any) -> Batch:
    values = batch.values.copy()
    values[rows, channel_place] = value
    return replace(batch, values=values)


def eventful(seed: int, *, n: int = 240) -> Batch:
    """A stream of four motes, two of them new, with spikes, flat lines, nonsense, holes, silences and late readings."""
    rng = np.random.default_rng(seed)
    stream = normal(motes=[1, 2, 90, 91], days=n / 4 / DAY_STEPS, start_us=after(3.4), seed=seed)
    values, at, flags = stream.values.copy(), stream.at.copy(), stream.flags.copy()
    at += rng.integers(-3_000_000, 3_000_000, len(at))
    for _ in range(6):
        rows = np.flatnonzero(stream.mote == rng.choice([1, 2, 90, 91]))
        begin, length, c = rng.integers(len(rows)), rng.integers(1, 25), rng.integers(3)
        rows = rows[begin : begin + length]
        kind = rng.choice(["spike", "ramp", "stuck", "nonsense", "hole"])
        if kind == "spike":
            values[rows, c] += rng.choice([-1, 1]) * rng.uniform(0.05, 3.0) * [8.0, 20.0, 0.1][c]
        elif kind == "ramp":
            values[rows, c] += np.arange(len(rows)) * rng.uniform(0.05, 0.5) * [1.0, 3.0, 0.02][c]
        elif kind == "stuck":
            values[rows, c] = values[rows[0], c]
        else:
            values[rows, c] = 140.0 if kind == "nonsense" else np.nan
    silence = rng.integers(n)
    at[silence:] += rng.integers(0, 3) * 900_000_000
    late = rng.choice(n, 5, replace=False)
    at[late] -= 120_000_000
    flags[late] |= quality.LATE
    values[rng.choice(n, 3, replace=False)] = np.nan
    return replace(stream, values=values, at=at, flags=flags)


def in_pieces(engine: FittedEngine, batch: Batch, cuts: Any, *, restarts: bool = False) -> tuple[Any, Any, bytes]:
    """Columns, the last word on each event, and the state, however the batch is cut."""
    state, parts, events = engine.start(), [], {}
    edges = [0, *sorted(cuts), len(batch)]
    for begin, end in pairwise(edges):
        if restarts:
            state = EngineState.from_bytes(state.to_bytes())
        state, judged, changes = engine.step(state, batch.take(slice(begin, end)))
        parts.append(judged)
        events |= {(change.mote, change.noticed_at): change for change in changes}
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts]).tobytes()
        for name in ("surprise", "votes", "is_anomaly", "event_id", "flags", "model_version")
    }
    return columns, events, state.to_bytes()
