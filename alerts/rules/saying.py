"""What a rule says: parsed once from its definition, told again as a sentence. Pure.

>>> rule = parse({"conditions": [{"kind": "value", "channel": "temperature", "is": "above", "than": 28}], "for_s": 300})
>>> rule.sentence({"temperature": "°C"})
'When temperature is above 28 °C for 5 min'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.weekly import BadHours, Weekly

VALUE, CHANGE, SCORE = "value", "change", "score"
ABOVE, BELOW = "above", "below"
RISES, FALLS, CHANGES = "rises", "falls", "changes"
KEEP, OK, ALERTING, OWN = "keep", "ok", "alerting", "own"
MEANINGS = {
    KEEP: "changes nothing", OK: "ends the alert", ALERTING: "counts as an alert", OWN: "is an alert of its own",
}  # fmt: skip
LONGEST_S = 86_400.0
HUGE = 1e300  # also a whole number that no float holds is beyond it
MOST = 5  # conditions


class BadRule(ValueError):
    """The definition says nothing that can be judged; `field` names what was wrong."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a reading can show. `clear` is where it stops, short of `than`: hysteresis."""

    kind: str
    channel: str  # empty for the model's score
    how: str
    than: float
    clear: float | None = None
    within_s: float = 0.0

    def words(self, units: Mapping[str, str]) -> str:
        unit = f" {units[self.channel]}" if units.get(self.channel) else ""
        name = self.channel or "the model's score"
        if self.kind == CHANGE:
            return f"{name} {self.how} by {_number(self.than)}{unit} within {span(self.within_s)}"
        until = ""
        if self.clear is not None and self.clear != self.than:
            until = f" (until {BELOW if self.how == ABOVE else ABOVE} {_number(self.clear)}{unit})"
        return f"{name} is {self.how} {_number(self.than)}{unit}{until}"


@dataclass(frozen=True, slots=True)
class Rule:
    conditions: tuple[Condition, ...]
    is_all: bool  # all of them, or any
    for_s: float
    hours: Weekly | None
    no_data: str
    no_data_s: float

    @property
    def channels(self) -> set[str]:
        return {one.channel for one in self.conditions if one.channel}

    @property
    def look_back_s(self) -> float:
        """How much of the past a reading's judgement takes."""
        return max((one.within_s for one in self.conditions), default=0.0)

    def sentence(self, units: Mapping[str, str]) -> str:
        glue = " and " if self.is_all else " or "
        when = glue.join(one.words(units) for one in self.conditions)
        parts = [f"When {when}"] if when else []
        if self.conditions and self.for_s:
            parts.append(f" for {span(self.for_s)}")
        if self.hours:
            parts.append(f", {self.hours}")
        if self.no_data != KEEP:
            silence = f"no reading for {span(self.no_data_s)} {MEANINGS[self.no_data]}"
            parts.append(f"; {silence}" if parts else silence[0].upper() + silence[1:])
        return "".join(parts)


def parse(given: Mapping[str, Any]) -> Rule:
    """From the definition that docs/rules.md describes; BadRule says what of it cannot be."""
    known = {"conditions", "match", "for_s", "hours", "no_data"}
    if not isinstance(given, Mapping):
        raise BadRule("definition", f"Expected an object with {', '.join(sorted(known))}; found “{given}”.")
    if set(given) - known:
        raise BadRule("definition", f"Expected {', '.join(sorted(known))}; found {', '.join(sorted(map(str, given)))}.")
    conditions = given.get("conditions", [])
    if not isinstance(conditions, Sequence) or isinstance(conditions, str) or len(conditions) > MOST:
        raise BadRule("conditions", f"Expected a list of at most {MOST} conditions.")
    no_data = given.get("no_data") or {"means": KEEP}
    if not isinstance(no_data, Mapping) or no_data.get("means") not in tuple(MEANINGS):
        raise BadRule("no_data", f"“{no_data}” says nothing; expected one of {', '.join(MEANINGS)} as means.")
    rule = Rule(
        conditions=tuple(_condition(one) for one in conditions),
        is_all=_one_of(given, "match", ("all", "any"), "all") == "all",
        for_s=_seconds(given.get("for_s", 0.0), "for_s", least=0.0),
        hours=_hours(given.get("hours")),
        no_data=no_data["means"],
        no_data_s=_seconds(no_data.get("after_s", 600.0), "no_data", least=1.0),
    )
    if not rule.conditions and rule.no_data not in (ALERTING, OWN):
        raise BadRule("conditions", "A rule needs a condition, or an alert where there is no reading.")
    return rule


def _condition(given: Any) -> Condition:
    if not isinstance(given, Mapping):
        raise BadRule("conditions", f"“{given}” is no condition.")
    kind = _one_of(given, "kind", (VALUE, CHANGE, SCORE))
    channel = given.get("channel", "") if kind != SCORE else ""
    if kind != SCORE and (not isinstance(channel, str) or not channel):
        raise BadRule("conditions", "A condition on values needs a channel.")
    how = _one_of(given, "is", (RISES, FALLS, CHANGES) if kind == CHANGE else (ABOVE, BELOW))
    than = _finite(given.get("than"), "than")
    if kind == CHANGE:
        if than <= 0:
            raise BadRule("conditions", f"“{than}” is no change; expected more than 0.")
        return Condition(kind, channel, how, than, None, _seconds(given.get("within_s"), "within_s", least=1.0))
    clear = None if given.get("clear") is None else _finite(given["clear"], "clear")
    if clear is not None and (clear > than if how == ABOVE else clear < than):
        side = "at most" if how == ABOVE else "at least"
        raise BadRule("conditions", f"It would clear at {_number(clear)}; expected {side} {_number(than)}.")
    return Condition(kind, channel, how, than, clear)


def _hours(given: Any) -> Weekly | None:
    try:
        return Weekly.parse(given) if given else None
    except BadHours as wrong:
        raise BadRule("hours", str(wrong)) from wrong


def _one_of(given: Mapping[str, Any], name: str, allowed: Sequence[str], default: str = "") -> str:
    value = given.get(name, default)
    if value not in allowed:
        raise BadRule(name, f"“{value}” cannot be {name}; expected one of {', '.join(allowed)}.")
    return str(value)


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -HUGE < value < HUGE:
        raise BadRule("conditions", f"“{value}” is no number for {name}.")
    return float(value)


def _seconds(value: Any, name: str, *, least: float) -> float:
    seconds = _finite(value, name)
    if not least <= seconds <= LONGEST_S:
        raise BadRule(name, f"{_number(seconds)} s cannot be {name}; expected {least:g} to {LONGEST_S:g}.")
    return seconds


def _number(value: float) -> str:
    return f"{value:g}"


def span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
