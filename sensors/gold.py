"""Gold: what a mote's channel did in each hour, kept beside the readings so that a year is a quick look.

Silver is the truth and gold follows it: each run asks which files silver has that it had not at the last run, and which
corrections were made or taken back since, and aggregates the hours that these touch anew. The mark of how far it came
is committed with the rows, so a run may be killed, repeated, or overtaken by another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl
import structlog
from django.db.models import Q

from sensors import quality
from sensors.corrections import standing
from sensors.lake import Lake, NoSuchTable
from sensors.models import Correction, Mote
from sensors.overlay import Overlay, corrected
from sensors.readings import INSTANT, Channel, Profile, micros, stored_schema
from sensors.registry import profiles
from sensors.stores import StoreUnavailable

log = structlog.get_logger(__name__)
SILVER, CORRECTED = "silver", "corrections"  # marks: the version and the instant up to which gold knows them
SHAPE, OF_TODAY = "shape", 2  # mark: what columns it was made with; others are made anew
OVERLAP_US = 3_600_000_000  # a correction may be committed after one that was made later
HOUR = timedelta(hours=1)
DAYS_A_COMMIT = 31
COUNTED = {bit: name for bit, name in quality.NAMES.items() if bit != quality.IMPUTED}
SCHEMA = {
    "mote": pl.Int64(),
    "channel": pl.String(),
    "hour": INSTANT,
    "date": pl.Date(),
    "n": pl.Int64(),
    "n_clean": pl.Int64(),
    **dict.fromkeys(("min", "max", "mean", "std", "p50", "coverage"), pl.Float64()),
    **{f"n_{name}": pl.Int64() for name in COUNTED.values()},
    "bin_width": pl.Float64(),
    "bins": pl.List(pl.Int32()),
    "bin_counts": pl.List(pl.Int32()),
}
BINS = 500  # about so many over a channel's physical range


@dataclass(frozen=True, slots=True)
class Aggregated:
    """What one run did."""

    profile: str
    n_hours: int
    n_rows: int
    is_whole: bool


def aggregate_all(lake: Lake, *, now: datetime, is_whole: bool = False, only: str | None = None) -> list[Aggregated]:
    """The same for every profile that has readings, or for the one named."""
    done = []
    for profile in profiles().values():
        if only in (None, profile.code) and lake.exists(f"silver/{profile.code}"):
            done.append(aggregate(lake, profile, now=now, is_whole=is_whole))
    return done


def table_of(profile: str) -> str:
    return f"gold/{profile}_hourly"


# ---- reading ------------------------------------------------------------------------------------------------


def hourly(lake: Lake, profile: Profile, motes: Collection[int], start: datetime, end: datetime) -> pl.DataFrame:
    """The hours that begin in the range, by mote, channel and hour, as of the last run; the columns of SCHEMA."""
    try:
        table = lake.scan(table_of(profile.code))
    except NoSuchTable:
        return pl.DataFrame(schema=SCHEMA)
    days = pl.col("date").is_between(start.astimezone(UTC).date(), end.astimezone(UTC).date())
    rows = table.filter(days & (pl.col("hour") >= start) & (pl.col("hour") < end) & pl.col("mote").is_in(list(motes)))
    return (
        rows.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
        .sort("mote", "channel", "hour")
        .collect()
    )


def all_hours(lake: Lake, profile: Profile) -> pl.DataFrame:
    """Every hour there is, sorted alike; NoSuchTable where nothing was aggregated yet."""
    table = lake.scan(table_of(profile.code))
    known = set(table.collect_schema().names())
    columns = [
        (pl.col(name) if name in known else pl.lit(None)).cast(dtype).alias(name) for name, dtype in SCHEMA.items()
    ]
    try:
        return table.select(columns).sort("mote", "channel", "hour").collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreUnavailable(f"{table_of(profile.code)} in the lake {lake.root} cannot be read: {error}") from error


# ---- following silver ---------------------------------------------------------------------------------------


def aggregate(lake: Lake, profile: Profile, *, now: datetime, is_whole: bool = False) -> Aggregated:
    """Brings gold up to silver and the corrections as they stand now; only the hours that changed, unless whole."""
    silver, gold = f"silver/{profile.code}", table_of(profile.code)
    version = lake.version(silver)
    seen, marks = _known(lake, gold)
    is_whole = is_whole or not marks.keys() >= {SILVER, CORRECTED} or marks.get(SHAPE) != OF_TODAY
    hours = None if is_whole else _touched(lake, profile, marks, version)
    if hours is None:
        is_whole, hours = True, _all_hours(lake, silver, version)
    done = {SILVER: version, CORRECTED: micros(now), SHAPE: OF_TODAY}
    n_rows = 0
    if not hours:
        return Aggregated(profile.code, 0, 0, is_whole)
    days = sorted(hours)
    for i in range(0, len(days), DAYS_A_COMMIT):
        some = days[i : i + DAYS_A_COMMIT]
        rows = _days(lake, profile, version, {day: hours[day] for day in some}, gold if not is_whole else None)
        is_last = i + DAYS_A_COMMIT >= len(days)
        seen = lake.replace_dates(gold, rows, some, seen=seen, marks=done if is_last else {})
        n_rows += len(rows)
    return Aggregated(profile.code, sum(len(some) for some in hours.values()), n_rows, is_whole)


def _known(lake: Lake, gold: str) -> tuple[int, Mapping[str, int]]:
    try:
        return lake.version(gold), lake.marks(gold, (SILVER, CORRECTED, SHAPE))
    except NoSuchTable:
        return -1, {}


def _touched(lake: Lake, profile: Profile, marks: Mapping[str, int], version: int) -> dict[date, set[datetime]] | None:
    """The hours in which silver or corrections changed since the marks; None where that cannot be known any more."""
    silver = f"silver/{profile.code}"
    hours: dict[date, set[datetime]] = defaultdict(set)
    if version != marks[SILVER]:
        try:
            before = lake.files(silver, marks[SILVER])
        except NoSuchTable:
            return None
        fresh = lake.files(silver, version).join(before, on="path", how="anti")
        for hour in _hours_of(lake.scan_files(silver, fresh["path"].to_list())) if len(fresh) else ():
            hours[hour.date()].add(hour)
    for hour in _corrected_hours(lake, profile, version, marks[CORRECTED]):
        hours[hour.date()].add(hour)
    return hours


def _hours_of(rows: pl.LazyFrame) -> list[datetime]:
    return rows.select(pl.col("at").cast(INSTANT).dt.truncate("1h").unique()).collect()["at"].to_list()


def _all_hours(lake: Lake, silver: str, version: int) -> dict[date, set[datetime]]:
    days = lake.files(silver, version)["date"].unique()
    return {day: {datetime(day.year, day.month, day.day, hour, tzinfo=UTC) for hour in range(24)} for day in days}


def _corrected_hours(lake: Lake, profile: Profile, version: int, since_us: int) -> Iterator[datetime]:
    """The hours with readings that were corrected, or whose correction was taken back, since that instant."""
    since = datetime.fromtimestamp((since_us - OVERLAP_US) / 1e6, UTC)
    changed = Correction.objects.filter(mote__profile__code=profile.code).filter(
        Q(made_at__gte=since) | Q(undone_at__gte=since)
    )
    spans = [(one.mote_id, one.starts_at, one.ends_at) for one in changed]
    if not spans:
        return
    silver = lake.scan(f"silver/{profile.code}", version)
    for mote, starts_at, ends_at in spans:
        # What is derived of the next reading changes with it, and that may be an hour later.
        until = ends_at + timedelta(seconds=max(profile.silent_after_s, profile.interval_s))
        days = pl.col("date").is_between(starts_at.astimezone(UTC).date(), until.astimezone(UTC).date())
        yield from _hours_of(
            silver.filter(days & (pl.col("mote") == mote) & (pl.col("at") >= starts_at) & (pl.col("at") < until))
        )


# ---- aggregating --------------------------------------------------------------------------------------------


def _days(
    lake: Lake, profile: Profile, version: int, hours: Mapping[date, set[datetime]], kept_from: str | None
) -> pl.DataFrame:
    """The rows of these days: the hours named anew, the others as they stand in `kept_from`."""
    silver = lake.scan(f"silver/{profile.code}", version)
    probes = list(Mote.objects.filter(is_probe=True).values_list("pk", flat=True))
    parts = [_day(silver, profile, day, some, probes) for day, some in hours.items()]
    if kept_from is not None:
        touched = [hour for some in hours.values() for hour in some]
        kept = lake.scan(kept_from).filter(pl.col("date").is_in(list(hours)) & ~pl.col("hour").is_in(touched))
        parts.append(kept.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()).collect())
    return pl.concat([pl.DataFrame(schema=SCHEMA), *parts]).sort("mote", "channel", "hour")


def _day(
    silver: pl.LazyFrame, profile: Profile, day: date, hours: Collection[datetime], probes: Sequence[int]
) -> pl.DataFrame:
    """A day at a time, as the lake is cut; a channel that the lake does not know yet is null."""
    first, last = min(hours), max(hours) + HOUR
    known, schema = set(silver.collect_schema().names()), stored_schema(profile)
    names = ("mote", "at", *profile.names, "flags")
    wanted = [pl.col(name) if name in known else pl.lit(None, schema[name]).alias(name) for name in names]
    rows = (
        silver.filter((pl.col("date") == day) & (pl.col("at") >= first) & (pl.col("at") < last))
        .filter(~pl.col("mote").is_in(probes))
        .select(*wanted, "partition", "offset")
        .sort("mote", "at", "partition", "offset")
        .unique(["mote", "at"], keep="first", maintain_order=True)
        .select(names)
        .collect()
        .with_columns(pl.col("at").cast(INSTANT))
    )
    touching = standing(rows["mote"].unique().to_list(), first, last)
    table = aggregated(profile, rows, touching)
    return table.filter(pl.col("hour").is_in(list(hours)))


def aggregated(profile: Profile, rows: pl.DataFrame, overlays: Sequence[Overlay] = ()) -> pl.DataFrame:
    """Readings, sorted by mote and instant, as rows a mote, channel and hour. Pure."""
    shown = corrected(profile, rows, overlays).lazy().with_columns(pl.col("at").dt.truncate("1h").alias("hour"))
    parts = [_channel(profile, place, shown) for place in range(len(profile.channels))]
    found = pl.concat(pl.collect_all(parts))
    return found.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def bin_width(channel: Channel) -> float:
    """1, 2 or 5 of a power of ten, so that the physical range has some hundreds of them."""
    low, high = channel.physical
    rough = (high - low) / BINS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= rough * (1 - 1e-9))


def _channel(profile: Profile, place: int, rows: pl.LazyFrame) -> pl.LazyFrame:
    channel = profile.channels[place]
    is_marked = (pl.col("flags") & (1 << (quality.CHANNEL_SHIFT + place))) != 0
    value = pl.col(channel.code).cast(pl.Float64)
    is_clean = ~is_marked & value.is_not_null()
    clean = value.filter(is_clean)
    slots = max(round(3600 / profile.interval_s), 1)
    slot = (pl.col("at").cast(pl.Int64) // int(3_600_000_000 / slots)).filter(is_clean)
    counts = [
        ((pl.col("flags") & bit) != 0)
        .and_(is_marked if bit & quality.OF_CHANNELS else pl.lit(True))
        .sum()
        .alias(f"n_{kind}")
        for bit, kind in COUNTED.items()
    ]
    hours = rows.group_by("mote", "hour").agg(
        pl.lit(channel.code).alias("channel"),
        pl.col("hour").first().dt.date().alias("date"),
        value.count().alias("n"),
        clean.len().alias("n_clean"),
        clean.min().alias("min"), clean.max().alias("max"), clean.mean().alias("mean"), clean.std().alias("std"),
        clean.median().alias("p50"),
        (slot.n_unique() / slots).clip(0.0, 1.0).alias("coverage"),
        *counts,
    )  # fmt: skip
    width = bin_width(channel)
    bins = (
        rows.filter(is_clean)
        .group_by("mote", "hour", (value / width + 1e-9).floor().cast(pl.Int32).alias("bins"))
        .agg(pl.len().cast(pl.Int32).alias("bin_counts"))
        .sort("bins")
        .group_by("mote", "hour")
        .agg("bins", "bin_counts")
    )
    joined = hours.join(bins, on=["mote", "hour"], how="left").with_columns(pl.lit(width).alias("bin_width"))
    return joined.with_columns(pl.col("bins", "bin_counts").fill_null(pl.lit([], pl.List(pl.Int32))))
