"""What is imputed: marked, within its limit, by the channel's policy; never learnt, graded or counted."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops import history
from sensors import quality
from sensors.grades import grades
from sensors.imputation import imputed
from sensors.models import Mote
from sensors.readings import Imputation, Profile, micros
from sensors.registry import current_fleet
from tests.builders import batch, channel, install_fleet, profile
from tests.conftest import NOON

START = micros(NOON)
STEP_US = 30_000_000
TEMPERATURE = 1 << quality.CHANNEL_SHIFT


def kind(method: str, limit_s: float = 600.0) -> Profile:
    return profile(channel("temperature", imputation=Imputation(method, limit_s)), channel("humidity", unit="%"))


def ramp(n: int, *, mote: int = 1, offset: float = 0.0, slope: float = 0.1) -> pl.DataFrame:
    values = np.stack([20.0 + offset + slope * np.arange(n), np.full(n, 40.0)], axis=1)
    return batch(kind("none"), values, mote=mote).to_table()


def without(table: pl.DataFrame, first: int, last: int, *, mote: int = 1) -> pl.DataFrame:
    """The table as if a mote had said nothing from its first-th reading on and before its last-th."""
    at = (pl.col("at").cast(pl.Int64) - START) // STEP_US
    return table.filter(~((pl.col("mote") == mote) & (at >= first) & (at < last)))


def put_in(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("flags") & quality.IMPUTED != 0)


def test_a_gap_is_interpolated_in_rows_that_say_they_were_not_measured():
    shown = imputed(kind("interpolate"), without(ramp(20), 5, 10))

    assert shown["temperature"].to_list() == pytest.approx(ramp(20)["temperature"].to_list())
    fresh = put_in(shown)
    assert fresh["temperature"].to_list() == pytest.approx([20.5, 20.6, 20.7, 20.8, 20.9])
    assert set(fresh["flags"]) == {quality.IMPUTED | TEMPERATURE}
    assert fresh["humidity"].null_count() == len(fresh) == 5
    assert fresh["surprise"].null_count() == fresh["is_anomaly"].null_count() == 5


def test_a_value_that_is_missing_from_a_message_is_filled_in_place():
    table = ramp(10).with_columns(
        temperature=pl.when(pl.int_range(pl.len()) == 4).then(None).otherwise(pl.col("temperature")),
        flags=pl.when(pl.int_range(pl.len()) == 4).then(quality.MISSING | TEMPERATURE).otherwise(0),
    )

    shown = imputed(kind("interpolate"), table)

    assert len(shown) == 10
    assert shown["temperature"][4] == pytest.approx(20.4)
    assert shown["flags"][4] == quality.MISSING | quality.IMPUTED | TEMPERATURE


def test_hold_repeats_the_last_value_until_its_limit():
    shown = put_in(imputed(kind("hold", limit_s=90.0), without(ramp(40), 5, 20)))

    assert shown["temperature"].to_list() == pytest.approx([20.4, 20.4, 20.4])


@pytest.mark.parametrize("method", ["interpolate", "seasonal", "neighbours"])
def test_a_gap_longer_than_the_limit_stays_a_gap(method):
    table = without(pl.concat([ramp(60, mote=mote) for mote in (1, 2, 3)]), 5, 40)

    assert imputed(kind(method, limit_s=600.0), table, dict.fromkeys((1, 2, 3), "lab")).equals(table.sort("mote", "at"))


def test_without_a_policy_nothing_is_put_in():
    table = without(ramp(20), 5, 10)

    assert imputed(kind("none"), table).equals(table)


def test_the_neighbours_course_is_followed_at_the_motes_own_level():
    course = [np.round(np.sin(np.arange(40) / 5.0), 2) + level for level in (20.0, 21.0, 26.0)]
    parts = [
        batch(kind("none"), np.stack([values, np.full(40, 40.0)], axis=1), mote=mote).to_table()
        for mote, values in enumerate(course, start=1)
    ]
    table = without(pl.concat(parts), 10, 20)

    shown = put_in(imputed(kind("neighbours"), table, {1: "lab", 2: "lab", 3: "lab"}))

    assert shown["temperature"].to_list() == pytest.approx(course[0][10:20].tolist(), abs=0.011)


def test_the_same_hours_of_the_last_days_give_the_course_of_a_day():
    n_day = 288
    times = np.arange(4 * n_day)
    values = np.round(20.0 + 3.0 * np.sin(2 * np.pi * times / n_day), 2)
    quiet = profile(channel("temperature", imputation=Imputation("seasonal", 14_400.0)), interval_s=300.0)
    whole = batch(quiet, values[:, None], step_s=300.0).to_table()
    gap = slice(3 * n_day + 40, 3 * n_day + 80)
    table = whole.filter(~pl.int_range(pl.len()).is_between(gap.start, gap.stop, closed="left"))

    shown = put_in(imputed(quiet, table))

    assert shown["temperature"].to_list() == pytest.approx(values[gap].tolist(), abs=0.02)


def test_nothing_is_taken_from_a_value_in_trouble_and_it_stays_as_it_is():
    table = without(ramp(20), 5, 10).with_columns(
        temperature=pl.when(pl.int_range(pl.len()) == 4).then(122.15).otherwise(pl.col("temperature")),
        flags=pl.when(pl.int_range(pl.len()) == 4).then(quality.OUT_OF_RANGE | TEMPERATURE).otherwise(0),
    )

    shown = imputed(kind("interpolate"), table)

    assert put_in(shown)["temperature"].to_list() == pytest.approx([20.5, 20.6, 20.7, 20.8, 20.9])
    assert shown.row(4, named=True)["temperature"] == 122.15


# ---- what holds always --------------------------------------------------------------------------------------

METHODS = st.sampled_from(["hold", "interpolate", "seasonal", "neighbours"])


@given(METHODS, st.floats(0.0, 3600.0), st.sets(st.integers(0, 89), max_size=70), st.integers(0, 3))
def test_what_was_measured_is_untouched_and_leaving_out_what_was_imputed_gives_it_back(method, limit_s, gone, alone):
    table = pl.concat([ramp(30, mote=mote, offset=float(mote)) for mote in (1, 2, 3)])
    table = table.filter(~pl.int_range(pl.len()).is_in(list(gone)))
    groups = {mote: "lab" for mote in (1, 2, 3) if mote != alone}

    shown = imputed(kind(method, limit_s), table, groups)

    assert shown.filter(pl.col("flags") & quality.IMPUTED == 0).equals(table.sort("mote", "at"))
    assert not shown.select(pl.struct("mote", "at").is_duplicated()).to_series().any()
    fresh = put_in(shown)
    assert fresh["temperature"].null_count() == 0
    assert fresh["temperature"].is_between(-10.0, 50.0).all()


# ---- no evidence --------------------------------------------------------------------------------------------


def test_grades_count_what_was_imputed_as_not_received():
    table = without(pl.concat([ramp(400, mote=mote, slope=0.01) for mote in (1, 2, 3)]), 100, 300)
    motes = dict.fromkeys((1, 2, 3), "lab")
    shown = imputed(kind("interpolate", limit_s=86_400.0), table, motes)
    end = START + 400 * STEP_US

    assert len(put_in(shown)) == 200
    assert grades(kind("none"), shown, motes, START, end) == grades(kind("none"), table, motes, START, end)


@pytest.mark.django_db
def test_a_model_never_learns_what_was_imputed():
    install_fleet(motes=("7", "8"), profile=kind("interpolate", 7200.0))
    one, other = Mote.objects.values_list("pk", flat=True)
    table = without(pl.concat([ramp(4000, mote=mote, slope=0.001) for mote in (one, other)]), 100, 300, mote=one)
    shown = imputed(kind("interpolate", 7200.0), table)

    raw, seen = (learnt_from(rows) for rows in (table, shown))

    assert len(put_in(shown)) == 200
    assert seen.left_out == {**raw.left_out, "imputed": 200}
    assert (seen.n_used, seen.content_hash) == (raw.n_used, raw.content_hash)


def learnt_from(table: pl.DataFrame) -> history.History:
    fleet, end = current_fleet(), NOON + timedelta(days=3)
    leave_out = history.to_leave_out(fleet, NOON, end)
    return history.read(kind("none"), NOON, end, lake=OneTable(table), fleet=fleet, leave_out=leave_out)


class OneTable:
    """A lake of one table that lies in memory."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table.with_columns(pl.col("at").dt.date().alias("date"))

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        return self.table.lazy()

    def version(self, name: str) -> int:
        return 1


def test_imputed_values_count_for_nothing_in_a_readings_quality():
    shown = imputed(kind("interpolate"), without(ramp(20), 5, 10))
    values = shown.select(pl.col("temperature", "humidity").fill_null(float("nan"))).to_numpy()

    trusted = quality.quality(kind("none"), shown["flags"].to_numpy(), values)

    assert set(trusted[5:10]) == {0.0}
    assert set(trusted[:5]) == {1.0}
