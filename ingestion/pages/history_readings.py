"""The readings behind a cell or a bar of History."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from django.http import QueryDict

from alerts.weekly import DAYS
from ingestion import words
from ingestion.pages.history_asked import Asked
from sensors import quality, summaries
from sensors.aggregates import Aggregates
from sensors.fleet import Fleet
from sensors.readings import Channel
from sensors.selection import HOUR
from sensors.tiers import Tiers

LISTED = 500


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which readings of a view are meant: those of an hour of the week, or with a value in a bar."""

    channel: Channel
    weekday: int | None
    hour: int | None
    low: float | None
    high: float | None

    @property
    def words(self) -> str:
        parts = []
        if self.weekday is not None:
            parts.append(f"{DAYS[self.weekday - 1]}, {self.hour or 0:02d}:00 to {self.hour or 0:02d}:59")
        if self.low is not None and self.high is not None:
            decimals = words.decimals_of(min(self.channel.resolution, self.high - self.low))
            low, high = words.number(self.low, decimals), words.number(self.high, decimals)
            parts.append(f"{self.channel.label} from {low} to {high} {self.channel.unit}")
        return "; ".join(parts) or "all readings"


def narrow(query: QueryDict, question: Asked) -> Narrow:
    """What makes no sense narrows nothing."""
    weekday, hour = _whole(query.get("weekday"), 1, 7), _whole(query.get("hour"), 0, 23)
    low, high = _real(query.get("low")), _real(query.get("high"))
    if low is None or high is None or low >= high:
        low = high = None
    return Narrow(question.selected.channels[0], weekday, hour if weekday is not None else None, low, high)


def _whole(text: str | None, least: int, most: int) -> int | None:
    return int(text) if text and text.isdecimal() and least <= int(text) <= most else None


def _real(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Listed:
    at: datetime
    mote: str
    site: str
    values: list[str]
    flags: str

    @property
    def from_at(self) -> str:
        return (self.at - HOUR / 2).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def to_at(self) -> str:
        return (self.at + HOUR / 2).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed(
    question: Asked, about: Narrow, fleet: Fleet, aggregates: Aggregates, tiers: Tiers, now: datetime
) -> tuple[list[Listed], bool]:
    """The newest readings that are meant, and whether there are more than are listed."""
    rows: list[Listed] = []
    for start, motes in _candidate_hours(question, about, aggregates, now):
        found = tiers.between(question.selected.profile, motes, start, start + HOUR, now=now)
        table = _narrowed(found.table, about, question).sort("at", descending=True)
        rows += list(_told(table, question, fleet))
        if len(rows) > LISTED:
            return rows[:LISTED], True
    return rows, False


def _candidate_hours(
    question: Asked, about: Narrow, aggregates: Aggregates, now: datetime
) -> Iterator[tuple[datetime, list[int]]]:
    """The hours whose bins say that they hold such readings, the newest first, with the motes they are of."""
    chosen = question.selected
    found = aggregates.between(chosen.profile, chosen.ids, chosen.start, chosen.end, now=now)
    hours = summaries.localized(found.table.filter(pl.col("channel") == about.channel.code), chosen.zones)
    if about.weekday is not None:
        hours = hours.filter(
            (pl.col("local").dt.weekday() == about.weekday) & (pl.col("local").dt.hour() == (about.hour or 0))
        )
    if about.low is not None and about.high is not None:
        bins = hours.with_row_index("row").select("row", "bin_width", "bins").explode("bins").drop_nulls("bins")
        low, high = pl.col("bins") * pl.col("bin_width"), (pl.col("bins") + 1) * pl.col("bin_width")
        meant = bins.filter((high > about.low + 1e-9) & (low < about.high - 1e-9))["row"]
        hours = hours.with_row_index("row").filter(pl.col("row").is_in(meant.implode()))
    for (hour,), part in hours.sort("hour", descending=True).group_by(["hour"], maintain_order=True):
        yield hour, part["mote"].to_list()


def _narrowed(table: pl.DataFrame, about: Narrow, question: Asked) -> pl.DataFrame:
    if about.low is None or about.high is None:
        return table
    place = question.selected.profile.names.index(about.channel.code)
    suspect = quality.suspects(table["flags"].to_numpy(), len(question.selected.profile.channels))[:, place]
    value = pl.col(about.channel.code)
    return table.filter(pl.Series(~suspect) & (value >= about.low - 1e-9) & (value < about.high))


def _told(table: pl.DataFrame, question: Asked, fleet: Fleet) -> Iterator[Listed]:
    channels = question.selected.profile.channels
    decimals = [words.decimals_of(channel.resolution) for channel in channels]
    for row in table.iter_rows(named=True):
        mote = fleet.by_id[row["mote"]]
        values = [words.number(row[one.code], places) for one, places in zip(channels, decimals, strict=True)]
        flags = ", ".join(quality.names(row["flags"])).replace("_", " ")
        yield Listed(row["at"], mote.code, mote.site, values, flags)
