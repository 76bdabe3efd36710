"""Sensor fault or real event? Signs for and against, each in words, and what they come to together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sensors.readings import Channel, Floats

FAULT, REAL, UNCLEAR = "sensor_fault", "real_event", "unclear"
MOVED = 3.0  # a neighbour's deviations from its own hours before, beyond which it has moved
DECIDES = 1.5
POOR = ("D", "E", "F")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """How far another mote moved in the same stretch, in its own deviations; and the readings that say so."""

    mote: str
    n: int
    before: float | None
    during: float | None
    deviations: float | None


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of the event's peak channel; None where nobody can say."""

    channel: Channel
    layer: str
    value: float | None
    deviations: float | None  # the mote's own
    fastest_per_s: float | None
    flat_s: float | None
    volts: float | None
    volts_low: float | None
    grade: str
    shares: Mapping[str, float]  # of the surprise, by channel
    neighbours: Sequence[Neighbour]


@dataclass(frozen=True, slots=True)
class Reason:
    """One sign: what it speaks for, how loudly, and why."""

    speaks_for: str
    weight: float
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    what: str
    reasons: Sequence[Reason]

    @property
    def words(self) -> str:
        return {FAULT: "looks like a sensor fault", REAL: "looks like a real event"}.get(self.what, "cannot be told")

    def as_json(self) -> dict[str, Any]:
        return {"what": self.what, "words": self.words, "reasons": [asdict(one) for one in self.reasons]}


def judge(signs: Signs) -> Verdict:
    """Weighs the signs; where they come to little, or against each other, it says that it cannot be told."""
    reasons = [reason for look in LOOKS for reason in look(signs)]
    balance = sum(one.weight if one.speaks_for == FAULT else -one.weight for one in reasons)
    what = FAULT if balance >= DECIDES else REAL if balance <= -DECIDES else UNCLEAR
    return Verdict(what, sorted(reasons, key=lambda one: -one.weight))


def deviations(before: Floats, during: Floats, least: float) -> float | None:
    """How far the stretch's most distant value lies from the hours before, in their robust deviations."""
    before, during = before[np.isfinite(before)], during[np.isfinite(during)]
    if len(before) < 5 or not len(during):
        return None
    middle = float(np.median(before))
    spread = max(1.4826 * float(np.median(np.abs(before - middle))), least)
    far = during[np.argmax(np.abs(during - middle))]
    return float((far - middle) / spread)


# ---- the signs -----------------------------------------------------------------------------------------------
# Weights stand where bench/verdict.py found them due: about the logarithm of how many times as often a sign speaks on
# faults as on real events. What no real event can show (beyond the range, a flat line) outweighs several channels.


def _neighbours(signs: Signs) -> Iterator[Reason]:
    known = [one for one in signs.neighbours if one.deviations is not None]
    if len(known) < 2 or signs.deviations is None:
        return
    sign = np.sign(signs.deviations)
    moved = [one for one in known if one.deviations is not None and one.deviations * sign >= MOVED]
    told = f"{len(moved)} of {len(known)} neighbours moved the same way at the same time"
    if len(moved) * 2 >= len(known):
        yield Reason(REAL, 3.0, told)
    elif not moved:
        # What happens to one thing alone, such as a machine that wears, shows in several of its channels.
        weight = 1.5 if len(_loud(signs)) < 2 else 0.5
        yield Reason(FAULT, weight, f"none of its {len(known)} neighbours moved at that time")
    elif len(moved) > 1:
        yield Reason(REAL, 1.0, told)


def _battery(signs: Signs) -> Iterator[Reason]:
    if signs.volts is None or signs.volts_low is None:
        return
    if signs.volts < signs.volts_low:
        yield Reason(FAULT, 2.0, f"its battery gave {signs.volts:.2f} V, below {signs.volts_low:.2f} V")


def _range(signs: Signs) -> Iterator[Reason]:
    low, high = signs.channel.physical
    if signs.value is not None and not low <= signs.value <= high:
        unit = signs.channel.unit
        yield Reason(
            FAULT, 4.5, f"{signs.value:.4g} {unit} is beyond what the sensor can measure ({low:g} to {high:g})"
        )


def _rate(signs: Signs) -> Iterator[Reason]:
    if signs.fastest_per_s is None:
        return
    most, unit = signs.channel.max_rate_per_s, signs.channel.unit
    if signs.fastest_per_s > most:
        told = f"it changed by {signs.fastest_per_s:.3g} {unit} a second; {most:g} is physically possible"
        yield Reason(FAULT, 3.0, told)


def _flat(signs: Signs) -> Iterator[Reason]:
    if signs.flat_s is not None and (signs.layer == "stuck" or signs.flat_s >= signs.channel.flat_after_s):
        yield Reason(FAULT, 4.0, f"it said the same value for {signs.flat_s / 60:.0f} min")


def _loud(signs: Signs) -> list[str]:
    return [name for name, share in signs.shares.items() if share >= 0.2]


def _coherent(signs: Signs) -> Iterator[Reason]:
    loud = _loud(signs)
    if len(loud) >= 2:
        yield Reason(REAL, 2.0, f"{len(loud)} channels deviate together: {', '.join(loud)}")
    elif len(signs.shares) > 1 and loud:
        yield Reason(FAULT, 0.5, f"{loud[0]} deviates alone")


def _grade(signs: Signs) -> Iterator[Reason]:
    if signs.grade in POOR:
        yield Reason(FAULT, 1.0, f"the sensor has grade {signs.grade}")


def _noise(signs: Signs) -> Iterator[Reason]:
    if signs.layer == "noise":
        yield Reason(FAULT, 2.0, "its readings scatter more than ever, which air does not")


LOOKS = (_range, _flat, _neighbours, _battery, _rate, _coherent, _grade, _noise)
