"""What the engine finds of faults injected into real lab readings (De Bruijn et al. 2016), by its defaults alone.

    python -m bench.lab_faults --data DIR [--channels temperature,light] [--without LAYER ...]

DIR holds intel_faults.parquet. The clean week of four motes is the fleet; the fifth appears a week later with its
faults, each mote in turn; labels are only used to count. A reading counts as found when `is_anomaly` says so at that
reading, with no tolerance; an event is false when no fault touches it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT

WEEK_US = 7 * 86_400_000_000


@dataclass
class Tally:
    """What was counted for a channel and kind of fault, over all motes."""

    n: Counter[str] = field(default_factory=Counter)
    delays: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        n = self.n
        wrong = n["false_readings"] + n["missed_readings"]
        return {
            "f1": round(2 * n["readings"] / max(2 * n["readings"] + wrong, 1), 3),
            "found": f"{n['found']} of {n['faults']}",
            "median_delay": float(np.median(self.delays)) if self.delays else None,
            "false_events_per_day": round(n["false_events"] / max(n["days"], 1), 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of intel_faults.parquet")
    parser.add_argument("--channels", default="temperature,light", help="what the motes of the fleet measure")
    parser.add_argument("--without", nargs="*", default=[], help="layers to leave out")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    table = pl.read_parquet(options.data / "intel_faults.parquet").sort("at", "mote")
    figures = measure(table, options.channels.split(","), options.without)
    for name, one in figures.items():
        print(f"{name:26}", "  ".join(f"{key} {value}" for key, value in one.items()))
    print(json.dumps(figures))


def measure(table: pl.DataFrame, channels: list[str], without: list[str]) -> dict[str, Any]:
    from mlops.detection import Engine

    tallies: dict[str, Tally] = {}
    clean = table.filter(fault="clean")
    for mote in sorted(table["mote"].unique()):
        engine = Engine(without=without).fit(batch(clean.filter(pl.col("mote") != mote), channels))
        for (channel, fault), week in table.filter(mote=mote).group_by("injected_channel", "fault"):
            if channel in (*channels, "none"):
                judge(engine, week.sort("at"), channels, tallies.setdefault(f"{channel} {fault}", Tally()))
    return {name: tallies[name].figures() for name in sorted(tallies)}


def batch(table: pl.DataFrame, channels: list[str], shift_us: int = 0) -> Any:
    from sensors.packs import read_pack
    from sensors.readings import Batch

    indoor = read_pack("indoor").profile
    kept = tuple(channel for channel in indoor.channels if channel.code in channels)
    at, zeros = table["at"].cast(pl.Int64).to_numpy() + shift_us, np.zeros(len(table), dtype=np.int64)
    return Batch(
        profile=replace(indoor, channels=kept, battery=None), mote=table["mote"].cast(pl.Int64).to_numpy(), at=at,
        values=table.select(channel.code for channel in kept).cast(pl.Float64).to_numpy().copy(),
        utc_offset_s=zeros, partition=zeros, offset=np.arange(len(table)), received_at=at,
    )  # fmt: skip


def judge(engine: Any, week: pl.DataFrame, channels: list[str], tally: Tally) -> None:
    stream, is_wrong = batch(week, channels, WEEK_US), week["label"].to_numpy() != 0
    _, judged, changes = engine.step(engine.start(), stream)
    said = judged.is_anomaly
    edge = np.diff(np.concatenate([[0], is_wrong.astype(np.int8), [0]]))
    faults = list(zip(np.flatnonzero(edge == 1).tolist(), np.flatnonzero(edge == -1).tolist(), strict=True))
    hits = [np.flatnonzero(said[begin:end]) for begin, end in faults]
    tally.delays += [int(hit[0]) for hit in hits if len(hit)]
    events = {change.noticed_at: change for change in changes}.values()
    spans = [(stream.at[begin], stream.at[end - 1]) for begin, end in faults]
    false = [one for one in events if not any(one.started_at <= end and begin <= one.last_at for begin, end in spans)]
    tally.n.update(
        readings=int((said & is_wrong).sum()), false_readings=int((said & ~is_wrong).sum()),
        missed_readings=int((~said & is_wrong).sum()), faults=len(faults), found=len([hit for hit in hits if len(hit)]),
        false_events=len(false), days=7,
    )  # fmt: skip


if __name__ == "__main__":
    main()
