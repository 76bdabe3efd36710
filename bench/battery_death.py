"""Whether a dying sensor is named before it lies grossly, and without looking at its battery.

    python -m bench.battery_death --data DIR [--learn-days 8] [--without LAYER ...]

DIR holds intel_lab.parquet: nine motes of the Intel lab whose batteries died in March 2004; as voltage fell below 2.3 V
temperature crept up to 122 °C. The engine learns the first days of temperature and humidity, with the dew point
that follows from them, and judges the rest; it never sees voltage or light. A mote is named when `peers` calls it
anomalous and goes on doing so until its temperature passes 50 °C. What `peers` said and took back, and what it said of
a mote more than LYING_H hours before that, is false. `low_h` is the pack's rule for a low
battery, on the median of ten voltages.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench._lab import lab
from bench._place import ROOT

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
LYING_H = 72.0  # before 50 °C: the sensor already lies by tenths of a degree
GROSS = 50.0
JUDGED = ("temperature", "humidity", "dew_point")
ONSET_VOTE = 4.0
HEALED_US = 2 * HOUR_US  # a naming taken back for less is the same one: motes are silent for as long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of intel_lab.parquet")
    parser.add_argument("--learn-days", type=float, default=8.0)
    parser.add_argument("--without", nargs="*", default=[], help="layers to leave out")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    figures = measure(options.data, options.learn_days, options.without)
    for mote, one in figures["motes"].items():
        print(f"mote {mote:>3}", "  ".join(f"{key} {value}" for key, value in one.items()))
    print(json.dumps(figures))


def measure(folder: Path, learn_days: float, without: list[str]) -> dict[str, Any]:
    from mlops.detection import Engine
    from sensors.derived import Before, derive

    profile, table = lab(folder)
    channels = tuple(channel for channel in profile.channels if channel.code in JUDGED)
    blind = replace(profile, channels=channels, battery=None)
    table = table.sort("at", "mote")
    stream = derive(_batch(table, blind), Before())
    split = int(stream.at[0]) + int(learn_days * DAY_US)
    engine = Engine(without=without).fit(stream.take(stream.at < split))
    _, judged, changes = engine.step(engine.start(), stream.take(stream.at >= split))
    gross, hot = _first_gross(stream), {}
    for mote, instant in gross.items():
        hot[mote] = _of_mote(judged, changes, mote, instant, split) | {"low_h": _low_battery_h(table, mote, instant)}
    leads = [one["named_h"] for one in hot.values()]
    days = sum((instant - LYING_H * HOUR_US - split) / DAY_US for instant in gross.values())
    n_false = sum(one["false"] for one in hot.values())
    return {
        "motes": hot,
        "named_12_h_before": f"{sum(lead is not None and lead >= 12 for lead in leads)} of {len(leads)}",
        "low_battery_48_h_before": f"{sum((one['low_h'] or 0) >= 48 for one in hot.values())} of {len(hot)}",
        "taken_back": sum(one["taken_back"] for one in hot.values()),
        "false": n_false,
        "healthy_mote_days": round(days, 1),
        "false_in_50_mote_days": round(n_false / days * 50, 2),
        "events_of_the_engine_in_50_healthy_mote_days": round(
            sum(one["engine_events"] for one in hot.values()) / days * 50, 1
        ),
    }


def _batch(table: pl.DataFrame, profile: Any) -> Any:
    from sensors.readings import Batch

    at, zeros = table["at"].cast(pl.Int64).to_numpy(), np.zeros(len(table), dtype=np.int64)
    return Batch(
        profile=profile, mote=table["mote"].to_numpy(), at=at,
        values=np.ascontiguousarray(table.select(profile.names).fill_null(float("nan")).to_numpy()),
        utc_offset_s=zeros, partition=zeros, offset=np.arange(len(table)), received_at=at,
    )  # fmt: skip


def _first_gross(stream: Any) -> dict[int, int]:
    """When each mote's temperature first passed 50 °C."""
    is_hot = stream.values[:, stream.profile.names.index("temperature")] > GROSS
    return {int(mote): int(stream.at[is_hot & (stream.mote == mote)][0]) for mote in np.unique(stream.mote[is_hot])}


def _of_mote(judged: Any, changes: list[Any], mote: int, gross: int, split: int) -> dict[str, Any]:
    from mlops.detection import decode_votes

    own = judged.take((judged.mote == mote) & (judged.at < gross))
    says = np.array([decode_votes(votes).get("peers", 0.0) >= ONSET_VOTE for votes in own.votes.tolist()])
    stretches = _stretches(own.at, says)
    last = stretches[-1] if stretches and stretches[-1][1] >= own.at[-1] - HEALED_US else None
    lying = gross - LYING_H * HOUR_US
    earlier = [one for one in stretches if one is not last]
    events = {change.noticed_at for change in changes if change.mote == mote}
    return {
        "named_h": round((gross - last[0]) / HOUR_US, 1) if last else None,
        "taken_back": sum(begin >= lying for begin, _ in earlier),
        "false": sum(begin < lying for begin, _ in earlier),
        "engine_events": sum(at < lying for at in events),
        "engine_events_on_the_way": sum(last[0] <= at < gross for at in events) if last else None,
    }


def _stretches(at: Any, says: Any) -> list[tuple[int, int]]:
    """From when until when it was said, silences and pauses of less than HEALED_US left out of account."""
    found: list[tuple[int, int]] = []
    for instant in at[says].tolist():
        if found and instant - found[-1][1] < HEALED_US:
            found[-1] = (found[-1][0], instant)
        else:
            found.append((instant, instant))
    return found


def _low_battery_h(table: pl.DataFrame, mote: int, gross: int) -> float | None:
    """How long before, the median of ten voltages first fell below what the pack calls low."""
    from sensors.packs import read_pack

    battery = read_pack("indoor").profile.battery
    assert battery is not None
    own = table.filter(mote=mote).sort("at").with_columns(pl.col(battery.channel).rolling_median(10))
    below = own.filter(pl.col(battery.channel) < battery.low)["at"].cast(pl.Int64)
    return round((gross - int(below[0])) / HOUR_US, 1) if len(below) else None


if __name__ == "__main__":
    main()
