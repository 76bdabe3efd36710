"""What will become of each row, told before anything is changed: the wire's and the pipeline's own rules. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from ingestion.importing.rows import Rows, said
from ingestion.wire import LAST_INSTANT_US

STORED, DUPLICATE, HELD = "stored", "duplicate", "held"


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """One channel's cells. `low` and `high` are the smallest and largest value; None where there is none."""

    code: str
    n_values: int
    n_missing: int
    n_unreadable: int
    n_below: int
    n_above: int
    n_abnormal: int
    low: float | None
    high: float | None
    example: str | None


def fates(
    rows: Rows, *, latest_us: int, unknown: Collection[str], retired: Collection[str], stored: pl.DataFrame
) -> pl.Series:
    """For each row of the table: stored, duplicate, held, or the reason of its quarantine.

    `unknown` are the codes that will not be registered; `stored` what the stores have at (mote, at) already.
    """
    names = [channel.code for channel in rows.profile.channels if channel.formula is None]
    absent = {name: pl.lit(None, pl.Float64) for name in names if name not in rows.channels}
    at = pl.col("at")
    refusal = (
        pl.when(pl.col("mote").is_null()).then(pl.lit("no_mote"))
        .when(at.is_null() & pl.col(said("at")).is_null()).then(pl.lit("no_timestamp"))
        .when(at.is_null() | (at < 0) | (at > LAST_INSTANT_US)).then(pl.lit("bad_timestamp"))
        .when(at > latest_us).then(pl.lit("future_timestamp"))
        .when(pl.col("mote").is_in(list(retired))).then(pl.lit("retired_mote"))
        .when(pl.col("mote").is_in(list(unknown))).then(pl.lit(HELD))
        .when(pl.all_horizontal(pl.col(names).is_null())).then(pl.lit("no_values"))
    )  # fmt: skip
    table = rows.table.with_columns(**absent).select("mote", "at", *names, fate=refusal).with_row_index("row")
    return _repeats(table, stored, names)


def _repeats(table: pl.DataFrame, stored: pl.DataFrame, names: list[str]) -> pl.Series:
    """The first of a mote and instant wins: what repeats it is a duplicate, or a conflict where a value differs."""
    first = {name: f"{name} first" for name in names}
    fine = table.filter(pl.col("fate").is_null())
    known = stored.select("mote", "at", *(pl.col(name).alias(first[name]) for name in names), is_stored=True)
    fine = fine.join(known, on=["mote", "at"], how="left", maintain_order="left")
    winner = {
        first[name]: pl.when("is_stored").then(pl.col(first[name])).otherwise(pl.col(name).first().over("mote", "at"))
        for name in names
    }
    is_repeat = pl.col("is_stored").fill_null(False) | (pl.int_range(pl.len()).over("mote", "at") > 0)
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(first[name])) for name in names)
    fate = (
        pl.when(~is_repeat).then(pl.lit(STORED))
        .when("is_same").then(pl.lit(DUPLICATE))
        .otherwise(pl.lit("conflict"))
    )  # fmt: skip
    judged = fine.with_columns(**winner).with_columns(is_same=is_same).select("row", accepted=fate)
    both = table.select("row", "fate").join(judged, on="row", how="left", maintain_order="left")
    return both.select(pl.coalesce("fate", "accepted")).to_series()


def figures_of(rows: Rows) -> list[ChannelFigures]:
    """How the cells of each channel fall out against its ranges."""
    found = []
    for channel in rows.profile.channels:
        if channel.code not in rows.channels:
            continue
        value, text = rows.table[channel.code], rows.table[said(channel.code)]
        low, high = value.min(), value.max()
        found.append(
            ChannelFigures(
                code=channel.code,
                n_values=len(value) - value.null_count(),
                n_missing=int((value.is_null() & text.is_null()).sum()),
                n_unreadable=len(text) - text.null_count(),
                n_below=int((value < channel.physical[0]).sum()),
                n_above=int((value > channel.physical[1]).sum()),
                n_abnormal=int(((value < channel.normal[0]) | (value > channel.normal[1])).sum()),
                low=float(low) if isinstance(low, float) else None,
                high=float(high) if isinstance(high, float) else None,
                example=text.drop_nulls().first() if len(text) > text.null_count() else None,  # type: ignore[arg-type]
            )
        )
    return found


def counts(fate: pl.Series, n_misfits: int) -> dict[str, int]:
    """How many rows for each fate, the most frequent first."""
    found = {str(name): int(n) for name, n in fate.value_counts(sort=True).iter_rows()}
    return found | ({"malformed": n_misfits} if n_misfits else {})
