"""Where motes lie on the picture of a site: metres to pixels, and a place for those without coordinates. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 640.0, 500.0
MARGIN = 30.0
RADIUS = (5.0, 13.0)
BARS_M = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


@dataclass(frozen=True, slots=True)
class Spot:
    """A mote to be placed; x and y in metres from the upper left corner, where known."""

    key: str
    x: float | None
    y: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The picture: its size, each mote's place in pixels, and a bar of `bar_m` metres, which is `bar_px` long."""

    width: float
    height: float
    radius: float
    places: dict[str, tuple[float, float]] = field(default_factory=dict)
    bar_m: float | None = None
    bar_px: float = 0.0

    @property
    def scale(self) -> float:
        """Of a sign that is drawn with a radius of 10."""
        return round(self.radius / 10, 2)


def lay_out(spots: Sequence[Spot]) -> Plan:
    """To scale where coordinates are known; the others stand in rows below, or fill the picture if nobody has any."""
    known = [(spot.key, spot.x, spot.y) for spot in spots if spot.x is not None and spot.y is not None]
    unknown = [spot.key for spot in spots if spot.x is None or spot.y is None]
    if not known:
        return _grid(unknown)
    low_x, high_x = min(x for _, x, _ in known), max(x for _, x, _ in known)
    low_y, high_y = min(y for _, _, y in known), max(y for _, _, y in known)
    span_x, span_y = max(high_x - low_x, 1.0), max(high_y - low_y, 1.0)
    scale = min((WIDTH - 2 * MARGIN) / span_x, (HEIGHT - 2 * MARGIN) / span_y)
    left = (WIDTH - span_x * scale) / 2
    places = {
        key: (round(left + (x - low_x) * scale, 1), round(MARGIN + (y - low_y) * scale, 1)) for key, x, y in known
    }
    radius = _radius(list(places.values()))
    height = span_y * scale + 2 * MARGIN
    rows, used = _rows(unknown, top=height, radius=radius)
    bar_m = max((bar for bar in BARS_M if bar * scale <= WIDTH / 5), default=BARS_M[0])
    return Plan(WIDTH, round(height + used, 1), radius, {**places, **rows}, bar_m, round(bar_m * scale, 1))


def _grid(keys: Sequence[str]) -> Plan:
    """Nobody has coordinates: rows as wide as the picture."""
    columns = max(1, math.ceil(math.sqrt(len(keys) * 1.6)))
    step = min(72.0, (WIDTH - 2 * MARGIN) / columns)
    left = (WIDTH - (columns - 1) * step) / 2
    places = {
        key: (round(left + i % columns * step, 1), round(MARGIN + i // columns * step, 1)) for i, key in enumerate(keys)
    }
    rows = max(1, math.ceil(len(keys) / columns))
    return Plan(WIDTH, round(2 * MARGIN + (rows - 1) * step, 1), _bounded(step * 0.32), places)


def _rows(keys: Sequence[str], *, top: float, radius: float) -> tuple[dict[str, tuple[float, float]], float]:
    if not keys:
        return {}, 0.0
    step = radius * 3
    columns = int((WIDTH - 2 * MARGIN) // step) + 1
    places = {
        key: (round(MARGIN + i % columns * step, 1), round(top + radius + i // columns * step, 1))
        for i, key in enumerate(keys)
    }
    return places, math.ceil(len(keys) / columns) * step + radius


def _radius(places: Sequence[tuple[float, float]]) -> float:
    """As large as the closest pair lets it be."""
    ordered = sorted(places)
    least = math.inf
    for i, (x, y) in enumerate(ordered):
        for other_x, other_y in ordered[i + 1 :]:
            if other_x - x >= least:
                break
            least = min(least, math.hypot(other_x - x, other_y - y))
    return _bounded(least * 0.45)


def _bounded(radius: float) -> float:
    return round(min(RADIUS[1], max(RADIUS[0], radius)), 1)
