"""Normal readings laid out for fitting: sorted, what cannot be measured taken out, on the profile's steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.detection.compiled import bend_all, bent
from sensors.readings import Batch, Bools, Channel, Floats, Ints, Profile

# What a layer learns: arrays by name.
Arrays = dict[str, NDArray[Any]]

FLEET_SAMPLE = 500  # motes that are enough to learn what all have in common
STRANGER = 1.0  # what a single mote's limits are short of for the next one, in units of themselves
MANY_DECADES = 20.0  # from the low end of a channel to its high one
BEND = 10.0  # steps of resolution: up to there a bent channel is even
MAX_CELLS = 4_000_000  # of one mote's grid; more is a mote that was silent for years


@dataclass(frozen=True)
class History:
    """One profile's readings, by mote and time; out of physical range, or not for the engine, is NaN.

    `values` and `profile` are bent where `bends` says so: as layers see a channel of many decades.
    """

    profile: Profile
    mote: Ints
    at: Ints
    values: Floats
    local_s: Ints
    measured: Floats  # values as they were measured
    whole: Floats  # values with derived channels
    bends: Floats
    seed: int = 42  # of layers that draw at random

    @classmethod
    def of(cls, batch: Batch, *, seed: int = 42) -> History:
        """The batch in any order; of two readings of one instant the first wins."""
        order = np.lexsort((batch.at, batch.mote))
        mote, at = batch.mote[order], batch.at[order]
        if len(order):
            again = np.concatenate([[False], (mote[1:] == mote[:-1]) & (at[1:] == at[:-1])])
            order, mote, at = order[~again], mote[~again], at[~again]
        low, high = batch.profile.bounds("physical")
        values = batch.values[order]
        with np.errstate(invalid="ignore"):
            values[~((values >= low) & (values <= high) & is_heard(batch.profile))] = np.nan
        derived, values = values, np.where(batch.profile.is_detected, values, np.nan)
        local_s = at // 1_000_000 + batch.utc_offset_s[order]
        bends = bends_of(batch.profile, values)
        bend_all(curved := values.copy(), bends)
        whole = np.where(batch.profile.is_detected, curved, derived)
        return cls(bent_profile(batch.profile, bends), mote, at, curved, local_s, values, whole, bends, seed)

    def __len__(self) -> int:
        return len(self.mote)

    @property
    def step_us(self) -> int:
        return int(self.profile.step_s * 1e6)

    @cached_property
    def ids(self) -> Ints:
        return np.unique(self.mote)

    @cached_property
    def place(self) -> Ints:
        """Which of `ids` each row belongs to."""
        return np.searchsorted(self.ids, self.mote).astype(np.int64)

    @property
    def margin(self) -> float:
        """How much more a mote may do that the fleet has never met; the fewer motes it has, the less it knows."""
        return 1.0 + STRANGER / float(np.sqrt(len(self.ids)))

    def take(self, rows: Any) -> History:
        columns = {name: getattr(self, name)[rows] for name in ("mote", "at", "values", "local_s", "measured", "whole")}
        return replace(self, **columns)

    def split(self, instant: int) -> tuple[History, History]:
        """What was measured before an instant, and from it on."""
        return self.take(self.at < instant), self.take(self.at >= instant)

    def on_steps(self) -> History:
        """The first reading of each mote and step."""
        step = self.at // self.step_us
        first = np.ones(len(self), dtype=bool)
        first[1:] = (step[1:] != step[:-1]) | (self.mote[1:] != self.mote[:-1])
        return self.take(first)

    def some_motes(self, most: int) -> History:
        """As many motes, spread evenly over the fleet."""
        if len(self.ids) <= most:
            return self
        chosen = self.ids[np.linspace(0, len(self.ids) - 1, most).astype(np.int64)]
        return self.take(np.isin(self.mote, chosen))

    def grids(self) -> Iterator[Floats]:
        """Each mote's values on the grid of steps, (steps, channels), NaN where nothing was measured."""
        bounds = np.searchsorted(self.mote, np.append(self.ids, np.iinfo(np.int64).max))
        for begin, end in pairwise(bounds.tolist()):
            cell = self.at[begin:end] // self.step_us
            cell -= cell[0]
            kept = cell < MAX_CELLS // self.values.shape[1]
            grid = np.full((int(cell[kept][-1]) + 1, self.values.shape[1]), np.nan)
            grid[cell[kept]] = self.values[begin:end][kept]
            yield grid


def is_heard(profile: Profile) -> Bools:
    """Channels that some layer hears: those that the engine judges, and what is derived of them."""
    return np.asarray(profile.is_detected | ~profile.is_measured)


def grouped_median(values: Floats, group: Ints, n_groups: int) -> tuple[Floats, Ints]:
    """Median and count of each group's finite values; NaN where a group has none."""
    finite = np.isfinite(values)
    values, group = values[finite], group[finite]
    count = np.bincount(group, minlength=n_groups)
    order = np.lexsort((values, group))
    values = np.append(values[order], np.nan)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    has = count > 0
    low = np.where(has, start + (count - 1) // 2, len(values) - 1)
    high = np.where(has, start + count // 2, len(values) - 1)
    return (values[low] + values[high]) / 2.0, count.astype(np.int64)


def bends_of(profile: Profile, values: Floats) -> Floats:
    """Where each channel's scale turns from even to one of ratios; 0 for those that stay as they are.

    Bent is what is never negative, mostly low, and now and then many times as high: light, traffic, counts.
    """
    bends = np.zeros(values.shape[1])
    for c, channel in enumerate(profile.channels):
        seen = values[np.isfinite(values[:, c]), c]
        if len(seen) == 0 or seen.min() < 0.0 or channel.resolution <= 0.0:
            continue
        low, middle, high = np.quantile(seen, (0.01, 0.5, 0.99))
        bend = BEND * channel.resolution
        if high > MANY_DECADES * max(low, bend) and high - middle > middle - low:
            bends[c] = bend
    return bends


def bent_profile(profile: Profile, bends: Floats) -> Profile:
    """The profile as layers see it: ranges bent, and no rate, since one of ratios is not known."""
    return replace(profile, channels=tuple(map(_bent_channel, profile.channels, bends.tolist())))


def _bent_channel(channel: Channel, bend: float) -> Channel:
    if bend == 0.0:
        return channel
    (low, high), (least, most) = channel.physical, channel.normal
    return replace(
        channel,
        physical=(bent(low, bend), bent(high, bend)),
        normal=(bent(least, bend), bent(most, bend)),
        resolution=channel.resolution / bend,
        max_rate_per_s=0.0,
    )
