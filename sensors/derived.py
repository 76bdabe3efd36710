"""Derived channels: what follows from a reading's own values and from the mote's reading before it. Pure.

The same code runs on the reading path, where a recalibration is applied, and wherever history is judged anew.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace

import numpy as np

from sensors import quality
from sensors.readings import Batch, Bools, Channel, Floats, Ints, Profile

EPSILON = 1e-9  # a divisor nearer to nothing counts as this much
# Magnus over water, -45..60 °C: M. G. Lawrence, Bull. Amer. Meteor. Soc. 86 (2005) 225.
MAGNUS_A, MAGNUS_B = 17.625, 243.04
# How many channels each kind of formula reads, with what it makes of them.
KINDS = {
    "ratio": (2, "the first divided by the second"),
    "difference": (2, "the first minus the second"),
    "dew_point": (2, "°C from a temperature in °C and a relative humidity in %"),
    "rate": (1, "change per second since the mote's reading before, times the scale"),
}


@dataclass(slots=True)
class Before:
    """The last reading in order of each mote of a profile: where a change is measured from."""

    rows: dict[int, tuple[int, Floats]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        blob = io.BytesIO()
        values = [values for _, values in self.rows.values()]
        np.savez(
            blob,
            keys=np.array([(mote, at) for mote, (at, _) in self.rows.items()], dtype=np.int64).reshape(-1, 2),
            values=np.array(values, dtype=np.float64),
        )
        return blob.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Before:
        with np.load(io.BytesIO(data)) as arrays:
            pairs = zip(arrays["keys"].tolist(), arrays["values"], strict=True)
            return cls({mote: (at, values) for (mote, at), values in pairs})


def has_derived(profile: Profile) -> bool:
    return any(channel.formula for channel in profile.channels)


def derive(batch: Batch, before: Before) -> Batch:
    """With the derived channels filled in and flagged as what they follow from; `before` is brought up to date.

    A late reading has no change, and nothing is measured from it, nor from a value that is suspect.
    """
    profile = batch.profile
    if not has_derived(profile):
        return batch
    values = batch.values.copy()
    changes = _changes(batch, before)
    for place, channel in enumerate(profile.channels):
        if channel.formula:
            of = [profile.names.index(name) for name in channel.formula.of]
            sources = changes[:, of] if channel.formula.kind == "rate" else values[:, of]
            values[:, place] = _on_grid(_result(channel.formula.kind, sources) * channel.formula.scale, channel)
    flags = batch.flags | _inherited(profile, batch.flags, ~np.isnan(values))
    return replace(batch, values=values, flags=flags | quality.range_flags(profile, values))


def before_each(batch: Batch) -> Ints:
    """The row of the mote's reading before each row in order; -1 for its first here and for a late one."""
    found = np.full(len(batch), -1, dtype=np.int64)
    in_order = np.flatnonzero((batch.flags & quality.LATE) == 0)
    order = in_order[np.argsort(batch.mote[in_order], kind="stable")]
    is_next = batch.mote[order[1:]] == batch.mote[order[:-1]]
    found[order[1:]] = np.where(is_next, order[:-1], -1)
    return found


def _result(kind: str, sources: Floats) -> Floats:
    if kind == "rate":
        return sources[:, 0]
    first, second = (np.ascontiguousarray(column) for column in sources.T)
    if kind == "difference":
        return first - second
    if kind == "ratio":
        return first / np.where(np.abs(second) < EPSILON, np.copysign(EPSILON, second), second)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Air that is drier than the smallest humidity has no dew point; nor has what is no humidity.
        damp = np.where((second > 0.0) & (second <= 100.0), second, np.nan)
        gamma = np.log(damp / 100.0) + MAGNUS_A * first / (MAGNUS_B + first)
        return MAGNUS_B * gamma / (MAGNUS_A - gamma)


def _on_grid(values: Floats, channel: Channel) -> Floats:
    """In whole steps of the resolution: the last bit of a logarithm may differ with the length of a batch."""
    return np.round(np.rint(values / channel.resolution) * channel.resolution, 12)


def _changes(batch: Batch, before: Before) -> Floats:
    """(rows, channels): change per second since the mote's reading before; NaN at first and after a silence."""
    if not any(channel.formula and channel.formula.kind == "rate" for channel in batch.profile.channels):
        return np.full(batch.values.shape, np.nan)
    is_late = (batch.flags & quality.LATE) != 0
    sound = np.where(quality.suspects(batch.flags, batch.values.shape[1]), np.nan, batch.values)
    previous = before_each(batch)
    nothing = np.full(batch.values.shape[1], np.nan)
    previous_at = np.where(previous < 0, batch.at, batch.at[previous])
    previous_values = np.where(previous[:, None] < 0, nothing, sound[previous])
    for row in np.flatnonzero((previous < 0) & ~is_late).tolist():
        known = _known(before, int(batch.mote[row]), int(batch.at[row]), nothing)
        previous_at[row], previous_values[row] = known
    _remember(batch, before, sound, ~is_late)
    elapsed_s = (batch.at - previous_at) / 1e6
    is_near = (elapsed_s > 0.0) & (elapsed_s <= batch.profile.silent_after_s)
    per_s = (batch.values - previous_values) / np.where(is_near, elapsed_s, 1.0)[:, None]
    return np.where(is_near[:, None], per_s, np.nan)


def _known(before: Before, mote: int, at: int, nothing: Floats) -> tuple[int, Floats]:
    known = before.rows.get(mote)
    if known is None:
        return at, nothing
    # A newer version of the profile has more channels, at the end.
    wider = nothing.copy()
    wider[: len(known[1])] = known[1]
    return known[0], wider


def _remember(batch: Batch, before: Before, sound: Floats, in_order: Bools) -> None:
    rows = np.flatnonzero(in_order)[::-1]
    motes, last = np.unique(batch.mote[rows], return_index=True)
    for mote, row in zip(motes.tolist(), rows[last].tolist(), strict=True):
        before.rows[mote] = (int(batch.at[row]), sound[row].copy())


def _inherited(profile: Profile, flags: Ints, is_there: Bools) -> Ints:
    """What follows from a suspect value is suspect, too, and so is what follows from that."""
    suspects = quality.suspects(flags, len(profile.channels))
    for place, channel in enumerate(profile.channels):
        if channel.formula:
            of = [profile.names.index(name) for name in channel.formula.of]
            suspects[:, place] |= suspects[:, of].any(axis=1) & is_there[:, place]
    # No kind of their own: the row has that of the channel which is the cause.
    return quality.flag(0, suspects)
