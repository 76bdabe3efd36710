"""An alert budget: what another onset would have told of stored readings is what the engine tells with it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops import budget
from mlops.budget import Judged, NoHistory, Truth, Unreachable, choose, events, merged
from mlops.detection import Engine, FittedEngine
from mlops.evidence.rescoring import rescore
from sensors import quality
from sensors.readings import Batch, concat, score
from tests.mlops.detection_world import INDOOR, MONDAY_US, after, changed, eventful, normal, trained

STEP_S = 300.0
COARSE = replace(INDOOR, step_s=STEP_S, interval_s=STEP_S)
WEEK_US = budget.WEEK_US
MONTH = 28.0
N_FAULTS = 120  # in a month


def world(days: float, start_day: float, seed: int) -> tuple[Batch, list[Truth]]:
    """Six motes with faults of all sizes, from hardly visible to gross, and when they were."""
    quiet = normal(days=days, start_us=after(start_day), seed=seed, step_s=STEP_S, of=COARSE)
    rng, values, truths = np.random.default_rng(seed), quiet.values.copy(), []
    for k in range(int(N_FAULTS * days / MONTH)):
        mote = int(rng.integers(1, 7))
        rows = np.flatnonzero(quiet.mote == mote)
        begin = int(rng.integers(len(rows) - 4))
        rows = rows[begin : begin + int(rng.integers(2, 5))]
        values[rows, 0] += rng.choice([-1, 1]) * 0.15 * rng.uniform(3.0, 9.0)
        truths.append(Truth(mote, int(quiet.at[rows[0]]), int(quiet.at[rows[-1]]), f"fault {k}"))
    return replace(quiet, values=values), merged(truths)


@cache
def model() -> FittedEngine:
    return Engine().fit(normal(days=14, step_s=STEP_S, of=COARSE)).numbered(3)


def judged(batch: Batch, engine: FittedEngine) -> tuple[Judged, set[tuple[int, int]], Batch]:
    """As stored, with the events that the engine told."""
    _, said, changes = engine.step(engine.start(), batch)
    rows = np.lexsort((said.at, said.mote))
    rows = rows[said.flags[rows] & quality.LATE == 0]
    kept = Judged(batch.profile, said.mote[rows], said.at[rows], said.surprise[rows], said.votes[rows])
    return kept, {(one.mote, one.noticed_at) for one in changes}, said


@cache
def month() -> tuple[Judged, list[Truth]]:
    batch, truths = world(MONTH, 14, seed=5)
    return judged(batch, model())[0], truths


def told(found: budget.Events) -> set[tuple[int, int]]:
    return set(zip(found.mote.tolist(), found.noticed_at.tolist(), strict=True))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_rule_asked_of_stored_surprises_tells_what_the_engine_told(seed):
    stored, live, _ = judged(eventful(seed), trained())

    assert told(events(stored, INDOOR.onset)) == live


@pytest.mark.parametrize("onset", [3.2, 5.5, 7.0])
def test_what_another_onset_is_said_to_tell_is_what_a_replay_with_it_tells(onset):
    batch, truths = world(MONTH, 14, seed=5)
    stored, _ = month()

    _, replayed, _ = judged(batch, model().with_onset(onset))
    said = events(stored, onset)

    # Equal but for a few events that begin where another onset's event still muffled what a spike leaves behind.
    assert len(told(said) ^ replayed) <= 0.02 * len(replayed) + 1
    missed = {one.what for one, found in zip(truths, budget.caught(said, truths), strict=True) if not found}
    mote, at = (np.array(column, dtype=np.int64) for column in zip(*sorted(replayed), strict=True))
    by_replay = budget.Events(mote, at, at, at, np.zeros(len(at)))
    assert missed == {
        one.what for one, found in zip(truths, budget.caught(by_replay, truths), strict=True) if not found
    }


@pytest.mark.parametrize("at_most", [3, 8, 15])
def test_a_budget_set_by_one_month_holds_in_the_next(at_most):
    stored, truths = month()
    batch, _ = world(MONTH, 14 + MONTH, seed=6)

    found = choose(stored, at_most, in_force=COARSE.onset, truths=truths)
    _, live, _ = judged(batch, model().with_onset(found.chosen.onset))

    assert found.chosen.busiest <= at_most
    weeks = MONTH / 7
    assert len(live) / weeks <= at_most + 2 * np.sqrt(at_most / weeks), "of a month unseen, with what chance adds"


def test_a_tighter_budget_never_tells_more_nor_misses_less():
    stored, truths = month()
    chosen = [choose(stored, n, in_force=COARSE.onset, truths=truths).chosen for n in (2, 4, 8, 16, 32)]

    assert [one.onset for one in chosen] == sorted((one.onset for one in chosen), reverse=True)
    assert [one.n_missed for one in chosen] == sorted((one.n_missed for one in chosen), reverse=True)


def test_what_is_missed_anew_was_caught_by_the_onset_in_force():
    stored, truths = month()
    found = choose(stored, 4, in_force=COARSE.onset, truths=truths)
    before = {
        one.what for one, hit in zip(truths, budget.caught(events(stored, COARSE.onset), truths), strict=True) if hit
    }

    assert found.newly_missed
    assert {one.what for one in found.newly_missed} <= before & {one.what for one in found.missed}
    assert len(found.missed) == found.chosen.n_missed > found.now.n_missed
    assert len(found.lost.mote) > 0 == len(found.gained.mote)


def test_what_people_called_needless_is_counted_apart_from_faults():
    stored, truths = month()
    needless = [replace(one, is_fault=False) for one in truths[:30]]

    found = choose(stored, 6, in_force=COARSE.onset, truths=[*needless, *truths[30:]])

    assert (found.n_needless, found.n_faults) == (30, len(truths) - 30)
    assert found.chosen.n_needless < found.now.n_needless


def test_a_surprise_does_not_depend_on_the_onset_outside_of_events():
    batch = normal(days=2, start_us=after(20), seed=9, step_s=STEP_S, of=COARSE)
    _, _, low = judged(batch, model())
    _, _, high = judged(batch, model().with_onset(9.0))

    assert np.array_equal(low.surprise, high.surprise)
    assert np.array_equal(low.votes, high.votes)


def test_readings_are_scored_again_with_the_onset_of_their_time_to_the_bit():
    """Half of the readings under each onset, as when a budget is applied in the middle."""
    batch, _ = world(2.0, 14, seed=11)
    engines = {3: model(), 4: model().with_onset(6.0).numbered(4)}
    state, half = engines[3].start(), len(batch) // 2
    before = state.to_bytes()
    state, first, _ = engines[3].step(state, batch.take(slice(0, half)))
    _, second, _ = engines[4].step(state, batch.take(slice(half, len(batch))))
    live = concat([first, second])

    again = rescore(before, live, engines.__getitem__)

    assert again.worst == 0.0
    assert np.array_equal(again.batch.is_anomaly, live.is_anomaly)
    assert np.array_equal(again.batch.event_id, live.event_id)


def test_the_borders_of_the_severities_move_with_the_onset():
    batch = changed(normal(days=0.1, start_us=after(3.2), seed=3), slice(600, 606), 0, 24.1)
    strict = trained().with_onset(2 * INDOOR.onset)
    single = {"values": batch.values, "mote": batch.mote, "at": batch.at, "utc_offset_s": batch.utc_offset_s}
    by_default, by_strict = trained().score_stateless(**single), strict.score_stateless(**single)

    assert np.array_equal(by_default.surprise, by_strict.surprise, equal_nan=True)
    assert score(2 * INDOOR.onset, strict.onset) == pytest.approx(0.3)
    assert score(4 * INDOOR.onset, strict.onset) == pytest.approx(0.6)
    width = (by_strict.expected_high - by_strict.expected_low) / (by_default.expected_high - by_default.expected_low)
    assert (width > 1.1).all(), "what is expected reaches to the onset"


def test_an_onset_that_is_taken_back_leaves_the_model_as_it_was():
    assert model().with_onset(6.0).with_onset(None).parameters == model().parameters
    assert model().with_onset(6.0).with_onset(None).onset == COARSE.onset


def test_less_than_a_day_sets_no_budget():
    stored, _ = month()
    few = replace(stored, **{name: getattr(stored, name)[:100] for name in ("mote", "at", "surprise", "votes")})

    with pytest.raises(NoHistory, match=r"has 0\.3 days of judged readings"):
        choose(few, 5, in_force=COARSE.onset)


def test_what_no_threshold_can_keep_is_said_with_what_could_be_asked_for():
    """Nonsense beyond a sensor's range is as surprising as can be, whatever the onset."""
    batch, _ = world(7.1, 14, seed=2)
    rows = np.flatnonzero(batch.mote == 2)[::20]
    values = batch.values.copy()
    values[np.concatenate([rows, rows + 6]), 0] = 150.0
    stored, _, _ = judged(replace(batch, values=values), model())

    with pytest.raises(Unreachable, match=r"no threshold keeps 3\. Ask for at least"):
        choose(stored, 3, in_force=COARSE.onset)


def test_faults_of_a_mote_that_overlap_are_one():
    joined = merged([Truth(1, 0, 10, "a"), Truth(1, 5, 20, "b"), Truth(2, 5, 6, "c"), Truth(1, 30, 40, "d")])

    assert [(one.mote, one.first_at, one.last_at) for one in joined] == [(1, 0, 20), (1, 30, 40), (2, 5, 6)]


def test_weeks_are_counted_back_from_the_last_reading():
    stored, _ = month()
    found = choose(stored, 1000, in_force=COARSE.onset)
    all_told = events(stored, found.chosen.onset).noticed_at

    assert found.chosen.busiest >= found.chosen.a_week
    in_weeks = np.bincount((int(stored.at.max()) - all_told) // WEEK_US)
    assert found.chosen.busiest == in_weeks[:3].max() if found.weeks < 4 else in_weeks[:4].max()
    assert MONDAY_US < found.first_at < found.last_at
