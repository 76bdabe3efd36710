"""From a layer's raw output to surprise: tables of −log10 of the tail probability, measured on held-out normal data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mlops.detection.compiled import CAP
from sensors.readings import Floats

KNOTS = 128
FEW = 500  # fewer raw outputs than this say nothing about a tail: the prior's table stays
EXCEEDANCES = 50
# The data are dependent and finite: a heavier tail than this is a mixture, and an end point cannot be learnt.
MAX_SHAPE = 0.15
ASKED = (1e-2, 1e-3, 1e-4)  # what a check of the calibration asks for
BELOW = 0.99  # of a bar: nearer to it, rounding would lift a score over it
DOUBTLESS = 10.0  # combined surprise from which calibration no longer pulls down
Table = tuple[Floats, Floats]  # knots of raw output and the surprise at each


@dataclass(frozen=True)
class Tail:
    """P(raw ≥ x): empirical below `start`, generalised Pareto above it."""

    ordered: Floats
    start: float
    share: float
    scale: float
    shape: float

    def raw_at(self, surprise: Floats) -> Floats:
        """The raw output that is as rare as 10^−surprise."""
        p = 10.0 ** -np.asarray(surprise, dtype=np.float64)
        n = len(self.ordered)
        place = np.clip(np.ceil((1.0 - p) * n).astype(np.int64), 0, n - 1)
        beyond = np.maximum(self.share / p, 1.0)
        excess = np.log(beyond) if self.shape == 0.0 else (beyond**self.shape - 1.0) / self.shape
        return np.where(p >= self.share, np.minimum(self.ordered[place], self.start), self.start + self.scale * excess)

    def card(self) -> dict[str, Any]:
        reached = self.raw_at(-np.log10(ASKED)).tolist()
        return {
            "n": len(self.ordered), "start": round(self.start, 6), "share": round(self.share, 6),
            "scale": round(self.scale, 6), "shape": round(self.shape, 4),
            "reached": dict(zip(map(str, ASKED), reached, strict=True)),
        }  # fmt: skip


def fit_tail(raw: Floats, *, least_scale: float = 0.0) -> Tail:
    """Peaks over threshold, by probability-weighted moments: they behave with few peaks, where likelihood does not."""
    ordered = np.sort(raw[np.isfinite(raw)])
    n = len(ordered)
    peaks = min(n // 10, max(EXCEEDANCES, n // 500))
    start = float(ordered[n - peaks - 1])
    excess = ordered[n - peaks :] - start
    mean = float(excess.mean())
    weighted = float((excess * (1.0 - (np.arange(1, peaks + 1) - 0.35) / peaks)).mean())
    shape = 2.0 - mean / (mean - 2.0 * weighted) if mean > 2.0 * weighted else MAX_SHAPE
    shape = min(max(shape, 0.0), MAX_SHAPE)
    # A constant raw output has no excess; anything beyond it is new, though not infinitely so.
    scale = max(mean * (1.0 - shape), least_scale, 1e-9)
    return Tail(ordered, start, peaks / n, scale, shape)


def table(tail: Tail, combined: Tail | None = None) -> Table:
    """Knots of raw output and the surprise at each; `combined` maps one layer's surprise to that of the whole engine.

    Folding the second calibration into the first table leaves the loop one look-up a value.
    """
    surprise = np.linspace(0.0, CAP, KNOTS)
    raw = np.maximum.accumulate(tail.raw_at(surprise))
    height = surprise if combined is None else recalibrated(surprise, combined)
    # Equal raw outputs are as rare as the least rare of them.
    return padded(*rising(raw, height))


def between(drawn: Table, measured: Table, bars: Sequence[float]) -> Table:
    """The measured surprise, on the same side of every bar as the drawn one; beyond the last bar, the drawn one."""
    edges = [inverse(*rising(*drawn), bar) for bar in bars]
    raw, height = [], []
    for (begin, end), (least, most) in zip(pairwise([0.0, *edges]), pairwise([0.0, *bars]), strict=True):
        raw.append(np.linspace(begin, np.nextafter(end, 0.0), KNOTS // (len(bars) + 1)))
        height.append(np.clip(np.interp(raw[-1], *rising(*measured)), least, BELOW * most))
    beyond = drawn[0] > edges[-1]
    raw += [np.array(edges[-1:]), drawn[0][beyond]]
    height += [np.array(bars[-1:]), drawn[1][beyond]]
    return padded(*rising(np.concatenate(raw), np.concatenate(height)))


def recalibrated(surprise: Floats, combined: Tail) -> Floats:
    """Surprise after combining: the loudest of many voices is loud more often than each of them."""
    grid = np.linspace(0.0, DOUBTLESS, 401)
    reached = np.maximum.accumulate(combined.raw_at(grid))
    first = np.concatenate([[True], reached[1:] > reached[:-1]]) & (reached < DOUBTLESS)
    mapped = np.interp(np.minimum(surprise, DOUBTLESS), reached[first], grid[first])
    # Left of the first knot np.interp is level at 0, right of the last at its height.
    beyond = np.clip((surprise - DOUBTLESS) / (CAP - DOUBTLESS), 0.0, 1.0)
    return np.maximum.accumulate(mapped + beyond * (CAP - mapped))


def rising(raw: Floats, height: Floats) -> tuple[Floats, Floats]:
    """The knots without those that only pad."""
    first = np.concatenate([[True], raw[1:] > raw[:-1]])
    return raw[first], height[first]


def padded(raw: Floats, height: Floats) -> tuple[Floats, Floats]:
    """As KNOTS knots, the last repeated."""
    rest = KNOTS - len(raw)
    return np.pad(raw, (0, rest), mode="edge"), np.pad(height, (0, rest), mode="edge")


def line(knots: list[tuple[float, float]], n_channels: int) -> tuple[Floats, Floats]:
    """One drawn table for every channel."""
    raw, height = padded(*(np.array(column, dtype=np.float64) for column in zip(*knots, strict=True)))
    return np.tile(raw, (n_channels, 1)), np.tile(height, (n_channels, 1))


def inverse(raw: Floats, height: Floats, surprise: float) -> float:
    """The least raw output with at least that surprise; infinite when none has it."""
    reached = np.flatnonzero(height >= surprise)
    if len(reached) == 0:
        return math.inf
    k = int(reached[0])
    if k == 0 or raw[k] == raw[k - 1]:
        return float(raw[k])
    share = (surprise - height[k - 1]) / (height[k] - height[k - 1])
    return float(raw[k - 1] + share * (raw[k] - raw[k - 1]))
