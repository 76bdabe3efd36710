"""The benchmarks in short: they run, lose nothing and end with one JSON object. Their figures judge nothing here."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.environment import ADDRESSES
from tests.stack import ROOT, last_json

pytestmark = pytest.mark.service


def run(program: str, *arguments: str) -> Any:
    told = subprocess.run(
        [sys.executable, str(ROOT / "bench" / f"{program}.py"), *arguments], cwd=ROOT, text=True, capture_output=True,
        check=False, timeout=300, env={**os.environ, **ADDRESSES, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    return last_json(told.stdout)


def test_the_embedded_path_takes_every_reading_of_the_benchmark() -> None:
    told = run("pipeline", "--readings", "20000", "--batch", "5000")

    assert told["readings"] == 20_000
    assert told["readings_per_s"] > 0
    assert 0 < told["ratio_to_decode"] < 1
    assert {"decode", "judge", "detect", "store", "lake", "checkpoint"} <= told["by_step_s"].keys()


@pytest.mark.parametrize("where", [(), ("--servers",)], ids=["embedded", "servers"])
def test_every_reading_sent_is_heard_on_the_websocket(where: tuple[str, ...]) -> None:
    told = run("latency", "--seconds", "5", *where)

    assert told["mode"] == ("servers" if where else "embedded")
    assert told["sent"] == told["heard"] > 100
    assert 0 < told["p50_ms"] <= told["p99_ms"] <= told["max_ms"]


def test_a_quality_report_of_the_benchmark_finds_every_reading() -> None:
    told = run("validation", "--readings", "20000", "--motes", "5")

    assert told["readings"] == 20_000
    assert told["motes"] == 5
    assert told["bare_scan_s"] > 0
    assert told["failed"] == []
