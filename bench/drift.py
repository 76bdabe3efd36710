"""Whether drift is found where it was planted, and nothing is told of a month in which none was.

    python -m bench.drift [--motes 20] [--seeds 3]

The indoor pack is simulated for 40 days, faults included: ten are the reference, thirty are looked at, day by day, as
the scheduled task does. Then each channel is moved from the fifteenth of these days on.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

START = datetime(2026, 3, 2, tzinfo=UTC)
REFERENCE_DAYS, DAYS, MOVED_AFTER = 10, 30, 15
EVERY_S = 300.0
MOVES = (0.05, 0.15, 0.3)  # of the normal band


def hours(n_motes: int, seed: int) -> pl.DataFrame:
    """Means of each mote, channel and hour, as gold has them."""
    from ingestion.simulating.simulator import Simulator
    from sensors.packs import read_pack

    simulator = Simulator.of(read_pack("indoor"), site="bench", seed=seed, n_motes=n_motes, is_history=True)
    begin = int(START.timestamp() * 1e6)
    said = simulator.produce(begin, begin + int((REFERENCE_DAYS + DAYS) * 86_400e6), EVERY_S).once()
    table = pl.DataFrame({"mote": said.mote, "at": said.at} | {
        name: said.values[:, i] for i, name in enumerate(said.names)
    }).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")).dt.truncate("1h").alias("hour"))  # fmt: skip
    return table.group_by("mote", "hour").agg(pl.col(said.names).fill_nan(None).mean()).sort("mote", "hour")


def days_until_told(table: pl.DataFrame, channel: object, moved: float) -> int | None:
    """On which of the thirty days the channel is first told of; None: never."""
    from mlops.drift import measuring

    low, high = channel.normal  # type: ignore[attr-defined]
    wide = high - low
    border, since = (START + timedelta(days=n) for n in (REFERENCE_DAYS, REFERENCE_DAYS + MOVED_AFTER))
    value = pl.col(channel.code) / wide + moved * (pl.col("hour") >= since)  # type: ignore[attr-defined]
    values = table.select("mote", "hour", value.alias("value")).drop_nulls()
    found = measuring.shifts(
        values.filter(pl.col("hour") < border), values.filter(pl.col("hour") >= border), measuring.CHANNEL, "x"
    )
    told = (n + 1 for n in range(len(found)) if measuring.has_drifted(found[: n + 1]))
    return next(told, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motes", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("SIEIS_EMBEDDED", "1")
    from sensors.packs import read_pack

    channels = read_pack("indoor").measured.channels
    told = {channel.code: {0.0: [], **{move: [] for move in MOVES}} for channel in channels}
    for seed in range(options.seeds):
        table = hours(options.motes, seed + 1)
        for channel in channels:
            for move in told[channel.code]:
                told[channel.code][move].append(days_until_told(table, channel, move))
    print(f"{options.seeds} simulated months of {options.motes} motes; moved from day {MOVED_AFTER + 1} on\n")
    print(f"{'channel':<14}{'nothing moved':<18}" + "".join(f"{f'moved by {move:g}':<24}" for move in MOVES))
    for code, by_move in told.items():
        quiet = by_move.pop(0.0)
        silent = f"{sum(day is None for day in quiet)} of {len(quiet)} silent"
        print(f"{code:<14}{silent:<18}" + "".join(f"{_words(days):<24}" for days in by_move.values()))


def _words(days: list[int | None]) -> str:
    """How many were told, and how many days after the move the middle one was."""
    found = [day - MOVED_AFTER for day in days if day is not None and day > MOVED_AFTER]
    late = f", on day {np.median(found):.0f}" if found else ""
    return f"{len(found)} of {len(days)}{late}"


if __name__ == "__main__":
    main()
