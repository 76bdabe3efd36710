"""Sensor grades: a healthy sensor is an A, each defect lowers the grade of its own channel and says so in words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.simulating.simulator import Simulator
from sensors import quality
from sensors.grades import LIMITS, Grade, grades, letter_of
from sensors.packs import read_pack
from sensors.readings import INSTANT, Battery, Formula, Profile, micros
from tests.builders import channel, profile
from tests.conftest import NOON

DAY_US = 86_400_000_000
START = micros(NOON - timedelta(hours=12))
N_MOTES, DAYS = 6, 2
END = START + DAYS * DAY_US
MOTES = dict.fromkeys(range(N_MOTES), "main/lab")
ONE = 3  # the mote that is harmed


@cache
def indoor() -> Profile:
    """The indoor pack's measured channels, with a battery."""
    pack = read_pack("indoor").profile
    measured = tuple(one for one in pack.channels if one.formula is None)
    return replace(pack, channels=measured, battery=Battery("voltage", low=2.4, empty=2.0))


@cache
def healthy(seed: int = 1) -> pl.DataFrame:
    """Two simulated days of six motes without a fault."""
    pack = replace(read_pack("indoor"), profile=indoor())
    simulator = Simulator.of(pack, site="main", seed=seed, n_motes=N_MOTES, anomaly_rate=0.0)
    said = simulator.produce(START, END, 30.0)
    columns = {name: said.values[:, place] for place, name in enumerate(said.names)}
    flags = np.zeros(len(said), dtype=np.int64)
    return pl.DataFrame({"mote": said.mote, "at": said.at, **columns, "flags": flags}).with_columns(
        pl.col("at").cast(INSTANT)
    )


def graded(
    table: pl.DataFrame, kind: Profile | None = None, motes: dict[int, str] = MOTES
) -> dict[tuple[int, str], Grade]:
    return {(one.mote, one.channel): one for one in grades(kind or indoor(), table, motes, START, END)}


def changed(name: str, values: pl.Expr, *, first_h: float = 6.0, hours: float = 12.0) -> pl.DataFrame:
    """The healthy fleet with one channel of one mote changed for some hours."""
    begin = NOON - timedelta(hours=12) + timedelta(hours=first_h)
    chosen = (pl.col("mote") == ONE) & pl.col("at").is_between(begin, begin + timedelta(hours=hours), closed="left")
    return healthy().with_columns(pl.when(chosen).then(values).otherwise(pl.col(name)).alias(name))


def noise(size: float) -> pl.Series:
    return pl.Series(np.random.default_rng(7).normal(0.0, size, len(healthy())))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_healthy_fleet_gets_an_a_or_a_b_everywhere(seed):
    found = graded(healthy(seed))

    assert len(found) == N_MOTES * 4
    assert {one.letter for one in found.values()} <= {"A", "B"}
    assert sum(one.letter == "A" for one in found.values()) > 0.9 * len(found)


TEMPERATURE, NTH = pl.col("temperature"), pl.int_range(pl.len())
DEFECTS = {
    "flat line for": ("temperature", pl.lit(21.5)),
    "out of physical range": ("temperature", pl.lit(122.15)),
    "jumps": ("temperature", TEMPERATURE + pl.when(NTH % 39 == 0).then(9.0).otherwise(0.0)),
    "noisier than its kind": ("humidity", pl.col("humidity") + noise(4.0)),
    "far from them": ("temperature", TEMPERATURE + 5.0),
    "delivered": ("humidity", pl.lit(None, pl.Float64)),
}


@pytest.mark.parametrize("words", DEFECTS)
def test_a_defect_lowers_the_grade_of_exactly_its_own_channel_and_says_why(words):
    name, values = DEFECTS[words]
    before = graded(healthy())

    after = graded(changed(name, values))

    assert any(words in reason for reason in after[ONE, name].reasons), after[ONE, name]
    assert after[ONE, name].letter > "B"
    assert [key for key, one in after.items() if one.letter > before[key].letter] == [(ONE, name)]


def test_a_slow_drift_away_from_the_neighbours_is_told_in_the_channels_unit():
    days = (pl.col("at").cast(pl.Int64) - START) / DAY_US
    drifting = changed("temperature", TEMPERATURE + 2.4 * days, first_h=0.0, hours=48.0)

    found = graded(drifting)[ONE, "temperature"]

    assert found.letter in "CD"
    assert any("drifted 2" in reason and "°C from its neighbours" in reason for reason in found.reasons), found.reasons


def test_a_mote_noisier_than_its_kind_is_told_by_how_much():
    found = graded(changed("humidity", pl.col("humidity") + noise(0.6), first_h=0.0, hours=48.0))

    assert any("× as noisy as its kind" in reason for reason in found[ONE, "humidity"].reasons)


def test_a_low_battery_lowers_the_other_channels_and_names_the_day():
    found = graded(changed("voltage", pl.lit(2.31), first_h=36.0))

    assert found[ONE, "temperature"].reasons[0] == "battery low since 3 March"
    assert found[ONE, "temperature"].letter == found[ONE, "light"].letter == "D"
    assert not any("battery" in reason for reason in found[ONE, "voltage"].reasons)
    assert found[ONE, "temperature"].figures["low_battery"] == pytest.approx(0.25, abs=0.01)


def test_a_mote_that_stops_is_told_what_it_delivered_and_since_when_it_says_nothing():
    stopped = healthy().filter((pl.col("mote") != ONE) | (pl.col("at") < NOON))

    found = graded(stopped)

    assert found[ONE, "light"].reasons[0] == "delivered 25 % of what was expected, nothing since 2 March"
    assert found[ONE, "light"].letter == "F"


def test_a_mote_with_a_slower_rhythm_is_held_to_its_own_and_its_silence_still_counts():
    slower = healthy().filter((pl.col("mote") != ONE) | (pl.int_range(pl.len()).over("mote") % 2 == 0))
    stopped = slower.filter((pl.col("mote") != ONE) | (pl.col("at") < NOON + timedelta(hours=12)))

    whole, half = graded(slower)[ONE, "light"], graded(stopped)[ONE, "light"]

    assert not any("delivered" in reason for reason in whole.reasons)
    assert whole.figures["interval_s"] == pytest.approx(60.0, abs=1.0)
    assert half.figures["gaps"] == pytest.approx(0.5, abs=0.02)


def test_a_silent_mote_is_an_f_in_every_channel_and_a_young_one_has_no_grade_yet():
    table = healthy().filter(
        (pl.col("mote") != ONE) & ((pl.col("mote") != 0) | (pl.col("at").cast(pl.Int64) >= END - 5 * 30_000_000))
    )

    found = graded(table)

    assert {found[ONE, name].letter for name in indoor().names} == {"F"}
    assert found[ONE, "temperature"].reasons == ("silent",)
    assert not any(mote == 0 for mote, _ in found)


def test_one_reading_long_ago_is_an_f():
    table = healthy().filter(pl.col("mote") != ONE)
    one = healthy().filter(pl.col("mote") == ONE).head(1)

    found = graded(pl.concat([table, one]))[ONE, "temperature"]

    assert found.letter == "F"
    assert found.reasons[0].startswith("delivered 0")


def test_one_mote_without_neighbours_is_graded_by_what_can_be_said_of_it():
    alone = healthy().filter(pl.col("mote") == ONE)

    found = graded(alone, motes={ONE: ""})

    assert {one.letter for one in found.values()} == {"A"}
    assert {"noise", "apart", "drift"}.isdisjoint(found[ONE, "temperature"].figures)


def test_constant_data_is_a_flat_line_all_the_time():
    table = healthy().with_columns(temperature=pl.lit(20.0))

    found = graded(table)[ONE, "temperature"]

    assert found.letter == "F"
    assert found.reasons[0] == "flat line for 100 % of the time"


def test_nothing_at_all_leaves_every_mote_silent():
    found = graded(healthy().clear())

    assert {one.reasons for one in found.values()} == {("silent",)}


def test_a_derived_channel_is_as_good_as_what_it_follows_from():
    wide = replace(
        indoor(),
        channels=(*indoor().channels, channel("dew_point", formula=Formula("dew_point", ("temperature", "humidity")))),
    )
    table = changed("temperature", pl.lit(122.15)).with_columns(dew_point=pl.lit(9.0))

    found = graded(table, wide)

    assert found[ONE, "dew_point"].letter == found[ONE, "temperature"].letter == "F"
    assert found[ONE, "dew_point"].reasons[0] == f"temperature is F: {found[ONE, 'temperature'].reasons[0]}"
    assert found[0, "dew_point"].letter == "A"


def test_what_a_person_excluded_is_not_held_against_a_sensor():
    harmed = changed("temperature", pl.lit(122.15))
    bits = quality.EXCLUDED | 1 << quality.CHANNEL_SHIFT
    excluded = harmed.with_columns(
        flags=pl.when(pl.col("temperature") > 100).then(pl.lit(bits)).otherwise(pl.col("flags"))
    )

    assert graded(excluded)[ONE, "temperature"].letter == "A"


def test_a_fleet_that_reports_every_second_is_graded_like_one_that_reports_as_expected():
    kind = profile(channel("temperature"))
    seconds = np.arange(7200)
    rng = np.random.default_rng(3)
    table = pl.DataFrame(
        {
            "mote": np.repeat([0, 1, 2], len(seconds)),
            "at": np.tile(END - 7_200_000_000 + seconds * 1_000_000, 3),
            "temperature": np.round(20.0 + rng.normal(0, 0.1, 3 * len(seconds)), 2),
            "flags": np.zeros(3 * len(seconds), dtype=np.int64),
        }
    ).with_columns(pl.col("at").cast(INSTANT))
    paused = table.filter((pl.col("mote") != 1) | ((pl.col("at").cast(pl.Int64) // 600_000_000) % 2 == 0))

    found = graded(paused, kind, dict.fromkeys(range(3), "lab"))

    assert found[0, "temperature"].letter == "A"
    assert found[1, "temperature"].figures["gaps"] == pytest.approx(0.5, abs=0.05)


# ---- what holds always --------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.lists(st.integers(START, END), max_size=4))
def test_grades_do_not_depend_on_the_order_of_rows_nor_on_how_the_range_was_cut(random, cuts):
    harmed = changed("temperature", pl.lit(21.5), hours=5.0).filter(
        (pl.col("mote") < 4) & (pl.col("at") < NOON + timedelta(hours=12))
    )
    borders = [0, *sorted(cuts), END * 2]
    at = pl.col("at").cast(pl.Int64)
    parts = [harmed.filter((at >= a) & (at < b)) for a, b in pairwise(borders)]
    random.shuffle(parts)

    again = pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=random.randrange(1000))

    motes = dict.fromkeys(range(4), "main/lab")
    assert graded(again, motes=motes) == graded(harmed, motes=motes)


@given(st.sampled_from(sorted(LIMITS)), st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_a_worse_figure_never_gets_a_better_letter(what, one, other):
    low, high = sorted((one, other))

    assert letter_of(what, low) <= letter_of(what, high)


def test_the_document_has_the_limits_that_are_applied():
    page = (Path(__file__).parents[2] / "docs" / "data-quality.md").read_text()
    table = page.partition("## Sensor grades")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [a-z ]+ \| (\d.*?) \| (\d.*?) \| (\d.*?) \| (\d.*?) \|", table, re.MULTILINE)

    told = [tuple(number(cell) for cell in row) for row in rows]

    assert told == [pytest.approx(limits) for limits in LIMITS.values()]


def number(cell: str) -> float:
    return float(cell.split()[0]) / (100.0 if cell.endswith("%") else 1.0)
