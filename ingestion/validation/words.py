"""Figures of a quality report as sentences say them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ingestion.words import NOTHING, decimals_of, number
from sensors.readings import Channel

NAMED = 8  # motes in one sentence


def count(n: float) -> str:
    return f"{n:,.0f}"


def percent(share: float | None) -> str:
    """Never rounded to nothing or to everything while it is neither.

    >>> percent(0.0016), percent(0.0), percent(0.000001), percent(0.999999), percent(1), percent(None)
    ('0.16%', '0.00%', '<0.01%', '>99.99%', '100.00%', '–')
    """
    if share is None:
        return "–"
    if 0 < share < 0.00005:
        return "<0.01%"
    if 0.99995 < share < 1:
        return ">99.99%"
    return f"{share * 100:.2f}%"


def limit(share: float) -> str:
    """
    >>> limit(0.05), limit(0.005)
    ('at most 5%', 'at most 0.5%')
    """
    return f"at most {share * 100:g}%"


def instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """
    >>> duration(114875), duration(250), duration(5400), duration(12), duration(400000)
    ('31.9 h', '4.2 min', '1.5 h', '12 s', '4.6 days')
    """
    for size, least, unit in ((86_400, 259_200, "days"), (3600, 3600, "h"), (60, 120, "min")):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:g} s"


def value(measured: float | None, channel: Channel) -> str:
    """As finely as the channel resolves it.

    >>> value(None, Channel("t", "T", "°C", (0, 1), (0, 1), 0.1, 1, 1))
    '–'
    >>> value(-38.43, Channel("t", "T", "°C", (0, 1), (0, 1), 0.1, 1, 1))
    '−38.4 °C'
    """
    return _with_unit(number(measured, decimals_of(channel.resolution)), channel)


def band(bounds: tuple[float, float], channel: Channel) -> str:
    low, high = (f"{bound:g}".replace("-", "−") for bound in bounds)
    return f"{low} to {_with_unit(high, channel)}"


def _with_unit(figure: str, channel: Channel) -> str:
    return f"{figure} {channel.unit}" if channel.unit and figure != NOTHING else figure


def some(names: Sequence[str]) -> str:
    """
    >>> some(["7"]), some([str(n) for n in range(12)])
    ('7', '0, 1, 2, 3, 4, 5, 6, 7 and 4 more')
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def plural(n: int, noun: str) -> str:
    """
    >>> plural(1, "mote"), plural(1200, "mote")
    ('1 mote', '1,200 motes')
    """
    return f"{count(n)} {noun}" if n == 1 else f"{count(n)} {noun}s"
