"""Forecasts on held-out rolling origins: ETTh1 by its usual protocol, and the Intel lab until its batteries fail.

    python -m bench.forecast --data FOLDER [--models linear,…] [--horizons 96,…] [--lab blend | ""] [--no-fleet]

ETTh1: 8,640 / 2,880 / 2,880 rows to learn from, to choose settings on and to test, all windows, all seven channels, one
configuration for all horizons, errors in units of the training rows. Lab: a 5-minute grid, 24 hours of temperature and
humidity ahead, one model a channel for all motes; ten days to learn from, six to choose settings on, the rest
tests. What is flagged (beyond its range, or of a battery below 2.4 V) counts as not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT
from sensors.readings import Bools, Profile

TRAIN, VALIDATE, TEST = 8640, 2880, 2880
GOALS = {96: (0.370, 0.394), 192: (0.402, 0.414), 336: (0.422, 0.428), 720: (0.422, 0.448)}
STEP_S, DAY = 300.0, 288
CHANNELS = ("temperature", "humidity")
LAB_TRAIN, LAB_VALIDATE = 10, 6  # days
FLEET, CHANNELS_EACH = 42, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with ett/ETTh1.csv and intel_lab.parquet")
    parser.add_argument("--models", default="naive,seasonal_naive,linear,decomposed", help="of ETTh1")
    parser.add_argument("--horizons", default="96,192,336,720")
    parser.add_argument("--lab", default="blend", metavar="MODEL", help="beside both naives in the lab; empty for none")
    parser.add_argument("--fleet", action=argparse.BooleanOptionalAction, default=True, help="time 42 and 4,200 motes")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    horizons = [int(each) for each in options.horizons.split(",")]
    found = {model: [ett(options.data, model, each) for each in horizons] for model in options.models.split(",")}
    told: dict[str, Any] = {"horizons": horizons, "models": found}
    if "linear" in found:
        for key in ("mse", "mae", "coverage80", "coverage95", "fit_s"):
            told[key] = [each[key] for each in found["linear"]]
    if options.lab:
        told["lab"] = lab(options.data, options.lab)
    if options.fleet:
        for n_motes in (FLEET, 100 * FLEET):
            told[f"fleet{n_motes}_s"], told[f"fleet{n_motes}_cpu_s"] = fleet(n_motes)
        told["peak_gb"] = round(peak_gb(), 2)
    print(json.dumps(told))


def ett(folder: Path, model: str, horizon: int) -> dict[str, Any]:
    from mlops.forecasting import Forecaster, panel_of
    from mlops.forecasting.measuring import Measured, seasonal_steps, spread

    table = pl.read_csv(folder / "ett" / "ETTh1.csv", try_parse_dates=True).head(TRAIN + VALIDATE + TEST)
    at = table["date"].dt.timestamp("us").to_numpy()
    panel = panel_of(at, table.drop("date").to_numpy().astype(float), table.columns[1:])
    begun, cpu = time.perf_counter(), time.process_time()
    fitted = Forecaster(model, horizon, TRAIN, VALIDATE).fit(panel)
    fit_s, fit_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    whole, channels = Measured(), []
    for series in range(len(panel.names)):
        rolled = fitted.rolled(panel, series, TRAIN + VALIDATE, len(panel) - horizon)
        units = spread(panel.values[:TRAIN, series]), seasonal_steps(panel, series, TRAIN)
        whole.add(rolled, *units)
        channels.append(Measured().add(rolled, *units).figures["coverage80"])
    figures = {key: _rounded(value) for key, value in whole.figures.items()}
    told = {**figures, "worst_coverage80": _rounded(max(channels, key=lambda each: abs((each or 0.0) - 0.8)))}
    goal = GOALS.get(horizon)
    passed = "" if goal is None else f" goal {goal[0]:.3f}/{goal[1]:.3f}"
    print(
        f"ETTh1 {horizon:4d} {model:15s} MSE/MAE {told['mse']:.4f}/{told['mae']:.4f}{passed} MASE {told['mase']:.3f} "
        f"CRPS {told['crps']:.4f} 80 % {told['coverage80']:.3f} (worst channel {told['worst_coverage80']:.3f}) 95 % "
        f"{told['coverage95']:.3f} fit {fit_s:.1f} s ({fit_cpu_s:.1f} s of processor time)",
        flush=True,
    )
    return {**told, "fit_s": round(fit_s, 2), "fit_cpu_s": round(fit_cpu_s, 2)}


def fleet(n_motes: int) -> tuple[float, float]:
    """Seconds, and those of processor time, to say how four channels of each mote go on for a day of 5-minute steps.

    By models made for a profile: twelve simulated days of 42 motes were learnt from and validated on; larger fleets are
    served by the same models.
    """
    from mlops.forecasting import Forecaster, panel_of
    from sensors.readings import micros

    rng, rows = np.random.default_rng(1), 12 * DAY
    at = micros(datetime(2026, 3, 2, tzinfo=UTC)) + 300_000_000 * np.arange(rows)
    day = np.sin(2.0 * np.pi * np.arange(rows) / DAY)[:, None]
    values = 20.0 + 3.0 * day + 0.02 * np.cumsum(rng.standard_normal((rows, FLEET)), axis=0)
    names = [str(mote) for mote in range(FLEET)]
    panel = panel_of(
        np.tile(at, FLEET), values.T.reshape(-1, 1), names, series=np.repeat(range(FLEET), rows), n_series=FLEET
    )
    fitted = [Forecaster("linear", DAY).fit(panel) for _ in range(CHANNELS_EACH)]
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(n_motes // FLEET):
        for each in fitted:
            if len(each.forecast(panel)) != FLEET * DAY:
                raise SystemExit("a mote has no forecast")
    return round(time.perf_counter() - begun, 2), round(time.process_time() - cpu, 2)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def lab(folder: Path, model: str) -> dict[str, Any]:
    """Each mote and channel against both naives, after 16 days of all motes' readings, until its battery fails."""
    from bench._lab import lab as readings
    from sensors import quality

    profile, table = readings(folder)
    is_bad = quality.suspects(table["flags"].to_numpy(), len(profile.channels))
    lost, counts = [], {}
    for channel in CHANNELS:
        lines = _lab_channel(profile, table, channel, is_bad, model)
        held = {mote for mote, line in lines.items() if line["mase"] < 1.0 and line["crps"] < min(line["naives"])}
        counts[channel] = len(held)
        lost += [f"{mote} {channel}" for mote in lines if mote not in held]
    return {"motes_that_hold": counts, "failing": lost}


def _lab_channel(
    profile: Profile, table: pl.DataFrame, channel: str, is_bad: Bools, model: str
) -> dict[int, dict[str, Any]]:
    from mlops.forecasting import Forecaster, panel_of
    from mlops.forecasting.choosing import measured

    motes, place = sorted(table["mote"].unique().to_list()), profile.names.index(channel)
    panel = panel_of(
        table["at"].dt.timestamp("us").to_numpy(), table[channel].fill_null(np.nan).to_numpy()[:, None],
        [str(mote) for mote in motes], series=np.searchsorted(motes, table["mote"].to_numpy()), n_series=len(motes),
        is_bad=is_bad[:, place, None], step_s=STEP_S, limits=[profile.channels[place].physical] * len(motes),
        zone="America/Los_Angeles",
    )  # fmt: skip
    parts = LAB_TRAIN * DAY, LAB_VALIDATE * DAY
    fits = {name: Forecaster(name, DAY, *parts).fit(panel) for name in ("naive", "seasonal_naive", model)}
    lines = {}
    for series, mote in enumerate(motes):
        found = {name: measured(fit, panel, series, parts[0], sum(parts)).figures for name, fit in fits.items()}
        naives = [found[name]["crps"] for name in ("naive", "seasonal_naive")]
        lines[mote] = {"naives": naives, **found[model]}
        print(
            f"lab {mote:2d} {channel:11s} MASE {found[model]['mase']:.3f} CRPS {found[model]['crps']:.3f}, "
            f"naives {naives[0]:.3f} and {naives[1]:.3f}, 80 % {found[model]['coverage80']:.3f}",
            flush=True,
        )
    return lines


def _rounded(value: float | None) -> Any:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
