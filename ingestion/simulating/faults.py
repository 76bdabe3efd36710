"""What goes wrong in the simulation: which fault when and where is a function of seed and time alone. Pure.

Each mote's time is cut into slots; a hash says whether a slot holds a fault and all about it. A fault never leaves its
slot, so the faults of a range are those of its slots, whoever asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ingestion.simulating import noise
from ingestion.simulating.worlds import Places
from sensors.readings import Ints, Profile

# Of the whole mote; every other kind has its channel, or several of them.
OF_A_MOTE = ("drop_out", "clock_skew", "duplicate", "battery_death", "episode")
# A battery takes its time: so many times as long as other faults. In slots of their own, since slots fit the longest.
LASTS = {"battery_death": 12.0}
FACETS = ("happens", "starts", "lasts", "kind", "channel", "size", "sign", "shape")


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
    channels: tuple[int, ...]  # none where the whole mote is concerned
    kind: str
    starts_us: int
    ends_us: int
    size: float
    sign: float
    shape: int

    @property
    def length_us(self) -> int:
        return self.ends_us - self.starts_us

    def stream(self, purpose: str) -> noise.Words:
        """Randomness that is this incident's own."""
        return noise.keys(self.shape, purpose, [self.starts_us])


@dataclass(frozen=True, slots=True)
class Slots:
    """Faults of about the same length: each mote's time is cut into slots, of which each holds one at most."""

    kinds: Mapping[str, float]
    length_s: tuple[float, float]
    per_s: float

    @property
    def slot_us(self) -> int:
        return int(max(self.length_s[1], 0.5 / self.per_s) * 1e6)

    @property
    def chance(self) -> float:
        """That a slot holds a fault."""
        return self.per_s * self.slot_us / 1e6


@dataclass(frozen=True, slots=True)
class Plan:
    """How often things go wrong: the share of readings that are anomalous, how long a fault lasts, kinds by weight.

    `anomalous` says of a kind in which share of its length readings are anomalous, where that is not all of it.
    """

    anomaly_rate: float
    length_s: tuple[float, float]
    kinds: Mapping[str, float] = field(default_factory=lambda: {"spike": 1.0, "drift": 1.0, "bias": 1.0, "noise": 1.0})
    anomalous: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.anomaly_rate <= self.most:
            raise ValueError(
                f"an anomaly rate of {self.anomaly_rate:g} is not possible; with faults of {self.length_s[0]:g} to "
                f"{self.length_s[1]:g} s it is from 0 to {np.floor(self.most * 100) / 100:g}"
            )

    @property
    def mean_s(self) -> float:
        """Of the anomalous part of a fault."""
        parts = [
            weight * LASTS.get(kind, 1.0) * self.anomalous.get(kind, 1.0) for kind, weight in self.kinds.items()
        ]  # fmt: skip
        return sum(parts) / sum(self.kinds.values()) * sum(self.length_s) / 2.0

    @property
    def most(self) -> float:
        return min(1.0, *(self.mean_s / (self._share(factor) * self.length_s[1] * factor) for factor in self._factors))

    @property
    def slots(self) -> list[Slots]:
        low, high = self.length_s
        return [
            Slots(
                kinds={kind: weight for kind, weight in self.kinds.items() if LASTS.get(kind, 1.0) == factor},
                length_s=(low * factor, high * factor),
                per_s=self.anomaly_rate / self.mean_s * self._share(factor),
            )
            for factor in (self._factors if self.anomaly_rate else ())
        ]

    @property
    def _factors(self) -> list[float]:
        return sorted({LASTS.get(kind, 1.0) for kind in self.kinds})

    def _share(self, factor: float) -> float:
        """Of all faults, those that last so many times as long as others."""
        alike = sum(weight for kind, weight in self.kinds.items() if LASTS.get(kind, 1.0) == factor)
        return alike / sum(self.kinds.values())


class Schedule:
    """All faults of a fleet, for ever."""

    def __init__(self, plan: Plan, profile: Profile, places: Places, seed: int) -> None:
        # Beside what chance brings: what somebody asks for. The answer for an instant that was asked must stay.
        self.asked: Callable[[], Sequence[Incident]] = tuple
        self.n_channels = len(profile.channels)
        self.slots = [
            (slots, {facet: noise.keys(seed, f"fault/{i}/{facet}", places.codes) for facet in FACETS})
            for i, slots in enumerate(plan.slots)
        ]

    def between(self, start_us: int, end_us: int) -> list[Incident]:
        """Those that touch the range, in order of their beginning."""
        if end_us <= start_us:
            return []
        found = [
            incident for slots, streams in self.slots for incident in self._drawn(slots, streams, start_us, end_us)
        ]
        found += [one for one in self.asked() if one.starts_us < end_us and one.ends_us > start_us]
        return sorted(found, key=lambda incident: (incident.starts_us, incident.mote))

    def _drawn(self, slots: Slots, streams: Mapping[str, noise.Words], start_us: int, end_us: int) -> list[Incident]:
        numbers = np.arange(start_us // slots.slot_us, (end_us - 1) // slots.slot_us + 1, dtype=np.int64)
        rows, motes = np.nonzero(noise.uniform(streams["happens"], numbers) < slots.chance)
        if not len(rows):
            return []
        drawn = {facet: noise.uniform(own, numbers)[rows, motes] for facet, own in streams.items()}
        low, high = (int(length * 1e6) for length in slots.length_s)
        length = low + (drawn["lasts"] * (high - low)).astype(np.int64)
        starts = numbers[rows] * slots.slot_us + (drawn["starts"] * (slots.slot_us - length)).astype(np.int64)
        weights = np.array(list(slots.kinds.values()), dtype=np.float64)
        kinds = noise.pick(tuple(slots.kinds), weights, drawn["kind"])
        return [
            Incident(
                mote=int(motes[i]),
                channels=self._channels(kinds[i], float(drawn["channel"][i])),
                kind=kinds[i],
                starts_us=int(starts[i]),
                ends_us=int(starts[i] + length[i]),
                size=float(drawn["size"][i]),
                sign=1.0 if drawn["sign"][i] < 0.5 else -1.0,
                shape=int(drawn["shape"][i] * 2**31),
            )
            for i in np.flatnonzero((starts < end_us) & (starts + length > start_us)).tolist()
        ]

    def _channels(self, kind: str, chance: float) -> tuple[int, ...]:
        if kind in OF_A_MOTE:
            return ()
        place = chance * self.n_channels
        first = int(place)
        if kind != "multi_channel":
            return (first,)
        n = min(2 if place - first < 0.5 else 3, self.n_channels)
        return tuple(sorted((first + i) % self.n_channels for i in range(n)))


def rows(at: Ints, incident: Incident) -> slice:
    """Which of the sorted instants an incident touches."""
    first, last = np.searchsorted(at, (incident.starts_us, incident.ends_us))
    return slice(int(first), int(last))
