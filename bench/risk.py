"""Whether the risks that are stated come true as often: 60 simulated days with known outcome, learnt from days before.

    python -m bench.risk [--days 60] [--learnt 20] [--every-h 2] [--machines 5] [--seed 5]

Motes of the pack `indoor` are asked at each origin how likely they pass limits within a day, those of `machine` how
likely they are degrading or failing within four hours, by the product's own fit, paths and risk. Told are the chances
that were stated against the share that came, by tenths; and of FAILING, which the simulator knows, how long before it
began it was announced (a chance of a half or more), and how many announcements came to nothing.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from bench._place import ROOT
from ingestion.simulating.faults import Fault
from ingestion.simulating.simulator import Simulator
from mlops.forecasting import CannotForecast, Fitted, Forecaster, Panel, panel_of
from mlops.forecasting.risk import HIGH, Limit, Paths, paths, risk
from mlops.forecasts.courses import Course, course_of, seen
from mlops.forecasts.stages import stage_risks
from sensors import wear as wearing
from sensors.packs import read_pack
from sensors.readings import Floats, micros

START = micros(datetime(2026, 3, 2, tzinfo=UTC))
DAY_US, STEP_S, EVERY_S = 86_400_000_000, 300.0, 60.0
A_DAY = round(86_400 / STEP_S)  # steps
AHEAD = {"indoor": A_DAY, "machine": A_DAY // 6}
QUANTILES = (0.01, 0.05, 0.1, 0.9, 0.95, 0.99)  # of what was learnt from, as limits beside the normal band
MACHINE = ("temperature", "vibration", "pressure", "power")
ROOMS, SEED, ENOUGH, TENTHS = 4, 5, 50, 10
Case = tuple[float, bool]  # the chance that was stated, and whether it came


@dataclass(frozen=True)
class World:
    """What a pack's motes measured, by channel a panel of all of them, and what learnt its beginning."""

    codes: Sequence[str]
    panels: dict[str, Panel]
    fitted: dict[str, Fitted]
    truth: Sequence[Fault]
    horizon: int

    def ways(self, channel: str, mote: int, origin: int) -> Paths:
        """By what was measured before the origin. Raises CannotForecast."""
        panel = self.panels[channel]
        return paths(self.fitted[channel], panel.only([panel.names[mote]]).head(origin))

    def of_channels(self, channels: Sequence[str], mote: int, origin: int) -> list[Paths]:
        return [self.ways(channel, mote, origin) for channel in channels]

    def course(self, channels: Sequence[str], mote: int, origin: int) -> Course:
        panels = [self.panels[channel] for channel in channels]
        return course_of([one.only([one.names[mote]]).head(origin) for one in panels])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--days", type=int, default=60, help="judged")
    parser.add_argument("--learnt", type=int, default=20, help="days before them")
    parser.add_argument("--every-h", type=float, default=2.0, help="hours from one question to the next")
    parser.add_argument("--machines", type=int, default=5)
    parser.add_argument("--parts", default="indoor,machine")
    parser.add_argument("--seed", type=int, default=SEED, help="of the simulation")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    first, n = options.learnt * A_DAY, (options.learnt + options.days) * A_DAY
    told: dict[str, Any] = {"days": options.days}
    if "indoor" in options.parts:
        rooms = simulated("indoor", ROOMS, first, n, ("temperature", "humidity"), options.seed)
        told["indoor"] = reliability(indoor(rooms, first, n, options.every_h))
        print(json.dumps({"indoor": told["indoor"]}), flush=True)
    if "machine" in options.parts:
        machines = simulated("machine", options.machines, first, n, MACHINE, options.seed)
        told |= of_machines(machines, first, n, options.every_h / 2)
    told["holds"] = all(told[name]["worst"] <= 0.1 for name in ("indoor", "degrading", "failing") if name in told)
    print(json.dumps(told))


def of_machines(world: World, first: int, n: int, every_h: float) -> dict[str, Any]:
    said = asked_machines(world, first, n, every_h)
    told = {
        name: reliability((one.chance[stage], one.came[stage]) for one in said if one.came[stage] is not None)
        for stage, name in ((wearing.DEGRADING, "degrading"), (wearing.FAILING, "failing"))
    }
    told["failing"] |= announced(said, world)
    return told


def simulated(pack: str, n_motes: int, first: int, n: int, channels: Sequence[str], seed: int) -> World:
    known = read_pack(pack)
    simulator = Simulator.of(known, site="bench", seed=seed, n_motes=n_motes, is_history=True)
    end = START + n * DAY_US // A_DAY
    readings = simulator.produce(START, end, EVERY_S).once()
    codes = list(readings.fleet.codes)
    panels, fitted = {}, {}
    for channel in channels:
        (limits,) = [one.physical for one in known.profile.channels if one.code == channel]
        values = readings.values[:, [readings.names.index(channel)]]
        outside = (values < limits[0]) | (values > limits[1])
        panel = panel_of(
            readings.at, values, codes, series=readings.mote, n_series=len(codes), is_bad=outside, step_s=STEP_S,
            limits=[limits] * len(codes),
        )  # fmt: skip
        panels[channel] = panel.head(n)
        fitted[channel] = Forecaster("linear", AHEAD[pack]).fit(panel.head(first))
    return World(codes, panels, fitted, simulator.faults(START, end), AHEAD[pack])


# ---- rooms --------------------------------------------------------------------------------------------------


def indoor(world: World, first: int, n: int, every_h: float) -> Iterator[Case]:
    for channel, panel in world.panels.items():
        for mote in range(len(world.codes)):
            values = panel.values[:, mote]
            limits = [Limit(float(np.nanquantile(values[:first], q)), q > 0.5) for q in QUANTILES]
            for origin in range(first, n - world.horizon, round(every_h * 3600 / STEP_S)):
                yield from _cases(world, channel, mote, origin, values, limits)


def _cases(
    world: World, channel: str, mote: int, origin: int, values: Floats, limits: Sequence[Limit]
) -> Iterator[Case]:
    if not np.isfinite(values[origin - 1]):
        return  # silent: its forecast would begin earlier
    try:
        ways = world.ways(channel, mote, origin)
    except CannotForecast:
        return
    came = values[origin : origin + world.horizon]
    for limit in limits:
        found = risk(ways, limit)
        if not found.is_beyond:
            yield found.probability, bool(limit.is_passed(came).any())


# ---- machines -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """Of a machine at an origin: the chance of each stage, and whether it came; None where it was there already."""

    mote: int
    origin: int
    chance: dict[int, float]
    came: dict[int, bool | None]


def asked_machines(world: World, first: int, n: int, every_h: float) -> list[Asked]:
    pack = read_pack("machine")
    limits = wearing.limits(pack.profile, {"simulator": pack.simulator})
    channels = [one.channel.code for one in limits]
    courses = [world.course(channels, mote, n) for mote in range(len(world.codes))]
    before = seen(limits, [replace(one, values=one.values[:first]) for one in courses])
    found = []
    for mote, course in enumerate(courses):
        severity = course.severity(limits)
        for origin in range(first, n - world.horizon, round(every_h * 3600 / STEP_S)):
            known = before.risks(world.course(channels, mote, origin))
            try:
                risks = stage_risks(limits, partial(world.of_channels, channels, mote, origin), known)
            except CannotForecast:
                continue
            ahead = severity[origin : origin + world.horizon]
            found.append(Asked(
                mote, origin, {stage: one.probability for stage, one in risks.items()},
                {stage: None if one.is_beyond else bool((ahead > stage - 1).any()) for stage, one in risks.items()},
            ))  # fmt: skip
    return found


def announced(said: Sequence[Asked], world: World) -> dict[str, Any]:
    """Of FAILING: the median lead, and the share of announcements that nothing came of."""
    leads, missed = [], 0
    begun = sorted({one.origin for one in said})
    for fault in world.truth:
        at = (fault.starts_us - START) / 1e6 / STEP_S
        if fault.kind != "failing" or not begun[0] + world.horizon <= at < begun[-1]:
            continue
        before = [one for one in said if world.codes[one.mote] == fault.mote and at - world.horizon <= one.origin <= at]
        told = [one.origin for one in before if one.came[wearing.FAILING] is not None and _is_told(one)]
        leads += [(at - min(told)) * STEP_S / 60] if told else []
        missed += not told
    open_ = [one for one in said if one.came[wearing.FAILING] is not None and _is_told(one)]
    false = sum(not one.came[wearing.FAILING] for one in open_)
    return {
        "failures": len(leads) + missed, "announced": len(leads),
        "median_lead_min": round(float(np.median(leads)), 1) if leads else None,
        "announcements": len(open_), "false_warning_rate": round(false / max(len(open_), 1), 3),
    }  # fmt: skip


def _is_told(one: Asked) -> bool:
    return one.chance[wearing.FAILING] >= HIGH


# ---- stated against observed --------------------------------------------------------------------------------


def reliability(cases: Any) -> dict[str, Any]:
    """By tenths of the stated chance; `worst` is how far off the worst is of those that have 50 cases or more."""
    stated, came = (np.array(column, dtype=np.float64) for column in zip(*cases, strict=True))
    tenth = np.minimum((stated * TENTHS).astype(np.int64), TENTHS - 1)
    bins = [
        {"from": k / TENTHS, "n": int((tenth == k).sum()), "stated": round(float(stated[tenth == k].mean()), 3),
         "observed": round(float(came[tenth == k].mean()), 3)}
        for k in range(TENTHS) if (tenth == k).any()
    ]  # fmt: skip
    worst = max((abs(one["stated"] - one["observed"]) for one in bins if one["n"] >= ENOUGH), default=0.0)
    return {"cases": len(stated), "worst": round(worst, 3), "bins": bins}


if __name__ == "__main__":
    main()
