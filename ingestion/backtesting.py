"""What a rule would have done in the last 30 days: read from the lake, judged by the same code as live readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from alerts.rules.judging import Change, judge
from alerts.rules.models import Rule
from alerts.rules.running import scope
from alerts.rules.saying import CHANGE, SCORE
from mlops import feedback
from mlops.models import Label
from sensors.fleet import Fleet, MoteRef
from sensors.lake import Lake, NoSuchTable
from sensors.readings import INSTANT, Profile, micros

DAYS = 30
GRACE = timedelta(minutes=10)  # an alert that comes so soon after a labelled stretch still caught it
MOST_SHOWN = 200
BIN = timedelta(hours=1)
SETTLED = timedelta(minutes=5)  # what is younger may not be in the lake yet


@dataclass(frozen=True, slots=True)
class Firing:
    mote: MoteRef
    began_at: datetime
    ended_at: datetime | None
    is_silence: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """A labelled stretch, and whether the rule would have told of it."""

    mote: MoteRef
    kind: str
    starts_at: datetime
    ends_at: datetime
    is_caught: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A mote's channel, an hour a point: when, least, most."""

    mote: MoteRef
    channel: str
    unit: str
    points: list[tuple[datetime, float, float]]
    levels: list[float]


@dataclass(frozen=True, slots=True)
class Backtest:
    starts_at: datetime
    ends_at: datetime
    n_readings: int
    n_motes: int
    firings: list[Firing]
    truths: list[Truth]
    n_unlabelled: int
    line: Line | None

    @property
    def a_week(self) -> float:
        """By the time that there is data of, not by the time that was asked for."""
        days = max((self.ends_at - self.starts_at) / timedelta(days=1), 1e-9)
        return len(self.firings) * 7 / days

    @property
    def n_caught(self) -> int:
        return sum(one.is_caught for one in self.truths)


def backtest(rule: Rule, *, lake: Lake, fleet: Fleet, now: datetime, mote: str = "", days: int = DAYS) -> Backtest:
    """Judges the rule over the past; draws the mote that is named, else the one that it fires for most."""
    told, start = rule.parsed(), now - timedelta(days=days)
    firings: list[Firing] = []
    tables: list[tuple[Profile, pl.DataFrame]] = []
    for profile, motes in scope(rule, fleet):
        table = readings(rule, lake, profile, [one.id for one in motes], start, now)
        tables.append((profile, table))
        until = dict.fromkeys(table["mote"].unique().to_list(), micros(now - SETTLED))
        by = table["model_version"].to_numpy() if "model_version" in table.columns else np.zeros(len(table), np.int64)
        _, changes = judge(told, table, {}, onset=fleet.onsets_of(profile, by), until=until)
        firings += [_firing(one, fleet) for one in changes]
    firings.sort(key=lambda one: one.began_at)
    first = min((table["at"].to_list()[0] for _, table in _by_time(tables)), default=start)
    keys = {one.id for _, motes in scope(rule, fleet) for one in motes}
    truths, n_unlabelled = _held_against_labels(firings, fleet, keys, first, now)
    return Backtest(
        starts_at=max(first, start), ends_at=now, n_readings=sum(len(table) for _, table in tables),
        n_motes=sum(table["mote"].n_unique() for _, table in tables), firings=firings, truths=truths,
        n_unlabelled=n_unlabelled, line=_line(rule, tables, firings, fleet, mote),
    )  # fmt: skip


def readings(
    rule: Rule, lake: Lake, profile: Profile, motes: Sequence[int], start: datetime, end: datetime
) -> pl.DataFrame:
    """Only the columns that the rule looks at, each reading once, by mote and instant."""
    told = rule.parsed()
    channels = sorted(told.channels & set(profile.names))
    try:
        silver = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return pl.DataFrame(schema={"mote": pl.Int64, "at": INSTANT, **dict.fromkeys(channels, pl.Float64)})
    known = set(silver.collect_schema().names())
    is_scored = any(one.kind == SCORE for one in told.conditions)
    wanted = [*channels, *(["surprise"] if is_scored else [])]
    columns = [pl.col(name) if name in known else pl.lit(None, pl.Float64).alias(name) for name in wanted]
    columns += [pl.col("model_version")] if is_scored else []
    days = pl.col("date").is_between(start.astimezone(UTC).date(), end.astimezone(UTC).date())
    rows = silver.filter(days & pl.col("mote").is_in(list(motes)) & (pl.col("at") >= start) & (pl.col("at") < end))
    table = rows.select("mote", pl.col("at").cast(INSTANT), *columns).collect()
    # One number to sort by, and a look at neighbours for what is there twice: a third of the time of two columns.
    place = pl.col("mote") * 2**45 + (pl.col("at").cast(pl.Int64) - micros(start))
    placed = table.select(place.alias("place"))["place"]
    order = placed.arg_sort()
    placed = placed.gather(order)
    return table[order].filter((placed != placed.shift(1)).fill_null(True))


def _by_time(tables: Sequence[tuple[Profile, pl.DataFrame]]) -> list[tuple[Profile, pl.DataFrame]]:
    """Each table's first reading, of those that have any."""
    return [(profile, table.select("at").bottom_k(1, by="at")) for profile, table in tables if len(table)]


def _firing(one: Change, fleet: Fleet) -> Firing:
    ended = None if one.ended_at is None else _instant(one.ended_at)
    return Firing(fleet.by_id[one.mote], _instant(one.noticed_at), ended, one.is_silence)


def _held_against_labels(
    firings: Sequence[Firing], fleet: Fleet, motes: set[int], start: datetime, end: datetime
) -> tuple[list[Truth], int]:
    """What the rule would have caught and missed of what is known, and how many of its alerts nothing is known of."""
    labels = Label.objects.filter(mote__in=motes, starts_at__lt=end, ends_at__gt=start)
    rows = labels.exclude(kind__in=(feedback.NORMAL, feedback.NEW_NORMAL))
    told = set(rows.values_list("mote", "starts_at", "ends_at", "kind"))
    told |= {(mote, starts, ends, "confirmed") for mote, starts, ends in feedback.faults(start, end) if mote in motes}
    by_mote: dict[int, list[Firing]] = {}
    for one in firings:
        by_mote.setdefault(one.mote.id, []).append(one)
    meant: set[int] = set()
    truths = []
    for mote, starts, ends, kind in sorted(told, key=lambda one: one[1]):
        hits = [
            one
            for one in by_mote.get(mote, ())
            if one.began_at < ends + GRACE and (one.ended_at is None or one.ended_at > starts)
        ]
        meant |= {id(one) for one in hits}
        truths.append(Truth(fleet.by_id[mote], kind, starts, ends, bool(hits)))
    return truths, len(firings) - len(meant)


def _line(
    rule: Rule, tables: Sequence[tuple[Profile, pl.DataFrame]], firings: Sequence[Firing], fleet: Fleet, asked: str
) -> Line | None:
    """The curve that the page draws: of the first condition on a channel."""
    first = next((one for one in rule.parsed().conditions if one.channel), None)
    if first is None or not tables or tables[0][1].is_empty():
        return None
    profile, table = tables[0]
    mote = _chosen(table, firings, fleet, asked)
    rows = table.filter((pl.col("mote") == mote.id) & pl.col(first.channel).is_finite())
    hours = rows.group_by(pl.col("at").dt.truncate("1h").alias("hour")).agg(
        pl.col(first.channel).min().alias("low"), pl.col(first.channel).max().alias("high")
    )
    levels = [] if first.kind == CHANGE else [first.than, *([first.clear] if first.clear is not None else [])]
    unit = next((one.unit for one in profile.channels if one.code == first.channel), "")
    return Line(mote, first.channel, unit, list(hours.sort("hour").iter_rows()), levels)


def _chosen(table: pl.DataFrame, firings: Sequence[Firing], fleet: Fleet, asked: str) -> MoteRef:
    known = [fleet.by_id[key] for key in table["mote"].unique(maintain_order=True).to_list()]
    named = next((one for one in known if f"{one.site}/{one.code}" == asked), None)
    if named is not None:
        return named
    counts: Mapping[int, int] = {one.id: sum(firing.mote.id == one.id for firing in firings) for one in known}
    return max(known, key=lambda one: counts[one.id])


def _instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)
