"""Whether a new model may serve: by stated rules, on readings that neither model has learnt from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import gammaincinv

# The engine aims at one false event a mote and week; held-out days also hold faults that nobody has labelled.
MOST_FALSE_EVENTS = 5.0
MOST_FLAGGED = 0.05
LEAST_FOUND = 0.5
# Of a classifier of smoke.
MOST_FALSE_ALARMS = 1.0  # an hour
LEAST_PRECISION = 0.5
# Of forecasts.
LEAST_WITHIN = 0.65  # of the outcomes in an 80 % interval; one that is too wide costs its CRPS
CRPS_WORSE_BY = 1.05
# What a candidate may be worse by than what serves; below these figures both are good enough.
WORSE_BY = 1.25
GOOD_FALSE_EVENTS = 1.0
GOOD_FLAGGED = 0.01
FOUND_WORSE_BY = 0.05
SHARES = ("flagged_share", "found_share", "precision", "coverage80")  # told in percent


@dataclass(frozen=True, slots=True)
class Rule:
    """One figure of the candidate against its limit."""

    figure: str
    value: float | None
    limit: float
    at_most: bool
    words: str

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def sentence(self) -> str:
        shown = "unknown" if self.value is None else self._said(self.value)
        return f"{self.words} {shown}, {'at most' if self.at_most else 'at least'} {self._said(self.limit)} wanted"

    def _said(self, value: float) -> str:
        return f"{100 * value:.3g} %" if self.figure in SHARES else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether to promote, and why in words."""

    promote: bool
    words: str
    rules: tuple[Rule, ...]

    def to_json(self) -> dict[str, Any]:
        rules = [
            {
                "figure": rule.figure,
                "value": rule.value,
                "limit": rule.limit,
                "at_most": rule.at_most,
                "holds": rule.holds,
            }
            for rule in self.rules
        ]
        return {"promote": self.promote, "words": self.words, "rules": rules}


def judge(candidate: Mapping[str, Any], serving: Mapping[str, Any] | None, wish: str = "gate") -> Judgement:
    """The verdict on a candidate by its held-out metrics and those of what serves, on the same days.

    `wish` is "gate", or "never" or "always" where a person has decided, or "manual" where an engineer shall; the
    rules are told all the same.
    """
    return _judged(_rules(candidate, serving), wish)


def judge_classifier(candidate: Mapping[str, Any], serving: Mapping[str, Any] | None, wish: str = "gate") -> Judgement:
    """The same for a classifier of smoke, by detectors that it has not met."""
    least = LEAST_FOUND if serving is None else _known(serving, "found_share", LEAST_FOUND) - FOUND_WORSE_BY
    rules = (
        Rule("false_alarms_per_hour", candidate.get("false_alarms_per_hour"), MOST_FALSE_ALARMS, True,
             "false alarms an hour:"),
        Rule("precision", candidate.get("precision"), LEAST_PRECISION, False, "precision:"),
        Rule("found_share", candidate.get("found_share"), least, False, "share of fires found:"),
    )  # fmt: skip
    return _judged(rules, wish)


def judge_forecasts(candidate: Mapping[str, Any], serving: Mapping[str, Any] | None, wish: str = "gate") -> Judgement:
    """The same for forecasts; `serving` are the figures of what serves, on the same held-out days."""
    words = "share of outcomes within the 80 % intervals:"
    rules = [Rule("coverage80", candidate.get("coverage80"), LEAST_WITHIN, False, words)]
    if serving is not None and serving.get("crps") is not None:
        limit = CRPS_WORSE_BY * serving["crps"]
        rules.append(Rule("crps", candidate.get("crps"), limit, True, "CRPS, in spreads of each series:"))
    return _judged(tuple(rules), wish)


def _judged(rules: tuple[Rule, ...], wish: str) -> Judgement:
    broken = [rule.sentence() for rule in rules if not rule.holds]
    verdict = f"the gate refuses it: {'; '.join(broken)}" if broken else "it passes the gate"
    if wish == "never":
        return Judgement(False, f"Left a candidate as asked; {verdict}.", rules)
    if wish == "always":
        return Judgement(True, f"Promoted as asked; {verdict}.", rules)
    if wish == "manual":
        return Judgement(False, f"Waits for an engineer; {verdict}.", rules)
    return Judgement(not broken, f"{'Left a candidate' if broken else 'Promoted'}; {verdict}.", rules)


def _rules(candidate: Mapping[str, Any], serving: Mapping[str, Any] | None) -> tuple[Rule, ...]:
    most_events, most_flagged, least_found = MOST_FALSE_EVENTS, MOST_FLAGGED, LEAST_FOUND
    if serving is not None:
        most_events = max(GOOD_FALSE_EVENTS, WORSE_BY * _known(serving, "false_events_per_mote_week", most_events))
        most_flagged = max(GOOD_FLAGGED, WORSE_BY * _known(serving, "flagged_share", most_flagged))
        least_found = _known(serving, "found_share", least_found) - FOUND_WORSE_BY
    confirmed = (
        Rule("confirmed_lost", candidate["confirmed_lost"], 0, True, "confirmed events that it would lose:"),
    ) if "confirmed_lost" in candidate else ()  # fmt: skip
    return (
        *confirmed,
        Rule("false_events_per_mote_week", _surely(candidate), most_events, True,
             "false events a mote and week, at the least:" if candidate.get("mote_weeks") else
             "false events a mote and week:"),
        Rule("flagged_share", candidate.get("flagged_share"), most_flagged, True, "share of clean readings flagged:"),
        Rule("found_share", candidate.get("found_share"), least_found, False, "share of planted faults found:"),
    )  # fmt: skip


def _surely(metrics: Mapping[str, Any]) -> float | None:
    """The rate of false events, or how low it may truly be: one event in an hour proves no hundred a week.

    The lower end of Garwood's exact 95 % interval of a Poisson count, as much wider as events come together: a dusk
    that six motes took amiss is one accident and no six.
    """
    n_events, weeks = metrics.get("n_events"), metrics.get("mote_weeks")
    if n_events is None or not weeks:
        return metrics.get("false_events_per_mote_week")
    crowd = metrics.get("events_crowd", 1.0)
    return float(gammaincinv(n_events / crowd, 0.025)) * crowd / weeks if n_events else 0.0


def _known(metrics: Mapping[str, Any], figure: str, otherwise: float) -> float:
    value = metrics.get(figure)
    return float(value) if value is not None else otherwise
