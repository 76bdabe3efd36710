"""How long a quality report takes, beside only reading the same columns.

    python -m bench.validation [--motes 54] [--readings 2300000]

Measured: `make_report` over a lake of synthetic readings (indoor: four channels and what is derived from them, one
every 30 s, some lost, some out of range), with books and a hot store that agree with it. The yardstick, a bare scan of
the same columns, runs before and after.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bench._place import embedded_django

START = datetime(2026, 3, 1, tzinfo=UTC)
RUNS = 3
LOST = 0.03
DAY_S = 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--motes", type=int, default=54)
    parser.add_argument("--readings", type=int, default=2_300_000)
    options = parser.parse_args()
    with embedded_django():
        print(json.dumps(measure(options.motes, options.readings)))


def measure(n_motes: int, n_readings: int) -> dict[str, Any]:
    from sensors import registry

    profile, keys = _fleet(n_motes)
    filled_s, _ = _timed(lambda: _fill(profile, keys, n_readings))
    fleet = registry.current_fleet()
    filled_mb = _peak_mb()
    first_s, report = _timed(lambda: _report(fleet))
    peak_mb = _peak_mb()  # before the bare scan has had everything in memory at once
    scans = [_timed(lambda: _bare_scan(profile))[0]]
    seconds = [_timed(lambda: _report(fleet))[0] for _ in range(RUNS)]
    scans.append(_timed(lambda: _bare_scan(profile))[0])
    return {
        "readings": report.n_readings,
        "motes": n_motes,
        "channels": len(profile.channels),
        "seconds": round(statistics.median(seconds), 2),
        "first_s": round(first_s, 2),
        "bare_scan_s": round(statistics.median(scans), 3),
        "ratio_to_scan": round(statistics.median(seconds) / statistics.median(scans), 1),
        "filled_s": round(filled_s, 1),
        "filled_mb": filled_mb,
        "peak_mb": peak_mb,
        "quality_percent": report.quality_percent,
        "failed": [check["name"] for check in report.checks if check["has_passed"] is False],
    }


def _timed(deed: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = deed()
    return time.perf_counter() - began, answer


def _report(fleet: Any) -> Any:
    from django.utils import timezone

    from ingestion.validation import reports
    from sensors.lake import lake
    from sensors.stores import hot

    now = timezone.now()
    report = reports.ask(reports.one_scope(None, None), reports.Span(), trigger="command", who=None, now=now)
    return reports.make_report(report, lake=lake(), hot=hot(), fleet=fleet, now=now, limits=reports.limits())


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _fleet(n_motes: int) -> tuple[Any, list[int]]:
    from sensors import registry
    from sensors.installation import install_pack
    from sensors.models import Mote
    from sensors.packs import read_pack

    install_pack(read_pack("indoor"), site_code="main", time_zone="UTC", who=None, now=START)
    motes = list(Mote.objects.order_by("pk"))
    extra = [Mote(site=motes[0].site, profile=motes[0].profile, code=f"x{i}") for i in range(n_motes - len(motes))]
    Mote.objects.bulk_create(extra)
    Mote.objects.exclude(pk__in=Mote.objects.order_by("pk").values_list("pk", flat=True)[:n_motes]).delete()
    registry.touch_fleet()
    return registry.profiles()["indoor"], list(Mote.objects.order_by("pk").values_list("pk", flat=True))


def _fill(profile: Any, keys: list[int], n_readings: int) -> None:
    """Silver, hot store and books, a day at a time."""
    import numpy as np

    from sensors.lake import lake
    from sensors.stores import hot

    random = np.random.default_rng(1)
    n, day = 0, 0
    while n < n_readings:
        table = _day(profile, keys, START + timedelta(days=day), random).head(n_readings - n)
        table = table.with_columns(offset=_offsets(n, len(table)))
        n += len(table)
        lake().append("silver/indoor", table, app_ids={0: "bench/0"}, next_offsets={0: n})
        hot().write(profile, table)
        _book(table)
        day += 1


def _offsets(first: int, n: int) -> Any:
    import polars as pl

    return pl.int_range(first, first + n, dtype=pl.Int64, eager=True)


def _day(profile: Any, keys: list[int], midnight: datetime, random: Any) -> Any:
    """A day of all motes in order of time, flagged as the reading path flags."""
    import numpy as np

    from sensors import quality
    from sensors.derived import Before, derive
    from sensors.readings import Batch, micros

    steps = np.arange(0, DAY_S, profile.interval_s)
    mote = np.tile(np.array(keys), len(steps))
    at = np.repeat(steps, len(keys)) + np.tile(np.linspace(0, profile.interval_s - 1, len(keys)), len(steps))
    kept = random.random(len(mote)) > LOST
    mote, at = mote[kept], at[kept]
    n = len(mote)
    values = np.full((n, len(profile.channels)), np.nan)
    for name, level, spread in (
        ("temperature", 22, 2),
        ("humidity", 45, 6),
        ("light", 300, 80),
        ("voltage", 2.7, 0.02),
    ):
        values[:, profile.names.index(name)] = random.normal(level, spread, n)
    values[random.random(n) < 0.001, profile.names.index("temperature")] = 122.153
    instants = micros(midnight) + (at * 1e6).astype(np.int64)
    nowhere = np.zeros(n, dtype=np.int64)
    batch = Batch(
        profile=profile, mote=mote, at=instants, values=values, utc_offset_s=nowhere, partition=nowhere,
        offset=np.arange(n), received_at=instants + 50_000,
    )  # fmt: skip
    batch = derive(batch, Before())
    flags = quality.range_flags(profile, batch.values) | quality.battery_flags(profile, batch.values)
    batch.flags[:] = flags
    return batch.to_table()


def _book(table: Any) -> None:
    import polars as pl

    from ingestion.models import LedgerHour

    counted = table.group_by(pl.col("at").dt.truncate("1h").alias("hour"), "mote").len().sort("hour")
    LedgerHour.objects.bulk_create(
        LedgerHour(
            hour=hour, profile="indoor", topic="bench", partition=0, received=part["len"].sum(),
            stored=part["len"].sum(), motes={str(mote): n for mote, n in part.select("mote", "len").iter_rows()},
        )
        for (hour,), part in counted.group_by("hour", maintain_order=True)
    )  # fmt: skip


def _bare_scan(profile: Any) -> None:
    """Reads the columns that a report looks at, and nothing else."""
    from sensors.lake import lake

    lake().scan("silver/indoor").select("mote", "at", *profile.names, "flags", "received_at").collect()


if __name__ == "__main__":
    main()
