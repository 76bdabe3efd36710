"""What is stored at a mote and instant, hot or cold: history reaches further back than the hot store does."""

from __future__ import annotations

import polars as pl

from ingestion.pipeline import Existing
from sensors.fleet import Fleet
from sensors.lake import Lake, NoSuchTable
from sensors.readings import Profile, stored_schema
from sensors.stores import HotStore, StoreUnavailable

KEYS = ["mote", "at"]


def anywhere(hot: HotStore, lake: Lake) -> Existing:
    """Asks the hot store, and the lake for what the hot store has not or no longer."""

    def existing(profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
        near = hot.existing(profile, keys)
        missing = keys.join(near, on=KEYS, how="anti")
        if not len(missing):
            return near
        far = _in_lake(lake, profile, missing).select(pl.col(name).cast(near.schema[name]) for name in near.columns)
        return pl.concat([near, far]).sort(KEYS)

    return existing


def _in_lake(lake: Lake, profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
    schema = stored_schema(profile)
    try:
        silver = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return pl.DataFrame(schema=schema)
    days = keys["at"].dt.date().unique()
    try:
        found = (
            silver.filter(pl.col("date").is_in(days.implode()), pl.col("mote").is_in(keys["mote"].unique().implode()))
            .join(keys.lazy(), on=KEYS, how="semi")
            .collect()
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreUnavailable(f"the lake cannot be searched for what is stored already: {error}") from error
    absent = {name: pl.lit(None, dtype) for name, dtype in schema.items() if name not in found.columns}
    return found.with_columns(**absent).select(list(schema)).unique(KEYS, keep="first", maintain_order=True)


def newest(hot: HotStore, fleet: Fleet) -> dict[int, int]:
    """The instant of each mote's newest stored reading, for those that have one."""
    found: dict[int, int] = {}
    for profile in fleet.profiles.values():
        motes = [mote.id for mote in fleet.motes if mote.profile == profile.code]
        latest = hot.latest(profile, motes) if motes else pl.DataFrame(schema=stored_schema(profile))
        found |= dict(latest.select("mote", pl.col("at").cast(pl.Int64)).iter_rows())
    return found
