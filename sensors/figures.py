"""What can be measured of a sensor's health from its readings: shares of time and of readings, noise, drift. Pure.

Everything is counted on one reading a mote and half interval at most, so that a mote that reports often is judged like
its kind and a fleet's week fits into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from sensors import delivery, quality
from sensors.battery import trend
from sensors.peers import median_of_others
from sensors.readings import Bools, Channel, Floats, Ints, Profile

DAY_S, HOUR_US = 86_400.0, 3_600_000_000
NEAR = 1.5  # a pause of up to so many intervals misses nothing
BLOCK_READINGS = 20  # noise is judged by blocks of about so many readings
LEAST_MOTES = 3  # of a profile, before it says what is usual for its kind
LEAST_HOURS = 12  # with neighbours, before a mote's own difference from them is known
# What is unusual, in multiples of what the middle mote of the fleet does.
NOISY, WIDE, LONG, FAR = 3.0, 1.5, 3.0, 2.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Tables of (motes, channels) by what they say, for the motes in this order; NaN where nothing can be said."""

    motes: tuple[int, ...]
    channels: tuple[str, ...]
    of: Mapping[str, Floats]
    expected: Floats  # readings by its own rhythm, from a mote's first one to the end of the range
    last_at: Ints  # a mote's newest reading, 0 where there is none
    low_since: Ints  # since when a mote's battery has been low, 0 where it is not


@dataclass(slots=True)
class Rows:
    """By mote and time: `who` is the mote's place, values are NaN where nobody measured or somebody excluded."""

    who: Ints
    at: Ints
    values: Floats
    is_there: Bools
    n_motes: int
    interval_us: float
    silent_us: float
    owed_us: Floats  # the interval that each mote is held to


def measure(profile: Profile, table: pl.DataFrame, motes: Mapping[int, str], starts_us: int, ends_us: int) -> Figures:
    """Of the readings in the range; `motes` says each one's group of neighbours. The order of the rows is all one."""
    rows = _rows(profile, table, motes, starts_us, ends_us)
    first, last = _span(rows)
    expected_s = np.maximum(ends_us - first, rows.owed_us) / 1e6
    low, low_since = _low_battery(profile, rows)
    names = [place for place, channel in enumerate(profile.channels) if channel.formula is None]
    found: dict[str, list[Floats]] = {}
    for place in names:
        for what, values in _channel_figures(profile, place, rows, list(motes.values()), ends_us, expected_s).items():
            found.setdefault(what, []).append(values)
    return Figures(
        motes=tuple(motes),
        channels=tuple(profile.names[place] for place in names),
        of={what: np.column_stack(columns) for what, columns in found.items()}
        | {
            name: np.repeat(values[:, None], len(names), axis=1)
            for name, values in (("low_battery", low), ("interval_s", rows.owed_us / 1e6))
        },
        expected=np.where(last > 0, expected_s * 1e6 / rows.owed_us, 0.0),
        last_at=last,
        low_since=low_since,
    )


def _rows(profile: Profile, table: pl.DataFrame, motes: Mapping[int, str], starts_us: int, ends_us: int) -> Rows:
    at = table["at"].cast(pl.Int64).to_numpy()
    known = np.array(sorted(motes), dtype=np.int64)
    order_of = np.array([list(motes).index(mote) for mote in known.tolist()], dtype=np.int64)
    place = np.searchsorted(known, table["mote"].to_numpy())
    is_known = known[np.minimum(place, len(known) - 1)] == table["mote"].to_numpy() if len(known) else at < 0
    chosen = np.flatnonzero(is_known & (at >= starts_us) & (at < ends_us))
    who, at = order_of[place[chosen]] if len(known) else chosen, at[chosen]
    order = np.lexsort((at, who))
    chosen, who, at = chosen[order], who[order], at[order]
    slot = at // int(profile.interval_s * 0.5e6)
    keep = np.append(True, (who[1:] != who[:-1]) | (slot[1:] != slot[:-1]))[: len(who)]
    values, is_there = _values(profile, table, chosen[keep])
    some = is_there.any(axis=1)
    who, at = who[keep][some], at[keep][some]
    return Rows(
        who, at, values[some], is_there[some], len(motes), interval_us=profile.interval_s * 1e6,
        silent_us=profile.silent_after_s * 1e6, owed_us=_owed_us(profile, who, at, len(motes)),
    )  # fmt: skip


def _owed_us(profile: Profile, who: Ints, at: Ints, n_motes: int) -> Floats:
    near = np.flatnonzero(who[1:] == who[:-1])
    waits = pl.DataFrame({"mote": who[near], "waited_s": (at[near + 1] - at[near]) / 1e6})
    own_s = delivery.own_intervals(delivery.rhythm(waits, profile))
    return np.array([delivery.expected_interval_s(profile, own_s.get(mote)) * 1e6 for mote in range(n_motes)])


def _values(profile: Profile, table: pl.DataFrame, rows: Ints) -> tuple[Floats, Bools]:
    chosen = table.select(pl.col(profile.names).cast(pl.Float64).fill_null(float("nan")), "flags")[rows]
    values = np.ascontiguousarray(chosen.select(profile.names).to_numpy()).reshape(len(chosen), len(profile.names))
    flags = chosen["flags"].to_numpy()
    marked = quality.suspects(flags, len(profile.names))
    is_there = ~np.isnan(values) & ~(marked & ((flags & quality.IMPUTED) != 0)[:, None])
    is_out = marked & ((flags & quality.EXCLUDED) != 0)[:, None]
    return np.where(is_there & ~is_out, values, np.nan), is_there


def _span(rows: Rows) -> tuple[Ints, Ints]:
    first = np.full(rows.n_motes, np.iinfo(np.int64).max)
    last = np.zeros(rows.n_motes, dtype=np.int64)
    np.minimum.at(first, rows.who, rows.at)
    np.maximum.at(last, rows.who, rows.at)
    return np.where(last > 0, first, 0), last


# ---- one channel --------------------------------------------------------------------------------------------


def _channel_figures(
    profile: Profile, place: int, rows: Rows, groups: list[str], ends_us: int, expected_s: Floats
) -> dict[str, Floats]:
    channel = profile.channels[place]
    there = np.flatnonzero(rows.is_there[:, place])
    spoken_s = _spoken_s(rows, rows.who[there], rows.at[there], ends_us)
    covered_s = _per_mote(rows.who[there], rows.n_motes, spoken_s)
    used = there[~np.isnan(rows.values[there, place])]
    who, at, values = rows.who[used], rows.at[used], rows.values[used, place]
    low, high = channel.physical
    is_out = (values < low) | (values > high)
    in_range = who[~is_out], at[~is_out], values[~is_out]
    noise, noisy = _noise(channel, rows, *in_range)
    # A battery is as old as it is, whatever its neighbours' are.
    is_battery = profile.battery is not None and profile.battery.channel == channel.code
    drift, apart, apart_by = _neighbours(channel, *in_range, [""] * rows.n_motes if is_battery else groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        days = covered_s / DAY_S
        return {
            "gaps": np.where(expected_s > 0, 1.0 - np.minimum(covered_s / expected_s, 1.0), 1.0),
            "flat": _flat(channel, rows, who, at, values, ends_us),
            "out_of_range": _per_mote(who, rows.n_motes, is_out) / _per_mote(who, rows.n_motes),
            "jumps": _jumps(channel, rows, *in_range) / np.maximum(days, 1.0),
            "noise": noise, "noisy": noisy, "drift": drift, "apart": apart, "apart_by": apart_by,
        }  # fmt: skip


def _width(channel: Channel) -> float:
    return channel.normal[1] - channel.normal[0]


def _per_mote(who: Ints, n: int, weights: Floats | Bools | None = None) -> Floats:
    counted = np.bincount(who, minlength=n) if weights is None else np.bincount(who, weights=weights, minlength=n)
    return counted.astype(np.float64)


def _spoken_s(rows: Rows, who: Ints, at: Ints, ends_us: int) -> Floats:
    """The time that each reading speaks for: until the next one, or one owed interval where a longer pause follows."""
    until = np.append(np.where(who[1:] == who[:-1], at[1:], ends_us), ends_us)[: len(who)]
    pause = (until - at).astype(np.float64)
    owed_us = rows.owed_us[who]
    return np.where(pause <= NEAR * owed_us, pause, owed_us) / 1e6


def _flat(channel: Channel, rows: Rows, who: Ints, at: Ints, values: Floats, ends_us: int) -> Floats:
    """The share of time in runs of one value that are too long for the channel, or for its kind."""
    if not len(who):
        return np.full(rows.n_motes, np.nan)
    spoken_s = _spoken_s(rows, who, at, ends_us)
    is_new = (who[1:] != who[:-1]) | (values[1:] != values[:-1]) | (at[1:] - at[:-1] > rows.silent_us)
    starts = np.flatnonzero(np.append(True, is_new))
    ends = np.append(starts[1:], len(who)) - 1
    lasted_s = (at[ends] - at[starts]) / 1e6
    is_flat = lasted_s >= min(channel.flat_after_s, _longest_s(rows, who[starts], lasted_s))
    flat_s = _per_mote(who[starts], rows.n_motes, np.where(is_flat, np.add.reduceat(spoken_s, starts), 0.0))
    return flat_s / _per_mote(who, rows.n_motes, spoken_s)


def _longest_s(rows: Rows, who: Ints, lasted_s: Floats) -> float:
    """A run that is longer than any of the middle mote of the fleet, with room to spare."""
    longest = np.full(rows.n_motes, np.nan)
    np.fmax.at(longest, who, lasted_s)
    if np.isfinite(longest).sum() < LEAST_MOTES:
        return np.inf
    return float(max(LONG * np.nanmedian(longest), BLOCK_READINGS * rows.interval_us / 1e6))


def _pairs(rows: Rows, who: Ints, at: Ints) -> Bools:
    """Which readings follow shortly on the one before."""
    return (who[1:] == who[:-1]) & (at[1:] - at[:-1] <= NEAR * rows.interval_us)


def _jumps(channel: Channel, rows: Rows, who: Ints, at: Ints, values: Floats) -> Floats:
    """Moves that are faster than the channel plausibly can, or further than its kind ever goes."""
    near = np.flatnonzero(_pairs(rows, who, at))
    if not len(near):
        return np.zeros(rows.n_motes)
    moved = np.abs(values[near + 1] - values[near])
    elapsed_s = (at[near + 1] - at[near]) / 1e6
    most = np.minimum(channel.max_rate_per_s * elapsed_s, _widest(channel, who[near], moved, rows.n_motes))
    return _per_mote(who[near], rows.n_motes, moved > most)


def _widest(channel: Channel, who: Ints, moved: Floats, n_motes: int) -> float:
    """How far the middle mote of the fleet moves at most, with room to spare."""
    largest = np.zeros(n_motes)
    np.maximum.at(largest, who, moved)
    spoken = np.bincount(who, minlength=n_motes) > 0
    if spoken.sum() < LEAST_MOTES:
        return np.inf
    return float(max(WIDE * np.median(largest[spoken]), 10.0 * channel.resolution))


def _noise(channel: Channel, rows: Rows, who: Ints, at: Ints, values: Floats) -> tuple[Floats, Floats]:
    """How noisy a mote is, in multiples of its kind, and the share of its blocks that are far noisier than usual."""
    ratio, share = np.full(rows.n_motes, np.nan), np.full(rows.n_motes, np.nan)
    near = _pairs(rows, who, at)
    middle = np.flatnonzero(near[1:] & near[:-1]) + 1 if len(who) > 2 else np.empty(0, dtype=np.int64)
    if not len(middle):
        return ratio, share
    bent = np.abs(values[middle + 1] - 2.0 * values[middle] + values[middle - 1])
    # A step bends two of twenty readings, noise bends them all: so the third quarter, not the mean.
    block = at[middle] // int(BLOCK_READINGS * rows.interval_us)
    blocks = _by_stretch(who[middle], block, bent, pl.col("value").quantile(0.75).alias("bent"), pl.len())
    blocks = blocks.filter(pl.col("len") >= BLOCK_READINGS // 3)
    of_mote = blocks.group_by("who").agg(
        pl.col("bent").median().alias("usual"), pl.col("bent").quantile(0.95).alias("high")
    )
    if len(of_mote) < LEAST_MOTES:
        return ratio, share
    floor = max(channel.resolution, 0.002 * _width(channel))
    usual, high = (np.maximum(of_mote[name].to_numpy(), floor) for name in ("usual", "high"))
    ratio[of_mote["who"].to_numpy()] = usual / np.median(usual)
    noisy = blocks.group_by("who").agg((pl.col("bent") > NOISY * np.median(high)).mean())
    share[noisy["who"].to_numpy()] = noisy["bent"].to_numpy()
    return ratio, share


def _by_stretch(who: Ints, stretch: Ints, values: Floats, *what: pl.Expr) -> pl.DataFrame:
    """Aggregates of `value` a mote and stretch of time; the rows are sorted by both, which one key keeps in sight."""
    first, n = int(stretch.min()), int(np.ptp(stretch)) + 1
    key = pl.Series("key", who * n + (stretch - first)).set_sorted()
    found = pl.DataFrame({"key": key, "value": values}).group_by("key", maintain_order=True).agg(*what)
    return found.with_columns(who=pl.col("key") // n, stretch=pl.col("key") % n + first)


# ---- neighbours ---------------------------------------------------------------------------------------------


def _neighbours(
    channel: Channel, who: Ints, at: Ints, values: Floats, groups: list[str]
) -> tuple[Floats, Floats, Floats]:
    """How far a mote has drifted from its neighbours, the share of hours it was far from them, and how far at most."""
    departure = _departures(who, at, values, groups)
    drift, apart, most = (np.full(len(groups), np.nan) for _ in range(3))
    judged = np.flatnonzero((~np.isnan(departure)).sum(axis=0) >= LEAST_HOURS)
    if not len(judged):
        return drift, apart, most
    width = _width(channel)
    # What a mote does for a quarter of the time is its way: a place at a window, say.
    usual, wide = np.nanquantile(np.abs(departure[:, judged]), (0.75, 0.99), axis=0)
    limit = np.maximum(FAR * np.maximum(np.median(wide), usual), 0.1 * width)
    slid = np.array([_drift(departure[:, mote]) for mote in judged])
    drift[judged] = np.where(np.abs(slid) > max(FAR * float(np.median(np.abs(slid))), 0.05 * width), slid, 0.0)
    off = np.abs(departure[:, judged])
    apart[judged] = (off > limit).sum(axis=0) / (~np.isnan(off)).sum(axis=0)
    most[judged] = np.nanmax(off, axis=0)
    return drift, apart, most


def _departures(who: Ints, at: Ints, values: Floats, groups: list[str]) -> Floats:
    """(hours, motes): how far the hour's median is from the neighbours', less the mote's usual difference."""
    if not len(who):
        return np.empty((0, len(groups)))
    hour = at // HOUR_US
    hours = _by_stretch(who, hour - hour.min(), values, pl.col("value").median())
    grid = np.full((int(np.ptp(hour)) + 1, len(groups)), np.nan)
    grid[hours["stretch"].to_numpy(), hours["who"].to_numpy()] = hours["value"].to_numpy()
    apart = np.full_like(grid, np.nan)
    for group in set(groups) - {""}:
        members = np.array([one == group for one in groups])
        apart[:, members] = grid[:, members] - median_of_others(grid[:, members])
    for mote in np.flatnonzero((~np.isnan(apart)).any(axis=0)).tolist():
        apart[:, mote] -= np.nanmedian(apart[:, mote])
    return apart


def _drift(departure: Floats) -> float:
    """How far the difference slid over the range: the trend of its days, each by its median."""
    n_days = len(departure) // 24
    if n_days < 2:
        return 0.0
    days = departure[: n_days * 24].reshape(n_days, 24)
    enough = (~np.isnan(days)).sum(axis=1) >= LEAST_HOURS
    if enough.sum() < 2:
        return 0.0
    number = np.flatnonzero(enough).astype(np.float64)
    return trend(number, np.nanmedian(days[enough], axis=1)) * float(np.ptp(number))


# ---- the battery --------------------------------------------------------------------------------------------


def _low_battery(profile: Profile, rows: Rows) -> tuple[Floats, Ints]:
    """The share of readings with a low battery, and since when it has been low to the end, hour by hour."""
    since = np.zeros(rows.n_motes, dtype=np.int64)
    if profile.battery is None:
        return np.full(rows.n_motes, np.nan), since
    volts = rows.values[:, profile.names.index(profile.battery.channel)]
    spoken = ~np.isnan(volts)
    who, at, volts = rows.who[spoken], rows.at[spoken], volts[spoken]
    with np.errstate(invalid="ignore"):
        share = _per_mote(who, rows.n_motes, volts < profile.battery.low) / _per_mote(who, rows.n_motes)
    if not len(who):
        return share, since
    hours = _by_stretch(who, at // HOUR_US, volts, (pl.col("value").median() < profile.battery.low).alias("is_low"))
    last_good = hours.filter(~pl.col("is_low")).group_by("who").agg(pl.col("stretch").max().alias("good"))
    low = hours.join(last_good, on="who", how="left").filter(pl.col("stretch") > pl.col("good").fill_null(-1))
    for place, hour in low.group_by("who").agg(pl.col("stretch").min()).iter_rows():
        since[place] = hour * HOUR_US
    return share, since
