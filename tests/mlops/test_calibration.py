"""A surprise keeps its promise: on readings that nobody learnt from, 1 in 1,000 happens about once in a thousand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlops.detection import Engine, fallback, tail_rates
from mlops.detection.metrics import Rate, interval
from mlops.detection.tails import Tail, between, padded, table
from tests.mlops.detection_world import INDOOR, after, normal

MEASURED = ("level", "noise", "jump", "series")


@cache
def rates() -> list[Rate]:
    """Ten motes' week learnt, the next ten days of other noise judged: 288,000 readings of each channel."""
    fitted = Engine().fit(normal(motes=10, days=7))
    return tail_rates(fitted, normal(motes=10, days=10, start_us=after(7), seed=21))


@pytest.mark.parametrize("asked", [1e-3, 1e-4])
@pytest.mark.parametrize("layer", [*MEASURED, "forest", "combined"])
def test_unseen_normal_readings_are_as_odd_as_often_as_was_promised(layer, asked):
    asked_of = [rate for rate in rates() if (rate.layer, rate.asked) == (layer, asked)]

    assert sum(rate.n for rate in asked_of) > 280_000
    observed = sum(rate.n_beyond for rate in asked_of) / sum(rate.n for rate in asked_of)
    assert 0.5 <= observed / asked <= 2.0


def test_every_layer_that_speaks_in_probabilities_is_asked():
    asked = {rate.layer for rate in rates()}

    assert asked == {*MEASURED, "forest", "combined"}


def test_a_rate_says_how_sure_it_is():
    rate = next(rate for rate in rates() if (rate.layer, rate.asked) == ("combined", 1e-3))

    assert rate.low < rate.observed < rate.high
    assert rate.to_json()["ratio"] == pytest.approx(rate.observed / 1e-3, abs=1e-4)


def test_readings_that_come_together_make_a_rate_less_sure():
    block = np.repeat(np.arange(100), 1000)
    scattered, together = np.zeros(100_000, dtype=bool), np.zeros(100_000, dtype=bool)
    scattered[::1000], together[:100] = True, True

    apart, crowded = interval(scattered, block), interval(together, block)

    assert apart[0] < 1e-3 < apart[1]
    assert crowded[0] < 1e-4
    assert crowded[1] > 2 * apart[1]


def test_nothing_beyond_is_no_proof_that_nothing_can_be():
    assert interval(np.zeros(30_000, dtype=bool), np.zeros(30_000, dtype=np.int64)) == (
        0.0,
        pytest.approx(1.2e-4, rel=0.05),
    )


def test_an_engine_without_measured_tails_is_asked_for_what_it_says_as_a_whole():
    said = tail_rates(fallback(INDOOR), normal(motes=2, days=0.2))

    assert {rate.layer for rate in said} == {"combined"}
    assert all(rate.n == 1152 for rate in said)


@given(
    start=st.floats(0.0, 6.0), scale=st.floats(0.01, 2.0), shape=st.floats(0.0, 0.15), onset=st.floats(1.0, 5.5),
    raw=st.floats(0.0, 13.0),
)  # fmt: skip
def test_a_measured_tail_changes_nothing_of_what_a_layer_with_its_own_limits_decides(start, scale, shape, onset, raw):
    bars = (0.5 * onset, onset)
    assume(all(abs(raw - bar) > 1e-9 for bar in bars))
    drawn = padded(np.array([0.0, 12.0]), np.array([0.0, 12.0]))
    tail = Tail(np.linspace(0.0, start, 1000), start, 0.002, scale, shape)

    knots, heights = between(drawn, table(tail), bars)

    said = np.interp(raw, knots, heights)
    assert [said >= bar for bar in bars] == [raw >= bar for bar in bars]
    assert np.all(np.diff(heights) >= 0.0)
