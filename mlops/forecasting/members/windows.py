"""Stretches of a past with what followed, for members that learn one model of all series. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlops.forecasting.panel import Panel, carried, is_known
from sensors.readings import Bools, Floats, Ints

CHUNK = 2048  # windows at once
Singles = NDArray[np.float32]  # of windows of similar size seven digits are enough


def some(first: int, end: int, most: int) -> Ints:
    """Origins from `first` up to `end`, evenly apart, about `most` of them."""
    origins = np.arange(first, end)
    return origins[:: max(-(-len(origins) // max(most, 1)), 1)]


def windows(panel: Panel, origins: Ints, lags: int, horizon: int) -> Iterator[tuple[Singles, Bools]]:
    """Each with its past and its future, in units of its series' spread around the mean of its past; and which of its
    future was measured.
    """
    for values in panel.values.T:
        usable = origins[is_known(values, origins, lags)]
        spread = float(np.nanstd(values)) if len(usable) else 0.0
        if not spread > 0.0:
            continue  # nothing moves: its mean says it all
        filled = np.lib.stride_tricks.sliding_window_view(
            ((carried(values) - np.nanmean(values)) / spread).astype(np.float32), lags + horizon
        )
        there = np.lib.stride_tricks.sliding_window_view(np.isfinite(values), lags + horizon)
        for k in range(0, len(usable), CHUNK):
            place = usable[k : k + CHUNK] - lags
            window = filled[place]
            window -= window[:, :lags].mean(axis=1, keepdims=True)
            yield window, there[place, lags:]


class Reaching(Protocol):
    """A member, as far as it is asked how far back and ahead it looks."""

    horizon: int

    @property
    def needs(self) -> int: ...


def around_their_means(
    panel: Panel, series: int, origins: Ints, member: Reaching, say: Callable[[Floats], Floats]
) -> Floats:
    """(origins, horizon): what `say` makes of pasts, each around its own mean; NaN where too little was measured."""
    values = panel.values[:, series]
    out = np.full((len(origins), member.horizon), np.nan)
    known = np.flatnonzero(is_known(values, origins, member.needs))
    if not len(known):
        return out
    pasts = np.lib.stride_tricks.sliding_window_view(carried(values), member.needs)
    for k in range(0, len(known), CHUNK):
        part = known[k : k + CHUNK]
        past = pasts[origins[part] - member.needs]
        mean = past.mean(axis=1, keepdims=True)
        out[part] = say(past - mean) + mean
    return out
