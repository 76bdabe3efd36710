"""The form in which every hot store takes and gives tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sensors.readings import INSTANT, KEYS, Profile, stored_schema
from sensors.stores import StoreRefused

# Without these a row has no place in a store; flags are the one field that every stored reading has.
NEEDED = (*KEYS, "flags")


def conform(profile: Profile, table: pl.DataFrame) -> pl.DataFrame:
    """The table with exactly the stored columns in their types, NaN as null; StoreRefused says which value is wrong."""
    schema = stored_schema(profile)
    unknown = [name for name in table.columns if name not in schema]
    if unknown:
        raise StoreRefused(f"profile {profile.code} stores no column {', '.join(unknown)}; it has {', '.join(schema)}")
    try:
        table = with_schema(profile, table).with_columns(pl.col(pl.Float64).fill_nan(None))
    except pl.exceptions.PolarsError as error:
        raise StoreRefused(f"readings of profile {profile.code} do not fit their columns: {error}") from error
    for name in NEEDED:
        _refuse(profile, table, pl.col(name).is_null(), f"without {name}")
    _refuse(profile, table, pl.any_horizontal(pl.col(pl.Float64).is_infinite()), "with an infinite value")
    return table


def _refuse(profile: Profile, table: pl.DataFrame, where: pl.Expr, what: str) -> None:
    if table.select(where.any()).item():
        row = table.filter(where).row(0, named=True)
        raise StoreRefused(f"a reading of profile {profile.code} {what} cannot be stored: {row}")


def with_schema(profile: Profile, table: pl.DataFrame) -> pl.DataFrame:
    """The stored columns of a table in their order and types; those it lacks are null."""
    if not table.width:
        return pl.DataFrame(schema=stored_schema(profile))  # nulls beside no column at all would be a row
    return table.select(
        pl.col(name).cast(dtype) if name in table.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in stored_schema(profile).items()
    )


def hourly(rows: Sequence[tuple[int, int, int]]) -> pl.DataFrame:
    """Counts by hour and mote as every store answers them."""
    counts = pl.DataFrame(rows, {"hour": pl.Int64, "mote": pl.Int64, "n": pl.Int64}, orient="row")
    return counts.with_columns(pl.col("hour").cast(INSTANT)).sort("hour", "mote")


def by_mote(keys: pl.DataFrame) -> dict[int, list[int]]:
    """Instants asked for, sorted, by mote."""
    asked = keys.select(pl.col("mote").cast(pl.Int64), pl.col("at").cast(pl.Int64)).unique().sort("mote", "at")
    return dict(asked.group_by("mote", maintain_order=True).agg("at").iter_rows())
