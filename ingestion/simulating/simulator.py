"""Simulated sensors whose truth is known: readings and faults as functions of seed and time. Pure.

The same instant gives the same reading however a range is cut and at whatever interval it is asked for, so that live
goes on where history ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from ingestion.simulating import noise, worlds
from ingestion.simulating.disturbances import US as US  # told on: all who simulate count in microseconds
from ingestion.simulating.disturbances import Stretch, battery_death, disturbed, is_seen, sent_again, skew_us
from ingestion.simulating.episodes import COURSES, FLUTTER_S, Episodes
from ingestion.simulating.faults import Fault, Incident, Plan, Schedule, rows
from sensors.packs import Pack
from sensors.packs.simulated import battery_channel
from sensors.readings import Bools, Floats, Ints, Profile


@dataclass(frozen=True, slots=True)
class Simulated:
    """Who sends: what stands in messages beside the values."""

    codes: tuple[str, ...]
    keys: tuple[bytes, ...]
    id_field: str = "mote_id"
    site: str = ""  # named in messages where it is not the site that messages mean by default


@dataclass(frozen=True, slots=True)
class Readings:
    """What simulated motes send, one row a message, in order of sending; `mote` is the place in `fleet.codes`."""

    fleet: Simulated
    names: tuple[str, ...]
    at: Ints  # when it was measured
    mote: Ints
    values: Floats
    reported_at: Ints  # when it was measured by the mote's own clock
    is_repeat: Bools  # whether the same message has been sent before

    def __len__(self) -> int:
        return len(self.at)

    def once(self) -> Readings:
        """Without what was sent again."""
        return self if not self.is_repeat.any() else self.take(~self.is_repeat)

    def take(self, chosen: Bools) -> Readings:
        return Readings(
            self.fleet, self.names, self.at[chosen], self.mote[chosen], self.values[chosen], self.reported_at[chosen],
            self.is_repeat[chosen],
        )  # fmt: skip


class Report(NamedTuple):
    """Tables of (instants, motes[, channels]): what is measured, whether it is sent, how far the clock is ahead."""

    values: Floats
    present: Bools
    ahead_us: Ints


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
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        settings = settings or {}
        channels = settings.get("channels", {})
        self.profile, self.fleet, self.places, self.plan, self.seed = profile, fleet, places, plan, seed
        self.world = worlds.build(settings.get("world", "bands"), profile, places, seed, settings)
        self.schedule = Schedule(plan, profile, places, seed)
        self.episodes = Episodes(profile, settings)
        self.extremes = [_extremes(channel.physical, channels.get(channel.code, {})) for channel in profile.channels]
        self.spikes_to = [channels.get(name, {}).get("extreme") for name in profile.names]
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
        codes = tuple(mote.code for mote in pack.motes)
        x, y = worlds.spread([mote.x for mote in pack.motes], [mote.y for mote in pack.motes])
        return cls(
            pack.measured,
            Simulated(
                codes=codes,
                keys=tuple((f"{site}/{mote.zone}" if mote.zone else site).encode() for mote in pack.motes),
                id_field=pack.simulator.get("id_field", "mote_id"),
                site=site if names_site else "",
            ),
            worlds.Places(codes, x, y, time_zone),
            plan=plan_of(pack, anomaly_rate=anomaly_rate, is_history=is_history),
            seed=seed,
            settings=pack.simulator,
        )

    def produce(self, start_us: int, end_us: int, interval_s: float) -> Readings:
        """What is sent with start <= time of sending < end; motes measure at every multiple of the interval."""
        due = instants(start_us, end_us, interval_s)
        again = self._again(start_us, end_us, interval_s)
        at = np.union1d(due, again["at"]) if len(again) else due
        n, m, k = len(at), len(self.places), len(self.profile.channels)
        report = self._report(at) if n and m else _nothing(n, m, k)
        row = np.arange((n - len(due)) * m, n * m)  # what is due follows on what is only sent again
        is_repeat = np.zeros(len(row), dtype=np.bool_)
        if len(again):
            row, is_repeat = _lined_up(at, row, again, m)
        present = report.present.reshape(-1)[row]
        if not present.all():
            row, is_repeat = row[present], is_repeat[present]
        measured, mote = at[row // max(m, 1)], row % max(m, 1)
        ahead_us = report.ahead_us.reshape(-1)[row]
        values = report.values.reshape(n * m, k)[row]
        return Readings(self.fleet, self.profile.names, measured, mote, values, measured + ahead_us, is_repeat)

    def faults(self, start_us: int, end_us: int, interval_s: float | None = None) -> list[Fault]:
        """The truth: every fault that touches the range, in order of its beginning.

        With an interval only those that concern a reading: of the others nobody could ever find anything.
        """
        found = [
            fault
            for incident in self.schedule.between(start_us, end_us)
            for fault in self._truth(incident)
            if interval_s is None or is_seen(incident, instants(fault.starts_us, fault.ends_us, interval_s))
        ]
        touching = [fault for fault in found if fault.starts_us < end_us and fault.ends_us > start_us]
        return sorted(touching, key=lambda fault: (fault.starts_us, fault.mote))

    def _truth(self, incident: Incident) -> list[Fault]:
        code = self.places.codes[incident.mote]
        if incident.kind == "episode":
            return self.episodes.stretches(incident, code)
        names = [self.profile.names[channel] for channel in incident.channels] or [""]
        return [Fault(code, name, incident.kind, incident.starts_us, incident.ends_us) for name in names]

    def _again(self, start_us: int, end_us: int, interval_s: float) -> Any:
        """What is sent a second time in the range: when it was measured, when it goes out, whose it is."""
        found = [np.empty(0, dtype=REPEAT)]
        for incident in self.schedule.between(start_us, end_us):
            if incident.kind == "duplicate":
                at, sent = sent_again(incident, instants(incident.starts_us, incident.ends_us, interval_s))
                inside = (sent >= start_us) & (sent < end_us)
                repeats = np.empty(int(inside.sum()), dtype=REPEAT)
                repeats["at"], repeats["sent"], repeats["mote"] = at[inside], sent[inside], incident.mote
                found.append(repeats)
        return np.concatenate(found)

    def _report(self, at: Ints) -> Report:
        values = self.world.values(at)
        shape = values.shape[:2]
        report = Report(values, np.ones(shape, dtype=np.bool_), np.zeros(shape, dtype=np.int64))
        for incident in self.schedule.between(int(at[0]), int(at[-1]) + 1):
            touched = rows(at, incident)
            if touched.start < touched.stop:
                self._strike(incident, at[touched], touched, report)
        for i, (resolution, steps, scale) in enumerate(self._grid):
            # Sensors report whole steps: a fault, too, lies on the grid. Dividing last gives the nearest short decimal.
            np.divide(np.rint(values[:, :, i] / resolution) * steps, scale, out=values[:, :, i])
        return report

    def _strike(self, incident: Incident, at: Ints, touched: slice, report: Report) -> None:
        """Changes what is reported, in place."""
        place = (touched, incident.mote)
        match incident.kind:
            case "drop_out":
                report.present[place] = False
            case "clock_skew":
                report.ahead_us[place] += skew_us(incident)
            case "duplicate":
                pass  # the same readings, sent more often
            case "battery_death":
                values, is_alive = self._dying(incident, at, report.values[place])
                report.values[place] = values
                report.present[place] &= is_alive
            case "episode":
                streams = noise.keys(incident.shape, f"episode/{incident.starts_us}", self.profile.names)
                unsteady = noise.wander(streams, at, FLUTTER_S)
                report.values[place] = self.episodes.apply(incident, at, report.values[place], unsteady)
            case _:
                for channel in incident.channels:
                    self._disturb(incident, channel, at, report.values[(*place, channel)])

    def _dying(self, incident: Incident, at: Ints, values: Floats) -> tuple[Floats, Bools]:
        return battery_death(incident, at, values, self.profile.names, battery_channel(self.profile))

    def _disturb(self, incident: Incident, i: int, at: Ints, values: Floats) -> None:
        """Changes the values of a channel, a view, in place."""
        first = 0.0
        if incident.kind == "stuck":
            onset = np.array([incident.starts_us], dtype=np.int64)
            first = float(self.world.values(onset)[0, incident.mote, i])
        channel = self.profile.channels[i]
        stretch = Stretch(incident, i, at, values, first, channel.normal, self.extremes[i], self.spikes_to[i])
        values[:] = disturbed(stretch, channel.physical)


REPEAT = np.dtype([("at", np.int64), ("sent", np.int64), ("mote", np.int64)])


def _nothing(n: int, m: int, k: int) -> Report:
    return Report(np.empty((n, m, k)), np.ones((n, m), dtype=np.bool_), np.zeros((n, m), dtype=np.int64))


def _lined_up(at: Ints, row: Ints, again: Any, m: int) -> tuple[Ints, Bools]:
    """The rows with those that are sent again, in order of sending, and which of them are repeats."""
    repeats = np.searchsorted(at, again["at"]) * m + again["mote"]
    sent = np.concatenate([at[row // m], again["sent"]])
    is_repeat = np.arange(len(sent)) >= len(row)
    row = np.concatenate([row, repeats])
    order = np.lexsort((is_repeat, row // m, row % m, sent))
    return row[order], is_repeat[order]


def plan_of(pack: Pack, *, anomaly_rate: float | None = None, is_history: bool = False) -> Plan:
    """How often a pack lets things go wrong, live or in history."""
    settings = pack.simulator
    if is_history and settings.get("history"):
        settings = {**settings, **settings["history"]}
    chosen: dict[str, Any] = {"kinds": settings["faults"]} if settings.get("faults") else {}
    chosen["anomalous"] = {"episode": COURSES[settings.get("course", "wear")].anomalous}
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
    moments, place = np.unique(readings.reported_at, return_inverse=True)
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
