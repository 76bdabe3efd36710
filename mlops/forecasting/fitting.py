"""A forecaster learns from a history and then says how series go on, with intervals that its own record backs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl

from mlops.forecasting import members
from mlops.forecasting.intervals import LEAST, NAMES, REMEMBERED, bands, latest
from mlops.forecasting.panel import NEVER, CannotForecast, Panel, carried
from mlops.forecasting.seasons import season
from sensors.readings import INSTANT, Bools, Floats, Ints

MOST_STEPS = 2_000
VALIDATED = 0.25  # of a history, to choose settings on and to begin the record with
APART, SPARSE = 24, 6  # remembered forecasts in a season: at most, and where there are ENOUGH
ENOUGH = 200
CALM = 7  # seasons, by whose spread a forecast's errors are measured
FLOOR = 0.1  # of a series' spread: a calmer week counts as calm as that
MOST_MISSING = 10  # times its own length a memory may lie before what comes next


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A member, and how far it shall look. Rows are those of the history, from its beginning."""

    member: str = members.DEFAULT
    horizon: int = 96
    train_rows: int | None = None
    validate_rows: int | None = None

    def fit(self, history: Panel) -> Fitted:
        """Learns from the first part of the history and chooses its settings on the next. Raises CannotForecast."""
        _checked(self.horizon)
        n_train, n = self._split(history)
        member = members.make(self.member, self.horizon)
        history = history.head(n)
        member.fit(history, n_train)
        cycle = season(history, n_train)
        every = _apart(cycle, n - n_train - self.horizon)
        window = min(max(CALM * cycle, LEAST), n_train // 2)
        spread = [float(np.nanstd(each)) if np.isfinite(each).any() else 0.0 for each in history.values[:n_train].T]
        floors = {name: FLOOR * each or 1.0 for name, each in zip(history.names, spread, strict=True)}
        fitted = Fitted(
            self.member, member, history, history.start + n_train * history.step, every, window, floors
        )  # fmt: skip
        return replace(fitted, memory=history.tail(fitted.rows))

    def _split(self, history: Panel) -> tuple[int, int]:
        n = len(history)
        n_validate = self.validate_rows or max(int(VALIDATED * n), self.horizon + LEAST)
        n_train = self.train_rows or n - n_validate
        least = max(self.horizon, LEAST)
        if n_train < least or n_validate < self.horizon + LEAST or n_train + n_validate > n:
            needed = max(self.train_rows or least, least) + max(n_validate, self.horizon + LEAST)
            missing, n_train = max(needed - n, 0), max(n_train, 0)
            when = f"; enough in {_duration(missing * history.step)} of readings" if missing else ""
            raise CannotForecast(
                f"{n:,} steps of {_duration(history.step)} are there, {needed:,} are needed for {self.horizon:,} steps "
                f"ahead ({n_train:,} to learn from, at least {least:,}; {n_validate:,} to validate on, at least "
                f"{self.horizon + LEAST:,}){when}"
            )
        return n_train, n_train + n_validate


@dataclass(frozen=True)
class Rolled:
    """One series, forecast from each origin by its past alone. Arrays are (origins, horizon); NaN where not known."""

    origins: Ints
    mean: Floats
    quantiles: Floats  # (origins, horizon, levels)
    crps: Floats
    outcome: Floats


@dataclass(frozen=True)
class Record:
    """The forecast (horizon) from an origin, and the errors (forecasts, horizon) of those over by then, as large as
    they would be with the series as lively as it is now.
    """

    panel: Panel
    series: int
    origin: int
    mean: Floats
    errors: Floats


@dataclass(frozen=True)
class Fitted:
    """A member that has learnt, and what it remembers: the rows that its last forecasts can be looked up in."""

    name: str
    member: members.Member
    memory: Panel
    learnt_until: int  # nothing from this instant on was learnt from
    every: int  # steps from one remembered forecast to the next
    window: int  # steps before an origin, whose spread is the unit of its errors
    floors: Mapping[str, float]  # of that spread, by series

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Refuses what an earlier release has pickled, and would be found incomplete only by a forecast."""
        if missing := [each.name for each in fields(self) if each.name not in state]:
            raise ValueError(f"a fitted forecaster now has {', '.join(missing)}")
        self.__dict__.update(state)

    @property
    def horizon(self) -> int:
        return self.member.horizon

    @property
    def rows(self) -> int:
        """How many it looks back on, to say a forecast and how sure it is."""
        return max(self.member.needs, self.window) + REMEMBERED * self.every + 2 * self.horizon

    @property
    def share(self) -> float:
        """How much of a further forecast each remembered one is worth: they overlap."""
        return self.every / self.horizon

    @property
    def reach(self) -> int:
        """Steps to either side that tell how sure a step is: a small part of the season, as what follows the day errs
        by the hour.
        """
        return self.every // 2

    def forecast(
        self, recent: Panel, horizon: int | None = None, *, now: int | None = None, stale_s: float | None = None
    ) -> pl.DataFrame:
        """How each series goes on from its last measurement: series, origin_at, at, step, mean and quantiles.

        With `now` (microseconds) a column age_s says how old the last measurement is. Raises CannotForecast for the
        first series that has no forecast.
        """
        table, refused = self.each(recent, horizon, now=now, stale_s=stale_s)
        for name, why in refused.items():
            raise CannotForecast(f"{name}: {why}" if name else why)
        return table

    def each(
        self, recent: Panel, horizon: int | None = None, *, now: int | None = None, stale_s: float | None = None
    ) -> tuple[pl.DataFrame, dict[str, str]]:
        """The forecasts of those series that have one, and why the others have none."""
        steps = self._steps(horizon)
        panel = self.looking_at(recent)
        ends, said, refused = panel.ends(), {}, {}
        for series, name in enumerate(panel.names):
            try:
                _fresh(panel.last_at[series], now, stale_s)
                said[series] = self._continued(self.record(panel, series, int(ends[series])))[:steps]
            except CannotForecast as why:
                refused[name] = str(why)
        return _table(panel, said, steps, now), refused

    def said(self, record: Record, horizon: int | None = None) -> pl.DataFrame:
        """As `forecast`, of one series by a record that is kept for more. Raises CannotForecast."""
        steps = self._steps(horizon)
        return _table(record.panel, {record.series: self._continued(record)[:steps]}, steps, None)

    def _steps(self, horizon: int | None) -> int:
        steps = self.horizon if horizon is None else horizon
        _checked(steps)
        if steps > self.horizon:
            raise CannotForecast(f"the model was made for {self.horizon:,} steps ahead; {steps:,} were asked for")
        return steps

    def last(self, recent: Panel, series: int = 0) -> Record:
        """The record at a series' last measurement. Raises CannotForecast."""
        panel = self.looking_at(recent)
        return self.record(panel, series, int(panel.ends()[series]))

    def looking_at(self, recent: Panel) -> Panel:
        """The recent rows, with those before them that it remembers."""
        return joined(self.memory.only(recent.names), recent)

    def record(self, panel: Panel, series: int, origin: int) -> Record:
        """What is known at an origin. Raises CannotForecast."""
        if origin == 0:
            raise CannotForecast("nothing was measured")
        past = self.remembered(panel, origin)
        mean = self.member.foretell(panel, series, np.append(past, origin))
        if not np.isfinite(mean[-1]).all():
            self._refuse(panel, series, origin)
        units = self.units(panel, series, np.append(past, origin))
        errors = outcomes(panel.values[:, series], past, self.horizon) - mean[:-1]
        return Record(panel, series, origin, mean[-1], errors * (units[-1] / units[:-1, None]))

    def remembered(self, panel: Panel, origin: int) -> Ints:
        """The origins of the forecasts that are over by then, the last of them."""
        past = np.arange(self._first(panel), origin - self.horizon + 1)
        return past[self._counts(panel, past)][-REMEMBERED:]

    def units(self, panel: Panel, series: int, origins: Ints) -> Floats:
        """How far the series moved in the window before each origin."""
        values = carried(panel.values[:, series])
        padded = np.concatenate([np.full(self.window, values[0]), values])
        before = np.lib.stride_tricks.sliding_window_view(padded, self.window)[origins]
        return np.maximum(before.std(axis=1), self.floors.get(panel.names[series], 1.0))

    def _continued(self, record: Record) -> Floats:
        """The mean and the quantiles of each step, side by side."""
        panel, mean = record.panel, record.mean
        quantiles, n = latest(record.errors, self.share, self.reach)
        if n < LEAST:
            raise CannotForecast(
                f"the outcome of {n} past forecasts is known, and {LEAST} are needed to say how sure one is; enough in "
                f"{_duration((LEAST - n) * self.every * panel.step)} of readings"
            )
        low, high = panel.limits[record.series]
        return np.clip(np.column_stack([mean, mean[:, None] + quantiles]), low, high)

    def _refuse(self, panel: Panel, series: int, origin: int) -> None:
        needs = self.member.needs
        there = int(np.isfinite(panel.values[max(origin - needs, 0) : origin, series]).sum())
        raise CannotForecast(
            f"{there:,} of the last {needs:,} steps of {_duration(panel.step)} were measured; at least half are needed"
        )

    def _first(self, panel: Panel) -> int:
        """The first origin whose outcome was not learnt from, and which has a past to look at."""
        return max(-(-(self.learnt_until - panel.start) // panel.step), self.member.needs, self.window)

    def _counts(self, panel: Panel, origins: Ints) -> Bools:
        return np.asarray((origins - round((self.learnt_until - panel.start) / panel.step)) % self.every == 0)

    def rolled(self, panel: Panel, series: int, first: int, last: int) -> Rolled:
        """From each row of first..last as origin, as if nothing after it had been measured yet."""
        begin = max(min(first - self.horizon - REMEMBERED * self.every + 1, first), self._first(panel))
        origins = np.arange(begin, last + 1)
        mean = np.clip(self.member.foretell(panel, series, origins), *panel.limits[series])
        outcome = outcomes(panel.values[:, series], origins, self.horizon)
        units = self.units(panel, series, origins)[:, None]
        offsets, crps = bands((outcome - mean) / units, origins, self._counts(panel, origins), self.share, self.reach)
        offsets, crps = offsets * units[:, :, None], crps * units
        asked = np.arange(len(origins)) >= first - begin
        offsets += mean[:, :, None]
        return Rolled(origins[asked], mean[asked], np.clip(offsets[asked], *panel.limits[series]),
                      crps[asked], outcome[asked])  # fmt: skip


def _apart(cycle: int, n: int) -> int:
    """Steps from one remembered forecast to the next, of n in a row: neighbours err alike, so few of a season tell as
    much as many and reach further back. One step more than a part of the season: each hour has its turn.
    """
    return max(cycle // APART, min(cycle // SPARSE + 1, n // ENOUGH), 1)


def outcomes(values: Floats, origins: Ints, horizon: int) -> Floats:
    """What came (origins, horizon); NaN where nothing was measured, or not yet."""
    padded = np.concatenate([values, np.full(horizon, np.nan)])
    return np.lib.stride_tricks.sliding_window_view(padded, horizon)[origins].copy()


def joined(memory: Panel, recent: Panel) -> Panel:
    """What is remembered, and what came since; where both have a value, the recent one."""
    if memory.step != recent.step:
        raise CannotForecast(
            f"the readings come every {_duration(recent.step)}, the model was made for {_duration(memory.step)}"
        )
    shift = round((recent.start - memory.start) / memory.step)
    if shift > MOST_MISSING * max(len(memory), len(recent)) or shift < 0:
        return recent
    rows = max(len(memory), shift + len(recent))
    values = np.full((rows, len(memory.names)), np.nan)
    values[: len(memory)] = memory.values
    part = values[shift : shift + len(recent)]
    np.copyto(part, recent.values, where=np.isfinite(recent.values))
    return replace(memory, values=values, last_at=np.maximum(memory.last_at, recent.last_at), limits=recent.limits)


def _table(panel: Panel, said: dict[int, Floats], steps: int, now: int | None) -> pl.DataFrame:
    """One for all series: a table each would take longer than their forecasts."""
    if not said:
        return pl.DataFrame()
    origin_at = np.repeat(panel.last_at[list(said)], steps)
    step = np.tile(np.arange(1, steps + 1), len(said))
    table = pl.DataFrame(
        {
            "series": [panel.names[series] for series in said for _ in range(steps)],
            "origin_at": pl.Series(origin_at).cast(INSTANT),
            "at": pl.Series(origin_at + step * panel.step).cast(INSTANT),
            "step": step,
            **dict(zip(("mean", *NAMES), np.vstack(list(said.values())).T, strict=True)),
        }
    )
    return table if now is None else table.with_columns(pl.Series("age_s", (now - origin_at) / 1e6))


def _fresh(last_at: int, now: int | None, stale_s: float | None) -> None:
    if now is not None and stale_s is not None and (now - int(last_at)) / 1e6 > stale_s and last_at != NEVER:
        raise CannotForecast(
            f"the last reading is {_duration(now - int(last_at))} old; a forecast is made up to "
            f"{_duration(round(stale_s * 1e6))} after it"
        )


def _checked(horizon: int) -> None:
    if not 1 <= horizon <= MOST_STEPS:
        raise CannotForecast(
            f"{horizon:,} steps ahead were asked for; possible are 1 to {MOST_STEPS:,}, and farther with longer steps"
        )


def _duration(us: int) -> str:
    for unit, name in ((86_400_000_000, "days"), (3_600_000_000, "hours"), (60_000_000, "minutes")):
        if us >= 2 * unit:
            return f"{us / unit:.3g} {name}"
    return f"{us / 1e6:g} s"
