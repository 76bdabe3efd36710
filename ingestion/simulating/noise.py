"""Randomness without state: the same seed, name and instant give the same number, however a range is cut. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.readings import Floats, Ints

Words = NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key(*parts: object) -> np.uint64:
    """A stream of its own for every name."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def keys(seed: int, purpose: str, names: Iterable[object]) -> Words:
    return np.array([key(seed, purpose, name) for name in names], dtype=np.uint64)


def words(streams: Words, counters: Ints) -> Words:
    """(counters, streams) random 64-bit words: splitmix64, whose n-th number needs none before it."""
    z = counters.astype(np.uint64)[:, None] * GOLDEN + streams[None, :]
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def uniform(streams: Words, counters: Ints) -> Floats:
    """In [0, 1)."""
    return (words(streams, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(streams: Words, counters: Ints) -> Floats:
    """Standard normal by Box and Muller, both its uniforms from one word: at most 6.7 from zero."""
    z = words(streams, counters)
    radius = np.sqrt(-2.0 * np.log(((z >> np.uint64(32)) + np.uint64(1)) * 2.0**-32))
    radius *= np.cos((z & np.uint64(0xFFFFFFFF)) * (2.0**-32 * 2.0 * np.pi))
    return radius


def smooth(knots: Callable[[Ints], Floats], at: Ints, period_s: float) -> Floats:
    """A standard normal process that wanders over period_s: knots (n, series) joined by a cubic of even variance."""
    period = int(period_s * 1e6)
    place = at // period
    first = int(place.min()) - 1
    values = knots(np.arange(first, int(place.max()) + 3, dtype=np.int64))
    f = (at - place * period) / period
    weights = (
        ((2.0 - f) * f - 1.0) * f / 2.0,
        ((3.0 * f - 5.0) * f * f + 2.0) / 2.0,
        ((4.0 - 3.0 * f) * f + 1.0) * f / 2.0,
        (f - 1.0) * f * f / 2.0,
    )
    scale = 1.0 / np.sqrt(sum(weight * weight for weight in weights))
    rows = place - first - 1
    total = (weights[0] * scale)[:, None] * values[rows]
    for i, weight in enumerate(weights[1:], start=1):
        total += (weight * scale)[:, None] * values[rows + i]
    return total


def wander(streams: Words, at: Ints, period_s: float) -> Floats:
    """One independent smooth process a stream, (instants, streams)."""
    return smooth(lambda counters: normal(streams, counters), at, period_s)


class Field:
    """A smooth random surface over the floor: near places move together, whoever else stands there.

    A sum of waves in random directions instead of a factored covariance matrix, so that a mote's values do not depend
    on which other motes are simulated.
    """

    WAVES = 24

    def __init__(self, seed: int, purpose: str, x: Floats, y: Floats, *, reach_m: float) -> None:
        names = range(self.WAVES)
        once = np.zeros(1, dtype=np.int64)
        kx, ky = (normal(keys(seed, f"{purpose}/{axis}", names), once)[0] / reach_m for axis in "xy")
        phase = kx * x[:, None] + ky * y[:, None]
        self.basis = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / np.sqrt(self.WAVES)
        self.streams = keys(seed, f"{purpose}/amplitude", range(2 * self.WAVES))

    def wander(self, at: Ints, period_s: float) -> Floats:
        """(instants, places), standard normal at each place."""
        return smooth(self._surface, at, period_s)

    def _surface(self, counters: Ints) -> Floats:
        amplitudes = normal(self.streams, counters)
        surface = np.zeros((len(counters), len(self.basis)))
        for i in range(amplitudes.shape[1]):  # a matrix product may round otherwise for other numbers of rows
            surface += amplitudes[:, i, None] * self.basis[:, i]
        return surface


def pick(options: Sequence[Any], weights: Floats, chance: Floats) -> list[Any]:
    """For each chance in 0..1 an option, by weight."""
    borders = np.cumsum(weights) / np.sum(weights)
    return [options[i] for i in np.minimum(np.searchsorted(borders, chance, side="right"), len(options) - 1).tolist()]
