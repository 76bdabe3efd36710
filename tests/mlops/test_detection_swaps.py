"""One engine takes over from another: what it finds remembered on another scale it does not compare with."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mlops.detection import Engine, EngineState, FittedEngine
from mlops.detection.standin import stand_in
from sensors.readings import Batch
from tests.mlops.conftest import indoor_days

TEMPERATURE, LIGHT = 0, 2
DAY_US = 86_400_000_000


@cache
def lit_days() -> Batch:
    """Three days of rooms with two lux at night and hundreds by day: a channel of many decades."""
    rows = indoor_days(3.0, motes=(1, 2, 3))
    sun = np.sin(2 * np.pi * (rows.at - rows.at.min()) / DAY_US)
    noise = np.exp(np.random.default_rng(1).normal(0.0, 0.05, len(rows)))
    values = rows.values.copy()
    values[:, LIGHT] = np.where(sun > 0, 40 + 900 * np.maximum(0, sun) ** 2, 2) * noise
    return replace(rows, values=values).take(np.lexsort((rows.mote, rows.at)))


def between(begin: float, end: float) -> Batch:
    days = (lit_days().at - lit_days().at[0]) / DAY_US
    return lit_days().take((days >= begin) & (days < end))


@cache
def learnt() -> FittedEngine:
    return Engine().fit(between(0, 2)).numbered(1)


def lights(engine: FittedEngine, state: EngineState, rows: Batch) -> set[tuple[int, int]]:
    _, _, changes = engine.step(state, rows)
    return {(one.mote, one.started_at) for one in changes if one.peak_channel == "light"}


@pytest.mark.parametrize("is_saved", [False, True])
def test_the_first_model_raises_no_alert_by_what_was_remembered_without_one(is_saved):
    before = stand_in(learnt().profile)
    assert learnt().bends[LIGHT] > 0
    state, _, _ = before.step(before.start(), between(2, 2.1))
    if is_saved:
        state = EngineState.from_bytes(state.to_bytes())

    assert lights(learnt(), state, between(2.1, 2.5)) <= lights(learnt(), learnt().start(), between(2.1, 2.5))


def test_what_lies_on_the_same_scale_is_remembered():
    before = stand_in(learnt().profile)
    state, _, _ = before.step(before.start(), between(2, 2.1))
    known = state.memory["jump"]["accepted_at"][:, [TEMPERATURE, LIGHT]].copy()

    state.on_scale(np.arange(2), learnt().bends)

    now = state.memory["jump"]["accepted_at"][:, [TEMPERATURE, LIGHT]]
    assert (now[:, 0] == known[:, 0]).all()
    assert (now[:2, 1] < known[:2, 1]).all()
    assert now[2, 1] == known[2, 1]  # who has not been heard since is forgotten when it is
