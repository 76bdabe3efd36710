"""An event: a stretch of anomalous readings of one mote, as the engine tells it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


def instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)


@dataclass(frozen=True, slots=True)
class EventChange:
    """The whole of an event as it stands after a batch; counts are totals, so that telling it twice changes nothing.

    Instants are UTC microseconds. (mote, noticed_at) is the event's key; it is also the `event_id` of its readings.
    """

    mote: int
    profile: str
    started_at: int
    noticed_at: int
    last_at: int
    ended_at: int | None
    n_readings: int
    peak_surprise: float
    peak_at: int
    peak_channel: str
    peak_value: float
    expected: tuple[float, float]
    layer: str
    contributions: Mapping[str, float]
    model_version: int
    # Between these its layer would say no more: narrower than `expected`, since an event ends below its onset.
    normal_again: tuple[float, float] | None = None
    # Channels whose new level was taken for normal, which ended the event.
    adopted: tuple[str, ...] = ()


def concerned(contributions: Mapping[str, float]) -> list[str]:
    """The channels that an event is about: those with at least half of an even share.

    >>> concerned({"temperature": 0.9, "humidity": 0.1}), concerned({"temperature": 0.6, "humidity": 0.4})
    (['temperature'], ['temperature', 'humidity'])
    """
    return [channel for channel, share in contributions.items() if share >= 0.5 / len(contributions)]
