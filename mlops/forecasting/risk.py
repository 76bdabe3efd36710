"""How likely a series passes a limit within the horizon, and when. Pure.

What may come is simulated by what came: each past forecast's errors, all its steps together, laid on the new forecast.
A path so keeps the steps as they hang together, which quantiles of single steps do not. Forecasts that look back on a
day or two err on Saturdays as they erred on Saturdays before, so days of the same kind lend their errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from mlops.forecasting.fitting import Fitted, Record, outcomes
from mlops.forecasting.intervals import LEAST, NAMES, widths
from mlops.forecasting.panel import CannotForecast, Panel, carried
from mlops.forecasting.seasons import USUAL_US, days_ahead
from sensors.readings import Floats, Ints

LOW, HIGH = 0.2, 0.5
INTERVAL = (0.1, 0.9)  # of the paths that pass
CHECKED, LENT, FEWEST = 40, 64, 10  # past forecasts that chances are held to, ways of each, and how few say nothing
SURE = 0.02  # odds of a limit that none of the ways passes, or each
ASKED = (0.01, 0.05, 0.1, 0.9, 0.95, 0.99)  # of what came, as limits that tell how much chances told
INDEPENDENT = 0.35  # of forecasts a horizon apart, as many are worth one that knows nothing of the others
BEFORE, TRUSTED, NEWTON = 0.3, 30.0, 8  # how much odds tell where nothing is known, how surely, and steps to find it
ALIKE, OTHERS = 0.75, 10  # of the steps ahead on days of the same kind; of other days each so manieth lends as well
WEEKS = 3  # one Saturday tells little of the next


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a series should not go beyond, upwards or downwards; not even reach, where nothing lies beyond."""

    value: float
    is_upper: bool = True
    is_end: bool = False

    def is_passed(self, values: Floats) -> np.ndarray:
        if self.is_end:
            return values >= self.value if self.is_upper else values <= self.value
        return values > self.value if self.is_upper else values < self.value


@dataclass(frozen=True)
class Before:
    """Past forecasts that are over, with what came: what the chance of a limit would have been then, and whether it
    was passed. `past` says which they are, as that of Paths does.
    """

    past: Ints
    lasts: Floats
    outcomes: Floats  # (forecasts, horizon)
    ways: Floats  # (forecasts, ways, horizon)

    def upto(self, steps: int) -> Before:
        return replace(self, outcomes=self.outcomes[:, :steps], ways=self.ways[:, :, :steps])

    @cached_property
    def _farthest(self) -> tuple[Floats, Floats]:
        """The highest and the lowest of each way from each of the forecasts."""
        return self.ways.max(axis=2), self.ways.min(axis=2)

    @cached_property
    def _worth(self) -> float:
        """Of one of them: they overlap, and one day is like the next."""
        n = len(self.past)
        apart = float(np.ptp(self.past)) / self.outcomes.shape[1] if n else 0.0
        return min(INDEPENDENT * (apart + 1.0) / max(n, 1), 1.0)

    @cached_property
    def _others(self) -> list[Heard]:
        """Of limits that were passed more and less often."""
        values = self.outcomes[np.isfinite(self.outcomes)]
        limits = [Limit(float(each), q > 0.5) for q, each in zip(ASKED, np.quantile(values, ASKED), strict=True)]
        return [one for limit in limits if (one := self._of(limit)) is not None]

    def _told(self, heard: Heard) -> float:
        """How much of a change in the odds that were stated, of this limit and others, came true: 0 where chances told
        nothing, 1 where odds were as stated.
        """
        known = [heard, *self._others]
        usual = np.concatenate([np.full(len(one.came), one.usual) for one in known])
        moved = np.concatenate([one.stated - one.stated.mean() for one in known])
        came = np.concatenate([one.came for one in known])
        told = BEFORE
        for _ in range(NEWTON):
            chance = expit(usual + told * moved)
            pull = self._worth * ((came - chance) * moved).sum() - TRUSTED * (told - BEFORE)
            weight = self._worth * (chance * (1.0 - chance) * moved**2).sum() + TRUSTED
            told = float(np.clip(told + pull / weight, 0.0, 1.0))
        return told

    def _of(self, limit: Limit) -> Heard | None:
        """Of the forecasts from which it was still to be passed; None where they are too few."""
        counts = ~limit.is_passed(self.lasts)
        if counts.sum() < FEWEST:
            return None
        farthest = self._farthest[0 if limit.is_upper else 1][counts]
        came = np.asarray(limit.is_passed(self.outcomes[counts]).any(axis=1), dtype=np.float64)
        usual = (self._worth * came.sum() + 0.5) / (self._worth * len(came) + 1.0)
        return Heard(float(logit(usual)), odds(limit.is_passed(farthest).mean(axis=1)), came)

    def corrected(self, chance: float, limit: Limit) -> float:
        """A chance held to how often the limit was passed before, and moved from there as far as stated odds told
        anything: few forecasts, or such as move more than what comes, state too much.
        """
        known = self._of(limit)
        if known is None or (chance == 0.0 and not known.came.any()):
            return chance
        return float(expit(known.usual + self._told(known) * (odds(chance) - known.stated.mean())))


class Heard(NamedTuple):
    """Of past forecasts and a limit: the log odds that it was passed, those stated by each, and whether it was."""

    usual: float
    stated: Floats
    came: Floats


def odds(chance: Floats | float) -> Any:
    """In logarithms; no chance that few ways say is nothing, or certain."""
    return logit(np.clip(chance, SURE, 1.0 - SURE))


@dataclass(frozen=True)
class Paths:
    """Equally likely ways on (paths, horizon) from the last measurement, `last`, at `origin_at` microseconds.

    `past` says which forecast lent its errors to each, in steps before the last one that is over: series that are
    looked at together err together.
    """

    name: str
    origin_at: int
    step: int
    last: float
    values: Floats
    past: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    before: Before | None = None

    def upto(self, steps: int) -> Paths:
        """No further ahead than that."""
        return replace(self, values=self.values[:, :steps], before=self.before and self.before.upto(steps))


@dataclass(frozen=True, slots=True)
class Risk:
    """`at` is the median instant of passing, between `earliest` and `latest` in 80 of 100 cases in which it passes."""

    probability: float
    is_beyond: bool = False  # it has passed already
    at: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None

    def level(self, low: float = LOW, high: float = HIGH) -> str:
        return "high" if self.probability >= high else "medium" if self.probability >= low else "low"

    def words(self, name: str, limit: Limit, unit: str = "") -> str:
        """For people; the time is UTC.

        >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> risk = Risk(0.625, False, noon, noon - timedelta(minutes=20), noon + timedelta(minutes=30))
        >>> risk.words("humidity", Limit(60.0), "%")
        'humidity passes 60 % at about 12:00 (± 25 min), probability 62 %'
        >>> Risk(1.0, is_beyond=True).words("humidity", Limit(0.0, False, is_end=True), "%")
        'humidity is at 0 %'
        """
        value = f"{limit.value:g}{f' {unit}' if unit else ''}"
        passes = "reaches" if limit.is_end else "passes"
        if self.is_beyond:
            return f"{name} is {'at' if limit.is_end else 'above' if limit.is_upper else 'below'} {value}"
        if self.at is None or self.earliest is None or self.latest is None:
            return f"{name} {passes} {value} in none of the ways that the past suggests"
        minutes = round((self.latest - self.earliest) / timedelta(minutes=2))
        chance = f"{min(max(self.probability, 0.01), 0.99):.0%}".replace("%", " %")
        return f"{name} {passes} {value} at about {self.at:%H:%M} (± {_span(minutes)}), probability {chance}"


def _span(minutes: int) -> str:
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def paths(fitted: Fitted, recent: Panel, series: int = 0) -> Paths:
    """Raises CannotForecast."""
    return paths_of(fitted, fitted.last(recent, series))


def paths_of(fitted: Fitted, record: Record) -> Paths:
    """By a record that is kept for more. Raises CannotForecast."""
    panel, series, origin, errors = record.panel, record.series, record.origin, record.errors
    is_whole = np.isfinite(errors).all(axis=1)
    whole, past = errors[is_whole], fitted.remembered(panel, origin)[is_whole]
    ago = np.arange(len(errors))[::-1][is_whole] * fitted.every
    if len(whole) < LEAST:
        raise CannotForecast(
            f"{len(whole)} past forecasts were followed by measurements all the way; {LEAST} are needed to say a risk"
        )
    # As wide as the intervals that the forecast says.
    middle = np.median(whole, axis=0)
    spread = widths(fitted.share)[len(whole), NAMES.index("q90")]
    errors = middle + (whole - middle) * spread
    (lent,) = _lent(panel, past, np.array([origin]), fitted.horizon)
    values = np.clip(record.mean + errors[lent], *panel.limits[series])
    last = float(panel.values[origin - 1, series])
    before = _before(fitted, record, ago, past, errors)
    return Paths(panel.names[series], int(panel.last_at[series]), panel.step, last, values, ago[lent], before)


def _before(fitted: Fitted, record: Record, ago: Ints, past: Ints, errors: Floats) -> Before:
    """The ways that some past forecasts, by how long ago and by origin, would have had by the errors of today."""
    panel, series = record.panel, record.series
    chosen, values = some(past, CHECKED), panel.values[:, series]
    units = fitted.units(panel, series, np.append(chosen, record.origin))
    lent = [_evenly(one, min(LENT, len(past))) for one in _lent(panel, past, chosen, fitted.horizon)]
    laid = errors[np.array(lent)] * (units[:-1] / units[-1])[:, None, None]
    ways = np.clip(fitted.member.foretell(panel, series, chosen)[:, None] + laid, *panel.limits[series])
    return Before(some(ago, CHECKED), carried(values)[chosen - 1], outcomes(values, chosen, fitted.horizon), ways)


def _lent(panel: Panel, past: Ints, origins: Ints, steps: int) -> list[Ints]:
    """For each origin which of the past forecasts lend it their errors: those that were followed by working days and
    weekends as it is, and some of the others. All of them where so few are alike, or of so few weeks.
    """
    if np.ptp(past) * panel.step < WEEKS * USUAL_US[1]:
        return [np.arange(len(past))] * len(origins)
    first = int(past.min())
    kinds = days_ahead(panel, first, int(max(past.max(), origins.max())) + 1, steps)
    alike = kinds[origins - first] @ kinds[past - first].T / steps >= 2.0 * ALIKE - 1.0
    lends = alike | (np.arange(len(past)) % OTHERS == 0)
    lends[lends.sum(axis=1) < LEAST] = True
    return [np.flatnonzero(one) for one in lends]


def _evenly(rows: Ints, n: int) -> Ints:
    return rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)]


def some(rows: Any, most: int) -> Any:
    """Evenly apart, that many at most."""
    return rows[:: max(-(-len(rows) // most), 1)]


def risk(ways: Paths, limit: Limit) -> Risk:
    """Of passing it at any step of the horizon."""
    if limit.is_passed(np.array([ways.last]))[0]:
        return Risk(1.0, is_beyond=True)
    passed = limit.is_passed(ways.values)
    passes = passed.any(axis=1)
    chance = float(passes.mean())
    if ways.before is not None:
        chance = ways.before.corrected(chance, limit)
    if not passes.any():
        return Risk(chance)
    first = passed[passes].argmax(axis=1) + 1
    early, middle, late = np.quantile(first, [INTERVAL[0], 0.5, INTERVAL[1]])
    return Risk(chance, False, *(_instant(ways, each) for each in (middle, early, late)))


def _instant(ways: Paths, steps: float) -> datetime:
    return datetime.fromtimestamp((ways.origin_at + steps * ways.step) / 1e6, UTC)
