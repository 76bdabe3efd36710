"""Series on one grid of time: what a forecast is learnt from, and where it begins. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensors.readings import Bools, Floats, Ints

LEAST_ROWS = 2
CHANGES = 1.5  # times the interval of the one half is another interval than that of the other
MOST_EMPTY = 200  # rows of the grid for each reading
MEASURED = 0.5  # of the steps that a forecast looks back on, at least, must have a value
NEVER = np.iinfo(np.int64).min


class CannotForecast(Exception):
    """Why there is no forecast, and what would change it."""


@dataclass(frozen=True)
class Panel:
    """Values (rows, series), one row a step, NaN where nothing was measured. `limits` is what each series cannot leave.

    `last_at` is when each series was last measured: its forecast begins one step later, whatever the clock says.
    """

    names: tuple[str, ...]
    start: int  # microseconds
    step: int
    values: Floats
    last_at: Ints
    limits: Floats  # (series, 2)
    zone: str = "UTC"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def at(self) -> Ints:
        return self.start + self.step * np.arange(len(self), dtype=np.int64)

    def head(self, n: int) -> Panel:
        """As it was when only the first n rows had been measured."""
        values = self.values[:n]
        return replace(self, values=values, last_at=_last(values, self.start, self.step))

    def tail(self, n: int) -> Panel:
        return replace(self, start=self.start + self.step * max(len(self) - n, 0), values=self.values[-n:])

    def only(self, names: Sequence[str]) -> Panel:
        place = [self.names.index(name) for name in names]
        return replace(self, names=tuple(names), values=self.values[:, place], last_at=self.last_at[place],
                       limits=self.limits[place])  # fmt: skip

    def ends(self) -> Ints:
        """Of each series the row after its last measurement; 0 where there is none."""
        there = np.isfinite(self.values)
        return np.where(there.any(axis=0), len(self) - there[::-1].argmax(axis=0), 0).astype(np.int64)


def _last(values: Floats, start: int, step: int) -> Ints:
    there = np.isfinite(values)
    if not len(values):
        return np.full(values.shape[1], NEVER)
    row = len(values) - 1 - there[::-1].argmax(axis=0)
    return np.where(there.any(axis=0), start + row * step, NEVER).astype(np.int64)


def panel_of(
    at: Ints,
    values: Floats,
    names: Sequence[str],
    *,
    series: Ints | None = None,
    n_series: int = 1,
    is_bad: Bools | None = None,
    step_s: float | None = None,
    limits: Sequence[tuple[float, float]] | None = None,
    zone: str = "UTC",
) -> Panel:
    """Readings in any order, put on a grid of their usual interval that begins at the first of them.

    `values` is (readings, channels); what `is_bad` marks (flagged, imputed) counts as not measured. Of readings of a
    series at one time the first counts; several in a step are averaged. `names` goes by series, then by channel. Raises
    CannotForecast.
    """
    of = np.zeros(len(at), dtype=np.int64) if series is None else series
    clean = np.where(np.isfinite(values) if is_bad is None else np.isfinite(values) & ~is_bad, values, np.nan)
    order = np.lexsort((np.arange(len(at)), at, of))
    at, of, clean = at[order], of[order], clean[order]
    first = np.ones(len(at), dtype=bool)
    first[1:] = (np.diff(at) != 0) | (np.diff(of) != 0)
    at, of, clean = at[first], of[first], clean[first]
    if not np.isfinite(clean).any():
        raise CannotForecast("nothing was measured: every value is empty, NaN or flagged")
    if len(at) < LEAST_ROWS:
        raise CannotForecast("there is one reading; a forecast needs at least two to know how far they are apart")
    step = round(step_s * 1e6) if step_s else _interval(at, of)
    start = int(at.min())
    row = (at - start + step // 2) // step
    n_rows = int(row.max()) + 1
    if n_rows > MOST_EMPTY * len(at):
        raise CannotForecast(
            f"{len(at):,} readings lie over {n_rows:,} steps of {step / 1e6:g} s; say a longer step, or a "
            "shorter stretch"
        )
    grid, last = _averaged(clean, row, of, at, n_rows, n_series)
    bounds = np.array(limits if limits is not None else [(-np.inf, np.inf)] * grid.shape[1], dtype=np.float64)
    return Panel(tuple(names), start, step, grid, last, bounds, zone)


def _interval(at: Ints, of: Ints) -> int:
    gaps = np.diff(at)[np.diff(of) == 0]
    if not len(gaps):
        raise CannotForecast(
            "each series has one reading; a forecast needs at least two to know how far they are apart"
        )
    usual, half = float(np.median(gaps)), len(gaps) // 2
    if half >= 10 and len(np.unique(of)) == 1:
        before, after = float(np.median(gaps[:half])), float(np.median(gaps[half:]))
        if max(before, after) > CHANGES * min(before, after):
            raise CannotForecast(
                f"the interval changes from {before / 1e6:g} s to {after / 1e6:g} s; say the step to forecast in, "
                f"such as {max(before, after) / 1e6:g} s"
            )
    return max(round(usual), 1)


def _averaged(values: Floats, row: Ints, of: Ints, at: Ints, n_rows: int, n_series: int) -> tuple[Floats, Ints]:
    n_channels = values.shape[1]
    grid = np.full((n_rows, n_series * n_channels), np.nan)
    last = np.full(n_series * n_channels, NEVER)
    for channel in range(n_channels):
        there = np.isfinite(values[:, channel])
        place = row[there] * n_series + of[there]
        total = np.bincount(place, values[there, channel], minlength=n_rows * n_series)
        count = np.bincount(place, minlength=n_rows * n_series)
        with np.errstate(invalid="ignore"):
            grid[:, channel::n_channels] = (total / count).reshape(n_rows, n_series)
        np.maximum.at(last, of[there] * n_channels + channel, at[there])
    return grid, last


def carried(values: Floats) -> Floats:
    """Gaps of one series filled with the last value before them, which is all that was known there."""
    there = np.isfinite(values)
    if there.all():
        return values
    place = np.maximum.accumulate(np.where(there, np.arange(len(values)), -1))
    first = int(there.argmax())
    return values[np.where(place < 0, first, place)]


def is_known(values: Floats, origins: Ints, needs: int) -> Bools:
    """Whether enough of what lies before each origin was measured for a forecast from there."""
    n = np.concatenate([[0], np.cumsum(np.isfinite(values))])
    begin = np.maximum(origins - needs, 0)
    return (origins >= needs) & (n[origins] - n[begin] >= MEASURED * needs)
