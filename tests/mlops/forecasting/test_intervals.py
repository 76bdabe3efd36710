"""Intervals hold what they promise, by forecasts whose outcome was known when they were said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.forecasting import CannotForecast, Forecaster
from mlops.forecasting.intervals import LEAST, LEVELS, REMEMBERED, bands, latest
from tests.mlops.forecasting.world import daily, panel


def test_of_errors_that_are_alike_each_level_holds_its_share():
    rng = np.random.default_rng(1)
    errors = rng.standard_normal((4000, 3))

    quantiles, _ = bands(errors, np.arange(4000))
    said = np.isfinite(quantiles[:, :, 0])

    for k, level in enumerate(LEVELS):
        assert (errors <= quantiles[:, :, k])[said].mean() == pytest.approx(level, abs=0.015)


def test_intervals_widen_when_errors_grow():
    rng = np.random.default_rng(2)
    errors = rng.standard_normal((3000, 1)) * np.where(np.arange(3000) < 1500, 1.0, 3.0)[:, None]

    quantiles, _ = bands(errors, np.arange(3000))
    width = quantiles[:, 0, 3] - quantiles[:, 0, 1]

    assert width[2900] > 2.5 * width[1400]


def test_far_steps_have_an_even_band_and_each_level_still_holds_its_share():
    rng = np.random.default_rng(4)
    errors = rng.standard_normal((1500, 96))

    quantiles, _ = bands(errors, np.arange(1500), reach=6)
    said = np.isfinite(quantiles[:, :, 0])
    jumps = np.abs(np.diff(quantiles[-1, :, 4]))

    assert jumps[80:].mean() < jumps[:7].mean() / 4
    for k, level in enumerate(LEVELS):
        assert (errors <= quantiles[:, :, k])[said].mean() == pytest.approx(level, abs=0.01)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(0, 200), st.data())
def test_only_outcomes_that_were_known_count(horizon, row, data):
    rng = np.random.default_rng(row)
    errors = rng.standard_normal((201, horizon))
    changed = errors.copy()
    changed[max(row - horizon + 1, 0) :] = data.draw(st.floats(-1e3, 1e3))

    one, _ = bands(errors, np.arange(201))
    other, _ = bands(changed, np.arange(201))

    np.testing.assert_array_equal(one[row], other[row])


@settings(deadline=None, max_examples=40)
@given(st.integers(LEAST, REMEMBERED + 100), st.floats(0.0, 0.5), st.integers(0, 10**6))
def test_rolling_over_errors_ends_where_sorting_them_does(n, missing, seed):
    rng = np.random.default_rng(seed)
    errors = rng.standard_normal((n, 2))
    errors[rng.random(n) < missing] = np.nan
    there = errors[np.isfinite(errors[:, 0])]

    rolled, _ = bands(np.vstack([errors, np.full((1, 2), np.nan)]), np.append(np.arange(n), n + 2))
    sorted_, n_there = latest(there[-REMEMBERED:])

    assert n_there == min(len(there), REMEMBERED)
    np.testing.assert_array_equal(rolled[-1], sorted_)
    assert (np.diff(rolled[-1], axis=1) >= 0).all() or n_there < LEAST


def test_the_score_of_a_sample_is_its_continuous_ranked_probability_score():
    rng = np.random.default_rng(3)
    errors = rng.standard_normal((600, 1))

    _, scores = bands(errors, np.arange(600))
    sample, outcome = errors[:599, 0], errors[599, 0]
    exact = np.abs(sample - outcome).mean() - 0.5 * np.abs(sample[:, None] - sample).mean()

    assert scores[599, 0] == pytest.approx(exact, rel=0.03)


def test_too_few_past_forecasts_are_no_interval_and_it_is_said_when_there_will_be_enough():
    values = daily(400)
    values[-60:-20] = np.nan
    made = panel(values)

    with pytest.raises(CannotForecast, match=r"\d+ past forecasts is known, and 40 are needed .* enough in .* hours"):
        Forecaster("naive", 24, train_rows=330, validate_rows=70).fit(made).forecast(made)
