"""How long `manage.py detect` takes for a file, beside what only reading the file takes on the same machine.

    python -m bench.detect_file [--rows 1000000] [--channels 4] [--parquet]

A CSV (or Parquet) of one series that reports every second is judged by the command in a process of its own, as people
run it, with its scored rows, its events and its report written. The yardstick is polars reading the same file into
numbers, in the same run. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT

START = datetime(2026, 3, 2, tzinfo=UTC)
FAULTS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--parquet", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        path = written(Path(place), options.rows, options.channels, is_parquet=options.parquet)
        figures = measure(path)
    print(json.dumps({"rows": options.rows, "channels": options.channels, **figures}))


def written(place: Path, n: int, n_channels: int, *, is_parquet: bool) -> Path:
    """Daily cycles with noise, and some stretches that are off."""
    random = np.random.default_rng(1)
    seconds = np.arange(n)
    day = np.sin(2 * np.pi * seconds / 86_400)
    values = 20.0 + np.arange(n_channels) * 10 + day[:, None] * 3 + random.normal(0, 0.2, (n, n_channels))
    for begin in np.linspace(0.2 * n, 0.95 * n, FAULTS).astype(int).tolist():
        values[begin : begin + 60, begin % n_channels] += 12.0
    table = pl.DataFrame(
        {"time": pl.datetime_range(START, START + timedelta(seconds=n - 1), "1s", eager=True)}
        | {f"channel_{c}": values[:, c].round(2) for c in range(n_channels)}
    )
    path = place / ("readings.parquet" if is_parquet else "readings.csv")
    table.write_parquet(path) if is_parquet else table.write_csv(path)
    return path


def measure(path: Path) -> dict[str, Any]:
    read_s = _read_s(path)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(ROOT / "var" / "numba"), "SIEIS_EMBEDDED": "1",
                   "SIEIS_DATA": str(path.parent / "data")}  # fmt: skip
    command = [
        sys.executable, str(ROOT / "manage.py"), "detect", str(path), "--out", str(path.with_suffix(".scored.csv")),
        "--events", str(path.with_suffix(".json")), "--html", str(path.with_suffix(".html")),
    ]  # fmt: skip
    before = os.times()
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    events = json.loads(path.with_suffix(".json").read_text())["events"]
    return {
        "bytes": path.stat().st_size, "seconds": round(seconds, 1),
        "cpu_s": round(after.children_user + after.children_system - before.children_user - before.children_system, 1),
        "read_s": round(read_s, 2), "times_reading": round(seconds / read_s, 1), "events": len(events),
    }  # fmt: skip


def _read_s(path: Path) -> float:
    began = time.perf_counter()
    table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, try_parse_dates=True)
    table.select(pl.col(pl.Float64)).to_numpy()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
