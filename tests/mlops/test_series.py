"""The two layers that learn on: what leaves its own past is told, what behaves as ever is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.detection import VOTES, Engine, FittedEngine
from sensors.readings import Batch, Channel, Profile

STEP_S = 300.0
LEARNT = 600
START = 1_772_409_600_000_000  # a Monday
ONLY = {name: tuple(set(VOTES) - {"gate", name}) for name in ("series", "shift")}
Noise = Callable[[np.random.Generator, int], Any]


def wave(rng: np.random.Generator, n: int) -> Any:
    return 10.0 * np.sin(2.0 * np.pi * np.arange(n) / 288.0) + rng.standard_normal(n)


def coloured(rng: np.random.Generator, n: int) -> Any:
    values, value = np.empty(n), 0.0
    for k, push in enumerate(rng.standard_normal(n).tolist()):
        values[k] = value = 0.95 * value + push
    return values


NOISES: dict[str, Noise] = {
    "white": lambda rng, n: rng.standard_normal(n),
    "daily": wave,
    "coloured": coloured,
    "counts": lambda rng, n: rng.poisson(2.0, n).astype(np.float64),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
}


def batch(values: Any, step_s: float = STEP_S) -> Batch:
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    n, channels = values.shape
    free = (-np.inf, np.inf)
    profile = Profile(
        "test", 1, "Test", step_s, step_s,
        tuple(Channel(f"c{c}", f"C{c}", "", free, (0.0, 1.0), 0.0, 0.0, 0.0) for c in range(channels)),
    )  # fmt: skip
    zeros, at = np.zeros(n, dtype=np.int64), START + np.arange(n) * int(step_s * 1e6)
    return Batch(profile, zeros + 1, at, values, zeros, zeros, np.arange(n), at)


def judged(values: Any, layer: str, *, learnt: int = LEARNT, step_s: float = STEP_S) -> tuple[Batch, list[Any]]:
    rows = batch(values, step_s)
    engine = Engine(without=ONLY[layer]).fit(rows.take(slice(0, learnt)))
    return stepped(engine, rows, [])


def stepped(engine: FittedEngine, rows: Batch, cuts: list[int]) -> tuple[Batch, list[Any]]:
    state, events, parts = engine.start(), {}, []
    edges = [0, *sorted({cut for cut in cuts if cut < len(rows)}), len(rows)]
    for begin, end in pairwise(edges):
        state, part, changes = engine.step(state, rows.take(slice(begin, end)))
        parts.append(part.surprise)
        events.update({change.noticed_at: change for change in changes})
    whole = batch(rows.values, rows.profile.step_s)
    object.__setattr__(whole, "surprise", np.concatenate(parts))
    return whole, list(events.values())


def step_of(event: Any, step_s: float = STEP_S) -> int:
    return int((event.noticed_at - START) // int(step_s * 1e6))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("layer", ["series", "shift"])
def test_what_behaves_as_ever_makes_at_most_two_events_a_week(noise: str, layer: str) -> None:
    weeks = 0.0
    n_events = 0
    for seed in range(4):
        values = NOISES[noise](np.random.default_rng(seed), 16 * 2016)
        _, events = judged(values, layer)
        weeks, n_events = weeks + 16.0, n_events + len(events)

    assert n_events / weeks <= 2.0


@pytest.mark.parametrize("noise", ["white", "counts", "heavy tails"])
def test_a_surprise_is_as_rare_as_it_says(noise: str) -> None:
    values = NOISES[noise](np.random.default_rng(5), 60_000)
    whole, _ = judged(values, "series")

    told = whole.surprise[LEARNT:]

    assert 0.2 <= (told >= 3.0).mean() / 1e-3 <= 2.0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a spike", lambda x: x + np.where(np.arange(len(x)) == 3000, 15.0, 0.0)),
        ("another level", lambda x: x + np.where(np.arange(len(x)) >= 3000, 4.0, 0.0)),
        ("a rougher channel", lambda x: np.where(np.arange(len(x)) >= 3000, 3.0 * x, x)),
        ("a missing daily rise", lambda x: x),
    ],
)
def test_a_series_that_leaves_its_past_is_told(name: str, change: Callable[[Any], Any]) -> None:
    values = change(np.random.default_rng(3).standard_normal(3300))
    if name == "a missing daily rise":
        values = wave(np.random.default_rng(3), 3300)
        values[3000:3300] = values[2990]

    _, events = judged(values, "series")

    assert any(3000 <= step_of(event) <= 3060 for event in events), name


def test_only_the_beginning_of_a_stretch_is_loud_and_it_stays_one_event() -> None:
    values = np.random.default_rng(4).standard_normal(3000)
    values[2000:2060] += 12.0
    whole, events = judged(values, "series")
    onset = whole.profile.onset

    loud = np.flatnonzero(whole.surprise[2000:2060] >= onset)

    assert 0 < len(loud) <= 10
    assert loud[0] <= 1
    assert len([event for event in events if 2000 <= step_of(event) < 2060]) == 1
    assert max(event.n_readings for event in events) >= 30


def test_a_new_habit_is_news_only_while_it_is_new() -> None:
    values = np.random.default_rng(6).standard_normal(12_000)
    values[4000::24] += 8.0

    _, events = judged(values, "series")

    at = np.array([step_of(event) for event in events])
    assert ((at >= 4000) & (at < 4100)).any()
    assert (at >= 8000).sum() <= 2


def test_a_steady_channel_that_shifts_is_on_until_it_returns() -> None:
    values = np.random.default_rng(1).standard_normal((1200, 3))
    values[600:900, 1] += 3.0

    _, events = judged(values, "shift", learnt=400, step_s=1.0)

    assert len(events) == 1
    (event,) = events
    assert event.peak_channel == "c1"
    assert 600 <= step_of(event, 1.0) <= 620
    assert 890 <= (event.last_at - START) // 1_000_000 <= 920


def test_a_channel_that_always_wanders_may_wander_on() -> None:
    rng = np.random.default_rng(2)
    values = np.column_stack([np.cumsum(rng.standard_normal(1600)) * 0.05, rng.standard_normal(1600)])

    _, events = judged(values, "shift", learnt=400, step_s=1.0)

    assert not events


def test_the_slow_way_back_is_no_fault() -> None:
    values = np.random.default_rng(7).standard_normal(1500)
    values[600:700] += 10.0
    values[700:1500] += 10.0 * np.exp(-np.arange(800) / 300.0)

    _, events = judged(values, "shift", learnt=400, step_s=1.0)

    assert len(events) == 1
    assert (events[0].last_at - START) // 1_000_000 <= 860


def test_a_level_that_stays_becomes_the_norm() -> None:
    values = np.random.default_rng(8).standard_normal(4000)
    values[600:] += 10.0

    _, events = judged(values, "shift", learnt=400, step_s=1.0)

    assert len(events) == 1
    assert (events[0].last_at - START) // 1_000_000 <= 1400


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(1, 1399), max_size=12), seed=st.integers(0, 3))
def test_no_cut_of_the_stream_shows(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((1400, 2)) + np.where(np.arange(1400) > 900, 4.0, 0.0)[:, None]
    values[rng.random(values.shape) < 0.02] = np.nan
    rows = batch(values)
    engine = fitted_on(seed, rows)

    at_once, events = stepped(engine, rows, [])
    in_pieces, same = stepped(engine, rows, cuts)

    np.testing.assert_array_equal(at_once.surprise, in_pieces.surprise)
    assert {event.noticed_at for event in events} == {event.noticed_at for event in same}


ENGINES: dict[int, FittedEngine] = {}


def fitted_on(seed: int, rows: Batch) -> FittedEngine:
    if seed not in ENGINES:
        without = tuple(set(VOTES) - {"gate", "series", "shift"})
        ENGINES[seed] = Engine(without=without).fit(rows.take(slice(0, 500)))
    return ENGINES[seed]
