"""How long it takes to rank every mote and channel of a fleet with 30 days of readings by how far it left its norm.

    python -m bench.root_cause [--days 30] [--motes 42] [--runs 5]

Simulated indoor days with the pack's faults are stored as the reading path stores them (hot store and lake) and
aggregated. Stretches of an hour, a day and all 30 days are ranked, the first one of them with everything cold. The
yardstick does nothing but read the readings of the same stretch from the lake and take each channel's mean.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import polars as pl

from bench._place import embedded_django

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with embedded_django():
        print(json.dumps(measure(options.days, options.motes, options.runs)))


def measure(days: int, n_motes: int, runs: int) -> dict[str, Any]:
    from mlops import root_cause
    from sensors import registry
    from sensors.aggregates import Aggregates
    from sensors.lake import lake
    from sensors.stores import hot
    from sensors.tiers import tiers

    n_readings = _store(days, n_motes)
    fleet, aggregates, store = registry.current_fleet(), Aggregates(lake=lake(), store=hot()), tiers()

    def rank(length: timedelta) -> Any:
        return root_cause.find(NOW - length, NOW, fleet=fleet, aggregates=aggregates, tiers=store, now=NOW)

    def read(length: timedelta) -> Any:
        profile = fleet.profiles["indoor"]
        rows = lake().scan("silver/indoor").filter(pl.col("at") >= NOW - length, pl.col("at") < NOW)
        return rows.group_by("mote").agg(pl.col(profile.names).mean()).collect()

    cold_s, found = _timed(lambda: rank(timedelta(hours=2)))
    lengths = {"1 h": timedelta(hours=1), "1 d": timedelta(days=1), f"{days} d": timedelta(days=days)}
    return {
        "motes": n_motes, "days": days, "readings": n_readings, "first_s": round(cold_s, 3),
        "ranked": found.n_looked_at,
        "stretches": {
            name: {
                "rank_s": round(median(_timed(lambda one=one: rank(one))[0] for _ in range(runs)), 3),
                "read_s": round(median(_timed(lambda one=one: read(one))[0] for _ in range(runs)), 3),
            }
            for name, one in lengths.items()
        },
    }  # fmt: skip


def _timed(deed: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = deed()
    return time.perf_counter() - began, done


def _store(days: int, n_motes: int) -> int:
    """The fleet's days in the lake, the last three also in the hot store, and their hours."""
    from ingestion.simulating.simulation import history_chunks
    from ingestion.simulating.simulator import Simulator
    from ingestion.wire import Wire
    from sensors import gold, registry
    from sensors.installation import install_pack
    from sensors.lake import lake
    from sensors.packs import read_pack
    from sensors.stores import hot

    pack = read_pack("indoor").with_motes(n_motes)
    install_pack(pack, site_code="main", time_zone="UTC", who=None, now=NOW)
    wire = Wire(registry.current_fleet())
    simulator = Simulator.of(pack, site="main", time_zone="UTC", seed=1, n_motes=n_motes, is_history=True)
    n, place = 0, 0
    for values, _ in history_chunks(simulator, NOW - timedelta(days=days), NOW):
        n += _keep(values, wire, place, lake(), hot())
        place += len(values)
    for _ in gold.aggregate_all(lake(), now=NOW):
        pass
    return n


def _keep(values: list[bytes], wire: Any, place: int, lake: Any, hot: Any) -> int:
    import numpy as np

    from ingestion.records import Records
    from sensors.derived import Before, derive
    from sensors.readings import micros

    offsets = np.arange(place, place + len(values))
    records = Records(values, np.zeros(len(values), int), offsets, np.full(len(values), micros(NOW)))
    n = 0
    for batch, _ in wire.decode(records).batches:
        table = derive(batch, Before()).to_table()
        lake.append(
            f"silver/{batch.profile.code}", table, app_ids={0: "bench/0"}, next_offsets={0: int(offsets[-1]) + 1}
        )
        recent = table.filter(pl.col("at") >= NOW - timedelta(days=3))
        if len(recent):
            hot.write(batch.profile, recent)
        n += len(table)
    return n


if __name__ == "__main__":
    main()
