"""Corrections as they show: laid over stored readings at read, which themselves never change. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sensors import quality
from sensors.derived import Before, before_each, derive, has_derived
from sensors.readings import Batch, Bools, Profile


@dataclass(frozen=True, slots=True)
class Overlay:
    """What holds for a mote from starts_us on and before ends_us; an empty channel means all of them."""

    mote: int
    channel: str
    is_excluded: bool
    offset: float
    starts_us: int
    ends_us: int


def corrected(profile: Profile, table: pl.DataFrame, overlays: Sequence[Overlay]) -> pl.DataFrame:
    """Stored rows, sorted by (mote, at), as they are to be read; columns beyond the stored ones stay."""
    motes = set(table["mote"].unique().to_list()) if overlays else set()
    overlays = [one for one in overlays if one.mote in motes]
    if not overlays:
        return table
    shown = apply(_batch(profile, table), overlays).to_table()
    return table.with_columns(shown.select(*profile.names, "flags"))


def _batch(profile: Profile, table: pl.DataFrame) -> Batch:
    """Of a table that has motes, instants, channels and flags; the rest is not looked at here."""
    nowhere = np.zeros(len(table), dtype=np.int64)
    values = table.select(pl.col(profile.names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    return Batch(
        profile=profile,
        mote=table["mote"].to_numpy(),
        at=table["at"].cast(pl.Int64).to_numpy(),
        values=np.ascontiguousarray(values).reshape(len(table), len(profile.names)),
        utc_offset_s=nowhere,
        partition=nowhere,
        offset=nowhere,
        received_at=nowhere,
        flags=table["flags"].to_numpy(),
    )


def apply(batch: Batch, overlays: Sequence[Overlay]) -> Batch:
    """The same readings with offsets added, exclusions flagged, and what is derived derived anew."""
    profile = batch.profile
    values, flags = batch.values.copy(), batch.flags.copy()
    touched, moved = np.zeros((2, len(batch)), dtype=np.bool_)
    for one in overlays:
        rows = (batch.mote == one.mote) & (batch.at >= one.starts_us) & (batch.at < one.ends_us)
        channels = _channels(profile, one.channel)
        touched |= rows
        if one.is_excluded:
            flags |= quality.flag(quality.EXCLUDED, rows[:, None] & channels)
        else:
            values[np.ix_(rows, channels & profile.is_measured)] += one.offset
            flags[rows] |= quality.CORRECTED
            moved |= rows
    changed = replace(batch, values=values, flags=flags)
    return _derived_anew(_ranged_anew(changed, moved), touched) if touched.any() else changed


def _channels(profile: Profile, code: str) -> Bools:
    return np.array([code in ("", name) for name in profile.names], dtype=np.bool_)


def _ranged_anew(batch: Batch, moved: Bools) -> Batch:
    """An offset may bring a value back into its range, or out of it. In other trouble, too, a row stays marked."""
    others = (batch.flags & quality.OF_CHANNELS & ~quality.OUT_OF_RANGE) != 0
    cleared = batch.flags & quality.KINDS & ~quality.OUT_OF_RANGE
    flags = np.where(moved & ~others, cleared, batch.flags)
    measured = np.where(batch.profile.is_measured, batch.values, np.nan)
    return replace(batch, flags=np.where(moved, flags | quality.range_flags(batch.profile, measured), flags))


def _derived_anew(batch: Batch, touched: Bools) -> Batch:
    """What follows from a touched reading, in it and as a change in the one after it.

    A mote's first reading here keeps its stored change: what came before it is not in hand.
    """
    profile = batch.profile
    if not has_derived(profile):
        return batch
    fresh = derive(batch, Before())
    previous = before_each(batch)
    near = touched | ((previous >= 0) & touched[previous])
    is_change = np.array([bool(one.formula and one.formula.kind == "rate") for one in profile.channels])
    kept = ~near[:, None] | ((previous < 0)[:, None] & is_change)
    values = np.where(kept, batch.values, fresh.values)
    flags = fresh.flags | quality.range_flags(profile, values)
    return replace(batch, values=values, flags=np.where(near, flags, batch.flags))
