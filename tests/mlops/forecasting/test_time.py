"""Time starts at the data; what a series cannot be forecast from is refused in words that say what would help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.forecasting import CannotForecast, Forecaster, panel_of
from mlops.forecasting.panel import carried
from tests.mlops.forecasting.world import HOUR, START, N, daily, hours, panel

DAY_S = 86_400.0


def test_unsorted_and_repeated_stamps_make_the_same_panel_and_the_first_of_a_time_counts():
    at, values = hours(), daily()
    order = np.random.default_rng(5).permutation(N)
    twice = np.concatenate([order, order[:50]])
    wrong = np.concatenate([values[order], np.full((50, 1), 999.0)])

    assert (panel(wrong, at[twice]).values == panel(values).values).all()


def test_jitter_neither_loses_readings_nor_moves_the_first_forecast_off_the_last_one():
    at = hours() + np.random.default_rng(6).integers(-60_000_000, 60_000_000, N)

    made = panel(daily(), at)
    table = Forecaster("naive", 24).fit(made).forecast(made)

    assert len(made) == N
    assert np.isfinite(made.values).all()
    assert abs(made.step - HOUR) < 0.001 * HOUR
    assert table["at"].dt.timestamp("us")[0] == at[-1] + made.step


def test_data_that_ended_a_month_ago_start_there_and_say_how_old_they_are():
    made = panel()
    now = START + HOUR * (N - 1 + 30 * 24)
    fitted = Forecaster("linear", 24).fit(made)

    table = fitted.forecast(made, now=now)

    assert table["at"].dt.timestamp("us")[0] == START + HOUR * N
    assert table["age_s"].unique().to_list() == [30 * DAY_S]
    with pytest.raises(CannotForecast, match="the last reading is 30 days old; a forecast is made up to 2 days after"):
        fitted.forecast(made, now=now, stale_s=2 * DAY_S)


def test_each_series_begins_where_it_was_last_measured():
    values = np.hstack([daily(), daily(seed=2)])
    values[-5:, 1] = np.nan
    made = panel(values, names=["a", "b"])

    table = Forecaster("linear", 24).fit(made).forecast(made)

    begins = {name: table.filter(series=name)["at"].dt.timestamp("us")[0] for name in ("a", "b")}
    assert begins == {"a": START + HOUR * N, "b": START + HOUR * (N - 5)}


@pytest.mark.parametrize(
    ("at", "values", "why"),
    [
        (hours(1), np.ones((1, 1)), "there is one reading"),
        (hours(9), np.full((9, 1), np.nan), "nothing was measured: every value is empty, NaN or flagged"),
        (hours(0), np.ones((0, 1)), "nothing was measured"),
        (np.concatenate([hours(40), hours(40)[-1] + 4 * HOUR * np.arange(1, 41)]), np.ones((80, 1)),
         "the interval changes from 3600 s to 14400 s; say the step to forecast in"),
        (START + np.array([0, 1, 2, 10**12]), np.ones((4, 1)), "4 readings lie over"),
    ],
)  # fmt: skip
def test_what_is_no_series_is_refused_by_name(at, values, why):
    with pytest.raises(CannotForecast, match=why):
        panel(values, at)


def test_an_interval_that_changes_is_forecast_in_a_step_that_is_said():
    at = np.concatenate([hours(480), hours(480)[-1] + 4 * HOUR * np.arange(1, 481)])

    made = panel_of(at, daily(960), ["a"], step_s=4 * 3600)

    assert len(made) == 1 + 120 + 480  # the first lies in the middle of its step
    assert np.isfinite(made.values).all()


def test_a_mote_of_one_day_is_told_how_much_is_missing():
    with pytest.raises(
        CannotForecast, match=r"24 steps of 60 minutes .*104 are needed for 24 steps.*3\.33 days"
    ) as why:
        Forecaster("linear", 24).fit(panel(daily(24)))

    assert "enough in" in str(why.value)


@pytest.mark.parametrize("horizon", [0, -1, 100_000])
def test_a_horizon_that_makes_no_sense_is_refused(horizon):
    with pytest.raises(CannotForecast, match=f"{horizon:,} steps ahead were asked for; possible are 1 to 2,000"):
        Forecaster("linear", horizon).fit(panel())


def test_more_than_it_was_made_for_is_refused_and_less_is_the_beginning():
    fitted = Forecaster("linear", 24).fit(panel())

    assert fitted.forecast(panel(), 6).equals(fitted.forecast(panel()).head(6))
    with pytest.raises(CannotForecast, match="made for 24 steps ahead; 25 were asked for"):
        fitted.forecast(panel(), 25)


def test_a_long_silence_at_the_end_of_a_series_is_refused_with_what_was_there():
    values = daily()
    values[-200:-1] = np.nan
    made = panel(values)

    fitted = Forecaster("linear", 24).fit(panel())
    fitted = replace(fitted, memory=made)

    with pytest.raises(CannotForecast, match="of the last 232 steps of 60 minutes were measured; at least half"):
        fitted.forecast(made)


def test_another_interval_than_the_one_that_was_learnt_is_refused():
    fitted = Forecaster("linear", 24).fit(panel())

    with pytest.raises(CannotForecast, match="the readings come every 2 hours, the model was made for 60 minutes"):
        fitted.forecast(panel_of(hours(100)[::2], daily(50), ["channel 0"]))


def test_the_clocks_change_and_the_day_stays_where_people_put_it():
    """A room that people warm by the clock on the wall, over the end of March."""
    at = hours(24 * 60)
    table = np.array([np.datetime64(int(each), "us") for each in at]).astype("datetime64[h]").astype(int)
    change = np.datetime64("2026-03-29T01", "h").astype(int)
    wall = (table + 1 + (table >= change)) % 24
    values = 19.0 + 2.0 * np.sin(2 * np.pi * wall / 24)[:, None]
    n = 24 * 32  # five days after the change

    errors = []
    for zone in ("UTC", "Europe/Berlin"):
        fitted = Forecaster("decomposed", 24, train_rows=24 * 20, validate_rows=24 * 6).fit(
            panel(values[:n], zone=zone)
        )
        rolled = fitted.rolled(panel(values, zone=zone), 0, 24 * 28, n)
        errors.append(float(np.nanmean(np.abs(rolled.outcome - rolled.mean))))

    assert errors[1] < 0.2 * errors[0]


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=50))
def test_a_gap_is_filled_with_nothing_that_came_after_it(cells):
    values = np.array([np.nan if each is None else each for each in cells])
    whole = carried(values)
    begun = int(np.isfinite(values).argmax())

    for n in range(begun + 1, len(values) + 1):
        np.testing.assert_array_equal(carried(values[:n])[begun:], whole[begun:n])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 400), st.integers(1, 60))
def test_cut_and_continued_a_panel_is_the_same(first, more):
    whole = panel(daily(500))

    assert (whole.head(first).values == whole.values[:first]).all()
    np.testing.assert_array_equal(whole.tail(more).at, whole.at[-more:])
