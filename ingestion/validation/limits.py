"""Every limit that a quality report judges by; a report keeps those it was judged by. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares are of 1; a figure passes up to and including its limit."""

    duplicates: float = 0.01
    outside: float = 0.01  # of a channel's values may lie beyond the physical range
    missing: float = 0.05
    nulls: float = 0.05
    hot_cold: float = 0.01
    low_battery: float = 0.01
    gap_h: float = 24.0
    future_s: float = 300.0  # how far ahead of its arrival a reading may be measured
    hot_days: float = 30.0  # what the hot store keeps, back from a site's newest reading
    settling_s: float = 120.0  # what arrived this lately may be in the lake and not yet in the books

    @property
    def hot_keeps(self) -> timedelta:
        return timedelta(days=self.hot_days)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
