"""What the History page shows of a range: totals, trends with their band, the hours of a week, histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import polars as pl
from django.http import QueryDict

from alerts.models import Event
from ingestion import words
from ingestion.mote_series import thinned
from sensors import quality, summaries
from sensors.aggregates import Aggregates
from sensors.fleet import Fleet
from sensors.readings import Channel, micros
from sensors.selection import HOUR, NoSuch, Selection, floor_hour, selection
from sensors.stores import StoreUnavailable
from sensors.tiers import Tiers

DEFAULT_DAYS = 7
MOST_COMPARED = 8
RAW_UP_TO, HOURS_UP_TO, DAYS_UP_TO = timedelta(hours=6), timedelta(days=14), timedelta(days=730)
SHADES = 9
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EVERY = {"raw": "every reading", "1h": "an hour", "1d": "a day", "1w": "a week"}
COMPARED = {"": "nothing", "before": "the stretch before", "motes": "mote by mote"}
PRESETS = (("1 d", 1), ("7 d", 7), ("30 d", 30), ("90 d", 90), ("1 y", 365))
LISTED = 500
MOST_RAW = 400_000
BAR_WIDTH, BAR_HEIGHT = 400, 110


@dataclass(frozen=True, slots=True)
class Asked:
    """The address, parsed. What makes no sense of it stands in `errors` by field, and the default is shown."""

    selected: Selection
    first: date
    last: date
    compare: str
    heat: Channel
    every: str
    errors: Mapping[str, str]
    picked: tuple[str, ...]  # motes named in the address, as site/code

    @property
    def zone(self) -> str:
        return self.selected.motes[0].time_zone if self.selected.motes else "UTC"

    @property
    def span(self) -> timedelta:
        return self.selected.end - self.selected.start

    @property
    def start_local(self) -> datetime:
        return self.selected.start.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    @property
    def end_local(self) -> datetime:
        return self.selected.end.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def address(self, **changes: Any) -> str:
        """The same view with something changed; None takes it out."""
        channels = [one.code for one in self.selected.channels]
        held: dict[str, Any] = {
            "profile": self.selected.profile.code,
            "from": self.start_local.isoformat(timespec="minutes"),
            "to": self.end_local.isoformat(timespec="minutes"),
            "mote": list(self.picked),
            "channel": channels if len(channels) < len(self.selected.profile.channels) else [],
            "compare": self.compare or None,
            "heat": self.heat.code if self.heat != self.selected.channels[0] else None,
        }
        return "?" + urlencode({key: value for key, value in (held | changes).items() if value is not None}, doseq=True)

    def moved(self, by: timedelta, wider: timedelta = timedelta()) -> str:
        start, end = self.start_local + by - wider, self.end_local + by + wider
        return self.address(**{"from": start.isoformat(timespec="minutes"), "to": end.isoformat(timespec="minutes")})

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Label, address and whether it is what is shown; each ends where this one ends."""
        spans = ((label, timedelta(days=days)) for label, days in PRESETS)
        return [
            (
                label,
                self.address(**{"from": (self.end_local - span).isoformat(timespec="minutes")}),
                abs(self.span - span) < HOUR * 2,
            )
            for label, span in spans
        ]

    @property
    def before(self) -> str:
        return self.moved(-self.span)

    @property
    def after(self) -> str:
        return self.moved(self.span)

    @property
    def wider(self) -> str:
        return self.moved(timedelta(), self.span / 2)


def asked(query: QueryDict, fleet: Fleet, aggregates: Aggregates, now: datetime) -> Asked | None:
    """None while there is no mote to ask about."""
    errors: dict[str, str] = {}
    picked = tuple(query.getlist("mote"))
    chosen = _selection(fleet, query, picked, errors, now)
    if chosen is None:
        return None
    zone = ZoneInfo(chosen.motes[0].time_zone) if chosen.motes else ZoneInfo("UTC")
    known = aggregates.ends(chosen.profile, chosen.ids, now=now)
    newest = (known[1] + HOUR if known else now).astimezone(zone)
    default_end = datetime.combine(newest.date() + timedelta(days=1), time(), zone)
    end = _local(query.get("to"), zone, errors, "to") or default_end
    start = _local(query.get("from"), zone, errors, "from") or end - timedelta(days=DEFAULT_DAYS)
    if start >= end:
        errors["from"] = f"{start:%Y-%m-%d %H:%M} is not before {end:%Y-%m-%d %H:%M}; the week before is shown."
        start = end - timedelta(days=DEFAULT_DAYS)
    shown = replace(chosen, start=floor_hour(start), end=floor_hour(end - timedelta(microseconds=1)) + HOUR)
    named = {name if "/" in name else f"{fleet.default_site}/{name}" for name in picked}
    heat = next((one for one in shown.channels if one.code == query.get("heat")), shown.channels[0])
    compare = query.get("compare", "")
    if compare == "motes" and len(shown.motes) > MOST_COMPARED:
        errors["mote"] = f"At most {MOST_COMPARED} motes are compared; {len(shown.motes)} are chosen. Choose some."
        compare = ""
    return Asked(
        selected=shown,
        first=start.date(),
        last=(end - timedelta(microseconds=1)).date(),
        compare=compare if compare in COMPARED else "",
        heat=heat,
        every=_every(shown),
        errors=errors,
        picked=tuple(name for mote in shown.motes if (name := f"{mote.site}/{mote.code}") in named),
    )


def _selection(
    fleet: Fleet, query: QueryDict, picked: Sequence[str], errors: dict[str, str], now: datetime
) -> Selection | None:
    """What of the address cannot be is left out and said, part by part."""
    wanted: dict[str, Any] = {"profile": query.get("profile", ""), "channels": query.getlist("channel")}
    members = []
    for name in picked:
        site, _, code = name.rpartition("/")
        found = fleet.find(code, site or None)
        if found is None or found.profile not in fleet.profiles:
            errors["mote_id"] = f"There is no mote “{name}”; it is left out."
        elif wanted["profile"] in ("", found.profile):
            members.append(found)
    for _ in range(3):
        try:
            chosen = selection(fleet, start=now - HOUR, end=now, **wanted)
            break
        except NoSuch as wrong:
            if wrong.field not in ("profile", "channel"):
                return None
            if not wanted[wrong.field if wrong.field == "profile" else "channels"]:
                return None
            errors[wrong.field] = str(wrong)
            wanted["profile" if wrong.field == "profile" else "channels"] = ""
    of_profile = tuple(mote for mote in members if mote.profile == chosen.profile.code)
    return replace(chosen, motes=of_profile) if of_profile else chosen


def _local(text: str | None, zone: ZoneInfo, errors: dict[str, str], field: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if not 1971 <= found.year < 2100:
            raise ValueError
    except ValueError:
        errors[field] = f"“{text}” is no date; expected one such as 2026-03-02."
        return None
    return found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)


def _every(shown: Selection) -> str:
    span = shown.end - shown.start
    if span <= RAW_UP_TO and len(shown.motes) <= MOST_COMPARED:
        return "raw"
    return "1h" if span <= HOURS_UP_TO else "1d" if span <= DAYS_UP_TO else "1w"


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
    rows: list[tuple[str, str]]


def context(
    question: Asked, fleet: Fleet, aggregates: Aggregates, tiers: Tiers, *, readings_url: str, now: datetime
) -> dict[str, Any]:
    chosen = question.selected
    found = aggregates.between(chosen.profile, chosen.ids, chosen.start, chosen.end, now=now)
    of_channels = found.table.filter(pl.col("channel").is_in([one.code for one in chosen.channels]))
    local = summaries.localized(of_channels, chosen.zones)
    missing = list(found.missing)
    totals = summaries.totals(local)
    n_days = max(((min(chosen.end, now) - chosen.start) / timedelta(days=1)), 0.0)
    return {
        "asked": question,
        "totals": totals,
        "n_expected_days": max(round(n_days + 0.49), 1),
        "quality": words.percent(totals.quality),
        "missing": missing,
        "every_words": EVERY[question.every],
        "hours": range(24),
        "shades": range(SHADES),
        "downloads": _downloads(question),
        "heat_links": [
            {"label": one.label, "address": question.address(heat=one.code), "is_shown": one == question.heat}
            for one in chosen.channels
        ],
        "heat_rows": _heat(question, local, readings_url),
        "heat_ends": _heat_ends(question, local),
        "histograms": [bars for one in chosen.channels if (bars := _bars(question, local, one, readings_url))],
        "tables": _tables(question, local),
        "data": _data(question, fleet, aggregates, tiers, local, missing, now),
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


def _data(
    question: Asked,
    fleet: Fleet,
    aggregates: Aggregates,
    tiers: Tiers,
    local: pl.DataFrame,
    missing: list[str],
    now: datetime,
) -> dict[str, Any]:
    """For the page's module, by json_script. Instants are milliseconds of the site's wall clock, as if it were UTC."""
    lines = _raw_lines(question, tiers, missing, now) if question.every == "raw" else _lines(question, fleet, local)
    if question.compare == "before" and question.every != "raw":
        _add_before(question, aggregates, lines, now)
    ribbon = _ribbon(question)
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
                "ribbon": ribbon,
            }
            for one in question.selected.channels
        ],
    }


def _wall_ms(local: datetime) -> float:
    return local.replace(tzinfo=UTC).timestamp() * 1000


def _lines(question: Asked, fleet: Fleet, local: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    by_mote = question.compare == "motes"
    rows = summaries.trend(local, question.every, by_mote=by_mote)
    lines: dict[str, list[dict[str, Any]]] = {}
    for key, part in rows.group_by(["channel", *(["mote"] if by_mote else [])], maintain_order=True):
        label = f"Mote {fleet.by_id[key[1]].code}" if by_mote else "mean"
        lines.setdefault(str(key[0]), []).append({"label": label, "points": _points(part, has_band=not by_mote)})
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


def _ribbon(question: Asked) -> list[list[float]]:
    """Where events were: begin and end of each, on the wall clock."""
    chosen = question.selected
    events = Event.objects.filter(mote__in=chosen.ids, started_at__lt=chosen.end, last_at__gte=chosen.start)
    offset = question.start_local - chosen.start.replace(tzinfo=None)
    spans = events.order_by("started_at").values_list("started_at", "last_at")[:2000]
    return [
        [_wall_ms(start.replace(tzinfo=None) + offset), _wall_ms(end.replace(tzinfo=None) + offset)]
        for start, end in spans
    ]


def _tables(question: Asked, local: pl.DataFrame) -> dict[str, list[tuple[str, ...]]]:
    """What a chart says, as rows: begin, mean, lowest, highest, values, coverage."""
    every = "1h" if question.every == "raw" else question.every
    rows = summaries.trend(local, every)
    form = "%Y-%m-%d %H:%M" if every == "1h" else "%Y-%m-%d"
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
            for row in rows.filter(pl.col("channel") == channel.code).iter_rows(named=True)
        ]
    return tables


# ---- the week and the histograms ----------------------------------------------------------------------------


def _heat(question: Asked, local: pl.DataFrame, url: str) -> list[tuple[str, list[Cell]]]:
    channel = question.heat
    decimals = words.decimals_of(channel.resolution)
    cells = {
        (row["weekday"], row["hour_of_day"]): row for row in summaries.week(local, channel.code).iter_rows(named=True)
    }
    means = [row["mean"] for row in cells.values() if row["mean"] is not None]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)

    def cell(weekday: int, hour: int) -> Cell:
        row = cells.get((weekday, hour))
        name = f"{WEEKDAYS[weekday - 1]} {hour:02d}:00"
        if row is None or row["mean"] is None:
            return Cell(None, f"{name}: nothing measured", "")
        place = (row["mean"] - low) / (high - low) if high > low else 0.5
        mean, least, most = (words.number(row[what], decimals) for what in ("mean", "min", "max"))
        told = f"{name}: {mean} {channel.unit} ({least} to {most}), {words.count(row['n_clean'])} readings"
        query = question.address(channel=channel.code, heat=None, weekday=weekday, hour=hour)
        return Cell(min(int(place * SHADES), SHADES - 1), told, url + query)

    return [(WEEKDAYS[day - 1], [cell(day, hour) for hour in range(24)]) for day in range(1, 8)]


def _heat_ends(question: Asked, local: pl.DataFrame) -> tuple[str, str]:
    means = summaries.week(local, question.heat.code)["mean"].drop_nulls()
    decimals = words.decimals_of(question.heat.resolution)
    if means.is_empty():
        return words.NOTHING, words.NOTHING
    return words.number(means.min(), decimals), words.number(means.max(), decimals)  # type: ignore[arg-type]


def _bars(question: Asked, local: pl.DataFrame, channel: Channel, url: str) -> Bars | None:
    found = summaries.histogram(local, channel.code)
    if found is None:
        return None
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
        rows.append((span, words.count(count)))
    ticks = [words.number(found.edges[i], decimals) for i in (0, len(found.counts) // 2, len(found.counts))]
    return Bars(channel, bars, ticks, n, rows)


def _bar_height(count: int, most: int) -> float:
    """At least a visible line for what is there at all."""
    return round(max(count / most * BAR_HEIGHT, 1.5 if count else 0.0), 1)


# ---- the readings behind a cell or a bar --------------------------------------------------------------------


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
            parts.append(f"{WEEKDAYS[self.weekday - 1]}, {self.hour or 0:02d}:00 to {self.hour or 0:02d}:59")
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
