"""How long a rule's backtest takes: 30 days of 42 motes, a reading every 30 s, from the lake to the verdict.

    python -m bench.backtest [--motes 42] [--days 30] [--report FILE]

The yardstick is the same columns of the same lake, only read and sorted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from bench._place import embedded_django

RULES = {
    "threshold": {
        "conditions": [{"kind": "value", "channel": "temperature", "is": "above", "than": 27, "clear": 26}],
        "for_s": 300,
    },
    "two channels": {
        "conditions": [
            {"kind": "value", "channel": "temperature", "is": "above", "than": 26},
            {"kind": "value", "channel": "humidity", "is": "above", "than": 55},
        ],
        "for_s": 600, "no_data": {"means": "own", "after_s": 900},
    },
    "change": {
        "conditions": [{"kind": "change", "channel": "temperature", "is": "rises", "than": 4, "within_s": 1800}]
    },
    "score": {"conditions": [{"kind": "score", "is": "above", "than": 0.6}]},
}  # fmt: skip
END = datetime(2026, 3, 31, tzinfo=UTC)
A_DAY = 2880


def fill(lake, profile, motes: int, days: int) -> int:
    """Quiet days with a warm afternoon now and then; a commit a day."""
    from sensors.readings import stored_schema

    seed = np.random.default_rng(7)
    schema = stored_schema(profile)
    for day in range(days):
        start = END - timedelta(days=days - day)
        n = motes * A_DAY
        hour = np.tile(np.linspace(0, 24, A_DAY), motes)
        warm = np.repeat(seed.random(motes) < 0.1, A_DAY) * 6.0 * np.exp(-(((hour - 15) / 1.5) ** 2))
        columns = {
            "mote": np.repeat(np.arange(1, motes + 1), A_DAY),
            "at": np.tile(
                np.datetime64(start.replace(tzinfo=None), "us") + np.arange(A_DAY) * np.timedelta64(30, "s"), motes
            ),
            "temperature": 21 + 2 * np.sin(hour / 24 * 2 * np.pi - 2) + warm + seed.normal(0, 0.1, n),
            "humidity": 45 + seed.normal(0, 3, n),
            "surprise": seed.exponential(0.43, n),
        }
        table = pl.DataFrame(columns).with_columns(pl.col("at").dt.replace_time_zone("UTC"))
        rest = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in columns]
        table = table.with_columns(rest).with_columns(
            pl.lit(0, pl.Int64).alias("partition"), pl.int_range(day * n, (day + 1) * n, dtype=pl.Int64).alias("offset")
        )
        table = table.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        lake.append(f"silver/{profile.code}", table, app_ids={0: "bench/0"}, next_offsets={0: (day + 1) * n})
    return motes * days * A_DAY


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    with embedded_django() as folder:
        report = measure(folder, options.motes, options.days)
    print(json.dumps(report))
    if options.report:
        options.report.write_text(json.dumps(report, indent=2))
    return 0


def measure(folder: Path, motes: int, days: int) -> dict:
    from alerts.rules.models import Rule
    from ingestion import backtesting
    from sensors import registry
    from sensors.lake import Lake
    from sensors.models import Mote, Profile, Site
    from tests.builders import install_fleet

    install_fleet(motes=tuple(str(n) for n in range(1, motes + 1)))
    keys = list(Mote.objects.order_by("pk").values_list("pk", flat=True))
    assert keys == list(range(1, motes + 1)), "a fresh database numbers its motes from 1"
    profile = registry.profiles()["indoor"]
    lake = Lake(str(folder / "lake"))
    n = fill(lake, profile, motes, days)
    found = {}
    kind = Profile.objects.get(code="indoor")
    for name, definition in RULES.items():
        rule = Rule(name=name, definition=definition, severity="low", profile=kind, site=Site.objects.get())
        took, read = [], []
        for _ in range(3):
            began = time.perf_counter()
            backtesting.readings(rule, lake, profile, keys, END - timedelta(days=days), END)
            read.append(time.perf_counter() - began)
            began = time.perf_counter()
            done = backtesting.backtest(rule, lake=lake, fleet=registry.current_fleet(), now=END, days=days)
            took.append(time.perf_counter() - began)
        found[name] = {
            "alerts": len(done.firings), "backtest_s": round(min(took), 3), "slowest_s": round(max(took), 3),
            "only_reading_s": round(min(read), 3),
        }  # fmt: skip
        print(
            f"{name:14} {min(took):6.2f} s, of which reading {min(read):.2f} s; {len(done.firings)} alerts",
            file=sys.stderr,
        )
    return {"bench": "backtest", "readings": n, "motes": motes, "days": days, "rules": found}


if __name__ == "__main__":
    sys.exit(main())
