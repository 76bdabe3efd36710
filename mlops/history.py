"""What a model learns from: clean readings of the lake at a pinned version, split by time, with what was left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import polars as pl

from alerts.places import Place
from alerts.silencing import matching
from mlops import feedback
from mlops.models import Label
from sensors import quality
from sensors.corrections import standing
from sensors.fleet import Fleet
from sensors.lake import NoSuchTable
from sensors.overlay import Overlay, corrected
from sensors.readings import INSTANT, Batch, Profile, micros

LEAST_SPAN = timedelta(hours=24)
LEAST_READINGS = 500
# 1.5 million four-channel readings take about 0.4 GB on their way through here and 1 GB in a fit.
MOST_READINGS = 1_500_000
SHARES = (0.6, 0.2)  # of the readings, in order of time: to learn from, to calibrate on; the rest is held out

Stretch = tuple[int, int, int]  # mote, first and last instant in microseconds


class NoData(Exception):
    """There is nothing to learn from."""


class TooLittleData(Exception):
    """There is something, but not enough; says when there will be."""


class ConstantData(Exception):
    """Every channel always has the same value."""


class MissingFeature(Exception):
    """A channel that the model must know was never measured; names it."""


class Lake(Protocol):
    """What is asked of the lake here."""

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame: ...

    def version(self, table: str) -> int: ...


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """Stretches that are not to be learnt, by the reason why, and the corrections of what is."""

    labelled: tuple[Stretch, ...] = ()
    outlived: tuple[Stretch, ...] = ()  # a mote's past from before its new normal
    maintenance: tuple[Stretch, ...] = ()
    corrections: tuple[Overlay, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Clean readings in order of time, in three parts that do not overlap."""

    train: Batch
    calibrate: Batch
    held_out: Batch
    n_found: int
    left_out: Mapping[str, int]
    lake_version: int
    content_hash: str

    @property
    def n_used(self) -> int:
        return len(self.train) + len(self.calibrate) + len(self.held_out)

    def card(self) -> dict[str, Any]:
        """What the registry keeps of it."""
        parts = {"train": self.train, "calibrate": self.calibrate, "held_out": self.held_out}
        return {
            "readings_found": self.n_found,
            "readings_used": self.n_used,
            "left_out": dict(self.left_out),
            "lake_version": self.lake_version,
            "content_hash": self.content_hash,
            "n_motes": len(np.unique(self.train.mote)),
            "parts": {
                name: {"readings": len(part), "first_at": _iso(part.at[0]), "last_at": _iso(part.at[-1])}
                for name, part in parts.items()
            },
        }


def _iso(at_us: int) -> str:
    return _instant(int(at_us)).isoformat()


def _instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC)


def to_leave_out(fleet: Fleet, start: datetime, end: datetime) -> LeaveOut:
    """The labelled and the maintenance stretches that touch the range, and what people have corrected in it."""
    harmless = (feedback.NORMAL, feedback.NEW_NORMAL)
    labels = Label.objects.filter(starts_at__lt=end, ends_at__gt=start).exclude(kind__in=harmless)
    told = [*((one.mote_id, one.starts_at, one.ends_at) for one in labels), *feedback.faults(start, end)]
    return LeaveOut(
        labelled=tuple((mote, micros(starts), micros(ends)) for mote, starts, ends in told),
        outlived=tuple(
            (mote, micros(start), micros(since) - 1)
            for mote, since, _ in feedback.new_normals(start, end)
            if since <= end - LEAST_SPAN  # with less, the mote would not be known at all
        ),
        maintenance=tuple(
            (mote.id, micros(stretch.starts_at), micros(stretch.ends_at))
            for stretch in matching.maintenance(start, end)
            for mote in fleet.motes
            if stretch.holds(Place(mote.site, mote.zone, mote.id))
        ),
        corrections=tuple(standing(start=start, end=end)),
    )


def read(
    profile: Profile,
    start: datetime,
    end: datetime,
    *,
    lake: Lake,
    fleet: Fleet,
    leave_out: LeaveOut,
    report: Callable[[float, str], None] = lambda progress, words: None,
    mote: int | None = None,
) -> History:
    """The clean readings of the range, one a mote and step, and how many were left out for which reason."""
    table, scope = f"silver/{profile.code}", _scope(profile, fleet, mote)
    try:
        pinned = lake.version(table)
    except NoSuchTable as error:
        raise NoData(f"No reading of {scope} has ever reached the lake; check that its sensors report.") from error
    source = lake.scan(table, pinned)
    _refuse_missing(profile, [name for name in profile.names if name not in source.collect_schema().names()], scope)
    if mote is not None:
        source = source.filter(pl.col("mote") == mote)
    counts: dict[str, int] = {}
    n_found, days = 0, []
    for share, day in _by_day(source, profile, start, end):
        n_found += len(day)
        day = corrected(profile, day.sort("mote", "at"), leave_out.corrections)
        days.append(_clean(day, profile, fleet, leave_out, counts))
        report(share, f"{n_found:,} readings loaded")
    if not n_found:
        raise NoData(
            f"The lake has no readings of {scope} between {start:%Y-%m-%d %H:%M} and "
            f"{end:%Y-%m-%d %H:%M} UTC. Check on the Health page that its sensors report, or choose another range."
        )
    rows = _within_reach(pl.concat(days).sort("at", "mote"), counts)
    _refuse_too_little(rows, n_found, scope)
    is_asked = profile.is_detected & profile.is_measured
    needed = [name for name, is_one in zip(profile.names, is_asked, strict=True) if is_one]
    _refuse_missing(profile, [name for name in needed if rows[name].null_count() == len(rows)], scope)
    _refuse_constant(rows, profile, scope)
    train, calibrate, held_out = _split(_to_batch(rows, profile, fleet))
    return History(
        train=train,
        calibrate=calibrate,
        held_out=held_out,
        n_found=n_found,
        left_out={reason: n for reason, n in counts.items() if n},
        lake_version=pinned,
        content_hash=_content_hash(rows, profile),
    )


def _by_day(
    source: pl.LazyFrame, profile: Profile, start: datetime, end: datetime
) -> Iterator[tuple[float, pl.DataFrame]]:
    """The range a UTC day at a time, so that a fleet that reports every second never lies in memory whole."""
    wanted = ["mote", "at", *profile.names, "flags", "partition", "offset", "received_at"]
    begin = start
    while begin < end:
        midnight = begin.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        until = min(midnight + timedelta(days=1), end)
        today = (pl.col("date") == midnight.date()) & (pl.col("at") >= begin) & (pl.col("at") < until)
        yield (until - start) / (end - start), source.filter(today).select(wanted).collect()
        begin = until


def _clean(
    day: pl.DataFrame, profile: Profile, fleet: Fleet, leave_out: LeaveOut, counts: dict[str, int]
) -> pl.DataFrame:
    """What may be learnt of a day; each reading left out is counted under the first reason that holds for it."""

    def keep(name: str, rows: pl.DataFrame) -> None:
        nonlocal day
        counts[name] = counts.get(name, 0) + len(day) - len(rows)
        day = rows

    keep("duplicate", day.sort("at", "mote", "partition", "offset").unique(["mote", "at"], keep="first"))
    active = [mote.id for mote in fleet.motes if mote.profile == profile.code and mote.state == "active"]
    keep("mote_not_active", day.filter(pl.col("mote").is_in(active)))
    for flag in quality.UNCLEAN:
        keep(quality.NAMES[flag], day.filter(pl.col("flags") & flag == 0))
    keep("maintenance", _outside(day, leave_out.maintenance))
    keep("labelled", _outside(day, leave_out.labelled))
    keep("before_new_normal", _outside(day, leave_out.outlived))
    # The engine's state advances once a step; what a mote says in between is nothing new to learn from.
    step = (pl.col("at").cast(pl.Int64) // int(profile.step_s * 1e6)).alias("step")
    keep("between_steps", day.sort("at").with_columns(step).unique(["mote", "step"], keep="first").drop("step"))
    return day


def _outside(day: pl.DataFrame, stretches: Iterable[Stretch]) -> pl.DataFrame:
    """The readings that lie in none of their mote's stretches."""
    known = _merged(stretches)
    if known.is_empty():
        return day
    begun = day.sort("at").join_asof(known, left_on="at", right_on="starts", by="mote", check_sortedness=False)
    return begun.filter(pl.col("ends").is_null() | (pl.col("at") > pl.col("ends"))).drop("starts", "ends", strict=False)


def _merged(stretches: Iterable[Stretch]) -> pl.DataFrame:
    """Without overlaps, so that only the last stretch that began before a reading can hold it."""
    merged: list[list[int]] = []
    for mote, starts, ends in sorted(stretches):
        if merged and merged[-1][0] == mote and starts <= merged[-1][2]:
            merged[-1][2] = max(merged[-1][2], ends)
        else:
            merged.append([mote, starts, ends])
    schema = {"mote": pl.Int64, "starts": pl.Int64, "ends": pl.Int64}
    table = pl.DataFrame(merged, schema=schema, orient="row")
    return table.with_columns(pl.col("starts", "ends").cast(INSTANT)).sort("starts")


def _within_reach(rows: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """At most as many readings as a fit has memory for: whole motes are left out, spread over the fleet."""
    if len(rows) <= MOST_READINGS:
        return rows
    motes = rows["mote"].unique().sort()
    n_kept = max(1, len(motes) * MOST_READINGS // len(rows))
    spread = np.linspace(0, len(motes) - 1, n_kept).astype(np.int64)
    kept = rows.filter(pl.col("mote").is_in(motes.gather(spread).to_list()))
    counts["more_than_fits"] = len(rows) - len(kept)
    return kept


def _scope(profile: Profile, fleet: Fleet, mote: int | None) -> str:
    if mote is None:
        return f"profile {profile.code}"
    known = fleet.by_id.get(mote)
    return f"mote {known.site}/{known.code}" if known else f"mote {mote}"


def _refuse_missing(profile: Profile, missing: list[str], scope: str) -> None:
    if not missing:
        return
    labels = {channel.code: channel.label for channel in profile.channels}
    named = ", ".join(f"{name} ({labels[name]})" for name in missing)
    raise MissingFeature(
        f"The clean readings of {scope} have no value of {named}, which version {profile.version} of profile "
        f"{profile.code} measures. Check these sensors, or write a pack without what is not there."
    )


def _refuse_too_little(rows: pl.DataFrame, n_found: int, scope: str) -> None:
    if rows.is_empty():
        raise NoData(
            f"None of the {n_found:,} readings of {scope} is clean enough to learn from: all are "
            "flagged, labelled as faults, under maintenance or of motes that are not active. See Data quality."
        )
    first, last = rows["at"][0], rows["at"][-1]
    span = last - first
    if span >= LEAST_SPAN * 0.99 and len(rows) >= LEAST_READINGS:
        return
    missing_span = max(LEAST_SPAN - span, timedelta(0))
    missing_readings = max(LEAST_READINGS - len(rows), 0)
    wait = max(missing_span, missing_readings * (span / len(rows)))
    raise TooLittleData(
        f"{scope[0].upper()}{scope[1:]} has {len(rows):,} clean readings over {span / timedelta(hours=1):.1f} hours; "
        f"a model needs {LEAST_READINGS:,} over {LEAST_SPAN / timedelta(hours=1):.0f} hours. If the sensors go on as "
        f"they do, that will be enough on {last + wait:%Y-%m-%d at %H:%M} UTC."
    )


def _refuse_constant(rows: pl.DataFrame, profile: Profile, scope: str) -> None:
    spans = {name: (rows[name].min(), rows[name].max()) for name in profile.names}
    if all(low == high for low, high in spans.values()):
        values = ", ".join(f"{name} {low!r}" for name, (low, _) in spans.items())
        raise ConstantData(
            f"All {len(rows):,} readings of {scope} say the same ({values}); nothing can be learnt from "
            "that. Check that the sensors measure."
        )


def _to_batch(rows: pl.DataFrame, profile: Profile, fleet: Fleet) -> Batch:
    mote, at = rows["mote"].to_numpy(), rows["at"].cast(pl.Int64).to_numpy()
    return Batch(
        profile=profile,
        mote=mote,
        at=at,
        values=_values(rows, profile),
        utc_offset_s=fleet.utc_offsets(mote, at),
        partition=rows["partition"].to_numpy(),
        offset=rows["offset"].to_numpy(),
        received_at=rows["received_at"].cast(pl.Int64).to_numpy(),
        flags=rows["flags"].to_numpy(),
    )


def _values(rows: pl.DataFrame, profile: Profile) -> np.ndarray[Any, np.dtype[np.float64]]:
    table = rows.select(pl.col(profile.names).cast(pl.Float64).fill_null(float("nan")))
    return np.ascontiguousarray(table.to_numpy()).reshape(len(rows), len(profile.names))


def _split(batch: Batch) -> tuple[Batch, Batch, Batch]:
    """Cut at instants, so that what is held out is later than everything that was learnt."""
    n = len(batch)
    borders = [batch.at[int(n * share)] for share in np.cumsum(SHARES)]
    first, second = (int(place) for place in np.searchsorted(batch.at, borders))
    if not 0 < first < second:
        raise TooLittleData(
            f"The {n:,} clean readings of profile {batch.profile.code} come from {len(np.unique(batch.at))} instants "
            "only; they cannot be cut into a part to learn from, one to calibrate on and one to be judged by."
        )
    return batch.take(slice(0, first)), batch.take(slice(first, second)), batch.take(slice(second, n))


def _content_hash(rows: pl.DataFrame, profile: Profile) -> str:
    """SHA-256 of what is learnt, whatever order and files it lay in: the rows are sorted by (at, mote)."""
    digest = hashlib.sha256(f"{profile.code} {profile.version} {','.join(profile.names)}".encode())
    for column in ("mote", "at", "flags"):
        digest.update(np.ascontiguousarray(rows[column].cast(pl.Int64).to_numpy()).data)
    digest.update(_values(rows, profile).data)
    return digest.hexdigest()
