"""What differs between two versions of a profile, in words for a person. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sensors.readings import Battery, Channel, Formula, Imputation, Profile

UNITS_OF_TIME = ((86_400, "d"), (3600, "h"), (60, "min"))
SHOWN_SETTINGS = 8


class CannotFollow(Exception):
    """A profile that takes a stored channel away or gives it another nature; the text says which."""


@dataclass(frozen=True, slots=True)
class Change:
    """`sign` is +, ~ or −: something is new, other than before, or gone."""

    sign: str
    words: str

    def __str__(self) -> str:
        return f"{self.sign} {self.words}"


def in_place(profile: Profile, before: Profile) -> Profile:
    """With every channel at the place that it had before, and the new ones after them. Raises CannotFollow.

    Quality flags and the engine's state know a channel by its place: a place is never given to another.
    """
    wanted = {channel.code: channel for channel in profile.channels}
    gone = [name for name in before.names if name not in wanted]
    if gone:
        noun, verb = ("channel", "is") if len(gone) == 1 else ("channels", "are")
        raise CannotFollow(
            f"{noun} {', '.join(gone)} {verb} missing, which profile {before.code} stores since version "
            f"{before.version} or longer. A channel stays for ever: put it back, or give the profile another code"
        )
    for channel in before.channels:
        was, becomes = (_nature(one) for one in (channel, wanted[channel.code]))
        if was != becomes:
            raise CannotFollow(
                f"channel {channel.code} has been {was} in profile {before.code} and would now be {becomes}, which "
                "would mix two things under one name: give the new one another code"
            )
    new = [channel for channel in profile.channels if channel.code not in before.names]
    return replace(profile, channels=(*(wanted[name] for name in before.names), *new))


def changes(before: Profile, after: Profile) -> list[Change]:
    """From one version of a profile to another; empty where they say the same."""
    return [*_of_profile(before, after), *_of_channels(before, after), *_of_battery(before.battery, after.battery)]


def setting_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What is other in the tables [simulator], [detector] and [schedule]."""
    was, becomes = (dict(_leaves(one)) for one in (before, after))
    found = [
        Change("~", f"{name}: {_plain(was.get(name))} → {_plain(becomes.get(name))}")
        for name in sorted(was.keys() | becomes.keys())
        if was.get(name) != becomes.get(name)
    ]
    more = len(found) - SHOWN_SETTINGS
    return found if more <= 1 else [*found[:SHOWN_SETTINGS], Change("~", f"and {more} more settings")]


def described(channel: Channel) -> str:
    """A channel in one line."""
    unit = f" {channel.unit}" if channel.unit else ""
    nature = f"{formula_words(channel.formula)}, " if channel.formula else ""
    return f"{nature}normal {span(channel.normal)}{unit}, physical {span(channel.physical)}{unit}"


# ---- the parts ----------------------------------------------------------------------------------------------


def _of_profile(before: Profile, after: Profile) -> Iterator[Change]:
    for name, words, told in (
        ("label", "label", _quoted), ("interval_s", "expected interval", duration), ("step_s", "step", duration),
    ):  # fmt: skip
        yield from _if_other(words, getattr(before, name), getattr(after, name), told)


def _of_channels(before: Profile, after: Profile) -> Iterator[Change]:
    there = {channel.code: channel for channel in before.channels}
    for channel in after.channels:
        if channel.code in there:
            yield from _of_channel(there.pop(channel.code), channel)
        else:
            yield Change("+", f"channel {channel.code}: {described(channel)}")
    yield from (Change("−", f"channel {code}") for code in there)


def _of_channel(before: Channel, after: Channel) -> Iterator[Change]:
    unit = f" {after.unit}" if after.unit else ""
    for name, words, told, tail in (
        ("label", "label", _quoted, ""),
        ("unit", "unit", _quoted, ""),
        ("physical", "physical", span, unit),
        ("normal", "normal", span, unit),
        ("resolution", "resolution", number, unit),
        ("max_rate_per_s", "largest rate", number, f"{unit} a second"),
        ("flat_after_s", "flat line after", duration, ""),
        ("aliases", "aliases", _listed, ""),
        ("formula", "formula", formula_words, ""),
        ("is_detected", "detection", lambda told: "on" if told else "off", ""),
        ("imputation", "imputation", imputation_words, ""),
    ):
        yield from _if_other(f"channel {after.code}: {words}", getattr(before, name), getattr(after, name), told, tail)


def _of_battery(before: Battery | None, after: Battery | None) -> Iterator[Change]:
    yield from _if_other("battery:", before, after, battery_words)


def _if_other(words: str, before: Any, after: Any, told: Callable[[Any], str], tail: str = "") -> Iterator[Change]:
    if before != after:
        yield Change("~", f"{words} {told(before)} → {told(after)}{tail}")


def _nature(channel: Channel) -> str:
    return "measured" if channel.formula is None else "derived"


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# ---- words --------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """
    >>> number(-10.0), number(60000.0), number(0.01)
    ('−10', '60000', '0.01')
    """
    return f"{value:.10g}".replace("-", "−")


def span(pair: tuple[float, float]) -> str:
    """
    >>> span((18.0, 28.0)), span((-10.0, 50.0))
    ('18–28', '−10 to 50')
    """
    low, high = (number(one) for one in pair)
    return f"{low}–{high}" if pair[0] >= 0 else f"{low} to {high}"


def duration(seconds: float) -> str:
    """
    >>> duration(30.0), duration(5400.0), duration(57600.0), duration(2592000.0)
    ('30 s', '1.5 h', '16 h', '30 d')
    """
    for size, unit in UNITS_OF_TIME:
        if seconds >= size:
            return f"{number(round(seconds / size, 2))} {unit}"
    return f"{number(seconds)} s"


def imputation_words(imputation: Imputation) -> str:
    return "none" if imputation.method == "none" else f"{imputation.method} up to {duration(imputation.limit_s)}"


def formula_words(formula: Formula | None) -> str:
    """
    >>> formula_words(Formula("rate", ("temperature",), 3600.0))
    'rate of temperature × 3600'
    """
    if formula is None:
        return "none"
    scale = "" if formula.scale == 1 else f" × {number(formula.scale)}"
    return f"{formula.kind.replace('_', ' ')} of {' and '.join(formula.of)}{scale}"


def battery_words(battery: Battery | None) -> str:
    if battery is None:
        return "none"
    return f"{battery.channel}, low below {number(battery.low)}, empty at {number(battery.empty)}"


def _quoted(text: str) -> str:
    return f"“{text}”"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return "–" if value is None else number(value) if isinstance(value, int | float) else str(value)
