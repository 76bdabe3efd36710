"""A member is offered where it beat both naives on what it had not seen, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.forecasting import Forecaster
from mlops.forecasting.choosing import Tried, best, measured, offered, tried
from mlops.forecasting.measuring import score
from tests.mlops.forecasting.world import N, daily, panel

TRAIN, VALIDATE, HORIZON = 480, 240, 24


def test_a_course_of_the_day_is_offered_a_model_and_a_random_walk_is_not():
    walk = np.cumsum(np.random.default_rng(7).standard_normal((N, 1)), axis=0)
    made = panel(np.hstack([daily(noise=0.2), walk]), names=["room", "walk"])

    results = tried(made, TRAIN, VALIDATE, HORIZON, ["naive", "seasonal_naive", "decomposed"])

    assert offered(results, "room") == ["decomposed"]
    assert best(results, "room") == "decomposed"
    assert offered(results, "walk") == []
    assert best(results, "walk") == "naive"


def test_of_equals_the_cheapest_is_chosen():
    crps = {"naive": 1.0, "seasonal_naive": 0.8, "linear": 0.503, "decomposed": 0.5}
    results = [Tried(name, {"a": {"crps": value}}, 0.0) for name, value in crps.items()]

    assert offered(results, "a") == ["linear", "decomposed"]


def test_a_member_that_refuses_says_why_and_the_others_are_tried():
    short = panel(daily(190))

    results = tried(short, 40, 75, 35, ["naive", "linear"])

    assert [each.name for each in results if each.figures] == ["naive"]
    assert "at least 47 are needed" in results[1].why


def test_the_naive_forecast_is_measured_as_its_definition_says():
    values, n_train = daily(), TRAIN
    made = panel(values)
    fitted = Forecaster("naive", HORIZON, TRAIN, VALIDATE).fit(made)

    figures = measured(fitted, made, 0, n_train, TRAIN + VALIDATE).figures
    origins = np.arange(TRAIN + VALIDATE, N - HORIZON + 1)
    miss = np.stack([values[origins + k, 0] - values[origins - 1, 0] for k in range(HORIZON)])
    spread = values[:n_train, 0].std()
    season = np.abs(values[24:n_train, 0] - values[: n_train - 24, 0]).mean()

    assert figures["mse"] == pytest.approx((miss**2).mean() / spread**2)
    assert figures["mae"] == pytest.approx(np.abs(miss).mean() / spread)
    assert figures["mase"] == pytest.approx(np.abs(miss).mean() / season)
    assert figures["rmse"] == pytest.approx(np.sqrt(figures["mse"]))


def test_a_percentage_of_nearly_nothing_is_left_out():
    zero = np.where(np.random.default_rng(8).random((N, 1)) < 0.9, 1e-6, 5.0)
    fitted = Forecaster("naive", HORIZON, TRAIN, VALIDATE).fit(panel(zero))

    figures = measured(fitted, panel(zero), 0, TRAIN, TRAIN + VALIDATE).figures

    assert figures["mape"] is None
    assert figures["score"] == figures["r2"]
    assert score(0.8, 0.2) == pytest.approx(0.8)
    assert score(0.5, 0.2, weights=(0.5, 0.5)) == pytest.approx(0.65)
    assert score(None, 0.2) is None
