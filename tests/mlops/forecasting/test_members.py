"""What every member promises, one suite over all of them."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest

from mlops.forecasting import CannotForecast, Fitted, Forecaster
from mlops.forecasting.intervals import NAMES
from mlops.forecasting.members import DEEP, MEMBERS, has_torch, make
from tests.mlops.forecasting.world import HOUR, START, N, daily, panel

HORIZON = 24


@pytest.fixture(params=[*MEMBERS, *(DEEP if has_torch() else ())], scope="module")
def member(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(member) -> Fitted:
    return Forecaster(member, HORIZON).fit(panel())


def test_a_forecast_begins_one_interval_after_the_last_reading(fitted):
    table = fitted.forecast(panel())

    assert table.columns == ["series", "origin_at", "at", "step", "mean", *NAMES]
    assert table["at"].dt.timestamp("us").to_list() == [START + HOUR * (N + k) for k in range(HORIZON)]
    assert table["step"].to_list() == list(range(1, HORIZON + 1))
    assert table["origin_at"].dt.timestamp("us").unique().to_list() == [START + HOUR * (N - 1)]


def test_quantiles_never_cross_and_are_all_said(fitted):
    said = fitted.forecast(panel()).select(NAMES).to_numpy()

    assert np.isfinite(said).all()
    assert (np.diff(said, axis=1) >= 0).all()


def test_no_later_row_changes_an_earlier_forecast(fitted):
    values = daily(N + 200, seed=1)
    origin = N + 60
    later = values.copy()
    later[origin:] += 100.0

    short = fitted.rolled(panel(values[:origin]), 0, origin, origin)
    long = fitted.rolled(panel(later), 0, origin, origin)

    np.testing.assert_allclose(short.mean, long.mean, rtol=1e-9)
    np.testing.assert_allclose(short.quantiles, long.quantiles, rtol=1e-9)


def test_a_forecast_is_what_rolling_over_the_same_past_says(fitted):
    values = panel(daily(N + 50))

    told = fitted.forecast(values)
    rolled = fitted.rolled(values, 0, N + 50, N + 50)

    np.testing.assert_allclose(told["mean"], rolled.mean[0], rtol=1e-6)
    np.testing.assert_allclose(told.select(NAMES).to_numpy(), rolled.quantiles[0], rtol=1e-6)


def test_what_it_remembers_is_enough_for_a_first_forecast(fitted):
    told = fitted.forecast(panel(daily(N)).tail(2))

    np.testing.assert_allclose(told["mean"], fitted.forecast(panel())["mean"], rtol=1e-6)


def test_flagged_readings_are_neither_learnt_from_nor_looked_at(member):
    values = daily()
    is_bad = np.zeros(values.shape, dtype=bool)
    is_bad[100:110], is_bad[-30:-28] = True, True
    spoilt = np.where(is_bad, 1e6, values)

    told = Forecaster(member, HORIZON).fit(panel(spoilt, is_bad=is_bad)).forecast(panel(spoilt, is_bad=is_bad))
    clean = np.where(is_bad, np.nan, values)
    expected = Forecaster(member, HORIZON).fit(panel(clean)).forecast(panel(clean))

    assert told.equals(expected)


def test_a_series_that_never_moves_stays(member):
    values = np.full((N, 1), 21.5)

    table = Forecaster(member, HORIZON).fit(panel(values)).forecast(panel(values))

    np.testing.assert_allclose(table.select("mean", *NAMES).to_numpy(), 21.5, rtol=1e-3)


def test_half_a_series_missing_at_random_is_forecast_all_the_same(member):
    values = daily()
    values[np.random.default_rng(3).random(N) < 0.4] = np.nan

    table = Forecaster(member, HORIZON).fit(panel(values)).forecast(panel(values))

    assert np.isfinite(table.select("mean", *NAMES).to_numpy()).all()
    assert np.abs(table["mean"].to_numpy() - 20.0).max() < 15.0


def test_physical_limits_hold(member):
    values = np.clip(97.0 + 2.0 * daily(seed=4), 0.0, 100.0)
    made = panel(values, limits=[(0.0, 100.0)])

    said = Forecaster(member, HORIZON).fit(made).forecast(made).select("mean", *NAMES).to_numpy()

    assert said.min() >= 0.0
    assert said.max() <= 100.0


def test_a_series_that_fell_silent_is_refused_by_its_name_and_the_others_go_on(member):
    values = np.hstack([daily(), daily(seed=2)])
    values[:, 1] = np.nan
    made = panel(values, names=["hall", "attic"])

    fitted = Forecaster(member, HORIZON).fit(made)
    table, refused = fitted.each(made)

    assert table["series"].unique().to_list() == ["hall"]
    assert refused == {"attic": "nothing was measured"}
    with pytest.raises(CannotForecast, match="attic: nothing was measured"):
        fitted.forecast(made)


def test_a_season_that_repeats_is_foretold_better_than_by_its_last_value(member):
    if member == "naive":
        return
    values = daily(noise=0.05)
    n = N - 100

    fitted = Forecaster(member, HORIZON).fit(panel(values[:n]))
    naive = Forecaster("naive", HORIZON).fit(panel(values[:n]))
    errors = [
        np.nanmean(np.abs(rolled.outcome - rolled.mean))
        for rolled in (each.rolled(panel(values), 0, n, N - HORIZON) for each in (fitted, naive))
    ]

    assert errors[0] < errors[1]


# ---- what is not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEEP)
def test_what_is_not_installed_says_so_in_one_sentence_and_nothing_answers_for_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(
        CannotForecast, match=f"^“{name}” is not installed: it needs PyTorch; pip install -r requirements/deep"
    ):
        make(name, HORIZON)


def test_an_unknown_model_is_told_which_there_are():
    with pytest.raises(CannotForecast, match="there is no model “prophet”; choose one of naive"):
        Forecaster("prophet", HORIZON).fit(panel())


def test_a_table_is_what_polars_reads():
    assert isinstance(Forecaster("naive", HORIZON).fit(panel()).forecast(panel()), pl.DataFrame)
