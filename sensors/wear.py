"""Where a machine's wear shows: of each channel where degrading begins, where failing begins, and the worst. Pure.

The pack says it; static/js/lib/machine-health.js counts alike for readings that come live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensors.readings import Channel, Floats, Profile

HEALTHY, DEGRADING, FAILING = range(3)
NEAREST = 0.1  # of the normal band: a machine is not usually nearer to degrading than that


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one channel: where degrading begins, where failing begins, and the worst; on either side or on one."""

    channel: Channel
    high: tuple[float, float, float] | None
    low: tuple[float, float, float] | None

    @property
    def span(self) -> tuple[float, float]:
        """What a gauge shows: to the worst on each side; where no side is given, half a band beyond the normal one."""
        low, high = self.channel.normal
        half = (high - low) / 2
        floor, ceiling = self.channel.physical
        return (
            self.low[2] if self.low else max(floor, low - half),
            self.high[2] if self.high else min(ceiling, high + half),
        )

    @property
    def zones(self) -> list[tuple[int, float, float]]:
        """Stage, from, to; from the lowest to the highest."""
        start, end = self.span
        found = [(FAILING, start, self.low[1]), (DEGRADING, self.low[1], self.low[0])] if self.low else []
        found.append((HEALTHY, self.low[0] if self.low else start, self.high[0] if self.high else end))
        return found + ([(DEGRADING, self.high[0], self.high[1]), (FAILING, self.high[1], end)] if self.high else [])


def limits(profile: Profile, settings: Mapping[str, Any]) -> tuple[Limits, ...]:
    """What the pack's settings say of wear; empty for a profile that is no machine."""
    simulator = settings.get("simulator", {})
    if not simulator.get("stages") or simulator.get("course", "wear") != "wear":
        return ()
    told = simulator.get("channels", {})
    return tuple(
        Limits(channel, _levels(of, "high", 1.0), _levels(of, "low", -1.0))
        for channel in profile.channels
        if (of := told.get(channel.code, {})).keys() & {"high", "low"}
    )


def _levels(told: Mapping[str, Sequence[float]], side: str, sign: float) -> tuple[float, float, float] | None:
    """Each worse than the one before it, whatever order the pack has them in."""
    if side not in told:
        return None
    first, second, worst = sorted(told[side], key=lambda level: sign * level)
    return first, second, worst


def severities(limits: Sequence[Limits], values: Floats) -> Floats:
    """(rows, channels): 0 healthy, up to 1 degrading, up to 2 failing; NaN where nothing is known."""
    found = np.zeros_like(values)
    for place, one in enumerate(limits):
        column = values[:, place]
        above = np.interp(column, one.high, (0.0, 1.0, 2.0)) if one.high else np.zeros_like(column)
        below = np.interp(-column, [-level for level in one.low], (0.0, 1.0, 2.0)) if one.low else np.zeros_like(column)
        found[:, place] = np.where(np.isnan(column), np.nan, np.maximum(above, below))
    return found


def worn(limits: Sequence[Limits], values: Floats) -> Floats:
    """Of each row of (rows, channels) how far the machine is from its usual, as the mean of its channels: 0 as usual,
    1 where degrading begins, 2 where failing does, 3 the worst. NaN where nothing is known.
    """
    there = np.isfinite(values)
    far = np.column_stack([_far(one, column) for one, column in zip(limits, values.T, strict=True)])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, far, 0.0).sum(axis=1) / there.sum(axis=1))


def _far(one: Limits, column: Floats) -> Floats:
    low, high = one.channel.normal
    there = np.isfinite(column)
    usual = float(np.median(column[there])) if there.any() else (low + high) / 2
    room = NEAREST * (high - low)
    far = np.zeros_like(column)
    if one.high:
        far = np.interp(column, (min(usual, one.high[0] - room), *one.high), range(4))
    if one.low:
        levels = (-max(usual, one.low[0] + room), *(-level for level in one.low))
        far = np.maximum(far, np.interp(-column, levels, range(4)))
    return np.asarray(far)
