"""Periods and pairs: what was planted is found, and noise has none."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.analytics.correlation import pairs, without_day
from mlops.analytics.seasonality import seasonality

HOURS = np.arange(28 * 24)


def walk(seed: int, n: int = len(HOURS)) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(0, 1, n))


def red(seed: int, n: int = len(HOURS), memory: float = 0.9) -> np.ndarray:
    random, out = np.random.default_rng(seed), np.zeros(n)
    for k in range(1, n):
        out[k] = memory * out[k - 1] + random.normal()
    return out


@pytest.mark.parametrize("hours", [6, 8, 24, 37.5, 168])
def test_a_planted_period_is_found_with_its_strength(hours):
    noise = np.random.default_rng(1).normal(0, 0.5, len(HOURS))

    found = seasonality(20 + 2 * np.sin(2 * np.pi * HOURS / hours) + noise)

    assert found.periods[0].hours == pytest.approx(hours, rel=0.01)
    assert 0.75 < found.periods[0].strength < 0.95  # 2 of 2.25 parts of the variance
    assert found.periods[0].amplitude == pytest.approx(4, rel=0.25)
    assert len(found.periods) == 1


def test_a_days_course_that_is_no_sine_is_one_period_and_not_its_harmonics():
    day = np.where(HOURS % 24 < 8, 1.0, 0.0)

    found = seasonality(day + np.random.default_rng(2).normal(0, 0.1, len(HOURS)))

    assert [period.hours for period in found.periods] == [24]
    assert 0 <= found.periods[0].peak_hour < 8


def test_a_day_and_a_week_are_told_apart():
    noise = np.random.default_rng(3).normal(0, 0.3, len(HOURS))
    weekend = np.where(HOURS // 24 % 7 >= 5, -2.0, 0.0)

    found = seasonality(2 * np.sin(2 * np.pi * HOURS / 24) + weekend + noise)

    assert {24.0, 168.0} == {period.hours for period in found.periods}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("make", [lambda seed: np.random.default_rng(seed).normal(size=len(HOURS)), red, walk])
def test_noise_has_no_period(make, seed):
    assert seasonality(make(seed)).periods == ()


def test_gaps_do_not_hide_a_period():
    values = np.sin(2 * np.pi * HOURS / 24) + np.random.default_rng(4).normal(0, 0.2, len(HOURS))
    values[np.random.default_rng(5).random(len(HOURS)) < 0.3] = np.nan
    values[100:150] = np.nan

    found = seasonality(values)

    assert [period.hours for period in found.periods] == [24]
    assert found.n == np.isfinite(values).sum()


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.full(200, 21.5), "the value never changes"),
        (np.sin(np.arange(30.0)), "30 hours have a value; at least 48 are needed"),
        (np.where(np.arange(200) % 4, np.nan, 1.0), "50 of 200 hours have a value; at least half are needed"),
    ],
)
def test_what_cannot_be_said_is_not_said(values, note):
    assert (seasonality(values).periods, seasonality(values).note) == ((), note)


def test_a_planted_pair_is_found_with_its_lag_and_direction():
    leader, other = red(1), red(2)
    follower = np.concatenate([np.zeros(3), -0.8 * leader[:-3]]) + np.random.default_rng(3).normal(0, 0.5, len(HOURS))

    (found,) = pairs(without_day(np.stack([other, follower, leader], axis=1)))

    assert (found.first, found.second, found.lag_h) == (2, 1, 3)
    assert found.r < -0.8
    assert found.n == len(HOURS) - 3
    assert found.n_effective < found.n
    assert found.change_p > 0.01


def test_two_that_only_share_the_sun_are_no_pair():
    day = 5 * np.sin(2 * np.pi * HOURS / 24)
    random = np.random.default_rng(6)
    values = np.stack([day + random.normal(0, 1, len(HOURS)), day + random.normal(0, 1, len(HOURS))], axis=1)

    assert pairs(values)
    assert pairs(without_day(values)) == []


@pytest.mark.parametrize("seed", range(8))
def test_twenty_wandering_strangers_make_no_pair(seed):
    values = np.stack([red(100 * seed + k) for k in range(20)], axis=1)

    assert len(pairs(without_day(values))) == 0


def test_a_bond_that_breaks_is_told_as_a_change():
    common, apart = red(7), red(8)
    half = len(HOURS) // 2
    follower = np.concatenate([common[:half], apart[half:]]) + np.random.default_rng(9).normal(0, 0.3, len(HOURS))

    (found,) = pairs(without_day(np.stack([common, follower], axis=1)))

    assert found.before > 0.9
    assert abs(found.after) < 0.5
    assert found.change_p < 0.001


def test_constants_and_holes_are_like_nothing_and_pairs_may_be_asked_of_one():
    leader = red(10)
    holes = leader + np.random.default_rng(11).normal(0, 0.2, len(HOURS))
    holes[::3] = np.nan
    values = np.stack([leader, np.full(len(HOURS), 4.0), holes, np.full(len(HOURS), np.nan)], axis=1)

    found = pairs(without_day(values))

    assert [(pair.first, pair.second, pair.lag_h) for pair in found] == [(0, 2, 0)]
    assert pairs(without_day(values), only=np.array([False, True, False, False])) == []
