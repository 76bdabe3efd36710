"""How long a training takes and what it needs: 1.3 million readings in a process of its own, beside only reading them.

    python -m bench.train [--readings 1300000] [--motes 42]

Fills a lake of its own with simulated indoor readings every 30 s, then runs `manage.py train` on them as people do. The
yardstick, in the same run: a process that only reads the same rows of the same table. Seconds are by the clock on the
wall, and beside them those that the processor worked, which other work on the machine does not stretch as much; memory
is the largest resident size of a process. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench._place import ROOT, embedded_django

STEP_S = 30
READ = """
import sys, polars as pl
frame = pl.scan_delta(sys.argv[1]).collect()
print(len(frame))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readings", type=int, default=1_300_000)
    parser.add_argument("--motes", type=int, default=42)
    options = parser.parse_args()
    with embedded_django() as folder:
        start, end = fill(options.readings, options.motes)
        reading = timed([sys.executable, "-c", READ, str(next(folder.rglob("silver/indoor")))])
        span = ["--start", start.isoformat(), "--end", end.isoformat()]
        training = timed([sys.executable, str(ROOT / "manage.py"), "train", "--profile", "indoor", *span])
    figures = {
        "reading_s": reading.seconds, "reading_processor_s": reading.processor_s, "reading_peak_mb": reading.peak_mb,
        "training_s": training.seconds, "training_processor_s": training.processor_s,
        "training_peak_mb": training.peak_mb, "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(training.said)
    print(json.dumps(figures))


def fill(n_readings: int, n_motes: int) -> tuple[datetime, datetime]:
    """So many readings in the lake, and the range that they lie in."""
    import polars as pl

    from bench.predict import readings
    from sensors.installation import install_pack
    from sensors.lake import lake
    from sensors.models import Mote
    from sensors.packs import read_pack

    now = datetime.now(UTC)
    pack = read_pack("indoor").with_motes(n_motes)
    install_pack(pack, site_code="main", time_zone="UTC", who=None, now=now)
    keys = list(Mote.objects.filter(profile__code="indoor", is_probe=False).order_by("pk").values_list("pk", flat=True))
    steps = n_readings // len(keys)
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(seconds=steps * STEP_S)
    n, part = 0, 86_400 // STEP_S
    for first in range(0, steps, part):
        at = begin + timedelta(seconds=first * STEP_S)
        batch = readings(range(len(keys)), min(part, steps - first), first, begin=int(at.timestamp() * 1e6))
        named = pl.DataFrame({"mote": range(1, len(keys) + 1), "key": keys})
        table = batch.to_table().join(named, on="mote").with_columns(mote=pl.col("key")).drop("key")
        table = table.with_columns(
            pl.int_range(n, n + len(table), dtype=pl.Int64).alias("offset"),
            *(pl.lit(None, pl.Float64).alias(name) for name in pack.profile.names if name not in table.columns),
        )
        n += len(table)
        lake().append("silver/indoor", table, app_ids={0: "bench/0"}, next_offsets={0: n})
    return begin, begin + timedelta(seconds=steps * STEP_S)


@dataclass(frozen=True)
class Run:
    """A process and all that it started."""

    seconds: float
    processor_s: float
    peak_mb: float
    said: str


def timed(command: list[str]) -> Run:
    script = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print('PEAK', used.ru_maxrss, used.ru_utime + used.ru_stime); sys.exit(done.returncode)"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=ROOT,
        env=os.environ.copy(),
        text=True,
        capture_output=True,
        check=False,
    )
    took = time.perf_counter() - began
    said, _, peak = done.stdout.rpartition("PEAK ")
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    scale = 1024 if sys.platform != "darwin" else 1024 * 1024
    resident, processor_s = peak.split()
    return Run(round(took, 2), round(float(processor_s), 2), round(int(resident) / scale, 1), said.strip())


if __name__ == "__main__":
    main()
