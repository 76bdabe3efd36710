"""What a fault does to what a mote reports: to the values of its channels, to its clock, to its messages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ingestion.simulating import noise
from ingestion.simulating.faults import Incident
from sensors.readings import Bools, Floats, Ints

US = 1_000_000
Span = tuple[float, float]
SPIKES = 0.35  # the share of a spike fault's readings that are far off

# ---- one channel --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stretch:
    """The readings of one mote and channel that an incident touches."""

    incident: Incident
    channel: int
    at: Ints
    values: Floats
    first: float  # what the sensor reported when it began
    normal: Span
    extreme: tuple[Span, Span]  # below and above what is physical
    spikes_to: Span | None = None  # where spikes end, where the pack says it

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
        return (self.at - self.incident.starts_us) / self.incident.length_us

    def noise(self) -> Floats:
        return noise.normal(self.incident.stream(f"noise/{self.channel}"), self.at)[:, 0]


def _chance(incident: Incident, channel: int, at: Ints) -> Floats:
    return noise.uniform(incident.stream(f"chance/{channel}"), at)[:, 0]


def _spike(stretch: Stretch) -> Floats:
    """Single readings far off among good ones."""
    chance = _chance(stretch.incident, stretch.channel, stretch.at)
    if stretch.spikes_to is None:
        high = stretch.values + stretch.amount * (1.0 + 0.5 * np.clip(stretch.noise(), -1.0, 1.0))
    else:
        low, top = stretch.spikes_to
        high = low + (top - low) * chance / SPIKES
    return np.where(chance < SPIKES, high, stretch.values)


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


def _together(stretch: Stretch) -> Floats:
    """One cause in several channels: they rise and fall at the same pace, each by the width of its own band."""
    return stretch.values + stretch.amount * np.sin(np.pi * stretch.progress)


KINDS: Mapping[str, Callable[[Stretch], Floats]] = {
    "spike": _spike,
    "drift": _drift,
    "bias": _bias,
    "stuck": _stuck,
    "cyclic": _cyclic,
    "noise": _noise,
    "out_of_range": _out_of_range,
    "multi_channel": _together,
}


def disturbed(stretch: Stretch, physical: Span) -> Floats:
    """What the sensor reports instead. A quantity that starts at zero is never reported below it, save on purpose."""
    values = KINDS[stretch.incident.kind](stretch)
    if physical[0] == 0.0 and stretch.incident.kind != "out_of_range":
        return np.maximum(values, 0.0)
    return values


# ---- the battery --------------------------------------------------------------------------------------------

EMPTY_V = 2.0
SILENT_FROM = 0.85  # of the fault's length: with an empty battery nothing is sent any more
# As the motes of the Intel lab did in 2004: below the first voltage a channel leaves the truth, at the second it has
# come to where it stays. Temperature reads 122.15 °C from about 2.27 V on, humidity −3.9 % from about 2.2 V on.
DYING = {"temperature": (2.39, 2.27, 122.153), "humidity": (2.33, 2.20, -3.919)}


def battery_death(
    incident: Incident, at: Ints, values: Floats, names: tuple[str, ...], battery: str
) -> tuple[Floats, Bools]:
    """One mote's (instants, channels) on a dying battery, and whether each reading was still sent."""
    used = (at - incident.starts_us) / incident.length_us / SILENT_FROM
    changed = values.copy()
    place = names.index(battery)
    volts = values[:, place] + (EMPTY_V - values[:, place]) * np.clip(used, 0.0, 1.0) ** 1.5
    changed[:, place] = volts
    for name, (from_v, to_v, end) in DYING.items():
        if name in names:
            share = np.clip((from_v - volts) / (from_v - to_v), 0.0, 1.0)
            i = names.index(name)
            changed[:, i] = values[:, i] + (end - values[:, i]) * share
    return changed, used < 1.0


# ---- clock and messages -------------------------------------------------------------------------------------


def skew_us(incident: Incident) -> int:
    """How far the clock is off: half a minute to an hour. Never whole seconds, so no wrong time is another's."""
    return int(incident.sign * (30.0 * 120.0**incident.size * US + incident.shape % US))


def sent_again(incident: Incident, at: Ints) -> tuple[Ints, Ints]:
    """Which of the instants' readings are sent a second time, and when: some at once, some by a gateway that tries
    again after newer ones have gone out. All within the fault."""
    inside = at[(at >= incident.starts_us) & (at < incident.ends_us)]
    chance = noise.uniform(incident.stream("again"), inside)[:, 0]
    later_us = int((0.1 + 0.2 * incident.size) * incident.length_us)
    sent = inside + np.where(chance < 0.4, 0, later_us)
    again = (chance < 0.8) & (sent < incident.ends_us)
    return inside[again], sent[again]


def is_seen(incident: Incident, at: Ints) -> bool:
    """Whether it concerns any reading made at these instants, all inside it: a short one may fall between two
    readings, a spike may spare the few that there are."""
    match incident.kind:
        case "spike":
            return any(bool((_chance(incident, channel, at) < SPIKES).any()) for channel in incident.channels)
        case "duplicate":
            return len(sent_again(incident, at)[0]) > 0
        case _:
            return len(at) > 0
