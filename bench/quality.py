"""Which of the simulator's faults quality flags and sensor grades find, and how often they speak on healthy sensors.

    python -m bench.quality [--days 30] [--clean-days 7] [--motes 42] [--seed 1] [--fallback]

Simulated indoor days with the pack's faults of history (10 min to 4 h, a dying battery 12 times as long), whose truth
is known, go as messages through decode, judge and detect, with a model fitted on the seven days without a fault before
them (--fallback: with the pack's own limits). Every UTC day is graded by itself.

- flags find a fault if a reading received during it (or within two intervals after: a gap is flagged on the reading
  that ends it) carries a flag on the fault's channel, or any flag where the whole mote is concerned;
- the path refuses what it quarantines or knows as a duplicate;
- grades find it if the channel's grade of a day that it touches is worse than that channel's usual one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
LEARN = timedelta(days=7)
DAY_US = 86_400_000_000
CHUNK_US = DAY_US // 8
DELAY_US = 50_000  # from measuring to the broker
KEPT_DAYS = 1  # of what is stored, for the look-ups of late readings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--clean-days", type=int, default=7, help="without a fault, for what is said in vain")
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fallback", action="store_true", help="judge by the pack's limits instead of a fitted model")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    print(json.dumps(measure(options.days, options.clean_days, options.motes, options.seed, options.fallback)))


def measure(days: int, clean_days: int, n_motes: int, seed: int, is_fallback: bool) -> dict[str, Any]:
    from mlops.detection import Engine, fallback
    from sensors.packs import read_pack
    from sensors.readings import micros

    began = time.perf_counter()
    pack = read_pack("indoor").with_motes(n_motes)
    begin = micros(START)
    clean = _simulator(pack, seed, anomaly_rate=0.0)
    learnt = _judged(fallback(pack.profile), pack, clean, begin - micros_of(LEARN), begin)
    engine = fallback(pack.profile) if is_fallback else Engine().fit(learnt.batch())
    faulty = _simulator(pack, seed, is_history=True)
    judged = _judged(engine, pack, faulty, begin, begin + days * DAY_US)
    end = begin + days * DAY_US
    faults = [one for one in faulty.faults(begin, end, pack.profile.interval_s) if one.starts_us >= begin]
    healthy = _judged(engine, pack, clean, begin, begin + clean_days * DAY_US)
    return {
        "days": days, "motes": n_motes, "seed": seed, "readings": len(judged.at), "faults": len(faults),
        "graded_in_s": _graded_in_s(judged, pack.profile, begin, days),
        "model": "fallback" if is_fallback else "fitted on 7 clean days",
        "found": _found(faults, judged, pack.profile, begin, days),
        "clean": _in_vain(healthy, pack.profile, begin, clean_days),
        "seconds": round(time.perf_counter() - began),
    }  # fmt: skip


def micros_of(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _simulator(pack: Any, seed: int, **options: Any) -> Any:
    from ingestion.simulating.simulator import Simulator

    return Simulator.of(pack, site="main", time_zone="UTC", seed=seed, **options)


# ---- the reading path ---------------------------------------------------------------------------------------


@dataclass
class Judged:
    """What the path made of a simulation: its readings, and which messages it did not take."""

    codes: tuple[str, ...]
    batches: list[Any] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)  # (mote's place, when it was received)

    def batch(self) -> Any:
        from sensors.readings import concat

        if len(self.batches) != 1:
            self.batches = [concat(self.batches)]
        return self.batches[0]

    @property
    def at(self) -> Any:
        return self.batch().at


class Memory:
    """The last stored readings, for the look-ups of late ones."""

    def __init__(self) -> None:
        self.tables: list[pl.DataFrame] = []

    def keep(self, batches: list[Any]) -> None:
        self.tables = [*self.tables, *(batch.to_table() for batch in batches)][-KEPT_DAYS * (DAY_US // CHUNK_US) :]

    def existing(self, profile: Any, keys: pl.DataFrame) -> pl.DataFrame:
        from sensors.readings import stored_schema

        found = [table.join(keys, on=["mote", "at"], how="semi") for table in self.tables]
        return pl.concat([pl.DataFrame(schema=stored_schema(profile)), *found])


def _judged(engine: Any, pack: Any, simulator: Any, begin: int, end: int) -> Judged:
    from ingestion.pipeline import PartitionState, Pipeline
    from ingestion.wire import Wire
    from sensors.fleet import Fleet, MoteRef

    codes = simulator.places.codes
    motes = tuple(
        MoteRef(id=i, code=code, site="main", zone="lab", profile="indoor", time_zone="UTC", state="active")
        for i, code in enumerate(codes)
    )
    fleet = Fleet(revision=1, motes=motes, profiles={"indoor": pack.profile}, default_site="main")
    memory, states = Memory(), {0: PartitionState()}
    pipeline = Pipeline(Wire(fleet), {"indoor": engine}, memory.existing, time.monotonic)
    judged = Judged(codes)
    for records, who in _records(simulator, begin, end):
        outcome = pipeline.process(records, states)
        memory.keep(outcome.batches)
        judged.batches += outcome.batches
        taken = np.concatenate([batch.offset for batch in outcome.batches])
        lost = ~np.isin(records.offset, taken)
        judged.refused += list(zip(who[lost].tolist(), records.received_at[lost].tolist(), strict=True))
    return judged


def _records(simulator: Any, begin: int, end: int) -> Iterator[tuple[Any, Any]]:
    """Messages as they come in, and whose each is; what is sent again comes when it is sent."""
    from ingestion.records import Records
    from ingestion.simulating.simulator import messages

    offset = 0
    for start in range(begin, end, CHUNK_US):
        said = simulator.produce(start, min(start + CHUNK_US, end), simulator.profile.interval_s)
        values, _ = messages(said)
        n = len(values)
        received = np.maximum.accumulate(said.at) + DELAY_US
        yield Records(values, np.zeros(n, np.int64), np.arange(offset, offset + n), received), said.mote
        offset += n


# ---- what was found -----------------------------------------------------------------------------------------


def _found(faults: list[Any], judged: Judged, profile: Any, begin: int, days: int) -> dict[str, Any]:
    """Of each kind: how many there were, and the share that each means found."""
    worse = _worse_days(judged, profile, begin, days)
    flagged = _Flagged(judged, profile)
    told: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    missed: dict[str, Counter[str]] = defaultdict(Counter)
    for fault in faults:
        mote = judged.codes.index(fault.mote)
        names = [fault.channel] if fault.channel else [one.code for one in profile.channels if one.formula is None]
        touched = range((fault.starts_us - begin) // DAY_US, min((fault.ends_us - 1 - begin) // DAY_US + 1, days))
        told[fault.kind].append(
            (
                flagged.between(mote, fault.channel, fault.starts_us, fault.ends_us),
                flagged.refused(mote, fault.starts_us, fault.ends_us),
                any((day, mote, name) in worse for day in touched for name in names),
            )
        )
        if not any(told[fault.kind][-1]):
            missed[fault.kind][fault.channel or "mote"] += 1
    shares = {kind: np.array(each) for kind, each in sorted(told.items())}
    return {
        kind: {
            "faults": len(each),
            **{name: _share(each[:, i]) for i, name in enumerate(("flags", "refused", "grades"))},
            "either": _share(each.any(axis=1)),
            "missed": dict(missed[kind]),
        }
        for kind, each in shares.items()
    }


def _share(found: Any) -> float:
    return round(float(found.mean()), 2)


class _Flagged:
    """Readings with a flag, by mote, in order of arrival."""

    def __init__(self, judged: Judged, profile: Any) -> None:
        from sensors import quality

        self.names = profile.names
        self.after_us = int(2 * profile.interval_s * 1e6) + DELAY_US
        batch = judged.batch()
        rows = np.flatnonzero(batch.flags)
        rows = rows[np.lexsort((batch.received_at[rows], batch.mote[rows]))]
        self.mote, self.at = batch.mote[rows], batch.received_at[rows]
        self.channels = quality.suspects(batch.flags[rows], len(profile.names))
        self._refused: dict[int, Any] = {
            mote: np.sort([at for who, at in judged.refused if who == mote]) for mote in range(len(judged.codes))
        }

    def between(self, mote: int, channel: str, starts_us: int, ends_us: int) -> bool:
        first, last = np.searchsorted(self.mote, (mote, mote + 1))
        a, b = first + np.searchsorted(self.at[first:last], (starts_us, ends_us + self.after_us))
        if not channel:
            return bool(b > a)
        return bool(self.channels[a:b, self.names.index(channel)].any())

    def refused(self, mote: int, starts_us: int, ends_us: int) -> bool:
        a, b = np.searchsorted(self._refused[mote], (starts_us, ends_us + self.after_us))
        return bool(b > a)


def _table(judged: Judged, profile: Any) -> pl.DataFrame:
    return judged.batch().to_table().select("mote", "at", *profile.names, "flags")


def _graded_in_s(judged: Judged, profile: Any, begin: int, days: int) -> float:
    """How long it takes to grade the whole range at once."""
    from sensors.grades import grades

    table = _table(judged, profile)
    began = time.perf_counter()
    grades(profile, table, dict.fromkeys(range(len(judged.codes)), "main/lab"), begin, begin + days * DAY_US)
    return round(time.perf_counter() - began, 1)


def _worse_days(judged: Judged, profile: Any, begin: int, days: int) -> set[tuple[int, int, str]]:
    """Days on which a mote's channel was graded worse than it usually is."""
    from sensors.grades import grades

    table, at = _table(judged, profile), pl.col("at").cast(pl.Int64)
    motes = dict.fromkeys(range(len(judged.codes)), "main/lab")
    measured = [one.code for one in profile.channels if one.formula is None]
    letters: dict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)
    for day in range(days):
        starts, ends = begin + day * DAY_US, begin + (day + 1) * DAY_US
        for one in grades(profile, table.filter((at >= starts) & (at < ends)), motes, starts, ends):
            if one.channel in measured:
                letters[one.mote, one.channel].append((day, one.letter))
    usual = {key: sorted(letter for _, letter in each)[len(each) // 2] for key, each in letters.items()}
    return {(day, *key) for key, each in letters.items() for day, letter in each if letter > usual[key]}


def _in_vain(judged: Judged, profile: Any, begin: int, days: int) -> dict[str, Any]:
    """What flags and grades say where nothing is wrong."""
    from sensors import quality

    batch = judged.batch()
    flagged = batch.flags != 0
    kinds = Counter(name for flags in batch.flags[flagged].tolist() for name in quality.names(flags))
    worse = _worse_days(judged, profile, begin, days)
    sensor_days = days * len(judged.codes) * sum(one.formula is None for one in profile.channels)
    return {
        "days": days,
        "readings": len(batch),
        "flagged_share": float(f"{flagged.mean():.2g}"),
        "flagged_by_kind": dict(kinds),
        "worse_days_share": float(f"{len(worse) / sensor_days:.2g}"),
        "worse_days_by_channel": dict(Counter(name for *_, name in worse)),
    }


if __name__ == "__main__":
    main()
