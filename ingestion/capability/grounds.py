"""Readings without a fault, laid out on a grid, in which faults can be planted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingestion.simulating.faults import Plan
from ingestion.simulating.simulator import Readings, Simulated, Simulator, instants
from ingestion.simulating.worlds import Places
from sensors import quality
from sensors.derived import Before, derive, has_derived
from sensors.packs import Pack
from sensors.readings import Batch, Bools, Floats, Ints, Profile

CHUNK_US = 3_600_000_000


@dataclass(frozen=True)
class Ground:
    """Clean readings: (instants, motes, channels), NaN where nothing was measured. Itself a world of the simulator."""

    profile: Profile  # as the engine knows it
    measured: Profile  # without what is derived
    simulator: Mapping[str, Any]  # the pack's settings
    codes: tuple[str, ...]
    motes: Ints  # the engine's key of each
    at: Ints
    table: Floats
    interval_s: float
    offset_s: Ints  # of each mote's local time

    def values(self, at: Ints) -> Floats:
        """What was measured at these instants, or last before them."""
        place = np.maximum(np.searchsorted(self.at, at, side="right") - 1, 0)
        return self.table[place]

    @property
    def n_readings(self) -> int:
        return int(np.isfinite(self.table).any(axis=2).sum())

    @property
    def settings(self) -> Mapping[str, Any]:
        return {**self.simulator, "world": "bands"}

    def struck(self, plan: Plan, seed: int) -> Simulator:
        """A simulator that reports these readings with the plan's faults."""
        n = len(self.codes)
        places = Places(self.codes, np.zeros(n), np.zeros(n))
        fleet = Simulated(codes=self.codes, keys=(b"",) * n)
        simulator = Simulator(self.measured, fleet, places, plan=plan, seed=seed, settings=self.settings)
        simulator.world = self
        return simulator

    def sent(self, said: Readings) -> Readings:
        """Without what was never measured in the first place, and with each hole where it was."""
        was = self.values(said.at)[np.arange(len(said)), said.mote]
        values = np.where(np.isfinite(was), said.values, np.nan)
        hole_free = Readings(
            said.fleet, said.names, said.at, said.mote, values, said.reported_at, said.is_repeat
        )  # fmt: skip
        return hole_free.take(_any(was))

    def batch(self, said: Readings) -> Batch:
        """What the engine gets to see: times are those of the motes' own clocks."""
        n = len(said)
        values = np.full((n, len(self.profile.channels)), np.nan)
        values[:, [self.profile.names.index(name) for name in said.names]] = said.values
        zeros = np.zeros(n, dtype=np.int64)
        seen = Batch(
            profile=self.profile, mote=self.motes[said.mote], at=said.reported_at, values=values,
            utc_offset_s=self.offset_s[said.mote], partition=zeros, offset=np.arange(n), received_at=said.reported_at,
            flags=quality.range_flags(self.profile, values),
        )  # fmt: skip
        return derive(seen, Before()) if has_derived(self.profile) else seen


def simulated(pack: Pack, begin: int, end: int, *, seed: int, interval_s: float | None = None) -> Ground:
    """Days of the pack's own world on which nothing goes wrong."""
    simulator = Simulator.of(pack, site="main", seed=seed, anomaly_rate=0.0)
    interval_s = interval_s or pack.profile.interval_s
    n, k = len(simulator.places), len(simulator.profile.channels)
    tables = [
        simulator.produce(start, min(start + CHUNK_US, end), interval_s).values.reshape(-1, n, k)
        for start in range(begin, end, CHUNK_US)
    ]
    return Ground(
        profile=pack.profile, measured=pack.measured, simulator=pack.simulator, codes=simulator.places.codes,
        motes=np.arange(1, n + 1), at=instants(begin, end, interval_s), table=np.concatenate(tables),
        interval_s=interval_s, offset_s=np.zeros(n, dtype=np.int64),
    )  # fmt: skip


def recorded(batch: Batch, simulator: Mapping[str, Any], measured: Profile) -> Ground:
    """Clean readings of real motes, one a mote and interval, on the grid of the profile's interval."""
    step_us = round(batch.profile.interval_s * 1e6)
    motes, mote = np.unique(batch.mote, return_inverse=True)
    slot = batch.at // step_us
    first = int(slot.min())
    table = np.full((int(slot.max()) - first + 1, len(motes), len(measured.channels)), np.nan)
    table[slot - first, mote] = batch.values[:, [batch.profile.names.index(name) for name in measured.names]]
    offset_s = np.zeros(len(motes), dtype=np.int64)
    offset_s[mote] = batch.utc_offset_s
    return Ground(
        profile=batch.profile, measured=measured, simulator=simulator, codes=tuple(str(mote) for mote in motes),
        motes=motes, at=(first + np.arange(len(table))) * step_us, table=table,
        interval_s=batch.profile.interval_s, offset_s=offset_s,
    )  # fmt: skip


def clean(ground: Ground, begin: int, end: int) -> Batch:
    """The readings of a stretch as they are, in order of time."""
    rows = slice(*np.searchsorted(ground.at, (begin, end)).tolist())
    table = ground.table[rows]
    n, m, k = table.shape
    values, at = table.reshape(n * m, k), np.repeat(ground.at[rows], m)
    fleet = Simulated(codes=ground.codes, keys=())
    said = Readings(
        fleet, ground.measured.names, at, np.tile(np.arange(m), n), values, at, np.zeros(n * m, dtype=np.bool_)
    )  # fmt: skip
    return ground.batch(said.take(_any(values)))


def _any(values: Floats) -> Bools:
    """Rows in which anything was measured."""
    return np.asarray(np.isfinite(values).any(axis=1))
