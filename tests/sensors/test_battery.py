"""How long a battery lasts: a band where the voltage falls, a reason in words where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.battery import DAY_US, Estimate, Unknown, outlook
from sensors.readings import Battery

CELLS = Battery("voltage", low=2.4, empty=2.0)
START = 1_772_452_800_000_000


def readings(volts_of_day, days: float, *, every_s: float = 1800.0, noise: float = 0.004):
    n = int(days * 86_400 / every_s)
    at = START + (np.arange(n) * every_s * 1e6).astype(np.int64)
    volts = volts_of_day((at - START) / DAY_US) + np.random.default_rng(1).normal(0.0, noise, n)
    return at, np.round(volts, 2)


def test_a_battery_that_falls_evenly_lasts_until_its_line_comes_to_empty():
    at, volts = readings(lambda day: 2.8 - 0.02 * day, 20)

    found = outlook(at, volts, CELLS)

    assert isinstance(found, Estimate)
    assert found.days == pytest.approx(20.0, rel=0.2)
    assert found.low < 20.0 < found.high
    assert (found.low, found.high) == pytest.approx((0.5 * found.days, 1.5 * found.days))
    assert found.since == START


def test_a_discharge_that_steepens_ends_sooner_than_its_straight_line():
    at, volts = readings(lambda day: 2.8 - 0.0008 * day**2, 24)

    found = outlook(at, volts, CELLS)

    assert isinstance(found, Estimate)
    assert found.days == pytest.approx((0.8 / 0.0008) ** 0.5 - 24.0, rel=0.25)


@pytest.mark.parametrize(
    ("course", "days", "why"),
    [
        (lambda day: 2.9 - 0.02 * day, 4, "4 days only; an estimate needs 7"),
        (lambda day: 2.9 - 0.02 * day, 1, "the voltage of one day only"),
        (lambda day: 2.5 + 0.02 * day, 20, "rising"),
        (lambda day: 2.8 - 0.0002 * day, 28, "hardly changes"),
    ],
)
def test_where_nothing_can_be_said_the_reason_is_said(course, days, why):
    at, volts = readings(course, days)

    found = outlook(at, volts, CELLS)

    assert isinstance(found, Unknown)
    assert why in found.why


def test_no_voltage_at_all_is_a_reason_too():
    nothing = np.full(5, np.nan)

    assert outlook(np.arange(5), nothing, CELLS) == Unknown("no voltage was reported")


def test_an_empty_battery_has_no_days_left_however_young_its_record():
    at, volts = readings(lambda day: np.full_like(day, 1.95), 2)

    assert outlook(at, volts, CELLS).days == 0.0


def test_new_batteries_are_not_taken_for_the_old_ones_end():
    at, volts = readings(lambda day: np.where(day < 12, 2.3 - 0.02 * day, 2.95), 20)

    assert isinstance(outlook(at, volts, CELLS), Unknown)


@given(st.floats(-0.05, 0.02), st.floats(0.0, 0.05), st.integers(1, 30), st.randoms(use_true_random=False))
def test_the_order_of_readings_is_all_one_and_a_band_holds_its_guess(slope, noise, days, random):
    at, volts = readings(lambda day: 2.7 + slope * day, days, every_s=7200.0, noise=noise)
    order = np.array(random.sample(range(len(at)), len(at)))

    found = outlook(at, volts, CELLS)

    assert outlook(at[order], volts[order], CELLS) == found
    if not isinstance(found, Unknown):
        assert 0.0 <= found.low <= found.days <= found.high
