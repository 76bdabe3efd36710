"""How well the estimate of a battery's days holds for motes whose end is known.

    python -m bench.battery --data DIR [--empty 2.2]

DIR holds intel_lab.parquet: nine motes of the Intel lab that ran down in March 2004. Every day of every mote the days
left are estimated from what had been reported until then, and compared with when the six-hour median of its voltage
first fell to `empty`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensors import battery
from sensors.readings import Battery

HORIZONS = ((0, 3), (3, 7), (7, 14), (14, 40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of intel_lab.parquet")
    parser.add_argument("--empty", type=float, default=2.2, help="volts at which a battery counts as empty")
    options = parser.parse_args()
    print(json.dumps(measure(pl.read_parquet(options.data / "intel_lab.parquet"), options.empty)))


def measure(readings: pl.DataFrame, empty: float) -> dict[str, Any]:
    motes = readings.sort("ts").partition_by("moteid", maintain_order=True)
    judged = [one for mote in motes for one in _days(mote, Battery("voltage", low=2.4, empty=empty))]
    known = np.array([(left, found.low, found.days, found.high) for left, found in judged if _is_estimate(found)])
    left, low, days, high = known.T
    held = (left >= low) & (left <= high)
    return {
        "empty_v": empty,
        "motes": len({mote["moteid"][0] for mote in motes if _end(mote, empty) is not None}),
        "mote_days": len(judged),
        "estimates": len(known),
        "band_held": round(float(held.mean()), 2),
        "true_to_estimated_10_50_90": np.quantile(left / days, [0.1, 0.5, 0.9]).round(2).tolist(),
        "band_held_by_days_left": {
            f"{first}-{last}": [round(float(held[rows].mean()), 2), int(rows.sum())]
            for first, last in HORIZONS
            if (rows := (left >= first) & (left < last)).any()
        },
    }


def _days(mote: pl.DataFrame, kind: Battery) -> list[tuple[float, Any]]:
    """For each day until its end: the days that were left, and what was said of them."""
    at, volts = mote["ts"].cast(pl.Int64).to_numpy(), mote["voltage"].to_numpy()
    end = _end(mote, kind.empty)
    if end is None:
        return []
    moments = range(int(at[0]) + battery.DAY_US, end, battery.DAY_US)
    until = [int(np.searchsorted(at, moment)) for moment in moments]
    return [((end - int(at[n - 1])) / battery.DAY_US, battery.outlook(at[:n], volts[:n], kind)) for n in until]


def _end(mote: pl.DataFrame, empty: float) -> int | None:
    levels = mote.group_by_dynamic("ts", every="6h").agg(pl.col("voltage").median())
    below = levels.filter(pl.col("voltage") <= empty)["ts"].cast(pl.Int64)
    return int(below[0]) if len(below) else None


def _is_estimate(found: Any) -> bool:
    return isinstance(found, battery.Estimate) and found.days > 0.0


if __name__ == "__main__":
    main()
