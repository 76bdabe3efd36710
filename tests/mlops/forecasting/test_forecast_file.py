"""manage.py forecast_file: a file of one's own continued, and forecast again and again by its past alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from tests.mlops.forecasting.world import N, daily

START = datetime(2026, 3, 2, tzinfo=UTC).replace(tzinfo=None)
PARTS = ("--train-rows", 480, "--validate-rows", 240, "--test-rows", 120)
COLUMNS = ["origin_at", "at", "step", "series", "mean", "q025", "q10", "q50", "q90", "q975"]


def table(n: int = N) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "date": [START + timedelta(hours=k) for k in range(n)],
            "room": daily(n)[:, 0].round(3),
            "hall": daily(n, seed=2)[:, 0].round(3),
        }
    )


def written(path: Path, rows: pl.DataFrame) -> Path:
    rows.write_parquet(path) if path.suffix == ".parquet" else rows.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    return path


def said(*arguments: object) -> list[str]:
    out = StringIO()
    call_command("forecast_file", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue().splitlines()


def test_a_file_goes_on_where_it_ended(tmp_path):
    file, out, html = written(tmp_path / "a.csv", table()), tmp_path / "f.csv", tmp_path / "f.html"

    lines = said(file, "--horizon", 24, "--out", out, "--html", html)
    forecasts = pl.read_csv(out, try_parse_dates=True)

    assert f"{out} is written." in lines
    assert set(forecasts["series"]) == {"room", "hall"}
    assert forecasts["at"].min().replace(tzinfo=None) == START + timedelta(hours=N)
    assert len(forecasts) == 48
    assert json.loads(lines[-1]) | {"fit_s": 0} == {
        "horizon": 24, "series": 2, "refused": 0, "fit_s": 0, "model": "linear",
    }  # fmt: skip
    assert html.read_text().count("<svg") == 2
    assert "http" not in html.read_text().replace("http://www.w3.org", "")


def test_every_origin_of_the_test_part_is_forecast_and_measured_in_the_spread_of_the_training(tmp_path):
    file, out = written(tmp_path / "a.parquet", table()), tmp_path / "f.parquet"

    lines = said(
        file, "--time", "date", "--horizon", 24, *PARTS, "--rolling", "--model", "seasonal_naive", "--out", out
    )
    forecasts, line = pl.read_parquet(out), json.loads(lines[-1])

    assert forecasts.columns == COLUMNS
    assert len(forecasts) == 2 * (120 - 24 + 1) * 24
    assert forecasts["origin_at"].min().replace(tzinfo=None) == START + timedelta(hours=480 + 240 - 1)
    assert list(line) == ["horizon", "mse", "mae", "mase", "crps", "coverage80", "coverage95", "fit_s", "model"]
    rows = (
        table()
        .unpivot(index="date", variable_name="series", value_name="came")
        .with_columns(pl.col("date").dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC")).alias("at"))
    )
    spread = (
        rows.filter(pl.col("at").is_in(rows["at"].unique().sort()[:480].implode()))
        .group_by("series")
        .agg(pl.col("came").std(ddof=0).alias("spread"))
    )
    miss = (
        forecasts.join(rows, on=["series", "at"])
        .join(spread, on="series")
        .select(((pl.col("came") - pl.col("mean")) / pl.col("spread")).alias("miss"))["miss"]
    )
    assert line["mse"] == pytest.approx(float((miss**2).mean()), rel=1e-4)
    assert line["mae"] == pytest.approx(float(miss.abs().mean()), rel=1e-4)


def test_what_the_future_brings_changes_no_forecast_of_the_test_part(tmp_path):
    whole = table(840)
    changed = whole.with_columns(
        pl.when(pl.int_range(pl.len()) < 800).then(pl.col(name)).otherwise(500.0).alias(name)
        for name in ("room", "hall")
    )
    tables = []
    for name, rows in (("a", whole), ("b", changed)):
        said(written(tmp_path / f"{name}.parquet", rows), "--horizon", 24, *PARTS, "--rolling", "--out",
             tmp_path / f"{name}-f.parquet")  # fmt: skip
        tables.append(pl.read_parquet(tmp_path / f"{name}-f.parquet"))

    before = [
        each.filter(pl.col("origin_at").dt.replace_time_zone(None) < START + timedelta(hours=800)) for each in tables
    ]

    assert len(before[0]) > 0
    assert before[0].equals(before[1])


def test_auto_takes_what_was_best_on_the_validation_part(tmp_path):
    walk = np.cumsum(np.random.default_rng(9).standard_normal(N)).round(3)
    file = written(tmp_path / "a.csv", table().with_columns(pl.Series("walk", walk)))

    lines = said(file, "--horizon", 24, *PARTS, "--rolling", "--model", "auto", "--values", "room,walk")

    assert "naive" in json.loads(lines[-1])["model"].split(", ")
    assert len(json.loads(lines[-1])["model"].split(", ")) == 2


def test_series_by_a_column_are_told_apart_and_one_that_is_empty_stops_no_other(tmp_path):
    rows = pl.concat([table().select("date", pl.lit(mote).alias("mote"), "room") for mote in ("7", "8", "9")])
    rows = rows.with_columns(pl.when(pl.col("mote") == "9").then(None).otherwise(pl.col("room")).alias("room"))

    lines = said(written(tmp_path / "a.csv", rows), "--by", "mote", "--values", "room", "--horizon", 24)

    assert "9: no forecast: nothing was measured" in lines
    assert json.loads(lines[-1])["series"] == 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--horizon", 0), "0 steps ahead were asked for"),
        (("--horizon", 100_000), "100,000 steps ahead were asked for"),
        (("--horizon", 24, "--rolling", "--train-rows", 900, "--validate-rows", 900), "the file has 960 steps"),
        (("--horizon", 700), "960 steps of 60 minutes are there, 1,440 are needed"),
        (("--train-rows", 0), "“0” is no number of rows; expected a whole number from 1"),
        (("--out", "/no/such/folder/f.csv"), "f.csv cannot be written: there is no folder /no/such/folder"),
        (("--time", "when"), "--time names “when”, but the file has the columns date, room, hall"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(tmp_path, options, why):
    file = written(tmp_path / "a.csv", table())

    with pytest.raises(CommandError, match=why):
        said(file, *options)
