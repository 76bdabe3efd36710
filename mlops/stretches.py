"""Readings as they came, faults and all, for models to be compared on: one a mote and step, from the lake."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from mlops import history
from sensors import quality
from sensors.fleet import Fleet
from sensors.lake import NoSuchTable
from sensors.readings import Batch, Profile, from_table

MOST_READINGS = 500_000  # beyond, whole motes are left out, spread over the fleet
WARM_UP = timedelta(hours=6)  # before a fault, so that a model has met the mote when it comes
AFTERWARDS = timedelta(hours=1)


def readings(
    profile: Profile,
    start: datetime,
    end: datetime,
    *,
    lake: history.Lake,
    fleet: Fleet,
    motes: Collection[int] | None = None,
) -> Batch | None:
    """What the active motes of the profile said in the range, in order of time; None where they said nothing."""
    known = {mote.id for mote in fleet.motes if mote.profile == profile.code and mote.state == "active"}
    wanted = sorted(known if motes is None else known & set(motes))
    try:
        source = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return None
    days = pl.col("date").is_between(start.date(), end.date())
    is_wanted = days & pl.col("at").is_between(start, end) & pl.col("mote").is_in(wanted)
    step = (pl.col("at").cast(pl.Int64) // int(profile.step_s * 1e6)).alias("step")
    rows = (
        source.filter(is_wanted & (pl.col("flags") & quality.LATE == 0))
        .sort("at", "mote", "offset")
        .unique([pl.col("mote"), step], keep="first", maintain_order=True)
        .drop("date")
        .collect()
    )
    rows = _within_reach(rows)
    if rows.is_empty():
        return None
    offsets = fleet.utc_offsets(rows["mote"].to_numpy(), rows["at"].cast(pl.Int64).to_numpy())
    batch = from_table(profile, rows, offsets)
    return Batch(
        profile=profile, mote=batch.mote, at=batch.at, values=batch.values, utc_offset_s=batch.utc_offset_s,
        partition=batch.partition, offset=batch.offset, received_at=batch.received_at,
    )  # fmt: skip


def _within_reach(rows: pl.DataFrame) -> pl.DataFrame:
    if len(rows) <= MOST_READINGS:
        return rows
    motes = rows["mote"].unique().sort()
    n_kept = max(1, len(motes) * MOST_READINGS // len(rows))
    spread = np.linspace(0, len(motes) - 1, n_kept).astype(np.int64)
    return rows.filter(pl.col("mote").is_in(motes.gather(spread).to_list()))


def around(
    stretch: tuple[int, datetime, datetime], profile: Profile, *, lake: history.Lake, fleet: Fleet
) -> Batch | None:
    """A mote's readings from well before a fault to shortly after it."""
    mote, start, end = stretch
    return readings(profile, start - WARM_UP, end + AFTERWARDS, lake=lake, fleet=fleet, motes=(mote,))
