"""Gold follows silver: hour by hour, corrections honoured, whatever comes late, however often it is asked."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder
from duckdb_extensions import import_extension

from sensors import corrections, gold, quality
from sensors.lake import Lake, lake
from sensors.models import Correction, Mote
from sensors.readings import micros
from sensors.registry import profiles
from tests import builders
from tests.conftest import NOON
from tests.contracts.test_lake import empty, s3_options
from tests.stack import ROOT

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def fleet():
    builders.install_fleet(motes=("7", "8"))
    return {mote.code: mote.pk for mote in Mote.objects.all()}


class Silver:
    """What the reading path would have committed, with its offsets."""

    def __init__(self) -> None:
        self.until = 0

    def add(
        self, mote: int, start: datetime, temperature: list[float], *, flags: int = 0, step_s: float = 30.0
    ) -> None:
        n = len(temperature)
        values = np.column_stack([temperature, np.full(n, 40.0), np.full(n, 100.0), np.full(n, 2.7)])
        batch = builders.batch(profiles()["indoor"], values, mote=mote, start_us=micros(start), step_s=step_s)
        offsets = np.arange(self.until, self.until + n)
        self.until += n
        batch = replace(batch, offset=offsets, flags=np.full(n, flags, dtype=np.int64))
        lake().append("silver/indoor", batch.to_table(), app_ids={0: "t/0"}, next_offsets={0: self.until})


@pytest.fixture
def silver():
    return Silver()


def aggregate(now: datetime = NOON, **more: bool) -> gold.Aggregated:
    return gold.aggregate(lake(), profiles()["indoor"], now=now, **more)


def hours(mote: int, *, channel: str = "temperature") -> list[dict[str, object]]:
    found = gold.hourly(lake(), profiles()["indoor"], [mote], NOON - timedelta(days=40), NOON + timedelta(days=1))
    return found.filter(pl.col("channel") == channel).rows(named=True)


def test_an_hour_tells_its_clean_values_and_how_many_there_were(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0, 21.0, 25.0])
    silver.add(
        fleet["7"], NOON + 10 * timedelta(minutes=1), [999.0], flags=quality.OUT_OF_RANGE | 1 << quality.CHANNEL_SHIFT
    )

    aggregate()

    (hour,) = hours(fleet["7"])
    told = {name: hour[name] for name in ("hour", "n", "n_clean", "min", "max", "mean", "p50", "n_out_of_range")}
    assert told == {
        "hour": NOON, "n": 4, "n_clean": 3, "min": 20.0, "max": 25.0, "mean": 22.0, "p50": 21.0, "n_out_of_range": 1,
    }  # fmt: skip
    assert hour["std"] == pytest.approx(np.std([20, 21, 25], ddof=1))
    assert hour["coverage"] == pytest.approx(3 / 120)
    (humidity,) = hours(fleet["7"], channel="humidity")
    assert (humidity["n_clean"], humidity["n_out_of_range"]) == (4, 0)


def test_an_hours_bins_hold_every_clean_value_and_no_other(fleet, silver):
    silver.add(fleet["7"], NOON, [20.04, 20.06, -0.5, 25.0])
    silver.add(
        fleet["7"], NOON + 10 * timedelta(minutes=1), [999.0], flags=quality.OUT_OF_RANGE | 1 << quality.CHANNEL_SHIFT
    )

    aggregate()

    (hour,) = hours(fleet["7"])
    width = hour["bin_width"]
    lows = [round(b * width, 6) for b in hour["bins"]]
    assert dict(zip(lows, hour["bin_counts"], strict=True)) == {-0.6: 1, 20.0: 2, 25.0: 1}


def test_a_table_made_with_other_columns_is_made_anew(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0])
    aggregate()
    before = lake().version("gold/indoor_hourly")
    rows = lake().scan("gold/indoor_hourly").drop("bins", "bin_counts", "bin_width").collect()
    lake().replace_dates("gold/indoor_hourly", rows, [NOON.date()], seen=before, marks={gold.SHAPE: 1})

    assert aggregate().is_whole
    assert hours(fleet["7"])[0]["bin_counts"] == [1]
    assert not aggregate().is_whole


def test_a_run_aggregates_only_the_hours_that_changed(fleet, silver):
    for day in range(3):
        silver.add(fleet["7"], NOON - timedelta(days=day), [20.0] * 240)
    first = aggregate()

    silver.add(fleet["8"], NOON + HOUR, [30.0])
    second, third = aggregate(), aggregate()

    assert (first.is_whole, second.is_whole) == (True, False)
    assert (second.n_hours, third.n_hours) == (1, 0)
    assert [row["n"] for row in hours(fleet["7"])] == [120] * 6
    assert [row["mean"] for row in hours(fleet["8"])] == [30.0]


def test_a_late_reading_is_in_its_hour_after_the_next_run(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0])
    aggregate()

    silver.add(fleet["7"], NOON - 5 * HOUR, [10.0], flags=quality.LATE)
    aggregate()

    assert [(row["hour"], row["mean"], row["n_late"]) for row in hours(fleet["7"])] == [
        (NOON - 5 * HOUR, 10.0, 1),
        (NOON, 20.0, 0),
    ]


def test_a_correction_and_its_undoing_change_the_hours_they_touch(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0, 22.0])
    mote = Mote.objects.get(pk=fleet["7"])
    aggregate()

    made = corrections.correct(
        mote, kind=Correction.Kind.OFFSET, channel="temperature", offset=1.5, starts_at=NOON,
        ends_at=NOON + timedelta(seconds=10), why="calibrated", who=None, now=NOON,
    )  # fmt: skip
    aggregate(now=NOON)
    corrected = hours(fleet["7"])
    corrections.undo_correction(made, who=None, now=NOON)
    aggregate(now=NOON)

    assert [(row["mean"], row["n_corrected"]) for row in corrected] == [(21.75, 1)]
    assert [(row["mean"], row["n_corrected"]) for row in hours(fleet["7"])] == [(21.0, 0)]


def test_what_was_left_out_counts_as_nothing(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0, 99.0])
    corrections.correct(
        Mote.objects.get(pk=fleet["7"]), kind=Correction.Kind.EXCLUDE, channel="", why="heater", who=None, now=NOON,
        starts_at=NOON + timedelta(seconds=30), ends_at=NOON + HOUR,
    )  # fmt: skip

    aggregate()

    assert [(row["n_clean"], row["max"], row["n_excluded"]) for row in hours(fleet["7"])] == [(1, 20.0, 1)]


def test_increments_and_a_whole_run_come_to_the_same(fleet, silver):
    random = np.random.default_rng(7)
    for _ in range(8):
        start = NOON - HOUR * int(random.integers(0, 60))
        silver.add(fleet["7"], start + timedelta(seconds=float(random.integers(0, 29))), list(random.normal(22, 2, 50)))
        aggregate()
    followed = hours(fleet["7"])
    lake().compact("silver/indoor", keep=timedelta(0))
    aggregate()
    after_compaction = hours(fleet["7"])

    aggregate(is_whole=True)

    assert followed == after_compaction == hours(fleet["7"])


class DyingLake(Lake):
    def replace_dates(self, *args: Any, **more: Any) -> int:
        raise KeyboardInterrupt


def test_a_run_that_was_killed_before_its_commit_is_simply_done_again(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0])
    with pytest.raises(KeyboardInterrupt):
        gold.aggregate(DyingLake(lake().root), profiles()["indoor"], now=NOON)

    aggregate()

    assert [row["mean"] for row in hours(fleet["7"])] == [20.0]


def test_when_silvers_old_version_was_forgotten_everything_is_aggregated_anew(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0])
    aggregate()
    silver.add(fleet["7"], NOON + HOUR, [21.0])
    log = lake().root + "/silver/indoor/_delta_log"
    DeltaTable(lake().root + "/silver/indoor").create_checkpoint()
    for version in ("0", "1"):
        (Path(log) / f"{version:0>20}.json").unlink()

    done = aggregate()

    assert done.is_whole
    assert [row["mean"] for row in hours(fleet["7"])] == [20.0, 21.0]


def test_two_runs_at_once_do_not_undo_each_other(fleet, silver):
    silver.add(fleet["7"], NOON, [20.0])
    seen = -1
    aggregate()

    with pytest.raises(Exception, match="being written by another"):
        lake().replace_dates("gold/indoor_hourly", pl.DataFrame(schema=gold.SCHEMA), [NOON.date()], seen=seen, marks={})

    assert len(hours(fleet["7"])) == 1


def test_our_own_probes_are_in_no_aggregate(fleet, silver):
    Mote.objects.filter(code="8").update(is_probe=True)
    silver.add(fleet["7"], NOON, [20.0])
    silver.add(fleet["8"], NOON, [20.0])

    aggregate()

    assert (len(hours(fleet["7"])), len(hours(fleet["8"]))) == (1, 0)


def test_a_table_that_was_never_made_reads_as_empty(fleet):
    assert hours(fleet["7"]) == []


def test_engines_that_are_not_ours_read_silver_and_gold_while_files_are_merged(fleet, silver):
    for i in range(4):
        silver.add(fleet["7"], NOON + i * HOUR, [20.0 + i] * 10)
        aggregate()
    root = lake().root
    older = DeltaTable(f"{root}/gold/indoor_hourly")

    for table in lake().tables():
        lake().compact(table)
    by_sql = QueryBuilder().register("gold", DeltaTable(f"{root}/gold/indoor_hourly"))
    found = by_sql.execute("SELECT max(max) AS hottest, sum(n_clean) AS n FROM gold WHERE channel = 'temperature'")
    readings = DeltaTable(f"{root}/silver/indoor").to_pyarrow_table(filters=[("mote", "=", fleet["7"])])

    assert pl.DataFrame(found.read_all()).row(0) == (23.0, 40)
    assert readings.num_rows == 40
    assert older.to_pyarrow_table().num_rows == 16


def test_the_lines_of_the_docs_read_gold_with_duckdb(fleet, silver):
    pytest.importorskip("duckdb_extension_delta", reason="its wheel is for Linux on x86-64 only")
    silver.add(fleet["7"], NOON, [20.0, 22.0])
    silver.add(fleet["7"], NOON + HOUR, [30.0])
    aggregate()
    told = (ROOT / "docs/lake.md").read_text().split("-- DuckDB\n")[1].split("```")[0]
    installing, query = told.split("\n", 1)

    import_extension("delta")
    reader = duckdb.connect()
    reader.execute(installing.removeprefix("INSTALL delta; "))
    found = reader.execute(query.replace("var/lake", lake().root)).pl()

    assert sorted(found.rows()) == [(NOON, 21.0), (NOON + HOUR, 30.0)]


@pytest.mark.service
def test_gold_follows_silver_in_a_bucket_too_and_another_engine_reads_it_there(fleet, silver, settings, addresses):
    s3, prefix = s3_options(addresses), f"gold-{secrets.token_hex(6)}"
    settings.SIEIS_LAKE = {"root": f"s3://{addresses['S3_BUCKET']}/{prefix}", "s3": s3}
    try:
        for i in range(3):
            silver.add(fleet["7"], NOON + i * HOUR, [20.0 + i] * 10)
            done = aggregate()
        for table in lake().tables():
            lake().compact(table)
        options = {
            "aws_endpoint_url": s3["endpoint_url"], "aws_access_key_id": s3["access_key"], "aws_allow_http": "true",
            "aws_secret_access_key": s3["secret_key"], "aws_region": s3["region_name"],
        }  # fmt: skip
        table = DeltaTable(f"{lake().root}/gold/indoor_hourly", storage_options=options)
        sql = "SELECT max(max) AS hottest, sum(n) AS n FROM gold WHERE channel = 'temperature'"
        found = QueryBuilder().register("gold", table).execute(sql)

        assert (done.is_whole, done.n_hours) == (False, 1)
        assert [row["mean"] for row in hours(fleet["7"])] == [20.0, 21.0, 22.0]
        assert pl.DataFrame(found.read_all()).row(0) == (22.0, 30)
    finally:
        empty(addresses["S3_BUCKET"], prefix, s3)


def test_the_range_is_that_of_the_hours_begin_in_utc(fleet, silver):
    silver.add(fleet["7"], NOON - HOUR, [1.0] * 360)
    aggregate()

    found = gold.hourly(lake(), profiles()["indoor"], [fleet["7"]], NOON, NOON + HOUR)

    assert found["hour"].unique().to_list() == [NOON.astimezone(UTC)]
