"""What layers exchange with the engine: readings in, opinions out, and what they may remember in between."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from mlops.detection.compiled import Array


class Field(NamedTuple):
    """An array that a layer remembers: a cell (or `width` cells) for each mote, or each mote and channel."""

    per: Literal["mote", "channel"]
    dtype: Any = np.float64
    blank: float = 0
    width: int = 0  # 0: a plain number

    def make(self, n_motes: int, n_channels: int) -> Array:
        shape = (n_motes,) if self.per == "mote" else (n_motes, n_channels)
        return np.full(shape + ((self.width,) if self.width else ()), self.blank, dtype=self.dtype)


class Rows(NamedTuple):
    """Readings in stream order. Layers run one after the other over the whole; earlier ones fill the lower columns."""

    step_us: int
    onset: float
    mote: Array
    slot: Array  # the mote's row in every remembered array; -1: a late reading, judged without memory
    ids: Array  # all motes that are remembered, in order, and
    slots: Array  # the row of each
    at: Array
    local_s: Array
    previous_at: Array  # when the mote spoke before; NO_TIME: never, or the reading is late
    measured: Array  # (rows, channels); NaN: not measured, or beyond what the sensor can measure
    values: Array  # the same; a channel of many decades is bent (see History), so that changes compare
    whole: Array  # values with derived channels, which no layer but peers hears
    is_step: Array  # (rows, channels): a step of the profile has passed; in between is judged, not learnt
    flags: Array  # quality flags, which a layer may raise
    # level: what is usual for this mote now, in which spread, and how surprising the value is by itself
    usual: Array
    spread: Array
    oddness: Array
    odd_raw: Array  # the level's own table, for asking about other values
    odd_surprise: Array
    is_known: Array  # (rows): the mote was in the history
    is_shown: Array  # (rows): so was this kind of day at this hour
    # stuck, noise, jump
    run_us: Array  # (rows, channels): for how long the value has been the same
    noisy: Array  # (rows, channels): the surprise of its trembling
    calm: Array  # (rows, channels): whether it trembles as most of the fleet do
    held: Array  # (rows, channels): under suspicion; no layer learns from it
    adopted: Array  # (rows, channels): from here on a layer takes a new level for normal


class Said(NamedTuple):
    """A layer's opinion. NaN: it has nothing to say.

    Where raw = |value − middle| / scale, middle and scale tell people what was expected; the engine draws the band.
    """

    raw: Array  # (rows, channels), or (rows, 1) from a layer that judges readings as a whole; larger is odder
    middle: Array | None = None
    scale: Array | None = None
    share: Array | None = None  # (rows, channels) ≥ 0, of a layer that judges the whole: what each channel did to it
