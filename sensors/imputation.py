"""What may stand where nothing was measured, for the eye alone: marked as imputed, no evidence, never counted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sensors import quality
from sensors.peers import median_of_others
from sensors.readings import INSTANT, Bools, Channel, Floats, Ints, Profile

DAY_US = 86_400_000_000
NEAR = 1.5  # a pause of up to so many intervals is no gap
LAST_DAYS = 7  # looked at for the same time of day
LEAST_DAYS = 2  # of them that must have spoken


def imputed(profile: Profile, table: pl.DataFrame, groups: Mapping[int, str] | None = None) -> pl.DataFrame:
    """Stored rows with what the channels' policies put into their gaps, as rows and values flagged IMPUTED.

    `groups` says each mote's neighbourhood. Only gaps between two readings are filled; what is wrong is left as it is,
    and nothing is taken from it.
    """
    policies = {one.code: one for one in profile.channels if one.imputation.method in METHODS}
    if not policies or not len(table):
        return table
    table = table.sort("mote", "at")
    wide = pl.concat([table.with_columns(is_added=False), _added(profile, table)], how="diagonal").sort("mote", "at")
    flags = wide["flags"].fill_null(0).to_numpy()
    marked = quality.suspects(flags, len(profile.names))
    filled = {}
    marks = np.zeros((len(wide), len(profile.names)), dtype=np.bool_)
    for name, channel in policies.items():
        place = profile.names.index(name)
        values = wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        fresh = fill(channel, _column(profile, wide, np.where(marked[:, place], np.nan, values), groups or {}))
        marks[:, place] = np.isnan(values) & ~np.isnan(fresh)
        filled[name] = np.where(marks[:, place], fresh, values)
    columns = [pl.Series(name, values, nan_to_null=True) for name, values in filled.items()]
    shown = wide.with_columns(*columns, pl.Series("flags", flags | quality.flag(quality.IMPUTED, marks)))
    is_said = ~wide["is_added"].to_numpy() | marks.any(axis=1)
    return shown.filter(pl.Series(is_said)).select(table.columns)


@dataclass(frozen=True, slots=True)
class Column:
    """One channel's readings, sorted by (mote, at); NaN is a gap or something that is not to be trusted."""

    mote: Ints
    at: Ints
    values: Floats
    interval_us: int
    groups: Mapping[int, str]

    def edges(self) -> tuple[Ints, Ints]:
        """For each row the last good one of its mote up to it and the next from it on; -1 where there is none."""
        good = ~np.isnan(self.values)
        rows = np.arange(len(good))
        before = np.maximum.accumulate(np.where(good, rows, -1)) if len(rows) else rows
        after = np.minimum.accumulate(np.where(good, rows, len(rows))[::-1])[::-1] if len(rows) else rows
        before = np.where((before >= 0) & (self.mote[before] == self.mote), before, -1)
        inside = np.minimum(after, max(len(rows) - 1, 0))
        return before, np.where((after < len(rows)) & (self.mote[inside] == self.mote), after, -1)


def _column(profile: Profile, table: pl.DataFrame, values: Floats, groups: Mapping[int, str]) -> Column:
    at = table["at"].cast(pl.Int64).to_numpy()
    return Column(table["mote"].to_numpy(), at, values, int(profile.interval_s * 1e6), groups)


def _added(profile: Profile, table: pl.DataFrame) -> pl.DataFrame:
    """A row an interval in each gap, as far as the channel that goes furthest may fill it."""
    mote, at = table["mote"].to_numpy(), table["at"].cast(pl.Int64).to_numpy()
    interval_us = int(profile.interval_s * 1e6)
    pause = np.where(mote[1:] == mote[:-1], at[1:] - at[:-1], 0)
    reach = np.where(pause <= _furthest(profile.channels), pause, _furthest(profile.channels, "hold"))
    n = np.where(pause > NEAR * interval_us, np.minimum(reach, pause - interval_us // 2) // interval_us, 0)
    start = np.repeat(np.flatnonzero(n), n[n > 0])
    step = np.arange(len(start)) - np.repeat(np.cumsum(n[n > 0]) - n[n > 0], n[n > 0]) + 1
    return pl.DataFrame({"mote": mote[start], "at": at[start] + step * interval_us, "is_added": step > 0}).with_columns(
        pl.col("at").cast(INSTANT), pl.lit(0, pl.Int64).alias("flags")
    )


def _furthest(channels: Sequence[Channel], *methods: str) -> int:
    limits = [one.imputation.limit_s for one in channels if one.imputation.method in (methods or METHODS)]
    return int(max(limits, default=0.0) * 1e6)


# ---- methods ------------------------------------------------------------------------------------------------


def fill(channel: Channel, column: Column) -> Floats:
    """A value for every row that the channel's policy may fill, on the channel's grid; NaN for all others."""
    policy = channel.imputation
    before, after = column.edges()
    is_gap = np.isnan(column.values) & (before >= 0) & (after >= 0)
    since = np.where(is_gap, column.at - column.at[before], 0)
    length = np.where(is_gap, column.at[after] - column.at[before], 0)
    waited = since if policy.method == "hold" else length
    chosen = is_gap & (waited <= policy.limit_s * 1e6)
    values = METHODS[policy.method](column, before, after, chosen)
    on_grid = np.round(np.rint(values / channel.resolution) * channel.resolution, 12)
    return np.where(chosen, np.clip(on_grid, *channel.physical), np.nan)


def _hold(column: Column, before: Ints, after: Ints, chosen: Bools) -> Floats:
    return column.values[before]


def _interpolate(column: Column, before: Ints, after: Ints, chosen: Bools) -> Floats:
    return _anchored(column, np.zeros(len(column.at)), before, after)


def _seasonal(column: Column, before: Ints, after: Ints, chosen: Bools) -> Floats:
    """The course of the same hours of the last days."""
    rows = np.unique(np.concatenate([np.flatnonzero(chosen), before[chosen], after[chosen]]))
    return _anchored(column, _usual(column, rows), before, after)


def _neighbours(column: Column, before: Ints, after: Ints, chosen: Bools) -> Floats:
    """The course of the neighbours' median."""
    shape = np.full(len(column.at), np.nan)
    motes, place = np.unique(column.mote, return_inverse=True)
    groups = np.array([column.groups.get(mote, "") for mote in motes.tolist()])[place]
    for name in set(groups[chosen].tolist()) - {""}:
        rows = np.flatnonzero(groups == name)
        slot = (column.at[rows] - column.at[rows].min()) // column.interval_us
        who = np.unique(place[rows], return_inverse=True)[1]
        grid = np.full((int(slot.max()) + 1, int(who.max()) + 1), np.nan)
        grid[slot, who] = column.values[rows]
        shape[rows] = median_of_others(_carried(grid))[slot, who]
    return _anchored(column, shape, before, after)


def _anchored(column: Column, shape: Floats, before: Ints, after: Ints) -> Floats:
    """The shape, moved so that it meets the readings at both ends of each gap."""
    off = column.values - shape
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (column.at - column.at[before]) / (column.at[after] - column.at[before])
    return shape + off[before] + share * (off[after] - off[before])


def _usual(column: Column, rows: Ints) -> Floats:
    """For these rows the median of what their mote said at this time of the last days; NaN for all others."""
    found = np.full((len(column.at), LAST_DAYS), np.nan)
    good = np.flatnonzero(~np.isnan(column.values))
    for mote in np.unique(column.mote[rows]).tolist():
        own, wanted = good[column.mote[good] == mote], rows[column.mote[rows] == mote]
        for day in range(LAST_DAYS):
            then = column.at[wanted] - (day + 1) * DAY_US
            near = own[_nearest(column.at[own], then)]
            is_near = np.abs(column.at[near] - then) <= NEAR * column.interval_us
            found[wanted, day] = np.where(is_near, column.values[near], np.nan)
    is_known = (~np.isnan(found)).sum(axis=1) >= LEAST_DAYS
    values = np.full(len(column.at), np.nan)
    values[is_known] = np.nanmedian(found[is_known], axis=1)
    return values


def _nearest(sorted_at: Ints, wanted: Ints) -> Ints:
    right = np.minimum(np.searchsorted(sorted_at, wanted), len(sorted_at) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted - sorted_at[left] <= sorted_at[right] - wanted, left, right)


def _carried(grid: Floats) -> Floats:
    """Readings fall beside the grid's steps: a hole of one step is filled from the step before."""
    earlier = np.concatenate([np.full((1, grid.shape[1]), np.nan), grid[:-1]])
    return np.where(np.isnan(grid), earlier, grid)


METHODS: Mapping[str, Callable[[Column, Ints, Ints, Bools], Floats]] = {
    "hold": _hold,
    "interpolate": _interpolate,
    "seasonal": _seasonal,
    "neighbours": _neighbours,
}
