"""The benchmarks in short: they run, lose nothing and end with one JSON object. Their figures judge nothing here."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.environment import ADDRESSES
from tests.stack import ROOT, last_json

pytestmark = pytest.mark.service


def run(program: str, *arguments: str) -> Any:
    told = subprocess.run(
        [sys.executable, str(ROOT / "bench" / f"{program}.py"), *arguments], cwd=ROOT, text=True, capture_output=True,
        check=False, timeout=900, env={**os.environ, **ADDRESSES, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert told.returncode == 0, f"{program}: {told.stdout[-3000:]}\n{told.stderr[-3000:]}"
    return last_json(told.stdout)


def test_the_embedded_path_takes_every_reading_of_the_benchmark() -> None:
    told = run("pipeline", "--readings", "20000", "--batch", "5000")

    assert told["readings"] == 20_000
    assert told["readings_per_s"] > 0
    assert 0 < told["ratio_to_decode"] < 1
    assert {"decode", "judge", "detect", "store", "lake", "checkpoint"} <= told["by_step_s"].keys()


def test_every_reading_sent_is_heard_on_the_websocket() -> None:
    told = run("latency", "--seconds", "5", "--servers")

    assert told["mode"] == "servers"
    assert told["sent"] == told["heard"] > 100
    assert 0 < told["p50_ms"] <= told["p99_ms"] <= told["max_ms"]


def test_a_quality_report_of_the_benchmark_finds_every_reading() -> None:
    told = run("validation", "--readings", "20000", "--motes", "5")

    assert told["readings"] == 20_000
    assert told["motes"] == 5
    assert told["bare_scan_s"] > 0
    assert told["failed"] == []


def test_the_share_of_faults_that_flags_and_grades_find_is_told_by_kind() -> None:
    told = run("quality", "--days", "2", "--clean-days", "1", "--motes", "8", "--fallback")

    assert told["readings"] > 40_000
    assert told["faults"] == sum(kind["faults"] for kind in told["found"].values()) > 0
    assert all(kind["either"] >= max(kind["flags"], kind["grades"]) for kind in told["found"].values())
    assert told["clean"]["flagged_share"] < 0.01


@pytest.fixture
def a_lab(tmp_path: Path) -> Path:
    """A folder with a file in the form of the Intel lab's: three motes of one room that run down in twelve days."""
    hours = np.arange(0.0, 12 * 24, 1 / 60)
    table = pl.concat(
        pl.DataFrame(
            {
                "ts": datetime(2004, 2, 28) + pl.Series(hours * 3.6e9).cast(pl.Duration("us")),  # noqa: DTZ001
                "moteid": np.full(len(hours), mote, dtype=np.int32),
                "temperature": 20.0 + mote + 3.0 * np.sin(hours * np.pi / 12),
                "humidity": 40.0 - np.sin(hours * np.pi / 12),
                "light": 100.0 + 50.0 * np.sin(hours * np.pi / 12),
                "voltage": 2.72 - 0.05 * hours / 24,
            }
        )
        for mote in (1, 2, 3)
    )
    table.write_parquet(tmp_path / "intel_lab.parquet")
    return tmp_path


def test_the_error_of_each_way_to_impute_is_told_by_channel_and_length(a_lab: Path) -> None:
    told = run("imputation", "--data", str(a_lab), "--stretches", "1")

    assert set(told["mae"]) == {"temperature", "humidity", "light", "voltage"}
    assert set(told["mae"]["temperature"]) == {"5 min", "30 min", "3 h", "12 h"}
    assert told["mae"]["temperature"]["12 h"]["neighbours"][0] < told["mae"]["temperature"]["12 h"]["hold"][0]
    assert told["best"]["temperature"]["12 h"] in ("seasonal", "neighbours")


def test_how_well_a_batterys_days_are_estimated_is_told(a_lab: Path) -> None:
    told = run("battery", "--data", str(a_lab), "--empty", "2.2")

    assert told["motes"] == 3
    assert told["estimates"] > 0
    assert told["band_held"] == 1.0


def test_every_page_that_is_open_hears_every_message_of_the_live_benchmark() -> None:
    figures = run("live", "--clients", "20", "--rates", "5", "--seconds", "1", "--many", "0")

    assert (figures["clients"], figures["messages_per_s"], figures["lost"]) == (20, 5.0, 0)
    assert {"p50_ms", "p99_ms", "cpu_us_per_delivery"} <= figures.keys()
