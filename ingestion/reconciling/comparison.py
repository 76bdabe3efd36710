"""Books, lake and hot store beside each other, by hour and mote. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

HOUR = timedelta(hours=1)
KEYS = ["hour", "mote"]
COUNTS = ("booked", "cold", "due", "hot")
DIFFERS = (pl.col("booked") != pl.col("cold")) | (pl.col("due") != pl.col("hot"))


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour that differs: its sums over all motes, and the motes that differ."""

    hour: datetime
    booked: int
    cold: int
    due: int
    hot: int
    motes: list[dict[str, Any]]


def beside(booked: pl.DataFrame, cold: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
    """One line an hour and mote: stored as the books say; in the lake; of those due in the hot store; there."""
    lines = booked.join(cold, on=KEYS, how="full", coalesce=True).join(hot, on=KEYS, how="full", coalesce=True)
    return lines.select(*KEYS, pl.col(COUNTS).fill_null(0)).sort(KEYS)


def due(cold: pl.DataFrame, boundary: datetime | None, at_boundary: pl.DataFrame) -> pl.DataFrame:
    """The lake's counts with what of them the hot store must have: all from `boundary` on.

    `at_boundary` counts, by mote, what lies in the boundary's own hour and not before it.
    """
    if boundary is None:
        return cold.with_columns(due=pl.lit(0, pl.Int64))
    whole = pl.when(pl.col("hour") >= boundary).then("cold").otherwise(0)
    cut = (pl.col("hour") < boundary) & (pl.col("hour") > boundary - HOUR)
    return cold.join(at_boundary, on="mote", how="left").select(
        *KEYS, "cold", due=pl.when(cut).then(pl.col("n").fill_null(0)).otherwise(whole).cast(pl.Int64)
    )


def less(lines: pl.DataFrame, **under_way: pl.DataFrame) -> pl.DataFrame:
    """The lines without what is still under way: tables of hour, mote and n, by the column that counted it."""
    for column, rows in under_way.items():
        without = pl.col(column) - pl.col("n").fill_null(0)
        lines = lines.join(rows, on=KEYS, how="left").with_columns(without.alias(column)).drop("n")
    return lines


def recounted(lines: pl.DataFrame, again: pl.DataFrame, hot: pl.DataFrame) -> pl.DataFrame:
    """The lines with another count of the hot store (hour, mote, n) for those of them that were counted again."""
    marked = lines.join(again.select(*KEYS, is_again=True), on=KEYS, how="left").join(hot, on=KEYS, how="left")
    count = pl.when(pl.col("is_again")).then(pl.col("n").fill_null(0)).otherwise("hot")
    return marked.with_columns(hot=count).drop("is_again", "n")


def differing(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.filter(DIFFERS)


def hours(lines: pl.DataFrame, codes: dict[int, str]) -> Iterator[Hour]:
    """The hours that differ, the oldest first."""
    wrong = differing(lines)
    sums = lines.join(wrong.select("hour").unique(), on="hour", how="semi").group_by("hour").agg(pl.col(COUNTS).sum())
    motes: dict[datetime, list[dict[str, Any]]] = {}
    for row in wrong.iter_rows(named=True):
        counts = {name: row[name] for name in COUNTS}
        motes.setdefault(row["hour"], []).append({"mote": row["mote"], "code": codes[row["mote"]], **counts})
    for row in sums.sort("hour").iter_rows(named=True):
        yield Hour(row["hour"], row["booked"], row["cold"], row["due"], row["hot"], motes[row["hour"]])


def words(booked: int, cold: int, due: int, hot: int) -> str:
    """What is wrong with an hour or mote, as a sentence."""
    parts = []
    if cold != booked:
        parts.append(f"the lake has {cold:,} of {booked:,} readings that the books call stored")
    if hot < due:
        parts.append(f"the hot store lacks {due - hot:,} of {due:,}")
    elif hot > due:
        parts.append(f"the hot store has {hot - due:,} more than the lake")
    told = "; ".join(parts) or "motes differ, though their sums are equal"
    return told[0].upper() + told[1:] + "."
