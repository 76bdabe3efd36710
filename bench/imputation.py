"""How far off imputed values are: real stretches are hidden and filled in again by every method.

    python -m bench.imputation --data DIR [--stretches 40] [--seed 1]

DIR holds intel_lab.parquet. Of each mote's trusted readings (in range, battery not low) stretches of 5 min, 30 min, 3 h
and 12 h are hidden, one at a time and nothing of it seen by the method; the error is the mean absolute difference over
all that was hidden. Beside each method stands for how many of the hidden readings it had an answer.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench._lab import lab
from sensors import quality
from sensors.imputation import METHODS, Column, fill
from sensors.readings import Channel, Imputation, Profile

LENGTHS_S = {"5 min": 300.0, "30 min": 1800.0, "3 h": 10_800.0, "12 h": 43_200.0}
AFTER_S = 2 * 86_400.0  # a method may look at the days before
LEAST_FULL = 0.3  # share of the expected readings that a hidden stretch must have, so that there is something to judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of intel_lab.parquet")
    parser.add_argument("--stretches", type=int, default=40, help="hidden of each length in each mote")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    profile, table = lab(options.data)
    print(json.dumps(measure(profile, table, options.stretches, options.seed)))


def measure(profile: Profile, table: pl.DataFrame, n: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    flags = quality.suspects(table["flags"].to_numpy(), len(profile.names))
    found: dict[str, Any] = {}
    for place, channel in enumerate(profile.channels):
        if channel.formula:
            continue
        values = np.where(flags[:, place], np.nan, table[channel.code].fill_null(float("nan")).to_numpy())
        column = Column(
            table["mote"].to_numpy(), table["at"].cast(pl.Int64).to_numpy(), values, int(profile.interval_s * 1e6),
            dict.fromkeys(table["mote"].unique().to_list(), "lab"),
        )  # fmt: skip
        found[channel.code] = _of_channel(channel, column, n, random)
    return {"stretches_a_mote": n, "seed": seed, "mae": found, "best": _best(found)}


def _of_channel(channel: Channel, column: Column, n: int, random: Any) -> dict[str, dict[str, list[float]]]:
    told = {}
    for label, length_s in LENGTHS_S.items():
        errors: dict[str, list[Any]] = defaultdict(list)
        n_hidden = 0
        for _ in range(n):
            hidden = _hidden(column, int(length_s * 1e6), random)
            n_hidden += int(hidden.sum())
            masked = replace(column, values=np.where(hidden, np.nan, column.values))
            for method in METHODS:
                policy = replace(channel, imputation=Imputation(method, limit_s=np.inf))
                filled = fill(policy, masked)[hidden]
                errors[method].append(np.abs(filled - column.values[hidden])[~np.isnan(filled)])
        told[label] = {
            method: [float(f"{np.concatenate(off).mean():.3g}"), round(sum(map(len, off)) / max(n_hidden, 1), 2)]
            for method, off in errors.items()
            if sum(map(len, off))
        }
    return told


def _hidden(column: Column, length_us: int, random: Any) -> Any:
    """One stretch of each mote that has readings in it, at a random place after its first days."""
    hidden = np.zeros(len(column.at), dtype=np.bool_)
    for mote in np.unique(column.mote).tolist():
        good = np.flatnonzero((column.mote == mote) & ~np.isnan(column.values))
        first, last = column.at[good[0]] + int(AFTER_S * 1e6), column.at[good[-1]] - length_us
        for _ in range(20):
            start = random.integers(first, last)
            inside = good[(column.at[good] >= start) & (column.at[good] < start + length_us)]
            if len(inside) >= LEAST_FULL * length_us / column.interval_us:
                hidden[inside] = True
                break
    return hidden


def _best(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The method with the smallest error of those that answer for nine readings in ten."""
    return {
        channel: {
            label: min(
                (method for method in told if told[method][1] >= 0.9), key=lambda name: told[name][0], default="none"
            )
            for label, told in lengths.items()
        }
        for channel, lengths in found.items()
    }


if __name__ == "__main__":
    main()
