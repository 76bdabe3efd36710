"""Simulated sensors whose truth is known: readings and faults as functions of seed and time. Pure.

The same instant gives the same reading however a range is cut and at whatever interval it is asked for, so that live
goes on where history ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from ingestion import noise, worlds
from ingestion.faults import Episodes, Fault, Incident, Plan, Schedule, Stretch, disturbed, rows
from sensors.packs import Pack
from sensors.readings import Floats, Ints, Profile

US = 1_000_000


@dataclass(frozen=True, slots=True)
class Simulated:
    """Who sends: what stands in messages beside the values."""

    codes: tuple[str, ...]
    keys: tuple[bytes, ...]
    id_field: str = "mote_id"
    site: str = ""  # named in messages where it is not the site that messages mean by default


@dataclass(frozen=True, slots=True)
class Readings:
    """What simulated motes report, one row a reading, in order of time; `mote` is the place in `fleet.codes`."""

    fleet: Simulated
    names: tuple[str, ...]
    at: Ints
    mote: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.at)


class Simulator:
    """A world, its faults, and the motes that report it."""

    def __init__(
        self,
        profile: Profile,
        fleet: Simulated,
        places: worlds.Places,
        *,
        plan: Plan,
        seed: int = 1,
        world: str = "bands",
        channels: Mapping[str, Any] | None = None,
        stages: Sequence[str] = (),
    ) -> None:
        channels = channels or {}
        self.profile, self.fleet, self.places, self.plan, self.seed = profile, fleet, places, plan, seed
        self.world = worlds.build(world, profile, places, seed, channels)
        self.schedule = Schedule(plan, profile, places, seed)
        self.episodes = Episodes(profile, stages, channels)
        self.extremes = [_extremes(channel.physical, channels.get(channel.code, {})) for channel in profile.channels]
        self._grid = [_grid(channel.resolution) for channel in profile.channels]

    @classmethod
    def of(
        cls,
        pack: Pack,
        *,
        site: str,
        time_zone: str = "UTC",
        seed: int = 1,
        n_motes: int | None = None,
        anomaly_rate: float | None = None,
        is_history: bool = False,
        names_site: bool = False,
    ) -> Simulator:
        """The pack's motes at a site, with the faults it has for live or for history."""
        pack = pack if n_motes is None else pack.with_motes(n_motes)
        settings = pack.simulator
        codes = tuple(mote.code for mote in pack.motes)
        x, y = worlds.spread([mote.x for mote in pack.motes], [mote.y for mote in pack.motes])
        return cls(
            pack.profile,
            Simulated(
                codes=codes,
                keys=tuple((f"{site}/{mote.zone}" if mote.zone else site).encode() for mote in pack.motes),
                id_field=settings.get("id_field", "mote_id"),
                site=site if names_site else "",
            ),
            worlds.Places(codes, x, y, time_zone),
            plan=plan_of(pack, anomaly_rate=anomaly_rate, is_history=is_history),
            seed=seed,
            world=settings.get("world", "bands"),
            channels=settings.get("channels"),
            stages=settings.get("stages", ()),
        )

    def produce(self, start_us: int, end_us: int, interval_s: float) -> Readings:
        """What is reported at every multiple of the interval with start <= at < end."""
        at = instants(start_us, end_us, interval_s)
        n, m = len(at), len(self.places)
        values, present = self._report(at) if n and m else (np.empty((n, m, len(self.profile.channels))), None)
        table = values.reshape(n * m, len(self.profile.channels))
        when, who = np.repeat(at, m), np.tile(np.arange(m, dtype=np.int64), n)
        if present is not None and not present.all():
            kept = present.reshape(n * m)
            table, when, who = table[kept], when[kept], who[kept]
        return Readings(self.fleet, self.profile.names, when, who, table)

    def faults(self, start_us: int, end_us: int) -> list[Fault]:
        """The truth: every fault that touches the range, in order of its beginning."""
        found = [fault for incident in self.schedule.between(start_us, end_us) for fault in self._truth(incident)]
        touching = [fault for fault in found if fault.starts_us < end_us and fault.ends_us > start_us]
        return sorted(touching, key=lambda fault: (fault.starts_us, fault.mote))

    def _truth(self, incident: Incident) -> list[Fault]:
        code = self.places.codes[incident.mote]
        if incident.kind == "episode":
            return self.episodes.stretches(incident, code)
        channel = "" if incident.kind == "drop_out" else self.profile.names[incident.channel]
        return [Fault(code, channel, incident.kind, incident.starts_us, incident.ends_us)]

    def _report(self, at: Ints) -> tuple[Floats, Any]:
        values = self.world.values(at)
        present = np.ones(values.shape[:2], dtype=np.bool_)
        for incident in self.schedule.between(int(at[0]), int(at[-1]) + 1):
            touched = rows(at, incident)
            if touched.start == touched.stop:
                continue
            if incident.kind == "drop_out":
                present[touched, incident.mote] = False
            elif incident.kind == "episode":
                values[touched, incident.mote] = self._episode(incident, at[touched], values[touched, incident.mote])
            else:
                self._disturb(incident, at[touched], values[touched, incident.mote, incident.channel])
        for i, (resolution, steps, scale) in enumerate(self._grid):
            # Sensors report whole steps: a fault, too, lies on the grid. Dividing last gives the nearest short decimal.
            np.divide(np.rint(values[:, :, i] / resolution) * steps, scale, out=values[:, :, i])
        return values, present

    def _episode(self, incident: Incident, at: Ints, values: Floats) -> Floats:
        streams = noise.keys(incident.shape, f"episode/{incident.starts_us}", self.profile.names)
        return self.episodes.apply(incident, at, values, noise.normal(streams, at))

    def _disturb(self, incident: Incident, at: Ints, values: Floats) -> None:
        """Changes the values, a view, in place."""
        i = incident.channel
        first = 0.0
        if incident.kind == "stuck":
            onset = np.array([incident.starts_us], dtype=np.int64)
            first = float(self.world.values(onset)[0, incident.mote, i])
        channel = self.profile.channels[i]
        stretch = Stretch(incident, at, values, first, channel.normal, self.extremes[i])
        values[:] = disturbed(stretch, channel.physical)


def plan_of(pack: Pack, *, anomaly_rate: float | None = None, is_history: bool = False) -> Plan:
    """How often a pack lets things go wrong, live or in history."""
    settings = pack.simulator
    if is_history and settings.get("history"):
        settings = {**settings, **settings["history"]}
    chosen: dict[str, Any] = {"kinds": settings["faults"]} if settings.get("faults") else {}
    low, high = settings.get("fault_length_s", (60.0, 600.0))
    rate = settings.get("anomaly_rate", 0.02) if anomaly_rate is None else anomaly_rate
    return Plan(anomaly_rate=rate, length_s=(low, high), **chosen)


def instants(start_us: int, end_us: int, interval_s: float) -> Ints:
    """The multiples of an interval in a range: the same ones, wherever the range is cut."""
    step = round(interval_s * US)
    return np.arange(-(-start_us // step), -(-end_us // step), dtype=np.int64) * step


def messages(readings: Readings) -> tuple[list[bytes], list[bytes]]:
    """Each reading as the JSON that travels, and the key that brings it to its peers."""
    fleet = readings.fleet
    if not len(readings):
        return [], []
    texts = pl.Series([msgspec.json.encode(code).decode() for code in fleet.codes])
    moments, place = np.unique(readings.at, return_inverse=True)
    stamps = pl.Series([repr(moment / US) for moment in moments.tolist()])
    site = f', "site": {msgspec.json.encode(fleet.site).decode()}' if fleet.site else ""
    parts: list[Any] = [
        pl.lit('{"timestamp": '), stamps.gather(place), pl.lit(f', "{fleet.id_field}": '), texts.gather(readings.mote),
        pl.lit(site),
    ]  # fmt: skip
    for i, name in enumerate(readings.names):
        column = pl.Series(f"v{i}", np.ascontiguousarray(readings.values[:, i]), nan_to_null=True)
        parts += [pl.lit(f', "{name}": '), column.cast(pl.String).fill_null("null")]
    encoded = pl.select(pl.concat_str([*parts, pl.lit("}")]).cast(pl.Binary)).to_series()
    keys = list(fleet.keys)
    return encoded.to_list(), [keys[i] for i in readings.mote.tolist()]


def fault_message(fault: Fault, *, site: str) -> bytes:
    """A fault as it is told on the labels stream."""
    return msgspec.json.encode(
        {
            "site": site, "mote_id": fault.mote, "channel": fault.channel, "kind": fault.kind,
            "starts_at": fault.starts_us / US, "ends_at": fault.ends_us / US, "source": "simulator",
        }
    )  # fmt: skip


def _grid(resolution: float) -> tuple[float, float, float]:
    """A resolution as whole steps of a power of ten: 0.05 is 5 hundredths."""
    scale = 1.0
    while abs(resolution * scale - round(resolution * scale)) > 1e-9 and scale < 1e9:
        scale *= 10.0
    return resolution, float(round(resolution * scale)), scale


def _extremes(physical: tuple[float, float], settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Where values lie that cannot be: below and above the physical range, or where the pack says."""
    if "extreme" in settings:
        return tuple(settings["extreme"]), tuple(settings["extreme"])
    low, high = physical
    width = high - low
    return (low - 0.5 * width, low - 0.1 * width), (high + 0.1 * width, high + 0.5 * width)
