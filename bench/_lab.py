"""The Intel lab's readings as SIEIS stores them: indoor profile, flags of range and battery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sensors import quality
from sensors.packs import read_pack
from sensors.readings import INSTANT, Profile


def lab(folder: Path) -> tuple[Profile, pl.DataFrame]:
    """The indoor profile and every reading of intel_lab.parquet, one a mote and instant, by mote and time."""
    profile = read_pack("indoor").profile
    measured = [one.code for one in profile.channels if one.formula is None]
    said = pl.read_parquet(folder / "intel_lab.parquet").unique(["moteid", "ts"], keep="first", maintain_order=True)
    table = said.select(
        pl.col("moteid").cast(pl.Int64).alias("mote"),
        pl.col("ts").dt.replace_time_zone("UTC").cast(INSTANT).alias("at"),
        *(pl.col(name) if name in measured else pl.lit(None, pl.Float64).alias(name) for name in profile.names),
    ).sort("mote", "at")
    values = np.ascontiguousarray(table.select(pl.col(profile.names).fill_null(float("nan"))).to_numpy())
    flags = quality.range_flags(profile, values) | quality.battery_flags(profile, values)
    return profile, table.with_columns(pl.Series("flags", flags))
