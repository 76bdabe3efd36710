"""Trouble of a whole mote that grows and ends: a machine that wears until it is repaired, a fire. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingestion.simulating.faults import Fault, Incident
from sensors.readings import Floats, Ints, Profile

STAGES = ("degrading", "failing")
FLUTTER_S = 15.0


@dataclass(frozen=True, slots=True)
class Course:
    """How an episode passes: it grows as a power of time until `top`, stays until `hold`, and goes back."""

    grow: float
    top: float
    hold: float
    back: float
    flutter: float  # how unsteady a stage is, in severity

    def share(self, progress: Floats) -> Floats:
        """0 healthy, 1 the peak, for a progress in 0..1."""
        rising = np.clip(progress / self.top, 0.0, 1.0) ** self.grow
        falling = np.clip((1.0 - progress) / (1.0 - self.hold), 0.0, 1.0) ** self.back
        return np.minimum(rising, falling)

    def crossings(self, share: float) -> tuple[float, float]:
        """When it rises over that share, and when it falls below it."""
        return self.top * share ** (1.0 / self.grow), 1.0 - (1.0 - self.hold) * share ** (1.0 / self.back)

    @property
    def anomalous(self) -> float:
        """The share of its length in which readings are not normal, on average over episodes."""
        crossings = [self.crossings(1.0 / (1.0 + _peak(size))) for size in np.linspace(0.005, 0.995, 100)]
        return float(sum(down - up for up, down in crossings) / len(crossings))


# Health is used up evenly until somebody repairs the machine. Fires grow as t², burn, and die down.
COURSES = {"wear": Course(1.0, 0.9, 0.9, 1.0, 0.05), "fire": Course(2.0, 0.3, 0.6, 1.5, 0.2)}


def _peak(size: float) -> float:
    """How bad it gets: up to 1 in the first stage, up to 2 in the second."""
    return 0.5 + 1.45 * size


class Episodes:
    """Passes through two stages: over the edge of normal, then worse. Severity -1 is healthy, 0 the edge, 1 where the
    second stage begins, 2 the worst."""

    def __init__(self, profile: Profile, settings: Mapping[str, Any]) -> None:
        stages = tuple(settings.get("stages", ()))
        channels = settings.get("channels", {})
        self.profile = profile
        self.stages = (*stages, *STAGES)[:2] if len(stages) < 2 else stages[:2]
        self.course = COURSES[settings.get("course", "wear")]
        self.channels = [channels.get(name, {}) for name in profile.names]

    def severity(self, incident: Incident, at: Ints) -> Floats:
        progress = (at - incident.starts_us) / incident.length_us
        return (1.0 + _peak(incident.size)) * self.course.share(progress) - 1.0

    def apply(self, incident: Incident, at: Ints, values: Floats, unsteady: Floats) -> Floats:
        """One mote's (instants, channels); unsteady is standard normal of the same shape."""
        severity = self.severity(incident, at)
        changed = values.copy()
        for i, (channel, settings) in enumerate(zip(self.profile.channels, self.channels, strict=True)):
            levels = _levels(settings, incident.sign)
            if levels:
                own = severity - settings.get("lag", 0.0)
                wobble = self.course.flutter * unsteady[:, i]
                changed[:, i] = _shown(values[:, i], own, wobble, levels, channel.normal)
        return changed

    def stretches(self, incident: Incident, code: str) -> list[Fault]:
        """The stages that the episode passes through, as faults."""
        up, down = self._crossings(incident, 0.0)
        if _peak(incident.size) <= 1.0:
            return [Fault(code, "", self.stages[0], up, down)]
        worse, better = self._crossings(incident, 1.0)
        return [
            Fault(code, "", self.stages[0], up, worse),
            Fault(code, "", self.stages[1], worse, better),
            Fault(code, "", self.stages[0], better, down),
        ]

    def _crossings(self, incident: Incident, level: float) -> tuple[int, int]:
        rise, fall = self.course.crossings((level + 1.0) / (1.0 + _peak(incident.size)))
        length = incident.length_us
        return incident.starts_us + int(np.ceil(rise * length)), incident.starts_us + int(fall * length) + 1


def _levels(settings: Mapping[str, Any], sign: float) -> Sequence[float]:
    """Where the first stage begins, where the second, and the worst; on the low side or on the high one."""
    sides = ("low", "high") if sign < 0 else ("high", "low")
    found: Sequence[float] = next((settings[side] for side in sides if side in settings), ())
    return found


def _shown(
    values: Floats, severity: Floats, wobble: Floats, levels: Sequence[float], normal: tuple[float, float]
) -> Floats:
    """From where the healthy value is to the levels, never leaving the band of the stage."""
    stage = np.clip(np.ceil(severity) - 1.0, 0.0, 1.0)
    beyond = np.interp(np.clip(severity + wobble, stage, stage + 1.0), (0.0, 1.0, 2.0), levels)
    near = values + (levels[0] - values) * np.clip(severity + 1.0, 0.0, 1.0)
    return np.where(severity > 0.0, beyond, np.clip(near, *normal))
