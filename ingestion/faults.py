"""What goes wrong in the simulation: which fault when and where is a function of seed and time alone. Pure.

Each mote's time is cut into slots; a hash says whether a slot holds a fault and all about it. A fault never leaves its
slot, so the faults of a range are those of its slots, whoever asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ingestion import noise
from ingestion.worlds import Places
from sensors.readings import Floats, Ints, Profile

# An episode's course: nearing the edge of normal, over it, worse to the peak, and back after the repair.
COURSE = (0.0, 0.4, 0.9, 1.0)
NOT_NORMAL = {"episode": 0.55}  # the share of a fault's length in which readings are anomalous, where it is not all


@dataclass(frozen=True, slots=True)
class Fault:
    """A stretch in which a mote's readings are not what they should be. Instants are UTC microseconds, end excluded."""

    mote: str
    channel: str
    kind: str
    starts_us: int
    ends_us: int


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault as it is made: its place in the tables, and random numbers in 0..1 that shape it."""

    mote: int
    channel: int
    kind: str
    starts_us: int
    ends_us: int
    size: float
    sign: float
    shape: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How often things go wrong: the share of readings that are anomalous, how long a fault lasts, kinds by weight."""

    anomaly_rate: float
    length_s: tuple[float, float]
    kinds: Mapping[str, float] = field(default_factory=lambda: {"spike": 1.0, "drift": 1.0, "bias": 1.0, "noise": 1.0})

    def __post_init__(self) -> None:
        if not 0.0 <= self.anomaly_rate <= self.most:
            raise ValueError(
                f"an anomaly rate of {self.anomaly_rate:g} is not possible; with faults of {self.length_s[0]:g} to "
                f"{self.length_s[1]:g} s it is from 0 to {np.floor(self.most * 100) / 100:g}"
            )

    @property
    def mean_s(self) -> float:
        """Of the anomalous part of a fault."""
        total = sum(self.kinds.values())
        share = sum(weight * NOT_NORMAL.get(kind, 1.0) for kind, weight in self.kinds.items()) / total
        return share * sum(self.length_s) / 2.0

    @property
    def most(self) -> float:
        return self.mean_s / self.length_s[1]

    @property
    def slot_us(self) -> int:
        gap_s = self.mean_s / self.anomaly_rate if self.anomaly_rate else 0.0
        return int(max(self.length_s[1], gap_s / 2.0) * 1e6)

    @property
    def chance(self) -> float:
        """That a slot holds a fault."""
        return self.anomaly_rate * self.slot_us / (self.mean_s * 1e6)


class Schedule:
    """All faults of a fleet, for ever."""

    def __init__(self, plan: Plan, profile: Profile, places: Places, seed: int) -> None:
        self.plan, self.profile, self.places = plan, profile, places
        self.kinds = tuple(plan.kinds)
        self.weights = np.array([plan.kinds[kind] for kind in self.kinds], dtype=np.float64)
        facets = ("happens", "starts", "lasts", "kind", "channel", "size", "sign", "shape")
        self.streams = {facet: noise.keys(seed, f"fault/{facet}", places.codes) for facet in facets}

    def between(self, start_us: int, end_us: int) -> list[Incident]:
        """Those that touch the range, in order of their beginning."""
        if not self.plan.anomaly_rate or end_us <= start_us:
            return []
        slots = np.arange(start_us // self.plan.slot_us, (end_us - 1) // self.plan.slot_us + 1, dtype=np.int64)
        rows, motes = np.nonzero(noise.uniform(self.streams["happens"], slots) < self.plan.chance)
        if not len(rows):
            return []
        drawn = {name: noise.uniform(streams, slots)[rows, motes] for name, streams in self.streams.items()}
        low, high = (int(length * 1e6) for length in self.plan.length_s)
        length = low + (drawn["lasts"] * (high - low)).astype(np.int64)
        starts = slots[rows] * self.plan.slot_us + (drawn["starts"] * (self.plan.slot_us - length)).astype(np.int64)
        kinds = noise.pick(self.kinds, self.weights, drawn["kind"])
        channels = (drawn["channel"] * len(self.profile.channels)).astype(np.int64)
        found = [
            Incident(
                mote=int(motes[i]),
                channel=int(channels[i]),
                kind=kinds[i],
                starts_us=int(starts[i]),
                ends_us=int(starts[i] + length[i]),
                size=float(drawn["size"][i]),
                sign=1.0 if drawn["sign"][i] < 0.5 else -1.0,
                shape=int(drawn["shape"][i] * 2**31),
            )
            for i in np.flatnonzero((starts < end_us) & (starts + length > start_us)).tolist()
        ]
        return sorted(found, key=lambda incident: (incident.starts_us, incident.mote))


# ---- what a fault does to one channel -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stretch:
    """The readings of one mote and channel that an incident touches."""

    incident: Incident
    at: Ints
    values: Floats
    first: float  # what the sensor reported when it began
    normal: tuple[float, float]
    extreme: tuple[tuple[float, float], tuple[float, float]]  # below and above what is physical

    @property
    def width(self) -> float:
        return self.normal[1] - self.normal[0]

    @property
    def amount(self) -> float:
        """How far off: 0.6 to 1.2 of the normal band's width. What can hardly go lower goes up."""
        sign = 1.0 if self.normal[0] == 0.0 else self.incident.sign
        return sign * self.width * (0.6 + 0.6 * self.incident.size)

    @property
    def progress(self) -> Floats:
        return (self.at - self.incident.starts_us) / (self.incident.ends_us - self.incident.starts_us)

    def noise(self) -> Floats:
        return noise.normal(noise.keys(self.incident.shape, "noise", [self.incident.starts_us]), self.at)[:, 0]


def _spike(stretch: Stretch) -> Floats:
    """Single readings far off among good ones."""
    chance = noise.uniform(noise.keys(stretch.incident.shape, "spike", [stretch.incident.starts_us]), stretch.at)[:, 0]
    height = 1.0 + 0.5 * np.clip(stretch.noise(), -1.0, 1.0)
    return stretch.values + np.where(chance < 0.35, stretch.amount * height, 0.0)


def _drift(stretch: Stretch) -> Floats:
    return stretch.values + 1.5 * stretch.amount * stretch.progress


def _bias(stretch: Stretch) -> Floats:
    return stretch.values + stretch.amount


def _stuck(stretch: Stretch) -> Floats:
    return np.full_like(stretch.values, stretch.first)


def _cyclic(stretch: Stretch) -> Floats:
    """A swing with six periods in the fault's length."""
    return stretch.values + stretch.amount * np.sin(12.0 * np.pi * stretch.progress)


def _noise(stretch: Stretch) -> Floats:
    return stretch.values + 0.5 * stretch.amount * stretch.noise()


def _out_of_range(stretch: Stretch) -> Floats:
    below, above = stretch.extreme
    low, high = above if stretch.amount > 0.0 else below
    flutter = 0.02 * (high - low) * np.clip(stretch.noise(), -2.0, 2.0)
    return np.clip(low + (high - low) * (0.1 + 0.8 * stretch.incident.size) + flutter, low, high)


KINDS: Mapping[str, Callable[[Stretch], Floats]] = {
    "spike": _spike,
    "drift": _drift,
    "bias": _bias,
    "stuck": _stuck,
    "cyclic": _cyclic,
    "noise": _noise,
    "out_of_range": _out_of_range,
}


def disturbed(stretch: Stretch, physical: tuple[float, float]) -> Floats:
    """What the sensor reports instead. A quantity that starts at zero is never reported below it, save on purpose."""
    values = KINDS[stretch.incident.kind](stretch)
    if physical[0] == 0.0 and stretch.incident.kind != "out_of_range":
        return np.maximum(values, 0.0)
    return values


# ---- episodes: a machine that wears, a fire that grows ------------------------------------------------------


class Episodes:
    """Trouble of a whole mote that passes through two stages: over the edge of normal, then worse."""

    def __init__(self, profile: Profile, stages: Sequence[str], channels: Mapping[str, Mapping[str, object]]) -> None:
        self.profile = profile
        self.stages = (*stages, "degrading", "failing")[:2] if len(stages) < 2 else tuple(stages[:2])
        self.levels = [
            {side: levels for side in ("high", "low") if (levels := channels.get(name, {}).get(side))}
            for name in profile.names
        ]

    @staticmethod
    def peak(incident: Incident) -> float:
        """How bad it gets: up to 1 in the first stage, up to 2 in the second."""
        return 0.5 + 1.45 * incident.size

    def severity(self, incident: Incident, at: Ints) -> Floats:
        """-1 healthy, 0 at the edge of normal, 1 where the second stage begins, 2 the worst."""
        progress = (at - incident.starts_us) / (incident.ends_us - incident.starts_us)
        return np.interp(progress, COURSE, (-1.0, 0.0, self.peak(incident), -1.0))

    def apply(self, incident: Incident, at: Ints, values: Floats, noisy: Floats) -> Floats:
        """One mote's (instants, channels); noisy is standard normal of the same shape."""
        severity = self.severity(incident, at)
        changed = values.copy()
        for i, channel in enumerate(self.profile.channels):
            side = "low" if incident.sign < 0 and "low" in self.levels[i] else "high"
            side = side if side in self.levels[i] else next(iter(self.levels[i]), "")
            if side:
                levels = np.array(self.levels[i][side], dtype=np.float64)
                changed[:, i] = _course(values[:, i], noisy[:, i], severity, levels, channel.normal)
        return changed

    def stretches(self, incident: Incident, code: str) -> list[Fault]:
        """The stages that the episode passes through, as faults."""
        peak = self.peak(incident)
        up, down = self._crossings(incident, 0.0)
        if peak <= 1.0:
            return [Fault(code, "", self.stages[0], up, down)]
        worse, better = self._crossings(incident, 1.0)
        return [
            Fault(code, "", self.stages[0], up, worse),
            Fault(code, "", self.stages[1], worse, better),
            Fault(code, "", self.stages[0], better, down),
        ]

    def _crossings(self, incident: Incident, level: float) -> tuple[int, int]:
        peak = self.peak(incident)
        length = incident.ends_us - incident.starts_us
        rise = COURSE[1] + (COURSE[2] - COURSE[1]) * level / peak
        fall = COURSE[2] + (COURSE[3] - COURSE[2]) * (peak - level) / (peak + 1.0)
        return incident.starts_us + int(np.ceil(rise * length)), incident.starts_us + int(fall * length) + 1


def _course(values: Floats, noisy: Floats, severity: Floats, levels: Floats, normal: tuple[float, float]) -> Floats:
    """From where the healthy value is to the levels, never leaving the band of the stage."""
    edge, second, worst = levels
    healthy = values + (edge - values) * np.clip(severity + 1.0, 0.0, 1.0)
    beyond = np.interp(severity, (0.0, 1.0, 2.0), (edge, second, worst)) + 0.03 * (second - edge) * noisy
    low = np.where(severity > 1.0, min(second, worst), min(edge, second))
    high = np.where(severity > 1.0, max(second, worst), max(edge, second))
    return np.where(severity > 0.0, np.clip(beyond, low, high), np.clip(healthy, *normal))


def rows(at: Ints, incident: Incident) -> slice:
    """Which of the sorted instants an incident touches."""
    first, last = np.searchsorted(at, (incident.starts_us, incident.ends_us))
    return slice(int(first), int(last))
