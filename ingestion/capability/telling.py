"""A capability table in words: a line a kind, and what the model cannot do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops.detection.words import duration

KINDS: Mapping[str, str] = {
    "spike": "Single values far off", "drift": "A slow drift", "bias": "A constant offset",
    "stuck": "A value that no longer moves", "cyclic": "A swing", "noise": "Trembling",
    "out_of_range": "Values that cannot be", "multi_channel": "Several channels at once",
    "battery_death": "A dying battery", "degrading": "Wear: degrading", "failing": "Wear: failing",
    "drop_out": "Silence", "clock_skew": "A wrong clock", "duplicate": "Messages sent twice",
}  # fmt: skip
# What no value tells is not for the engine: who tells it instead.
ELSEWHERE: Mapping[str, str] = {
    "drop_out": "there is no reading to judge; the mote is shown as silent and the gap is flagged",
    "clock_skew": "the values are right; times that are late or in the future are flagged",
    "duplicate": "a message that comes again is left out and counted in the books",
}
SELDOM = 0.5
FEWEST = 5  # faults of a channel, to say anything about it


@dataclass(frozen=True, slots=True)
class Line:
    """A kind of fault as people read it."""

    kind: str
    label: str
    n: int
    found: int
    at_once: int
    median_delay_s: float | None
    layers: Mapping[str, float | None]  # the share that each alone would have found
    elsewhere: str

    @property
    def recall(self) -> float | None:
        return self.found / self.n if self.n else None

    @property
    def delay(self) -> str:
        return "" if self.median_delay_s is None else spoken_delay(self.median_delay_s)


def lines(table: Mapping[str, Any]) -> list[Line]:
    return [
        Line(
            kind=one["kind"],
            label=label(one["kind"]),
            n=one["n"],
            found=one["found"],
            at_once=one["at_once"],
            median_delay_s=one["median_delay_s"],
            elsewhere=ELSEWHERE.get(one["kind"], ""),
            layers={name: each["found"] / each["n"] if each["n"] else None for name, each in one["layers"].items()},
        )
        for one in table["kinds"]
        if one["n"]
    ]


def label(kind: str) -> str:
    return KINDS.get(kind, kind.replace("_", " ").capitalize())


def spoken_delay(seconds: float) -> str:
    return "at once" if seconds <= 0 else f"after {duration(round(seconds * 1e6))}"


def cannot(table: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """What the model finds less than every other time, worst first; `labels` has the channels' own words."""
    found = sorted(_weak(table, labels), key=lambda one: one[0])
    elsewhere = [f"{label(kind)}: {why}." for kind, why in ELSEWHERE.items() if kind in _kinds(table)]
    rare = [f"{label(one['kind'])}: not measured; there are too few readings for one." for one in _missing(table)]
    return [words for _, words in found] + rare + elsewhere


def _missing(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Kinds that need more time than there was."""
    return [one for one in table["kinds"] if not one["n"] and one["kind"] not in ELSEWHERE]


def _kinds(table: Mapping[str, Any]) -> Sequence[str]:
    return [one["kind"] for one in table["kinds"]]


def _weak(table: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    for one in table["kinds"]:
        if one["kind"] in ELSEWHERE or not one["n"]:
            continue
        name = label(one["kind"])
        share = one["found"] / one["n"]
        if share < SELDOM:
            yield share, f"{name}: {one['found']} of {one['n']} found."
            continue
        for channel, each in one["channels"].items():
            if each["n"] >= FEWEST and each["found"] / each["n"] < SELDOM:
                yield (
                    each["found"] / each["n"],
                    f"{name} of {labels.get(channel, channel).lower()}: {each['found']} of {each['n']} found.",
                )


def markdown(table: Mapping[str, Any]) -> str:
    """As the documentation shows it: what each layer alone would have found in percent, and cried in vain."""
    layers = table["layers"]
    head = ["fault", "found", "noticed after (median)", *layers]
    rows = [
        [
            one.label.lower(), f"{one.found} of {one.n}", one.delay.removeprefix("after ") or "–",
            *(f"{100 * share:.0f}" if share else "·" for share in (one.layers[name] for name in layers)),
        ]
        for one in lines(table)
    ]  # fmt: skip
    calm = table["clean"]
    false = [f"{calm['layers'][name] or 0:.1f}" for name in layers]
    rows.append(
        [f"**false events** a mote and week, in {calm['mote_weeks']:g}", f"{calm['per_mote_week']:.2f}", "", *false]
    )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])
