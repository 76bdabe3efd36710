"""Sensor fault or real event? How often evidence's verdict is right where the truth is known.

    python -m bench.verdict [--learn 3] [--days 4] [--motes 42] [--seed 1] [--machines 12]

Simulated offices with every kind of sensor fault, in which things also really happen: a window is left open, a heater
runs away, somebody humidifies, lamps stay on; each is felt by all motes near it, the nearer the more. Beside them
machines that wear out (real) and whose sensors fail. A model is fitted on clean days before; each event that it finds
is judged from what is stored, as evidence does. Grades are not given: they take days.

The signs tell how often each speaks, on faults and on real events, and the weight that this would give it (the
logarithm of how many times as often): a hint for the weights in mlops/evidence/verdict.py, which are set by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT, embedded_django
from bench.quality import DAY_US, START

HOUR_US = 3_600_000_000
AFTER_US = HOUR_US // 2  # what is still noticed of it when it is over
FAULTS = {
    "stuck": 1, "drift": 1, "bias": 1, "noise": 1, "spike": 1, "multi_channel": 1, "battery_death": 0.3,
}  # fmt: skip
REACH_M = 10.0
INTERVAL_S = 30.0  # of a machine, too: one that reports each second would be most of all readings
# What happens in an office: by how much each channel changes where it is felt most, and how long that takes to come.
HAPPENINGS: dict[str, tuple[dict[str, float], float]] = {
    "window": ({"temperature": -7.0, "humidity": -9.0}, 300.0),
    "heater": ({"temperature": 9.0, "humidity": -12.0}, 1800.0),
    "humidifier": ({"humidity": 25.0, "temperature": -0.5}, 900.0),
    "lamps": ({"light": 450.0}, 30.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--learn", type=int, default=3, help="clean days to fit on")
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--machines", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    with embedded_django():
        judged = list(offices(options)) + list(machines(options))
    figures = {"truths": truths(judged), "signs": signs(judged), **shares(judged)}
    for truth, said in figures["truths"].items():
        print(f"{truth:22}", "  ".join(f"{name} {n}" for name, n in said.items()))
    for sign, row in figures["signs"].items():
        print(f"{sign:40}", "  ".join(f"{name} {value}" for name, value in row.items()))
    print(json.dumps(figures))


@dataclass(frozen=True, slots=True)
class Judged:
    """An event whose truth is known: what it was, what the verdict says, and the signs that spoke."""

    truth: str
    is_real: bool
    verdict: str
    reasons: tuple[tuple[str, str, float], ...]  # sign, what it speaks for, weight


# ---- what happens ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Happening:
    kind: str
    x: float
    y: float
    starts_us: int
    ends_us: int

    def felt(self, x: Any, y: Any) -> Any:
        return np.exp(-(((x - self.x) ** 2 + (y - self.y) ** 2) / REACH_M**2))

    def course(self, at: Any) -> Any:
        """It comes within its time, and goes in twice that."""
        from ingestion.simulating.worlds import ramp

        comes_s = HAPPENINGS[self.kind][1]
        comes = ramp((at - self.starts_us) / 1e6, 0.0, comes_s)
        return comes * (1.0 - ramp((at - self.ends_us) / 1e6, 0.0, 2.0 * comes_s))


class Lively:
    """A simulator in whose world things happen that every mote near them feels."""

    def __init__(self, simulator: Any, happenings: list[Happening]) -> None:
        self.simulator, self.happenings = simulator, happenings
        self.profile, self.places = simulator.profile, simulator.places

    def produce(self, start_us: int, end_us: int, interval_s: float) -> Any:
        said = self.simulator.produce(start_us, end_us, interval_s)
        x, y = self.places.x[said.mote], self.places.y[said.mote]
        low, high = self.profile.bounds("physical")
        for one in self.happenings:
            felt = one.felt(x, y) * one.course(said.at)
            for name, change in HAPPENINGS[one.kind][0].items():
                i = said.names.index(name)
                inside = (said.values[:, i] >= low[i]) & (said.values[:, i] <= high[i])
                changed = np.clip(said.values[:, i] + change * felt, low[i], high[i])
                step = self.profile.channels[i].resolution
                said.values[:, i] = np.where(inside & (felt > 0.01), np.rint(changed / step) * step, said.values[:, i])
        return said


def happenings(simulator: Any, begin: int, days: int, seed: int) -> list[Happening]:
    """Six a day somewhere on the floor, of 40 to 150 minutes, never two at once."""
    chance = np.random.default_rng(seed)
    found = []
    for n in range(6 * days):
        start = begin + n * 4 * HOUR_US + int(chance.uniform(0, 1.0) * HOUR_US)
        where = int(chance.integers(len(simulator.places)))
        kind = list(HAPPENINGS)[n % len(HAPPENINGS)]
        end = start + int(chance.uniform(40, 150) * 60e6)
        found.append(Happening(kind, simulator.places.x[where], simulator.places.y[where], start, end))
    return found


def offices(options: argparse.Namespace) -> Iterator[Judged]:
    from sensors.packs import read_pack
    from sensors.readings import micros

    pack = _faulty(read_pack("indoor").with_motes(options.motes), FAULTS)
    begin, simulator = micros(START), _simulator(pack, options.seed)
    real = happenings(simulator, begin, options.days, options.seed)

    def truth(code: str, channel: str, starts: int, ends: int) -> set[tuple[str, bool]]:
        place = simulator.places.codes.index(code)
        x, y = simulator.places.x[place], simulator.places.y[place]
        felt = {(one.kind, True) for one in real if _touches(one, starts, ends) and one.felt(x, y) > 0.05}
        return felt | _faults_of(simulator, code, channel, starts, ends)

    yield from _judge(pack, Lively(simulator, real), options, truth)


def machines(options: argparse.Namespace) -> Iterator[Judged]:
    from sensors.packs import read_pack

    pack = _faulty(read_pack("machine").with_motes(options.machines), {**FAULTS, "episode": 3})
    pack = replace(pack, profile=replace(pack.profile, interval_s=INTERVAL_S))
    simulator = _simulator(pack, options.seed)

    def truth(code: str, channel: str, starts: int, ends: int) -> set[tuple[str, bool]]:
        return _faults_of(simulator, code, channel, starts, ends)

    yield from _judge(pack, simulator, options, truth)


def _faulty(pack: Any, kinds: dict[str, float]) -> Any:
    kept = {name: n for name, n in kinds.items() if name != "battery_death" or pack.profile.battery}
    history = {"anomaly_rate": 0.06, "fault_length_s": [600, 10800], "faults": kept}
    return replace(pack, simulator={**pack.simulator, "history": history})


def _simulator(pack: Any, seed: int, **options: Any) -> Any:
    from ingestion.simulating.simulator import Simulator

    return Simulator.of(pack, site="main", seed=seed, is_history=True, **options)


def _touches(one: Any, starts: int, ends: int) -> bool:
    return bool(one.starts_us < ends and one.ends_us + AFTER_US > starts)


def _faults_of(simulator: Any, code: str, channel: str, starts: int, ends: int) -> set[tuple[str, bool]]:
    """The faults of the mote that explain an event of this channel; a machine's stages are real."""
    found = simulator.faults(starts - AFTER_US, ends)
    mine = [one for one in found if one.mote == code and _touches(one, starts, ends)]
    stages = set(simulator.episodes.stages)
    return {
        ("machine " + one.kind if one.kind in stages else one.kind, one.kind in stages)
        for one in mine
        if one.channel in ("", channel)
    }


# ---- what is judged -------------------------------------------------------------------------------------------


def _judge(pack: Any, simulator: Any, options: argparse.Namespace, truth: Any) -> Iterator[Judged]:
    """Learns from clean days, goes through the others, and judges each event whose truth is one thing alone."""
    from alerts.models import Event
    from mlops.detection import Engine, fallback
    from sensors.installation import install_pack
    from sensors.readings import concat, micros
    from sensors.registry import current_fleet
    from sensors.stores import hot

    install_pack(pack, site_code=f"of-{pack.profile.code}", time_zone="UTC", who=None, now=START)
    begin = micros(START)
    clean = _simulator(pack, options.seed, anomaly_rate=0.0)
    learnt, _ = _passed(fallback(pack.profile), pack, clean, begin - options.learn * DAY_US, begin)
    batches, told = _passed(Engine().fit(concat(learnt)), pack, simulator, begin, begin + options.days * DAY_US)
    fleet, store = current_fleet(), hot()
    for batch in batches:
        store.write(pack.profile, batch.to_table())
    from alerts import services

    services.record_events([services.Told(one, "") for one in told], fleet=fleet)
    events = Event.objects.filter(mote__profile__code=pack.profile.code).order_by("noticed_at")
    for event in events.select_related("mote__site", "mote__zone", "mote__profile"):
        starts, ends = micros(event.started_at), micros(event.last_at)
        known = truth(event.mote.code, event.peak_channel, starts, ends)
        if len(known) == 1:
            [(what, is_real)] = known
            yield _verdict_of(event, pack.profile, fleet, store, what, is_real)


def _passed(engine: Any, pack: Any, simulator: Any, begin: int, end: int) -> tuple[list[Any], list[Any]]:
    """The judged batches, and each event as it stood at last."""
    from bench.quality import _records
    from ingestion.pipeline import PartitionState, Pipeline
    from ingestion.wire import Wire
    from sensors.readings import stored_schema
    from sensors.registry import current_fleet

    def existing(profile: Any, keys: Any) -> Any:
        return pl.DataFrame(schema=stored_schema(profile))

    wire = Wire(replace(current_fleet(), default_site=f"of-{pack.profile.code}"))
    pipeline = Pipeline(wire, {pack.profile.code: engine}, existing, lambda: 0.0)
    states, batches, events = {0: PartitionState()}, [], {}
    for records, _ in _records(simulator, begin, end):
        outcome = pipeline.process(records, states)
        batches += outcome.batches
        events |= {(one.mote, one.noticed_at): one for one in outcome.changes}
    return batches, list(events.values())


def _verdict_of(event: Any, profile: Any, fleet: Any, store: Any, what: str, is_real: bool) -> Judged:
    from mlops.evidence import looking, verdict

    channel = next(one for one in profile.channels if one.code == event.peak_channel)
    start, end = looking.window(event, event.last_at + timedelta(hours=2))
    readings = store.between(profile, [event.mote_id], start, end)
    beside = looking.neighbours(event, channel, profile, mote=event.mote, fleet=fleet, store=store)
    seen = looking.signs(event, channel, profile, readings=readings, beside=beside, grade="")
    spoke = [
        (look.__name__.strip("_"), one.speaks_for, one.weight) for look in verdict.LOOKS for one in look(seen)
    ]  # fmt: skip
    return Judged(what, is_real, verdict.judge(seen).what, tuple(spoke))


# ---- what it comes to -----------------------------------------------------------------------------------------


def truths(judged: list[Judged]) -> dict[str, dict[str, int]]:
    """By what it was: how often which verdict."""
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for one in judged:
        told[("real: " if one.is_real else "fault: ") + one.truth][one.verdict] += 1
    return {name: dict(told[name].most_common()) for name in sorted(told)}


def signs(judged: list[Judged]) -> dict[str, dict[str, float]]:
    """Each sign: on how many faults and real events it spoke, and the weight that would be its due."""
    n = Counter(one.is_real for one in judged)
    spoke: dict[tuple[str, str, float], Counter[bool]] = defaultdict(Counter)
    for one in judged:
        for sign in one.reasons:
            spoke[sign][one.is_real] += 1
    found = {}
    for sign in sorted(spoke):
        faults, real = spoke[sign][False], spoke[sign][True]
        due = math.log((faults + 0.5) / (n[False] + 1) / ((real + 0.5) / (n[True] + 1)))
        name = f"{sign[0]} speaks for {sign[1]} by {sign[2]:g}"
        found[name] = {"on_faults": faults, "on_real": real, "due": round(due, 1)}
    return found


def shares(judged: list[Judged]) -> dict[str, Any]:
    """Of what was said to be one thing, the share that was; and the share of which it could not tell."""
    right = {False: "sensor_fault", True: "real_event"}
    told = [one for one in judged if one.verdict != "unclear"]
    n = {name: sum(one.verdict == name for one in told) for name in right.values()}
    return {
        "events": len(judged),
        "unclear": round(1 - len(told) / max(len(judged), 1), 3),
        **{
            f"{name}_right": round(
                sum(one.verdict == name == right[one.is_real] for one in told) / max(n[name], 1), 3
            )
            for name in right.values()
        },
    }  # fmt: skip


if __name__ == "__main__":
    main()
