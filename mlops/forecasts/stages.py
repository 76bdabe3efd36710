"""When a machine will be degrading or failing: a band of time. Pure.

What became of machines that were as worn before tells it (courses.py); where too few were, the ways on of all channels
that show wear. A machine is in the worst stage of its channels, so a way on is one of all of them together: their
forecasts of the same past hour erred at the same time, and lend their errors together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from mlops.forecasting.intervals import LEAST
from mlops.forecasting.panel import CannotForecast
from mlops.forecasting.risk import LOW, Before, Limit, Paths, Risk, risk
from mlops.forecasts.courses import AHEAD
from sensors.readings import Floats
from sensors.wear import DEGRADING, FAILING, Limits, severities

# Of a severity: 0 is where degrading begins, 1 where failing does.
BORDERS = {DEGRADING: Limit(0.0), FAILING: Limit(1.0)}


def stage_risks(
    limits: Sequence[Limits], ways: Callable[[], Sequence[Paths]], known: Mapping[int, Risk] | None = None
) -> dict[int, Risk]:
    """Of each stage: what is known of it, else by the ways on of the channels in the order of `limits`. Raises
    CannotForecast.
    """
    found = dict(known or {})
    if len(found) < len(BORDERS):
        worn = wear(limits, ways())
        found = {stage: risk(worn, border) for stage, border in BORDERS.items()} | found
    # Each is held to what came of its own; who fails degrades.
    chance = min(found[FAILING].probability, found[DEGRADING].probability)
    return {DEGRADING: found[DEGRADING], FAILING: replace(found[FAILING], probability=chance)}


def wear(limits: Sequence[Limits], ways: Sequence[Paths]) -> Paths:
    """The ways on of a machine's severity, from what its channels show together."""
    shared = set(ways[0].past.tolist()).intersection(*(one.past.tolist() for one in ways))
    if len(shared) < LEAST:
        raise CannotForecast(
            f"{len(shared)} past forecasts were followed by measurements of all channels; {LEAST} are needed to say "
            "when a machine wears"
        )
    steps = min(*(one.values.shape[1] for one in ways), round(AHEAD / timedelta(microseconds=ways[0].step)))
    values = [one.values[np.isin(one.past, list(shared)), :steps] for one in ways]
    last = float(_worst(limits, [np.array(one.last) for one in ways]))
    origin_at = max(one.origin_at for one in ways)
    before = _before(limits, [one.upto(steps).before for one in ways])
    return Paths(ways[0].name, origin_at, ways[0].step, last, _worst(limits, values), before=before)


def _before(limits: Sequence[Limits], parts: Sequence[Before | None]) -> Before | None:
    """What came of past severities; None unless all channels were forecast at the same times."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or any(not np.array_equal(part.past, known[0].past) for part in known):
        return None
    lasts, outcomes, ways = (
        _worst(limits, [getattr(part, name) for part in known]) for name in ("lasts", "outcomes", "ways")
    )
    return Before(known[0].past, lasts, outcomes, ways)


def _worst(limits: Sequence[Limits], values: Sequence[Floats]) -> Floats:
    """Of equally shaped values, one a channel, the severity of the worst that is known."""
    columns = np.stack([one.ravel() for one in values], axis=1)
    worst = np.nan_to_num(severities(limits, columns), nan=0.0).max(axis=1)
    return worst.reshape(values[0].shape)


@dataclass(frozen=True, slots=True)
class StageTime:
    """When a stage begins, as it is said."""

    name: str
    risk: Risk
    origin_at: datetime
    ends_at: datetime
    least: float = LOW  # a chance below it is not said to come

    @property
    def is_said(self) -> bool:
        return not self.risk.is_beyond and self.risk.at is not None and self.risk.probability >= self.least

    @property
    def words(self) -> str:
        """
        >>> from datetime import UTC
        >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> at, early, late = (noon + timedelta(minutes=k) for k in (260, 190, 340))
        >>> StageTime("degrading", Risk(0.62, False, at, early, late), noon, noon + timedelta(hours=24)).words
        'degrading in 3 h 10 to 5 h 40 (80 %), at about 16:20, probability 62 %'
        >>> StageTime("failing", Risk(0.0), noon, noon + timedelta(hours=24)).words
        'failing not within the next 24 h (probability below 1 %)'
        >>> StageTime("failing", Risk(1.0, is_beyond=True), noon, noon).words
        'failing already'
        """
        if self.risk.is_beyond:
            return f"{self.name} already"
        chance = "below 1 %" if self.risk.probability < 0.01 else f"{min(self.risk.probability, 0.99) * 100:.0f} %"
        if not self.is_said or self.risk.at is None or self.risk.earliest is None or self.risk.latest is None:
            return f"{self.name} not within the next {spell(self.ends_at - self.origin_at)} (probability {chance})"
        early, late = spell(self.risk.earliest - self.origin_at), spell(self.risk.latest - self.origin_at)
        return f"{self.name} in {early} to {late} (80 %), at about {self.risk.at:%H:%M}, probability {chance}"


def spell(span: timedelta) -> str:
    """
    >>> spell(timedelta(minutes=190)), spell(timedelta(hours=24)), spell(timedelta(minutes=35))
    ('3 h 10', '24 h', '35 min')
    """
    hours, minutes = divmod(round(span / timedelta(minutes=1)), 60)
    return f"{minutes} min" if not hours else f"{hours} h {minutes:02}" if minutes else f"{hours} h"
