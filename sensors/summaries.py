"""Days, hours of the week, histograms and figures, all made from hourly aggregates as sensors.gold keeps them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from sensors.gold import SCHEMA

MOST_BARS = 40
N = pl.col("n_clean")
TOTAL = N.sum()
MEAN = (pl.col("mean") * N).sum() / TOTAL
# Of all values in these hours, from each hour's own: the spread within the hours and that between them.
SPREAD = ((pl.col("std").fill_null(0.0) ** 2) * (N - 1) + N * (pl.col("mean") - MEAN) ** 2).sum() / (TOTAL - 1)
FIGURES = (
    pl.col("n").sum().alias("n"),
    TOTAL.alias("n_clean"),
    pl.col("min").min().alias("min"),
    pl.col("max").max().alias("max"),
    pl.when(TOTAL > 0).then(MEAN).alias("mean"),
    pl.when(TOTAL > 1).then(SPREAD.clip(0.0).sqrt()).alias("std"),
    pl.col("coverage").sum().alias("covered_hours"),
)


def localized(hours: pl.DataFrame, zones: Mapping[int, str]) -> pl.DataFrame:
    """With a column `local`: each hour's begin on the wall clock of its mote's site. `zones` names them by mote."""
    parts = [
        hours.filter(pl.col("mote").is_in([mote for mote in zones if zones[mote] == zone])).with_columns(
            pl.col("hour").dt.convert_time_zone(zone).dt.replace_time_zone(None).alias("local")
        )
        for zone in sorted(set(zones.values()))
    ]
    empty = pl.DataFrame(schema={**SCHEMA, "local": pl.Datetime("us")})
    return pl.concat([empty, *parts]) if parts else empty


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is; quality is the share of all values that no flag marks."""

    n_readings: int
    n_motes: int
    n_days: int
    n_values: int
    n_clean: int

    @property
    def quality(self) -> float | None:
        return self.n_clean / self.n_values if self.n_values else None


def totals(local: pl.DataFrame) -> Totals:
    readings = local.group_by("mote", "hour").agg(pl.col("n").max())  # a reading may lack a channel
    heard = local.filter(pl.col("n") > 0)
    return Totals(
        n_readings=int(readings["n"].sum()),
        n_motes=heard["mote"].n_unique(),
        n_days=heard["local"].dt.date().n_unique(),
        n_values=int(local["n"].sum()),
        n_clean=int(local["n_clean"].sum()),
    )


def trend(local: pl.DataFrame, every: str, *, by_mote: bool = False) -> pl.DataFrame:
    """Figures a stretch of `every` ("1h", "1d", …) of local time and channel, and of each mote apart if asked.

    The lowest and highest value of a stretch are among them, so that no spike is averaged away.
    """
    keys = ["channel", *(["mote"] if by_mote else []), "local"]
    return local.with_columns(pl.col("local").dt.truncate(every)).group_by(keys).agg(FIGURES).sort(keys)


def figures(local: pl.DataFrame, by: Sequence[str] = ("mote", "channel")) -> pl.DataFrame:
    """Figures of everything, by mote and channel or by channel alone."""
    return local.group_by(list(by)).agg(FIGURES).sort(list(by))


def of_day(local: pl.DataFrame, day: date) -> pl.DataFrame:
    return local.filter(pl.col("local").dt.date() == day)


def week(local: pl.DataFrame, channel: str) -> pl.DataFrame:
    """Figures of a channel by weekday (1 is Monday) and hour of the day."""
    return (
        local.filter(pl.col("channel") == channel)
        .group_by(pl.col("local").dt.weekday().alias("weekday"), pl.col("local").dt.hour().alias("hour_of_day"))
        .agg(FIGURES)
        .sort("weekday", "hour_of_day")
    )


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bar i holds the values from edges[i] up to edges[i + 1]."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


def histograms(hours: pl.DataFrame, *, most_bars: int = MOST_BARS) -> dict[str, Histogram]:
    """Of the clean values, by channel; a channel that has none is not in it."""
    bins = (
        hours.lazy()
        .filter(pl.col("n_clean") > 0)
        .select("channel", "bin_width", "bins", "bin_counts")
        .explode("bins", "bin_counts")
        .drop_nulls("bins")
        .group_by("channel", "bin_width", "bins")
        .agg(pl.col("bin_counts").sum().cast(pl.Int64))
        .collect()
    )
    return {str(channel): _histogram(part, most_bars) for (channel,), part in bins.group_by(["channel"])}


def _histogram(bins: pl.DataFrame, most_bars: int) -> Histogram:
    base = float(bins.select(pl.col("bin_width").max()).item())
    lows = bins.select((pl.col("bins") * pl.col("bin_width")).alias("low"), "bin_counts")
    lowest, highest = float(lows.select(pl.col("low").min()).item()), float(lows.select(pl.col("low").max()).item())
    width = base * _steps((highest - lowest) / base + 1, most_bars)
    first = math.floor(lowest / width + 1e-9)
    n = math.floor(highest / width + 1e-9) - first + 1
    bars = lows.group_by(((pl.col("low") / width + 1e-9).floor().cast(pl.Int64) - first).alias("bar")).agg(
        pl.col("bin_counts").sum()
    )
    counts = [0] * n
    for bar, count in bars.iter_rows():
        counts[bar] = count
    return Histogram(tuple(round((first + i) * width, 9) for i in range(n + 1)), tuple(counts))


def _steps(n_bins: float, most: int) -> int:
    """How many bins a bar takes: 1, 2 or 5 of a power of ten, so that its edges are round numbers."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if n_bins / step <= most - 1:
                return step
        power *= 10
