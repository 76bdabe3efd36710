"""An event in words for people. Pure."""

from __future__ import annotations

import math

from alerts.events import EventChange
from sensors.readings import Channel, Profile


def words(change: EventChange, profile: Profile) -> str:
    """What was seen at the event's peak, what was expected, and at what value it would be over."""
    channel = next(channel for channel in profile.channels if channel.code == change.peak_channel)
    over = adopted(change, channel, profile) or normal_again(change, channel)
    return "; ".join(part for part in (_seen(change, channel, profile), over) if part)


def adopted(change: EventChange, channel: Channel, profile: Profile) -> str:
    """That the event ended because what it was about is the norm now."""
    if channel.code in change.adopted:
        return "new level adopted as normal"
    labels = [one.label.lower() for one in profile.channels if one.code in change.adopted]
    return f"new level of {_listed(labels)} adopted as normal" if labels else ""


def normal_again(change: EventChange, channel: Channel) -> str:
    """The nearest value at which the layer would say no more; empty where no single value ends the event."""
    if change.layer == "stuck":
        return "normal again when it moves"
    if change.layer == "gate":
        return counterfactual(change.peak_value, channel.physical, channel)
    if change.layer == "forest" or change.normal_again is None:
        return ""
    low, high = change.expected
    return "" if low <= change.peak_value <= high else counterfactual(change.peak_value, change.normal_again, channel)


def counterfactual(value: float, normal: tuple[float, float], channel: Channel) -> str:
    """In words from where on a value would be normal.

    >>> t = Channel("t", "T", "°C", (0, 50), (18, 28), 0.01, 1, 1)
    >>> counterfactual(45.2, (18.2, 27.8), t), counterfactual(3.0, (18.2, 27.8), t), counterfactual(20, (18.2, 27.8), t)
    ('normal again at or below 27.8 °C', 'normal again at or above 18.2 °C', '')
    """
    low, high = normal
    if value > high:
        return f"normal again at or below {quantity(high, channel)}"
    return f"normal again at or above {quantity(low, channel)}" if value < low else ""


def _seen(change: EventChange, channel: Channel, profile: Profile) -> str:
    value = quantity(change.peak_value, channel)
    low, high = change.expected
    suggested = span(low, high, channel)
    expected = f"expected {suggested}"
    if change.layer == "gate":
        return f"{channel.label} {value}, outside what its sensor can measure ({span(*channel.physical, channel)})"
    if change.layer == "stuck":
        return f"{channel.label} stuck at {value} for {duration(change.last_at - change.started_at)}"
    if change.layer == "peers" and low <= change.peak_value <= high:
        return f"{channel.label} {value}: no trusted neighbour is left to compare with"
    if change.layer == "peers":
        return f"{channel.label} {value}, its neighbours suggest {suggested}"
    if change.layer == "jump":
        return f"{channel.label} jumped to {value}, {expected}"
    if change.layer == "forest":
        return f"Unusual combination of {_listed([channel.label.lower() for channel in profile.channels])}"
    return f"{channel.label} {value}, {expected}"


def span(low: float, high: float, channel: Channel) -> str:
    """A dash beside a minus is hard to read.

    >>> t = Channel("t", "T", "°C", (0, 50), (18, 28), 0.01, 1, 1)
    >>> span(18, 28, t), span(-6, 22, t)
    ('18.0–28.0 °C', '−6.0 to 22.0 °C')
    """
    dash = " to " if low < 0 else "–"
    return f"{number(low, channel)}{dash}{quantity(high, channel)}"


def number(value: float, channel: Channel) -> str:
    """As many decimals as the sensor resolves, at most one where that says enough.

    >>> from dataclasses import replace
    >>> t = Channel("t", "T", "°C", (0, 50), (18, 28), 0.01, 1, 1)
    >>> number(45.23, t), number(410.4, replace(t, resolution=1.0)), number(2.713, replace(t, normal=(2.2, 3.1)))
    ('45.2', '410', '2.71')
    >>> number(-3.2, t), number(-0.04, t)
    ('−3.2', '0.0')
    """
    width = channel.normal[1] - channel.normal[0]
    finest = max(0, math.ceil(-math.log10(channel.resolution))) if channel.resolution > 0 else 6
    useful = max(0, math.ceil(2.0 - math.log10(width))) if width > 0 else 2
    return f"{value:z.{min(finest, useful, 6)}f}".replace("-", "−")


def quantity(value: float, channel: Channel) -> str:
    return f"{number(value, channel)}{_unit(channel)}"


def duration(micros: int) -> str:
    """The largest unit that fits, rounded.

    >>> duration(7_300_000_000), duration(90_000_000), duration(12_000_000)
    ('2 h', '2 min', '12 s')
    """
    seconds = micros / 1e6
    for name, size in (("d", 172_800), ("h", 7_200), ("min", 90)):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3_600, 'min': 60}[name]:.0f} {name}"
    return f"{seconds:.0f} s"


def _unit(channel: Channel) -> str:
    return f" {channel.unit}" if channel.unit else ""


def _listed(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
