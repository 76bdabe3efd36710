"""Corrections as they show: laid over stored readings at read, which themselves never change. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from sensors import quality
from sensors.derived import Before, derive, has_derived
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
    moved = np.zeros(len(batch), dtype=np.bool_)
    for one in overlays:
        rows = (batch.mote == one.mote) & (batch.at >= one.starts_us) & (batch.at < one.ends_us)
        channels = _channels(profile, one.channel)
        if one.is_excluded:
            flags |= quality.flag(quality.EXCLUDED, rows[:, None] & channels)
        else:
            values[np.ix_(rows, channels & profile.is_measured)] += one.offset
            flags[rows] |= quality.CORRECTED
            moved |= rows
    changed = replace(batch, values=values, flags=flags)
    if not moved.any():
        return changed
    return _derived_anew(_ranged_anew(changed, moved), moved)


def _channels(profile: Profile, code: str) -> Bools:
    return np.array([code in ("", name) for name in profile.names], dtype=np.bool_)


def _ranged_anew(batch: Batch, moved: Bools) -> Batch:
    """An offset may bring a value back into its range, or out of it. In other trouble, too, a row stays marked."""
    others = (batch.flags & quality.OF_CHANNELS & ~quality.OUT_OF_RANGE) != 0
    cleared = batch.flags & quality.KINDS & ~quality.OUT_OF_RANGE
    flags = np.where(moved & ~others, cleared, batch.flags)
    return replace(batch, flags=np.where(moved, flags | quality.range_flags(batch.profile, batch.values), flags))


def _derived_anew(batch: Batch, moved: Bools) -> Batch:
    """The first reading of each mote keeps its stored change: what came before it is not in hand."""
    if not has_derived(batch.profile):
        return batch
    fresh = derive(batch, Before())
    is_first = np.concatenate([[True], batch.mote[1:] != batch.mote[:-1]])
    near = moved | np.concatenate([[False], moved[:-1]])
    keep = is_first | ~near
    return replace(fresh, values=np.where(keep[:, None], batch.values, fresh.values))
