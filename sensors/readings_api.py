"""The API of readings: of one mote or many, every one or summed up by minute, hour or day, as JSON, NDJSON or CSV."""

from __future__ import annotations

import binascii
import csv
import io
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import imputing, quality, registry, summaries
from sensors.analytics_api import chosen, local_hours
from sensors.api import known_mote
from sensors.fleet import Fleet, MoteRef
from sensors.readings import micros
from sensors.selection import Selection
from sensors.serializers import ReadingsPage, ReadingsQuery
from sensors.spoken import Spoken, instants, spoken_table
from sensors.stores import hot
from sensors.tiers import Found, tiers

MICROSECOND = timedelta(microseconds=1)
RAW_UP_TO, MINUTES_UP_TO, HOURS_UP_TO = timedelta(hours=6), timedelta(days=2), timedelta(days=60)


class _Lines(BaseRenderer):
    """Readings, a line each; whatever else is answered is one JSON object."""

    charset = "utf-8"

    def render(self, data: Any, media: str | None = None, context: Any = None) -> bytes:
        if not isinstance(data, Mapping) or "readings" not in data:
            return json.dumps(data).encode()
        return self.lines(data["readings"]).encode()

    def lines(self, rows: Sequence[Spoken]) -> str:
        raise NotImplementedError


class Ndjson(_Lines):
    media_type = "application/x-ndjson"
    format = "ndjson"

    def lines(self, rows: Sequence[Spoken]) -> str:
        return "".join(json.dumps(row) + "\n" for row in rows)


class Csv(_Lines):
    media_type = "text/csv"
    format = "csv"

    def lines(self, rows: Sequence[Spoken]) -> str:
        flat = [dict(_flat(row)) for row in rows]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        return out.getvalue()


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Channels become columns of their own, the figures of one `temperature.avg`."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, "" if key == "values" else f"{before}{key}.")
        else:
            yield f"{before}{key}", " ".join(value) if isinstance(value, list) else value


@extend_schema(tags=["readings"])
class Readings(APIView):
    """Readings of a span, mote by mote and oldest first, as corrected; retired motes keep theirs.

    `resolution` other than raw sums them up: average, extremes and count of each channel and stretch. NDJSON and CSV
    by `Accept`. Where `cursor` is not null there is more: ask the same again with it.
    """

    renderer_classes = (JSONRenderer, Ndjson, Csv)

    @extend_schema(parameters=[ReadingsQuery], responses=ReadingsPage)
    def get(self, request: Request) -> Response:
        query = ReadingsQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        fleet, now = registry.current_fleet(), timezone.now()
        motes = [known_mote(fleet, code, asked.get("site")) for code in asked["mote_id"]]
        if not motes:
            raise ValidationError({"mote_id": "Name at least one mote; /api/v1/motes lists them."})
        resolution = _resolution(asked)
        span = ReadingsPage({"start": asked["start"], "end": asked["end"], "tier": "", "readings": []}).data
        page = _raw(motes, asked, fleet, now) if resolution == "raw" else _summed(motes, asked, fleet, now, resolution)
        return Response({**span, "resolution": resolution, **page})


def _resolution(asked: Mapping[str, Any]) -> str:
    if asked["resolution"] != "auto":
        return str(asked["resolution"])
    span = asked["end"] - asked["start"]
    return "raw" if span <= RAW_UP_TO else "1m" if span <= MINUTES_UP_TO else "1h" if span <= HOURS_UP_TO else "1d"


# ---- every reading ------------------------------------------------------------------------------------------


def _raw(motes: Sequence[MoteRef], asked: Mapping[str, Any], fleet: Fleet, now: datetime) -> dict[str, Any]:
    first, since = _place(asked, len(motes))
    rows: list[Spoken] = []
    told: set[str] = set()
    missing: list[str] = []
    limit, cursor = asked["limit"], None
    for place, mote in enumerate(motes[first:], first):
        # One more than asked for: it is where the next page starts.
        some, found = _of_mote(mote, since, asked, fleet, now, limit - len(rows) + 1)
        told.add(found.tier)
        missing += [found.fault] if found.fault and found.fault not in missing else []
        rows += some
        since = asked["start"]
        if len(rows) > limit:
            cursor = _cursor(place, rows[limit]["at"])
            break
    following = rows[limit]["at"] if cursor and len(motes) == 1 else None
    tier = told.pop() if len(told) == 1 else "hot and lake"
    shown = _only(rows[:limit], asked, fleet, motes)
    return {"tier": tier, "missing": missing, "readings": shown, "next": following, "cursor": cursor}


def _of_mote(
    mote: MoteRef, since: datetime, asked: Mapping[str, Any], fleet: Fleet, now: datetime, limit: int
) -> tuple[list[Spoken], Found]:
    profile = fleet.profiles[mote.profile]
    found = tiers().between(profile, [mote.id], since, asked["end"], now=now, limit=limit)
    table = found.table
    if asked["impute"]:
        until = table["at"][limit - 1] + MICROSECOND if len(table) >= limit else asked["end"]
        table = imputing.between(hot(), fleet, mote, since, until).head(limit)
    return spoken_table(table, mote.profile, fleet), found


def _only(rows: list[Spoken], asked: Mapping[str, Any], fleet: Fleet, motes: Sequence[MoteRef]) -> list[Spoken]:
    """The rows with the channels that were asked for."""
    wanted = asked.get("channel")
    if not wanted:
        return rows
    known = {name for mote in motes for name in fleet.profiles[mote.profile].names}
    for name in wanted:
        if name not in known:
            raise ValidationError({"channel": f"There is no channel “{name}”; expected {', '.join(sorted(known))}."})
    return [{**row, "values": {name: row["values"][name] for name in wanted if name in row["values"]}} for row in rows]


def _cursor(place: int, at: str) -> str:
    return urlsafe_b64encode(f"{place} {at}".encode()).decode().rstrip("=")


def _place(asked: Mapping[str, Any], n_motes: int) -> tuple[int, datetime]:
    """Which mote goes on, and from when."""
    text = asked.get("cursor")
    if not text:
        return 0, asked["start"]
    try:
        place, _, at = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
        since = datetime.fromisoformat(at)
        if int(place) >= n_motes or since.tzinfo is None:
            raise ValueError
        return int(place), since
    except (ValueError, binascii.Error):
        raise ValidationError({"cursor": f"“{text}” is no cursor of this question; send the last answer's."}) from None


# ---- summed up ----------------------------------------------------------------------------------------------


def _summed(
    motes: Sequence[MoteRef], asked: Mapping[str, Any], fleet: Fleet, now: datetime, resolution: str
) -> dict[str, Any]:
    selected = chosen(
        fleet, start=asked["start"], end=asked["end"], profile=motes[0].profile, site=asked.get("site", ""),
        motes=[mote.code for mote in motes], channels=asked.get("channel", ()),
    )  # fmt: skip
    if resolution == "1m":
        if asked["end"] - asked["start"] > MINUTES_UP_TO:
            words = "Minutes are told of at most two days; ask for 1h, or for less."
            raise ValidationError({"resolution": words})
        found = tiers().between(selected.profile, selected.ids, asked["start"], asked["end"], now=now)
        rows, tier, missing = _minutes(selected, found.table), found.tier, [found.fault] if found.fault else []
    else:
        local, unread = local_hours(selected, now)
        rows, tier, missing = _stretches(local, selected, resolution), "hours", list(unread)
    first = _offset(asked)
    page = rows[first : first + asked["limit"]]
    end = first + asked["limit"]
    told = [{**row, "mote": fleet.by_id[row["mote"]].code, "site": fleet.by_id[row["mote"]].site} for row in page]
    cursor = str(end) if end < len(rows) else None
    return {"tier": tier, "missing": missing, "readings": told, "next": None, "cursor": cursor}


def _offset(asked: Mapping[str, Any]) -> int:
    text = asked.get("cursor") or "0"
    if not text.isdecimal():
        raise ValidationError({"cursor": f"“{text}” is no cursor of this question; send the last answer's."})
    return int(text)


def _stretches(local: pl.DataFrame, selected: Selection, resolution: str) -> list[dict[str, Any]]:
    """Hours, or days of the sites' clocks, each told by the instant at which it begins."""
    zones = {mote: ZoneInfo(zone) for mote, zone in selected.zones.items()}
    if resolution == "1h":
        local = local.with_columns(pl.col("hour").dt.replace_time_zone(None).alias("local"))
        zones = dict.fromkeys(zones, ZoneInfo("UTC"))
    rows = summaries.trend(local, resolution, by_mote=True).sort("mote", "local", "channel")
    return list(_by_stretch(rows, lambda mote, at: _told(at.replace(tzinfo=zones[mote]))))


def _minutes(selected: Selection, table: pl.DataFrame) -> list[dict[str, Any]]:
    suspect = quality.suspects(table["flags"].to_numpy(), len(selected.profile.channels))
    parts = []
    for channel in selected.channels:
        value = pl.col(channel.code)
        clean = table.filter(pl.Series(~suspect[:, selected.profile.names.index(channel.code)]) & value.is_not_null())
        minute = pl.col("at").dt.truncate("1m").dt.replace_time_zone(None).alias("local")
        parts.append(
            clean.group_by("mote", minute).agg(
                pl.lit(channel.code).alias("channel"),
                value.mean().alias("mean"),
                value.min().alias("min"),
                value.max().alias("max"),
                pl.len().alias("n_clean"),
            )
        )
    rows = pl.concat(parts).sort("mote", "local", "channel")
    return list(_by_stretch(rows, lambda _, at: _told(at.replace(tzinfo=UTC))))


def _by_stretch(rows: pl.DataFrame, begin: Any) -> Iterator[dict[str, Any]]:
    for (mote, at), part in rows.group_by(["mote", "local"], maintain_order=True):
        values = {
            row["channel"]: {"avg": row["mean"], "min": row["min"], "max": row["max"], "count": row["n_clean"]}
            for row in part.iter_rows(named=True)
        }
        yield {"mote": mote, "at": begin(mote, at), "values": values}


def _told(at: datetime) -> str:
    return instants(pl.Series([micros(at)]).to_numpy())[0]
