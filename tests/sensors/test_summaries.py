"""What hourly aggregates add up to is what the readings themselves say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors import gold, quality, summaries
from tests import builders

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)  # a Monday
LOW, HIGH = -10.0, 50.0


def readings(values, *, mote=7, step_s=600.0, start=START, bad=()):
    profile = builders.profile()
    flags = np.zeros(len(values), dtype=np.int64)
    flags[list(bad)] = quality.OUT_OF_RANGE | 1 << quality.CHANNEL_SHIFT
    at = [start + timedelta(seconds=step_s * i) for i in range(len(values))]
    table = pl.DataFrame(
        {"mote": [mote] * len(values), "at": at, "temperature": values, "flags": flags},
        schema_overrides={"at": pl.Datetime("us", "UTC"), "temperature": pl.Float64, "mote": pl.Int64},
    )
    return gold.aggregated(profile, table)


def local(hours, zone="UTC"):
    return summaries.localized(hours, dict.fromkeys(hours["mote"].unique().to_list(), zone))


@given(st.lists(st.floats(LOW, HIGH), min_size=2, max_size=200))
def test_figures_over_hours_are_those_of_the_values(values):
    found = summaries.figures(local(readings(values))).row(0, named=True)

    assert found["n_clean"] == len(values)
    assert (found["min"], found["max"]) == (min(values), max(values))
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-9)
    assert found["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)


@given(st.lists(st.floats(LOW, HIGH), min_size=1, max_size=200), st.integers(2, 60))
def test_a_histogram_counts_every_value_in_the_bar_where_it_lies(values, most):
    found = summaries.histograms(readings(values), most_bars=most)["temperature"]

    assert sum(found.counts) == len(values)
    assert len(found.counts) <= most
    assert min(found.counts[0], found.counts[-1]) > 0
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        surely = sum(low + 1e-6 < value < high - 1e-6 for value in values)
        perhaps = sum(low - 1e-6 < value < high + 1e-6 for value in values)
        assert surely <= count <= perhaps


def test_flagged_values_are_counted_and_in_no_figure():
    hours = local(readings([20.0, 999.0, 22.0], bad=[1]))

    found = summaries.figures(hours).row(0, named=True)
    assert (found["n"], found["n_clean"], found["max"], found["mean"]) == (3, 2, 22.0, 21.0)
    assert summaries.totals(hours).quality == pytest.approx(2 / 3)


def test_a_spike_of_one_reading_is_in_its_days_band():
    values = [20.0] * 288
    values[100] = 45.0

    (day,) = summaries.trend(local(readings(values, step_s=300.0)), "1d").rows(named=True)

    assert (day["max"], day["min"]) == (45.0, 20.0)
    assert day["mean"] < 20.2


def test_days_and_weekdays_are_those_of_the_sites_wall_clock():
    hours = readings([20.0] * 24, step_s=3600.0)  # Monday in UTC, half of it Sunday in Honolulu

    days = summaries.trend(local(hours, "Pacific/Honolulu"), "1d")
    assert days["local"].dt.date().to_list() == [date(2026, 3, 1), date(2026, 3, 2)]
    assert days["n"].to_list() == [10, 14]
    first = summaries.week(local(hours, "Pacific/Honolulu"), "temperature").row(0, named=True)
    assert (first["weekday"], first["hour_of_day"]) == (1, 0)
    assert len(summaries.of_day(local(hours, "Pacific/Honolulu"), date(2026, 3, 1))) == 10


def test_motes_are_told_apart_where_asked_and_together_otherwise():
    hours = pl.concat([readings([20.0] * 6), readings([30.0] * 6, mote=8)])
    both = summaries.localized(hours, {7: "UTC", 8: "UTC"})

    assert summaries.trend(both, "1d")["mean"].to_list() == [25.0]
    assert summaries.trend(both, "1d", by_mote=True)["mean"].to_list() == [20.0, 30.0]
    found = summaries.totals(both)
    assert (found.n_readings, found.n_motes, found.n_days) == (12, 2, 1)


def test_nothing_measured_is_nothing_and_no_nought():
    nothing = local(readings([]))

    assert summaries.histograms(nothing) == {}
    assert summaries.totals(nothing).quality is None
    assert summaries.trend(nothing, "1d").is_empty()
    flagged = summaries.figures(local(readings([999.0], bad=[0]))).row(0, named=True)
    assert (flagged["mean"], flagged["std"], flagged["n_clean"]) == (None, None, 0)
