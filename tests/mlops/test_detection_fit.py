"""What the engine learns: calibrated, reproducible, at ease with little and with odd data."""

from __future__ import annotations

import io
from dataclasses import replace

import joblib
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

from mlops.detection import Engine, FittedEngine, decode_votes, fallback, held_out
from mlops.detection.layers import forest
from sensors.readings import Batch, score
from tests.builders import batch, channel, profile
from tests.mlops.detection_world import INDOOR, after, changed, normal, trained


def same(first: FittedEngine, second: FittedEngine) -> bool:
    one, other = (
        {(layer, name): array for layer, own in engine.arrays.items() for name, array in own.items()}
        for engine in (first, second)
    )
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)


def test_on_unseen_normal_data_three_decades_of_surprise_happen_once_in_a_thousand():
    figures = held_out(trained(), normal(days=5, start_us=after(), seed=21))

    assert 0.0005 <= figures["share_surprise_3"] <= 0.002
    assert figures["false_events_per_mote_week"] <= 1.0
    assert figures["flagged_share"] < 0.001
    assert 0.03 < figures["forest_anomaly_ratio"] < 0.08
    assert figures["n_readings"] == 5 * 2880 * 6


def test_the_order_of_the_history_does_not_matter():
    history = normal(motes=2, days=1)
    shuffled = history.take(np.random.default_rng(1).permutation(len(history)))

    assert same(Engine(without=["forest"]).fit(history), Engine(without=["forest"]).fit(shuffled))


def test_the_seed_decides_the_forest():
    history = normal(motes=2, days=0.1)
    third = Engine(seed=3).fit(history)

    assert same(third, Engine(seed=3).fit(history))
    assert not same(third, Engine(seed=4).fit(history))


def test_the_forest_scores_as_scikit_learn_does():
    history = normal(motes=3, days=15, step_s=300)
    engine = Engine(seed=42).fit(history)
    order = np.lexsort((history.at, history.mote))
    local_s = history.at[order] // 1_000_000
    features = forest.feature_table(engine.arrays["forest"], history.values[order], local_s, 4)
    scaler = StandardScaler().fit(features)
    trees = IsolationForest(n_estimators=100, max_samples=256, random_state=42).fit(scaler.transform(features))

    ours = engine.forest_scores(history.values[order], local_s)

    assert engine.features == [*INDOOR.names, "hour_sin", "hour_cos", "week_sin", "week_cos"]
    np.testing.assert_allclose(ours, trees.score_samples(scaler.transform(features)), rtol=0, atol=1e-12)


def test_the_forest_takes_the_median_for_one_missing_channel_and_abstains_when_most_are():
    local_s = np.full(3, after(3.5) // 1_000_000)
    median = trained().arrays["forest"]["median"]
    values = np.tile([22.0, 42.0, 2.7], (3, 1))
    values[0, 1], values[1, 1], values[2, 1:] = np.nan, median[1], np.nan

    scores = trained().forest_scores(values, local_s)

    assert scores[0] == scores[1]
    assert np.isnan(scores[2])


def test_without_a_forest_the_other_layers_speak():
    engine = Engine(without=["forest"]).fit(normal(motes=2, days=1))

    _, judged, _ = engine.step(engine.start(), changed(normal(motes=2, days=0.1, start_us=after(1)), 50, 0, 45.2))

    assert judged.surprise[50] == 12.0
    assert not any(decode_votes(votes)["forest"] for votes in judged.votes)
    assert held_out(engine, normal(motes=2, days=0.1, start_us=after(1)))["forest_anomaly_ratio"] is None


def test_a_model_survives_joblib_and_judges_as_before():
    trained().step(trained().start(), normal(motes=1, days=0.01))  # its compiled form is not part of it
    stream = changed(normal(motes=3, days=0.1, start_us=after(), seed=3), 300, 0, 45.2)
    joblib.dump(trained(), kept := io.BytesIO())
    kept.seek(0)

    restored = joblib.load(kept)

    _, expected, changes = trained().step(trained().start(), stream)
    _, judged, again = restored.step(restored.start(), stream)
    np.testing.assert_array_equal(judged.surprise, expected.surprise)
    assert again == changes
    assert (restored.number, restored.profile, restored.calibration) == (7, INDOOR, trained().calibration)


def test_a_model_of_another_schema_is_refused_in_words():
    state = {**trained().__getstate__(), "schema": 99}

    with pytest.raises(ValueError, match="schema 99, this version loads 4: train it again"):
        FittedEngine.__new__(FittedEngine).__setstate__(state)


def test_numbering_gives_a_copy():
    assert trained().numbered(9).number == 9
    assert trained().number == 7


def test_calibration_data_handed_in_join_the_history():
    history = normal(motes=2, days=2)
    early = history.at < after(1.5)

    parted = Engine(without=["forest"]).fit(history.take(early), calibration=history.take(~early))

    assert same(parted, Engine(without=["forest"]).fit(history))


@pytest.mark.parametrize("hours", [0.01, 0.5, 3, 24])
def test_little_history_makes_a_careful_model(hours):
    engine = Engine().fit(normal(motes=2, days=hours / 24))

    _, judged, _ = engine.step(engine.start(), normal(motes=2, days=0.05, start_us=after(hours / 24), seed=5))

    assert np.isfinite(judged.surprise).all()
    assert (judged.surprise < INDOOR.onset).mean() > 0.99


def test_one_reading_is_a_history():
    engine = Engine().fit(batch(INDOOR, [22.0, 42.0, 2.7]))

    _, judged, _ = engine.step(engine.start(), batch(INDOOR, [[22.0, 42.0, 2.7], [45.2, 42.0, 2.7]]))

    assert judged.surprise[0] < INDOOR.onset
    assert score(judged.surprise[1], INDOOR.onset) >= 0.6


def test_an_empty_history_is_refused_in_words():
    with pytest.raises(ValueError, match="the history has no readings"):
        Engine().fit(normal(motes=1, days=0.01).take(slice(0, 0)))


def test_a_channel_that_was_never_measured_is_judged_by_the_pack():
    history = changed(normal(motes=2, days=1), slice(None), 1, np.nan)
    engine = Engine().fit(history)
    values = np.array([[22.0, 42.0, 2.7], [22.0, 90.0, 2.7]])

    judged = engine.score_stateless(values, np.ones(2, dtype=np.int64), np.full(2, after(1.5)), np.zeros(2, np.int64))

    assert judged.surprise[0] < INDOOR.onset < judged.surprise[1]
    assert (judged.expected_low[1, 1], judged.expected_high[1, 1]) == (25.0, 60.0)


def test_constant_channels_are_learnt_and_a_change_is_noticed():
    history = changed(normal(motes=2, days=1), slice(None), 1, 40.0)
    engine = Engine().fit(history)
    stream = changed(normal(motes=2, days=0.5, start_us=after(1)), slice(None), 1, 40.0)

    _, calm, none = engine.step(engine.start(), stream)
    _, judged, _ = engine.step(engine.start(), changed(stream, 500, 1, 41.0))

    assert none == []
    assert not calm.is_anomaly.any()
    assert judged.surprise[500] >= INDOOR.onset


def test_a_history_of_constants_alone_can_be_learnt():
    flat = normal(motes=2, days=1)
    flat = replace(flat, values=np.tile([22.0, 42.0, 2.7], (len(flat), 1)))
    engine = Engine().fit(flat)

    _, judged, changes = engine.step(engine.start(), flat)

    assert changes == []
    assert np.isfinite(judged.surprise).all()


def test_out_of_range_values_in_the_history_are_not_learnt():
    clean = normal(motes=2, days=1)
    dirty = changed(clean, slice(0, None, 50), 0, 130.0)

    clean = changed(clean, slice(0, None, 50), 0, np.nan)
    assert same(Engine(without=["forest"]).fit(dirty), Engine(without=["forest"]).fit(clean))


def test_history_faster_than_the_step_counts_once_a_step():
    engine = Engine().fit(normal(motes=1, days=0.5, step_s=5))

    assert engine.calibration["rows"] == 0.5 * 2880


def test_one_channel_is_enough():
    one = profile(channel())
    history = _only_temperature(normal(motes=3, days=1), one)
    engine = Engine().fit(history)

    stream = _only_temperature(changed(normal(motes=3, days=0.1, start_us=after(1)), 100, 0, 45.2), one)
    _, judged, changes = engine.step(engine.start(), stream)

    assert judged.surprise[100] == 12.0
    assert len(changes) == 1


def _only_temperature(stream: Batch, of) -> Batch:
    return replace(stream, profile=of, values=stream.values[:, :1].copy())


def test_the_card_says_what_was_measured():
    card = trained().calibration

    assert set(card["tails"]) == {
        "forest",
        *(f"{layer} {name}" for layer in ("level", "noise", "jump", "series") for name in INDOOR.names),
    }
    assert card["rows"] == card["combined"]["n"] == 3 * 2880 * 6
    assert trained().parameters["seed"] == 42


def test_the_fallback_has_number_0_and_no_features_beyond_the_channels():
    assert fallback(INDOOR).number == 0
    assert fallback(INDOOR).features == list(INDOOR.names)
