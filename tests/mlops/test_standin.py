"""Without a model: the pack's limits, and how far a reading lies from its mote's own last thousand steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlops import serving
from mlops.detection.standin import LEAST, LEAST_SCALE, WINDOW, marked, stand_in
from sensors.readings import score
from tests.builders import channel, profile
from tests.mlops.detection_world import INDOOR, changed, eventful, in_pieces, normal

ONE = profile(channel(normal=(0.0, 2.0), physical=(-100.0, 100.0), max_rate_per_s=100.0, flat_after_s=1e9))


def wandering(n: int, seed: int = 1):
    rng = np.random.default_rng(seed)
    rows = normal(motes=1, days=n / 2880, of=INDOOR)
    values = (rng.normal(0.0, 1.0, n) + np.where(np.arange(n) > n // 2, 3.0, 0.0))[:, None]
    return replace(rows.take(slice(0, n)), profile=ONE, values=values.astype(np.float32).astype(np.float64))


def test_a_reading_is_anomalous_where_its_robust_z_over_the_last_thousand_readings_passes_the_threshold():
    stream, engine = wandering(WINDOW + 700), stand_in(ONE, threshold=2.5)
    values = stream.values[:, 0]

    _, judged, _ = engine.step(engine.start(), stream)

    expected = []
    for i in range(LEAST, len(values)):
        past = values[max(0, i - WINDOW) : i]
        usual = np.median(past)
        deviations = np.sort(np.abs(past - usual))
        spread = max(1.4826 * deviations[len(past) // 2], LEAST_SCALE)
        expected.append(abs(values[i] - usual) / spread > 2.5)
    beyond_band = np.abs(values[LEAST:] - 1.0) > 1.2  # the pack's own opinion is always heard beside it
    is_odd = judged.surprise[LEAST:] >= ONE.onset
    np.testing.assert_array_equal(is_odd | beyond_band, np.array(expected) | beyond_band)
    assert 0 < sum(expected) < 200


@pytest.mark.parametrize("seed", range(4))
def test_no_cut_and_no_restart_shows(seed):
    stream = eventful(seed)

    for cuts in ([1, 2, 3, 70, 71, 150], range(0, 240, 40)):
        assert in_pieces(stand_in(INDOOR), stream, cuts, restarts=True) == in_pieces(stand_in(INDOOR), stream, [])


def test_a_mote_that_moves_within_its_band_but_far_from_its_own_past_is_noticed_and_told_with_what_was_expected():
    quiet = normal(motes=1, days=0.2)
    calm = replace(quiet, values=quiet.values - np.median(quiet.values, axis=0) + [19.0, 42.0, 2.7])
    stream = changed(calm, slice(400, 420), 0, 27.8)

    _, judged, events = stand_in(INDOOR).step(stand_in(INDOOR).start(), stream)

    (event,) = events
    assert judged.is_anomaly[401:419].all()
    assert event.expected == pytest.approx((11.5, 26.5), abs=0.7), (
        "three scales of half its half band around its median"
    )
    assert float(score(judged.surprise[410], INDOOR.onset)) >= 0.3
    assert event.model_version == 0
    assert marked("Temperature 27.8 °C", event.model_version) == "Temperature 27.8 °C (fallback: no model serves yet)"
    assert marked("Temperature 27.8 °C", 3) == "Temperature 27.8 °C"


def test_days_without_faults_raise_no_false_event():
    engine = stand_in(INDOOR)

    _, _, events = engine.step(engine.start(), normal(days=3))

    assert events == []


def test_a_profile_without_a_model_is_served_by_the_stand_in_with_the_threshold_of_the_settings(indoor, settings):
    settings.SIEIS_FALLBACK_THRESHOLD = 4.5
    from sensors.registry import profiles

    assert serving.Serving().engine_for(profiles()["indoor"]).threshold == 4.5
