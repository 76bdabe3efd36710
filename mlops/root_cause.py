"""Which mote and channel left its norm in a stretch of time, how far, and which of them first.

The norm is what each channel of each mote did at the same hours of the weeks before. A short stretch is looked at by
readings, a long one by hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from sensors.aggregates import Aggregates
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Profile
from sensors.tiers import Tiers

NORM = timedelta(days=28)
BY_READINGS = timedelta(hours=12)
LONGEST = timedelta(days=92)
LEFT = 3.0  # deviations beyond which a channel has left its norm
LEAST_DAYS = 3  # with fewer, an hour of the day has no norm of its own
WORST_SHARE = 0.1  # a channel is ranked by this part of the stretch, its worst
MOST_ROWS = 200
TOO_YOUNG = "fewer than three days lie before the stretch, so what is usual at this hour of the day is not known."
KEYS = ["mote", "channel"]


@dataclass(frozen=True, slots=True)
class Causes:
    """The ranking, the furthest first; `missing` says in words what could not be read."""

    start: datetime
    end: datetime
    bin_s: float
    rows: Sequence[dict[str, Any]]
    n_looked_at: int
    missing: Sequence[str]

    @property
    def first(self) -> dict[str, Any] | None:
        return next((row for row in self.rows if row["order"] == 1), None)


def find(
    start: datetime,
    end: datetime,
    *,
    fleet: Fleet,
    aggregates: Aggregates,
    tiers: Tiers,
    now: datetime,
    site: str = "",
    profile: str = "",
) -> Causes:
    """All motes of the site or of all, all profiles or one, in the stretch from start to end."""
    ranked: list[dict[str, Any]] = []
    missing: list[str] = []
    n, bin_s = 0, 3600.0
    for kind in fleet.profiles.values():
        motes = [one for one in fleet.motes if one.profile == kind.code and site in ("", one.site)]
        if not motes or profile not in ("", kind.code):
            continue
        ids = [one.id for one in motes]
        known = aggregates.between(kind, ids, start - NORM, end, now=now)
        missing += known.missing
        if end - start <= BY_READINGS:
            found = tiers.between(kind, ids, start, end, now=now)
            missing += [found.fault] if found.fault else []
            bin_s, bins = kind.step_s, _by_step(found.table, kind)
        else:
            bins = known.table.filter(pl.col("hour") >= start).select(*KEYS, at="hour", value="mean").drop_nulls()
        past = known.table.filter(pl.col("hour") < start)
        norm = norms(past)
        if len(norm) and norm["hod"].null_count() == len(norm):
            missing.append(f"{kind.label}: {TOO_YOUNG}")
        table = rank(bins, norm, kind)
        n += len(ids) * len(kind.channels)
        ranked += _told(table, kind, motes)
    return Causes(start, end, bin_s, _ordered(ranked)[:MOST_ROWS], n, missing)


# ---- the norm ----------------------------------------------------------------------------------------------------


def norms(hours: pl.DataFrame) -> pl.DataFrame:
    """A mote, channel and hour of the day: what was usual, how far days differ, how far readings within an hour do.

    `hod` is null in the rows that speak for all hours.
    """
    clean = hours.filter(pl.col("n_clean") > 0).with_columns(pl.col("hour").dt.hour().alias("hod"))
    told = [
        pl.col("p50").median().alias("usual"),
        (pl.col("p50") - pl.col("p50").median()).abs().median().mul(1.4826).alias("between"),
        pl.col("std").median().fill_null(0.0).alias("within"),
        pl.len().alias("n"),
    ]
    by_hour = clean.group_by(*KEYS, "hod").agg(told).filter(pl.col("n") >= LEAST_DAYS)
    at_all = clean.group_by(KEYS).agg(told).with_columns(pl.lit(None, pl.Int8).alias("hod"))
    return pl.concat([by_hour, at_all.select(by_hour.columns)])


def rank(bins: pl.DataFrame, norm: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """A row a mote and channel with a norm: how far its worst tenth lay from it, its peak, its onset. Pure.

    `bins` has mote, channel, at and value.
    """
    least = pl.DataFrame(
        {
            "channel": profile.names,
            "least": [max(2 * one.resolution, (one.normal[1] - one.normal[0]) / 200) for one in profile.channels],
        }
    )
    at_all = norm.filter(pl.col("hod").is_null()).drop("hod")
    judged = (
        bins.with_columns(pl.col("at").dt.hour().alias("hod"))
        .join(norm.drop_nulls("hod"), on=[*KEYS, "hod"], how="left")
        .join(at_all, on=KEYS, how="inner", suffix="_all")
        .join(least, on="channel")
        .with_columns(pl.coalesce(name, f"{name}_all").alias(name) for name in ("usual", "between", "within"))
        .with_columns(
            pl.max_horizontal((pl.col("between") ** 2 + pl.col("within") ** 2).sqrt(), "least").alias("spread")
        )
        .with_columns(((pl.col("value") - pl.col("usual")) / pl.col("spread")).alias("z"))
        .sort(*KEYS, "at")
        .with_columns((pl.col("z").abs() >= LEFT).alias("is_out"))
        .with_columns(
            (pl.col("is_out") & pl.col("is_out").shift(-1).over(KEYS).fill_null(pl.col("is_out"))).alias("stays")
        )
    )
    worst = pl.col("z").abs().top_k((pl.len() * WORST_SHARE).ceil().cast(pl.Int64)).mean()
    peak = pl.col("z").abs().arg_max()
    return judged.group_by(KEYS).agg(
        worst.alias("deviations"),
        pl.col("z").get(peak).alias("peak_deviations"),
        pl.col("at").get(peak).alias("peak_at"),
        pl.col("value").get(peak),
        (pl.col("usual") - LEFT * pl.col("spread")).get(peak).alias("low"),
        (pl.col("usual") + LEFT * pl.col("spread")).get(peak).alias("high"),
        pl.col("is_out").mean().alias("share"),
        pl.col("at").filter(pl.col("stays")).first().alias("onset_at"),
    )


def _by_step(table: pl.DataFrame, profile: Profile) -> pl.DataFrame:
    """The means of each step. Flagged values are in: beyond the physical range is where many faults begin."""
    return (
        table.lazy()
        .select("mote", pl.col("at").dt.truncate(f"{int(profile.step_s * 1000)}ms"), *profile.names)
        .group_by("mote", "at")
        .agg(pl.col(profile.names).mean())
        .unpivot(index=["mote", "at"], on=profile.names, variable_name="channel", value_name="value")
        .drop_nulls("value")
        .select(*KEYS, "at", "value")
        .collect()
    )


# ---- telling -----------------------------------------------------------------------------------------------------


def _told(table: pl.DataFrame, profile: Profile, motes: Sequence[MoteRef]) -> list[dict[str, Any]]:
    by_id = {one.id: one for one in motes}
    channels = {one.code: one for one in profile.channels}
    return [
        {
            **row,
            "mote": by_id[row["mote"]].code,
            "site": by_id[row["mote"]].site,
            "zone": by_id[row["mote"]].zone,
            "profile": profile.code,
            "label": channels[row["channel"]].label,
            "unit": channels[row["channel"]].unit,
        }
        for row in table.iter_rows(named=True)
    ]


def _ordered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The furthest first; those that left their norm numbered by when they did."""
    left = sorted(
        (row for row in rows if row["deviations"] >= LEFT and row["onset_at"] is not None),
        key=lambda row: (row["onset_at"], -row["deviations"]),
    )
    order = {id(row): place for place, row in enumerate(left, 1)}
    return sorted(({**row, "order": order.get(id(row))} for row in rows), key=lambda row: -row["deviations"])
