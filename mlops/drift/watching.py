"""Measures what came in against what the serving version has learnt from, keeps each day, and tells of what lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import structlog

from alerts.models import Event
from alerts.services import clear_system_alert, raise_system_alert
from mlops import feedback, gate, registry, retraining
from mlops.detection import FittedEngine
from mlops.drift import measuring
from mlops.drift.measuring import CHANNEL, RESIDUAL, SCORE, Shift
from mlops.models import DriftDay, ModelVersion
from sensors import gold, quality
from sensors.fleet import Fleet
from sensors.lake import Lake, NoSuchTable
from sensors.models import Profile as ProfileRow
from sensors.readings import WEEK_S, Profile

KIND, PRECISION_LOW, CALIBRATION_OFF = "drift", "precision_low", "calibration_off"
MOST_DAYS = 31  # looked back for days that were never measured
LONGEST_REFERENCE = timedelta(days=42)
SURPRISED = 3.0  # one in a thousand, if the calibration holds
FLOOR = 1e-3
ENOUGH_JUDGED = 10
LEAST_PRECISION = 0.5
LOOK_BACK = timedelta(days=7)

log = structlog.get_logger(__name__)
Raise = Callable[..., object]


def watch_all(now: datetime, *, lake: Lake, fleet: Fleet) -> list[str]:
    """Measures every profile that a model serves; answers what has drifted, in words."""
    told = []
    for profile in ProfileRow.objects.all():
        version = registry.production(profile.code)
        if version is None or profile.code not in fleet.profiles:
            continue
        measure(version, now, lake=lake, fleet=fleet)
        told += tell(version, now)
        told += watch_performance(version, now, fleet=fleet)
    return told


# ---- measuring ----------------------------------------------------------------------------------------------


def measure(version: ModelVersion, now: datetime, *, lake: Lake, fleet: Fleet) -> list[DriftDay]:
    """Every figure of each whole day (UTC) since the version's own days that has not been measured yet."""
    profile = fleet.profiles[version.profile.code]
    start, end = _learnt(version)
    days = _unmeasured(version, end, now)
    if not days or version.profile_version != profile.version:
        return []
    first, last = _midnight(days[0]), _midnight(days[-1]) + timedelta(days=1)
    motes = [mote.id for mote in fleet.motes if mote.profile == profile.code and mote.state == "active"]
    reference, recent = (gold.hourly(lake, profile, motes, *span) for span in ((start, end), (first, last)))
    found = [*_of_channels(profile, reference, recent)]
    engine = registry.load(version)
    found += _of_residuals(engine, fleet, reference, recent)
    found += _of_score(version, profile, motes, (first, last), lake)
    return _kept(version, [one for one in found if one.day in days])


def _learnt(version: ModelVersion) -> tuple[datetime, datetime]:
    parts = version.data["parts"]
    start, end = (datetime.fromisoformat(parts[part][edge]) for part, edge in
                  (("train", "first_at"), ("held_out", "last_at")))  # fmt: skip
    return max(start, end - LONGEST_REFERENCE), end


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _unmeasured(version: ModelVersion, end: datetime, now: datetime) -> list[date]:
    """The whole days after the version's own, up to yesterday."""
    first = max(end.date() + timedelta(days=1), now.date() - timedelta(days=MOST_DAYS))
    every = [first + timedelta(days=n) for n in range((now.date() - first).days)]
    measured = set(DriftDay.objects.filter(version=version).values_list("day", flat=True))
    return [day for day in every if day not in measured]


def _of_channels(profile: Profile, reference: pl.DataFrame, recent: pl.DataFrame) -> Iterator[Shift]:
    for channel in profile.channels:
        wide = max(channel.normal[1] - channel.normal[0], 1e-9)
        before, now = (_values(table, channel.code, pl.col("mean") / wide) for table in (reference, recent))
        yield from measuring.shifts(before, now, CHANNEL, channel.code)


def _values(hourly: pl.DataFrame, channel: str, value: pl.Expr) -> pl.DataFrame:
    return hourly.filter((pl.col("channel") == channel) & (pl.col("n_clean") > 0)).select(
        "mote", "hour", value.alias("value")
    )


def _of_residuals(engine: FittedEngine, fleet: Fleet, reference: pl.DataFrame, recent: pl.DataFrame) -> Iterator[Shift]:
    """The hours' means against what the model expects of that mote at that hour, in half widths of its usual band."""
    away = _residuals(engine, fleet, pl.concat([reference, recent]))
    if away.is_empty() or recent.is_empty():
        return
    is_recent = pl.col("hour") >= recent["hour"].min()
    for name in engine.profile.names:
        told = away.select("mote", "hour", pl.col(name).alias("value"))
        yield from measuring.shifts(told.filter(~is_recent), told.filter(is_recent), RESIDUAL, name)


def _residuals(engine: FittedEngine, fleet: Fleet, hourly: pl.DataFrame) -> pl.DataFrame:
    names = engine.profile.names
    clean = hourly.filter(pl.col("n_clean") > 0)
    if clean.is_empty():
        return clean
    wide = clean.pivot("channel", index=("mote", "hour"), values="mean").sort("mote", "hour")
    missing = [pl.lit(None, pl.Float64).alias(name) for name in names if name not in wide.columns]
    wide = wide.with_columns(missing)
    values = wide.select(pl.col(names).fill_null(float("nan"))).to_numpy()
    mote, at = wide["mote"].to_numpy(), wide["hour"].cast(pl.Int64).to_numpy() + 1_800_000_000
    said = engine.score_stateless(np.ascontiguousarray(values), mote, at, fleet.utc_offsets(mote, at))
    away = values - (said.expected_high + said.expected_low) / 2
    half = (said.expected_high - said.expected_low) / 2
    columns = [pl.Series(name, away[:, i]) for i, name in enumerate(names)]
    columns += [pl.Series(f"half {name}", half[:, i]) for i, name in enumerate(names)]
    # An hour of a kind of day that was hardly shown has a wider band: days would not compare in units of their own.
    usual = [pl.col(name) / pl.col(f"half {name}").fill_nan(None).median().over("mote").clip(1e-9) for name in names]
    return wide.select("mote", "hour").hstack(columns).select("mote", "hour", *usual)


def _of_score(
    version: ModelVersion, profile: Profile, motes: list[int], span: tuple[datetime, datetime], lake: Lake
) -> list[Shift]:
    """The share of readings that are a surprise, of the mote in the middle, against the share of the held-out days.

    In the middle, since some motes that are ill make no drift of the model.
    """
    expected = float(version.metrics.get("share_surprise_3") or 0.0)
    try:
        rows = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return []
    is_ours = pl.col("mote").is_in(motes) & (pl.col("model_version") == version.number)
    is_clean = pl.all_horizontal([pl.col("flags") & flag == 0 for flag in quality.UNCLEAN])
    begin, end = span
    is_then = pl.col("date").is_between(begin.date(), end.date()) & pl.col("at").is_between(begin, end, closed="left")
    table = (
        rows.filter(is_then)
        .filter(is_ours & is_clean & pl.col("surprise").is_not_null())
        .group_by(pl.col("date").alias("day"), "mote")
        .agg((pl.col("surprise") >= SURPRISED).mean().alias("share"), pl.len().alias("n"))
        .filter(pl.col("n") >= measuring.LEAST_HOURS * 3600 / max(profile.step_s, profile.interval_s))
        .sort("day", "mote")
        .collect()
    )
    found = []
    for (day,), ours in table.group_by("day", maintain_order=True):
        share = float(ours["share"].median())  # type: ignore[arg-type]
        shift = float(np.log10((share + FLOOR) / (expected + FLOOR)))
        worst = ours.sort("share", descending=True)["mote"].head(5).to_list()
        effect = shift / measuring.NOISE[SCORE]
        found.append(Shift(day, SCORE, "", shift, effect, len(ours), tuple(worst)))
    return found


def _kept(version: ModelVersion, found: list[Shift]) -> list[DriftDay]:
    rows = [
        DriftDay(
            profile_id=version.profile_id, version=version, day=one.day, kind=one.kind, name=one.name, shift=one.shift,
            effect=one.effect, n_motes=one.n_motes, worst=list(one.worst), is_over=one.is_over,
        )
        for one in found
    ]  # fmt: skip
    return DriftDay.objects.bulk_create(rows, ignore_conflicts=True)


# ---- telling ------------------------------------------------------------------------------------------------


def standing(version: ModelVersion) -> list[tuple[DriftDay, int]]:
    """Each figure's last day, with for how many days in a row it has been over."""
    by_figure: dict[tuple[str, str], list[DriftDay]] = {}
    for row in DriftDay.objects.filter(version=version):
        by_figure.setdefault((row.kind, row.name), []).append(row)
    return [(rows[0], measuring.days_in_a_row([as_shift(row) for row in rows])) for rows in by_figure.values()]


def as_shift(row: DriftDay) -> Shift:
    return Shift(row.day, row.kind, row.name, row.shift, row.effect, row.n_motes, tuple(row.worst))


def words(row: DriftDay, days: int) -> str:
    """One figure as people say it."""
    side = "above" if row.shift > 0 else "below"
    if row.kind == SCORE:
        times = 10 ** abs(row.shift)
        more = "more" if row.shift > 0 else "less"
        return f"readings surprise {times:.0f} times {more} often than on the model's held-out days, for {days} days"
    unit = "normal bands" if row.kind == CHANNEL else "of the model's half bands"
    what = row.name if row.kind == CHANNEL else f"{row.name} against the model"
    return f"{what} {abs(row.shift):.2f} {unit} {side} the days that it learnt from, for {days} days"


def tell(
    version: ModelVersion, now: datetime, *, raise_alert: Raise = raise_system_alert, clear: Raise = clear_system_alert
) -> list[str]:
    """An alert while something has drifted, and a training that learns it; the alert ends with the drift."""
    subject = f"model:{version.profile.code}"
    lasting = [(row, days) for row, days in standing(version) if days >= measuring.DAYS]
    if not lasting:
        clear(subject=subject, kind=KIND, now=now)
        return []
    said = [words(row, days) for row, days in sorted(lasting, key=lambda one: -abs(one[0].effect))]
    text = f"{version.profile.label} has drifted: {'; '.join(said)}"
    raise_alert(subject=subject, kind=KIND, words=text, severity="medium", now=now)
    retraining.because(version.profile.code, retraining.DRIFT, why=text, now=now)
    return [text]


def watch_performance(
    version: ModelVersion, now: datetime, *, fleet: Fleet, raise_alert: Raise = raise_system_alert,
    clear: Raise = clear_system_alert,
) -> list[str]:  # fmt: skip
    """Alerts when what people say, or how often it speaks, leaves the band in which a version may serve."""
    subject = registry.subject(version)
    told = []
    troubles = {PRECISION_LOW: _precision_trouble(version), CALIBRATION_OFF: _rate_trouble(version, now, fleet)}
    for kind, trouble in troubles.items():
        if trouble:
            raise_alert(subject=subject, kind=kind, words=trouble, severity="medium", now=now)
            told.append(trouble)
        else:
            clear(subject=subject, kind=kind, now=now)
    return told


def _precision_trouble(version: ModelVersion) -> str:
    found = [one for one in feedback.precision(profile=version.profile.code) if one.number == version.number]
    if not found or found[0].n < ENOUGH_JUDGED or found[0].interval[1] >= LEAST_PRECISION:
        return ""
    low, high = found[0].interval
    return (
        f"Of {found[0].n} judged alerts of {version.name} {found[0].n_right} told of something: its precision is "
        f"between {low:.0%} and {high:.0%}, at least {LEAST_PRECISION:.0%} is wanted"
    )


def _rate_trouble(version: ModelVersion, now: datetime, fleet: Fleet) -> str:
    """Events a mote and week that are no known fault, beyond what the gate lets a version begin with."""
    since = max(now - LOOK_BACK, version.promoted_at or version.created_at)
    motes = [mote.id for mote in fleet.motes if mote.profile == version.profile.code and mote.state == "active"]
    weeks = len(motes) * (now - since).total_seconds() / WEEK_S
    known = feedback.known_faults(since, now)
    noticed: Any = Event.objects.filter(
        mote__in=motes, noticed_at__gte=since, model_version=version.number, is_history=False
    ).values_list("mote", "started_at", "last_at")
    n = sum(
        not any(start <= last and first <= end for start, end in known.get(mote, [])) for mote, first, last in noticed
    )
    if now - since < timedelta(days=1) or n / weeks <= gate.MOST_FALSE_EVENTS:
        return ""
    return (
        f"{version.name} tells of {n / weeks:.1f} events a mote and week since {since:%Y-%m-%d %H:%M} UTC that are "
        f"no known fault; at most {gate.MOST_FALSE_EVENTS:.0f} are wanted"
    )
