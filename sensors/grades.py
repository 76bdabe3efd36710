"""Sensor grades: A to F for a mote's channel, with the reasons in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from sensors.figures import Figures, measure
from sensors.readings import Channel, Profile

LETTERS = "ABCDF"
# From which figure on a channel is no better than B, C, D and F. The worst reason decides.
LIMITS: Mapping[str, tuple[float, float, float, float]] = {
    "gaps": (0.02, 0.10, 0.25, 0.60),  # share of the expected readings that did not come
    "flat": (0.01, 0.05, 0.15, 0.40),  # share of time without any movement
    "out_of_range": (0.0005, 0.01, 0.05, 0.20),  # share of readings beyond the physical range
    "jumps": (2.0, 10.0, 40.0, 150.0),  # a day
    "noise": (2.0, 3.0, 5.0, 10.0),  # times what is usual for its kind
    "noisy": (0.01, 0.05, 0.15, 0.40),  # share of time with far more noise than its kind
    "drift": (0.1, 0.2, 0.4, 0.8),  # from its neighbours, in widths of the normal band
    "apart": (0.05, 0.10, 0.20, 0.40),  # share of hours far from its neighbours
    "low_battery": (0.001, 0.05, 0.20, 0.60),  # share of readings on a low battery
}
LEAST_EXPECTED = 20  # readings, before anything is said of a mote


@dataclass(frozen=True, slots=True)
class Grade:
    """How good a channel of a mote has been; an A has no reasons, the worst reason comes first."""

    mote: int
    channel: str
    letter: str
    reasons: tuple[str, ...]
    figures: Mapping[str, float]


def grades(
    profile: Profile, table: pl.DataFrame, motes: Mapping[int, str], starts_us: int, ends_us: int
) -> list[Grade]:
    """Of every mote and channel, from readings as sensors.overlay gives them; `motes` says each one's neighbourhood.

    A mote that has hardly begun to report is left out, and so is a channel of which a person excluded everything.
    """
    figures = measure(profile, table, motes, starts_us, ends_us)
    found = {
        (mote, channel): one
        for row, mote in enumerate(figures.motes)
        for place, channel in enumerate(figures.channels)
        if (one := _grade(profile, figures, row, place, ends_us)) is not None
    }
    for channel in profile.channels:
        if channel.formula:
            for mote in figures.motes:
                if (derived := _derived(channel, mote, found)) is not None:
                    found[mote, channel.code] = derived
    return [
        found[mote, name] for mote in figures.motes for name in profile.names if (mote, name) in found
    ]  # fmt: skip


def _grade(profile: Profile, figures: Figures, row: int, place: int, ends_us: int) -> Grade | None:
    mote, code = figures.motes[row], figures.channels[place]
    if not figures.last_at[row]:
        return Grade(mote, code, "F", ("silent",), {"gaps": 1.0})
    own = {what: float(values[row, place]) for what, values in figures.of.items()}
    is_all_excluded = own["gaps"] < 1.0 and math.isnan(own["out_of_range"])
    if figures.expected[row] < LEAST_EXPECTED or is_all_excluded:
        return None
    channel = profile.channels[profile.names.index(code)]
    if profile.battery and profile.battery.channel == code:
        own["low_battery"] = math.nan  # it tells the truth: the others may not
    words = _Words(channel, own, int(figures.last_at[row]), int(figures.low_since[row]), ends_us, profile)
    ranked = sorted(
        ((letter_of(what, _size(what, own, channel)), what) for what in LIMITS), key=lambda one: -LETTERS.index(one[0])
    )
    reasons = tuple(words.of(what) for letter, what in ranked if letter != "A")
    known = {what: round(value, 6) for what, value in own.items() if math.isfinite(value)}
    return Grade(mote, code, ranked[0][0], reasons, known)


def _size(what: str, own: Mapping[str, float], channel: Channel) -> float:
    """The figure in the unit of its limits."""
    if what == "drift":
        return abs(own["drift"]) / (channel.normal[1] - channel.normal[0])
    return own[what]


def letter_of(what: str, figure: float) -> str:
    """The one map from figures to letters; what cannot be said is no reason.

    >>> letter_of("flat", 0.31), letter_of("flat", math.nan)
    ('D', 'A')
    """
    return LETTERS[sum(figure >= limit for limit in LIMITS[what])]


def _derived(channel: Channel, mote: int, found: Mapping[tuple[int, str], Grade]) -> Grade | None:
    """What follows from a channel is as good as that channel; of several, as the worst."""
    assert channel.formula is not None
    sources = [found[mote, name] for name in dict.fromkeys(channel.formula.of) if (mote, name) in found]
    if not sources:
        return None
    sources.sort(key=lambda one: -LETTERS.index(one.letter))
    reasons = tuple(f"{one.channel} is {one.letter}: {one.reasons[0]}" for one in sources if one.reasons)
    return Grade(mote, channel.code, sources[0].letter, reasons, {})


# ---- words --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Words:
    channel: Channel
    own: Mapping[str, float]
    last_at: int
    low_since: int
    ends_us: int
    profile: Profile

    def of(self, what: str) -> str:
        figure = self.own[what]
        match what:
            case "gaps":
                return f"delivered {share(1.0 - figure)} of what was expected{self._silence()}"
            case "flat":
                return f"flat line for {share(figure)} of the time"
            case "out_of_range":
                return f"{share(figure)} out of physical range"
            case "jumps":
                return f"jumps {figure:.0f} times a day"
            case "noise":
                return f"{figure:.1f} × as noisy as its kind"
            case "noisy":
                return f"far noisier than its kind for {share(figure)} of the time"
            case "drift":
                return f"drifted {self._amount(abs(figure))} from its neighbours"
            case "apart":
                far = self._amount(self.own["apart_by"])
                return f"up to {far} from its neighbours, far from them for {share(figure)} of the time"
            case _:
                return self._battery(figure)

    def _silence(self) -> str:
        is_silent = self.ends_us - self.last_at > self.profile.silent_after_s * 1e6
        return f", nothing since {self._day(self.last_at)}" if is_silent else ""

    def _battery(self, figure: float) -> str:
        if figure > 0.995:
            return "battery low all the time"
        if self.low_since:
            return f"battery low since {self._day(self.low_since)}"
        return f"battery low in {share(figure)} of its readings"

    def _amount(self, value: float) -> str:
        """With two digits that count, and the channel's unit."""
        rounded = f"{value:.0f}" if value >= 10.0 else f"{value:.2g}"
        return f"{rounded} {self.channel.unit}".rstrip()

    def _day(self, at_us: int) -> str:
        day, end = (datetime.fromtimestamp(us // 1_000_000, UTC) for us in (at_us, self.ends_us))
        return f"{day.day} {day:%B}" if day.year == end.year else f"{day.day} {day:%B %Y}"


def share(figure: float) -> str:
    """In percent, with a decimal where it is small.

    >>> share(0.312), share(0.0042), share(0.996), share(1.0)
    ('31 %', '0.42 %', '99.6 %', '100 %')
    """
    percent = 100.0 * figure
    if percent < 0.95:
        return f"{percent:.2g} %"
    return f"{percent:.1f} %" if 99.0 < percent < 99.95 else f"{percent:.0f} %"
