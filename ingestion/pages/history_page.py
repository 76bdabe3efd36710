"""What the History page shows of a range: totals, trends with their band, the hours of a week, histograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import polars as pl

from alerts.events import concerned
from alerts.models import Event
from alerts.weekly import DAYS
from ingestion import words
from ingestion.pages.history_asked import Asked
from ingestion.pages.mote_series import thinned
from sensors import quality, summaries
from sensors.aggregates import Aggregates
from sensors.fleet import Fleet
from sensors.readings import Channel, micros
from sensors.stores import StoreUnavailable
from sensors.tiers import LAKE, Tiers

SHADES = 9
EVERY = {"raw": "every reading", "1h": "an hour", "1d": "a day", "1w": "a week"}
BAR_WIDTH, BAR_HEIGHT = 400, 110


@dataclass(frozen=True, slots=True)
class Cell:
    shade: int | None
    words: str
    address: str


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    width: float
    height: float
    words: str
    address: str

    @property
    def y(self) -> float:
        return BAR_HEIGHT - self.height


@dataclass(frozen=True, slots=True)
class Bars:
    channel: Channel
    bars: list[Bar]
    ticks: list[str]
    n: int
    rows: list[tuple[str, str, str]]  # what the bars say, with where each leads


def context(
    question: Asked, fleet: Fleet, aggregates: Aggregates, tiers: Tiers, *, readings_url: str, now: datetime
) -> dict[str, Any]:
    chosen = question.selected
    found = aggregates.between(chosen.profile, chosen.ids, chosen.start, chosen.end, now=now)
    of_channels = found.table.filter(pl.col("channel").is_in([one.code for one in chosen.channels]))
    local = summaries.localized(of_channels, chosen.zones)
    missing = list(found.missing)
    totals = summaries.totals(local)
    trend = summaries.trend(local, "1h" if question.every == "raw" else question.every)
    week = summaries.week(local, question.heat.code)
    histograms = summaries.histograms(local)
    n_days = max(((min(chosen.end, now) - chosen.start) / timedelta(days=1)), 0.0)
    return {
        "asked": question,
        "totals": totals,
        "n_expected_days": max(round(n_days + 0.49), 1),
        "quality": words.percent(totals.quality),
        "missing": missing,
        "is_lake_alone": found.tier == LAKE,
        "every_words": EVERY[question.every],
        "hours": range(24),
        "shades": range(SHADES),
        "downloads": _downloads(question),
        "heat_links": [
            {"label": one.label, "address": question.address(heat=one.code), "is_shown": one == question.heat}
            for one in chosen.channels
        ],
        "heat_rows": _heat(question, week, readings_url),
        "heat_ends": _heat_ends(question, week),
        "histograms": [
            _bars(question, histograms[one.code], one, readings_url)
            for one in chosen.channels
            if one.code in histograms
        ],
        "tables": _tables(question, trend),
        "data": _data(question, _lines(question, fleet, aggregates, tiers, local, trend, missing, now)),
        "bar_width": BAR_WIDTH,
        "bar_height": BAR_HEIGHT,
    }


def _downloads(question: Asked) -> list[dict[str, str]]:
    chosen = question.selected
    held: dict[str, str] = {"profile": chosen.profile.code, "start": _iso(chosen.start), "end": _iso(chosen.end)}
    if question.picked:
        held["mote_id"] = ",".join(mote.code for mote in chosen.motes)
        sites = {mote.site for mote in chosen.motes}
        held |= {"site": sites.pop()} if len(sites) == 1 else {}
    if len(chosen.channels) < len(chosen.profile.channels):
        held["channel"] = ",".join(one.code for one in chosen.channels)
    labels = {"csv": "CSV", "parquet": "Parquet", "ndjson": "NDJSON"}
    return [
        {"label": label, "address": f"/api/v1/sensors/export?{urlencode(held | {'form': form})}"}
        for form, label in labels.items()
    ]


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- trends -------------------------------------------------------------------------------------------------


def _data(question: Asked, lines: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """For the page's module, by json_script. Instants are milliseconds of the site's wall clock, as if it were UTC."""
    ribbons = _ribbons(question)
    return {
        "every": question.every,
        "start": _wall_ms(question.start_local),
        "end": _wall_ms(question.end_local),
        "channels": [
            {
                "code": one.code,
                "label": one.label,
                "unit": one.unit,
                "resolution": one.resolution,
                "normal": one.normal,
                "physical": one.physical,
                "lines": lines.get(one.code, []),
                "ribbon": ribbons.get(one.code, []),
            }
            for one in question.selected.channels
        ],
    }


def _wall_ms(local: datetime) -> float:
    return local.replace(tzinfo=UTC).timestamp() * 1000


def _lines(
    question: Asked,
    fleet: Fleet,
    aggregates: Aggregates,
    tiers: Tiers,
    local: pl.DataFrame,
    trend: pl.DataFrame,
    missing: list[str],
    now: datetime,
) -> dict[str, list[dict[str, Any]]]:
    if question.every == "raw":
        return _raw_lines(question, tiers, missing, now)
    by_mote = question.compare == "motes"
    rows = summaries.trend(local, question.every, by_mote=True) if by_mote else trend
    lines: dict[str, list[dict[str, Any]]] = {}
    for key, part in rows.group_by(["channel", *(["mote"] if by_mote else [])], maintain_order=True):
        label = f"Mote {fleet.by_id[key[1]].code}" if by_mote else "mean"
        lines.setdefault(str(key[0]), []).append({"label": label, "points": _points(part, has_band=not by_mote)})
    if question.compare == "before":
        _add_before(question, aggregates, lines, now)
    return lines


def _points(rows: pl.DataFrame, *, has_band: bool, shift: timedelta = timedelta()) -> list[list[float | None]]:
    at = [_wall_ms(one + shift) for one in rows["local"].to_list()]
    columns = [at, rows["mean"].to_list(), *([rows["min"].to_list(), rows["max"].to_list()] if has_band else [])]
    return [list(one) for one in zip(*columns, strict=True)]


def _add_before(question: Asked, aggregates: Aggregates, lines: dict[str, list[dict[str, Any]]], now: datetime) -> None:
    chosen = question.selected
    earlier = aggregates.between(chosen.profile, chosen.ids, chosen.start - question.span, chosen.start, now=now)
    rows = summaries.trend(summaries.localized(earlier.table, chosen.zones), question.every)
    for key, part in rows.group_by("channel", maintain_order=True):
        points = _points(part, has_band=False, shift=question.span)
        lines.setdefault(str(key[0]), []).append({"label": "the stretch before", "points": points, "is_past": True})


def _raw_lines(question: Asked, tiers: Tiers, missing: list[str], now: datetime) -> dict[str, list[dict[str, Any]]]:
    """Every reading of a few motes, thinned to what a screen can show: the lowest and highest of each stretch."""
    chosen = question.selected
    try:
        found = tiers.between(chosen.profile, chosen.ids, chosen.start, chosen.end, now=now)
    except StoreUnavailable as error:
        missing.append(f"The readings themselves cannot be read: {error}")
        return {}
    lines: dict[str, list[dict[str, Any]]] = {}
    span = (micros(chosen.start), micros(chosen.end))
    offset = question.start_local - chosen.start.replace(tzinfo=None)
    for mote in chosen.motes:
        rows = found.table.filter(pl.col("mote") == mote.id)
        suspect = quality.suspects(rows["flags"].to_numpy(), len(chosen.profile.channels))
        for place, channel in enumerate(chosen.profile.channels):
            clean = rows.filter(pl.Series(~suspect[:, place]) & pl.col(channel.code).is_not_null())
            at = clean["at"].cast(pl.Int64).to_numpy()
            values = clean[channel.code].to_numpy()
            kept = thinned(at, values, span, 1600)
            shifted = at[kept] / 1000 + offset / timedelta(milliseconds=1)
            points = [list(one) for one in zip(shifted.tolist(), values[kept].tolist(), strict=True)]
            lines.setdefault(channel.code, []).append({"label": f"Mote {mote.code}", "points": points})
    return lines


def _ribbons(question: Asked) -> dict[str, list[list[float]]]:
    """Where a channel's events were: begin and end of each, on the wall clock."""
    chosen = question.selected
    events = Event.objects.filter(mote__in=chosen.ids, started_at__lt=chosen.end, last_at__gte=chosen.start)
    offset = question.start_local - chosen.start.replace(tzinfo=None)
    spans = events.order_by("started_at").values_list("started_at", "last_at", "contributions")[:2000]
    ribbons: dict[str, list[list[float]]] = {}
    for start, end, contributions in spans:
        span = [_wall_ms(at.replace(tzinfo=None) + offset) for at in (start, end)]
        for code in concerned(contributions):
            ribbons.setdefault(code, []).append(span)
    return ribbons


def _tables(question: Asked, trend: pl.DataFrame) -> dict[str, list[tuple[str, ...]]]:
    """What a chart says, as rows: begin, mean, lowest, highest, values."""
    form = "%Y-%m-%d %H:%M" if question.every in ("raw", "1h") else "%Y-%m-%d"
    tables: dict[str, list[tuple[str, ...]]] = {}
    for channel in question.selected.channels:
        decimals = words.decimals_of(channel.resolution)
        tables[channel.code] = [
            (
                row["local"].strftime(form),
                words.number(row["mean"], decimals),
                words.number(row["min"], decimals),
                words.number(row["max"], decimals),
                words.count(row["n_clean"]),
            )
            for row in trend.filter(pl.col("channel") == channel.code).iter_rows(named=True)
        ]
    return tables


# ---- the week and the histograms ----------------------------------------------------------------------------


def _heat(question: Asked, week: pl.DataFrame, url: str) -> list[tuple[str, list[Cell]]]:
    channel = question.heat
    decimals = words.decimals_of(channel.resolution)
    cells = {(row["weekday"], row["hour_of_day"]): row for row in week.iter_rows(named=True)}
    means = [row["mean"] for row in cells.values() if row["mean"] is not None]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)

    def cell(weekday: int, hour: int) -> Cell:
        row = cells.get((weekday, hour))
        name = f"{DAYS[weekday - 1]} {hour:02d}:00"
        if row is None or row["mean"] is None:
            return Cell(None, f"{name}: nothing measured", "")
        place = (row["mean"] - low) / (high - low) if high > low else 0.5
        mean, least, most = (words.number(row[what], decimals) for what in ("mean", "min", "max"))
        told = f"{name}: {mean} {channel.unit} ({least} to {most}), {words.count(row['n_clean'])} readings"
        query = question.address(channel=channel.code, heat=None, weekday=weekday, hour=hour)
        return Cell(min(int(place * SHADES), SHADES - 1), told, url + query)

    return [(DAYS[day - 1], [cell(day, hour) for hour in range(24)]) for day in range(1, 8)]


def _heat_ends(question: Asked, week: pl.DataFrame) -> tuple[str, str]:
    means = week["mean"].drop_nulls()
    decimals = words.decimals_of(question.heat.resolution)
    if means.is_empty():
        return words.NOTHING, words.NOTHING
    return words.number(means.min(), decimals), words.number(means.max(), decimals)  # type: ignore[arg-type]


def _bars(question: Asked, found: summaries.Histogram, channel: Channel, url: str) -> Bars:
    decimals = words.decimals_of(min(channel.resolution, found.edges[1] - found.edges[0]))
    most, width, n = max(found.counts), BAR_WIDTH / len(found.counts), sum(found.counts)
    bars, rows = [], []
    for i, count in enumerate(found.counts):
        low, high = found.edges[i], found.edges[i + 1]
        span = f"{words.number(low, decimals)} to {words.number(high, decimals)} {channel.unit}"
        told = f"{span}: {words.count(count)} readings, {words.percent(count / n)}"
        query = question.address(channel=channel.code, heat=None, low=low, high=high)
        bars.append(
            Bar(round(i * width, 2), round(max(width - 1, 0.5), 2), _bar_height(count, most), told, url + query)
        )
        rows.append((span, words.count(count), url + query))
    ticks = [words.number(found.edges[i], decimals) for i in (0, len(found.counts) // 2, len(found.counts))]
    return Bars(channel, bars, ticks, n, rows)


def _bar_height(count: int, most: int) -> float:
    """At least a visible line for what is there at all."""
    return round(max(count / most * BAR_HEIGHT, 1.5 if count else 0.0), 1)
