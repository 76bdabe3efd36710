"""The API of summaries: figures of days, of the hours of a week, histograms and trends, from hourly aggregates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import registry, summaries
from sensors.aggregates import aggregates
from sensors.export import MEDIA_TYPES, Export, streamed
from sensors.fleet import Fleet
from sensors.selection import NoSuch, Selection, selection
from sensors.serializers import Codes, Instant, SiteQuery
from sensors.tiers import tiers

DEFAULT_SPAN = timedelta(days=7)
EVERY = ("auto", "1h", "1d", "1w")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class SpanQuery(SiteQuery):
    start = Instant(required=False, help_text="By default seven days before the end")
    end = Instant(required=False, help_text="By default now")

    def selected(self, fleet: Fleet, now: datetime, **more: Any) -> Selection:
        """What the query asks for; `more` is what stands in the address instead."""
        self.is_valid(raise_exception=True)
        asked = self.validated_data
        end = asked.get("end") or now
        given = {"profile": asked.get("profile", ""), "site": asked.get("site", ""), "motes": asked.get("mote_id", ())}
        return chosen(fleet, start=asked.get("start") or end - DEFAULT_SPAN, end=end, **(given | more))


class SelectionQuery(SpanQuery):
    profile = serializers.SlugField(
        required=False, help_text="By default that of the motes, else the one of most motes"
    )
    mote_id = Codes(
        required=False, max_length=2000, help_text="Codes of motes, by commas; by default all of the profile"
    )


class ChannelQuery(SelectionQuery):
    channel = serializers.CharField(max_length=64, help_text="Code of a channel")


class HistogramQuery(ChannelQuery):
    bars = serializers.IntegerField(required=False, default=summaries.MOST_BARS, min_value=2, max_value=400)


class TrendQuery(SelectionQuery):
    channel = Codes(required=False, max_length=2000, help_text="Codes of channels, by commas; by default all")
    every = serializers.ChoiceField(EVERY, required=False, default="auto")
    by_mote = serializers.BooleanField(required=False, default=False, help_text="Each mote apart")


class ExportQuery(SelectionQuery):
    channel = Codes(required=False, max_length=2000, help_text="Codes of channels, by commas; by default all")
    form = serializers.ChoiceField(list(MEDIA_TYPES), required=False, default="csv")


class DayQuery(SiteQuery):
    date = serializers.DateField(required=False, help_text="A day of the sites' wall clock; by default today")
    profile = serializers.SlugField(required=False)
    mote_id = Codes(required=False, max_length=2000)


class FiguresOut(serializers.Serializer[Any]):
    avg = serializers.FloatField(allow_null=True)
    min = serializers.FloatField(allow_null=True)
    max = serializers.FloatField(allow_null=True)
    stddev = serializers.FloatField(allow_null=True, help_text="Of a sample; null for fewer than two values")
    count = serializers.IntegerField(help_text="Values that no flag marks; the figures are of these")
    left_out = serializers.IntegerField(help_text="Values that a flag marks")
    coverage = serializers.FloatField(help_text="Share of the intervals of the range that have such a value")
    unit = serializers.CharField()


class _Span(serializers.Serializer[Any]):
    profile = serializers.CharField()
    start = Instant(help_text="The range asked for, widened to whole hours")
    end = Instant()
    missing = serializers.ListField(child=serializers.CharField(), help_text="What could not be read, in words")


class StatsOut(_Span):
    mote = serializers.CharField()
    site = serializers.CharField()
    channels = serializers.DictField(child=FiguresOut())


class MoteFigures(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    channels = serializers.DictField(child=FiguresOut())


class DayOut(_Span):
    date = serializers.DateField()
    n_readings = serializers.IntegerField()
    quality = serializers.FloatField(allow_null=True, help_text="Share of values that no flag marks")
    channels = serializers.DictField(child=FiguresOut(), help_text="Over all motes asked for")
    motes = MoteFigures(many=True)


class CellOut(serializers.Serializer[Any]):
    weekday = serializers.CharField()
    hour = serializers.IntegerField()
    avg = serializers.FloatField(allow_null=True)
    min = serializers.FloatField(allow_null=True)
    max = serializers.FloatField(allow_null=True)
    count = serializers.IntegerField()


class HeatmapOut(_Span):
    channel = serializers.CharField()
    unit = serializers.CharField()
    cells = CellOut(many=True)


class HistogramOut(_Span):
    channel = serializers.CharField()
    unit = serializers.CharField()
    edges = serializers.ListField(child=serializers.FloatField())
    counts = serializers.ListField(child=serializers.IntegerField())


class PointOut(serializers.Serializer[Any]):
    at = serializers.CharField(help_text="Begin of the stretch, ISO 8601 on the sites' wall clock, so with no offset")
    channel = serializers.CharField()
    mote = serializers.CharField(required=False)
    site = serializers.CharField(required=False)
    avg = serializers.FloatField(allow_null=True)
    min = serializers.FloatField(allow_null=True)
    max = serializers.FloatField(allow_null=True)
    count = serializers.IntegerField()


class TrendOut(_Span):
    every = serializers.CharField()
    points = PointOut(many=True)


def chosen(fleet: Fleet, **asked: Any) -> Selection:
    """What is not there is told like any other wrong field."""
    try:
        return selection(fleet, **asked)
    except NoSuch as wrong:
        raise ValidationError({wrong.field: str(wrong)}) from wrong


def every_for(selected: Selection) -> str:
    """Hours up to a fortnight, days up to two years, weeks beyond."""
    days = (selected.end - selected.start).days
    return "1h" if days <= 14 else "1d" if days <= 730 else "1w"


def told(figures: Mapping[str, Any], unit: str, hours: float) -> dict[str, Any]:
    """One row of `sensors.summaries` as the API says it; `hours` are those of all motes together."""
    return {
        "avg": figures["mean"],
        "min": figures["min"],
        "max": figures["max"],
        "stddev": figures["std"],
        "count": figures["n_clean"],
        "left_out": figures["n"] - figures["n_clean"],
        "coverage": min(figures["covered_hours"] / hours, 1.0),
        "unit": unit,
    }


def local_hours(selected: Selection, now: datetime) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The hours of the selection on their sites' clocks, and what is missing of them."""
    found = aggregates().between(selected.profile, selected.ids, selected.start, selected.end, now=now)
    wanted = found.table.filter(pl.col("channel").is_in([one.code for one in selected.channels]))
    return summaries.localized(wanted, selected.zones), found.missing


def _span(selected: Selection, missing: tuple[str, ...]) -> dict[str, Any]:
    shown = {"profile": selected.profile.code, "start": selected.start, "end": selected.end, "missing": list(missing)}
    return dict(_Span(shown).data)


def _by_channel(rows: pl.DataFrame, selected: Selection, hours: float) -> dict[str, dict[str, Any]]:
    units = {channel.code: channel.unit for channel in selected.channels}
    return {row["channel"]: told(row, units[row["channel"]], hours) for row in rows.iter_rows(named=True)}


@extend_schema(tags=["analytics"])
class Stats(APIView):
    """Average, extremes, spread, count and coverage of each channel of a mote, over whole hours."""

    @extend_schema(operation_id="sensors_mote_stats", parameters=[SpanQuery], responses=StatsOut)
    def get(self, request: Request, mote: str) -> Response:
        now, fleet = timezone.now(), registry.current_fleet()
        selected = SpanQuery(data=request.query_params).selected(fleet, now, motes=[mote])
        rows, missing = local_hours(selected, now)
        channels = _by_channel(summaries.figures(rows, ["channel"]), selected, selected.hours_until(now))
        (one,) = selected.motes
        return Response({**_span(selected, missing), "mote": one.code, "site": one.site, "channels": channels})


@extend_schema(tags=["analytics"])
class DailySummary(APIView):
    """A day of the fleet: each channel over all motes, and each mote's own."""

    @extend_schema(operation_id="analytics_daily_summary", parameters=[DayQuery], responses=DayOut)
    def get(self, request: Request) -> Response:
        now, fleet = timezone.now(), registry.current_fleet()
        query = DayQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        wide = chosen(
            fleet, start=now - DEFAULT_SPAN, end=now, profile=asked.get("profile", ""), site=asked.get("site", ""),
            motes=asked.get("mote_id", ()),
        )  # fmt: skip
        zones = sorted(set(wide.zones.values())) or ["UTC"]
        day = asked.get("date") or now.astimezone(ZoneInfo(zones[0])).date()
        start, end = _ends(day, zones)
        selected = Selection(wide.profile, wide.motes, wide.channels, start, end)
        rows, missing = local_hours(selected, now)
        rows = summaries.of_day(rows, day)
        whole, hours = summaries.totals(rows), min(selected.hours_until(now), 24.0)
        motes = summaries.figures(rows)
        return Response(
            {
                **_span(selected, missing),
                "date": day.isoformat(),
                "n_readings": whole.n_readings,
                "quality": whole.quality,
                "channels": _by_channel(
                    summaries.figures(rows, ["channel"]), selected, hours * max(len(selected.motes), 1)
                ),
                "motes": [
                    {
                        "mote": one.code,
                        "site": one.site,
                        "channels": _by_channel(motes.filter(pl.col("mote") == one.id), selected, hours),
                    }
                    for one in selected.motes
                ],
            }
        )


def _ends(day: date, zones: list[str]) -> tuple[datetime, datetime]:
    """From the first midnight that begins the day anywhere to the last that ends it."""
    midnights = [datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC) for zone in zones]
    ends = [datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC) for zone in zones]
    return min(midnights), max(ends)


@extend_schema(tags=["analytics"])
class Heatmap(APIView):
    """A channel by weekday and hour of the day, on the sites' clocks."""

    @extend_schema(operation_id="analytics_heatmap", parameters=[ChannelQuery], responses=HeatmapOut)
    def get(self, request: Request) -> Response:
        now = timezone.now()
        query = ChannelQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        selected = query.selected(registry.current_fleet(), now, channels=[query.validated_data["channel"]])
        rows, missing = local_hours(selected, now)
        (channel,) = selected.channels
        cells = [
            {
                "weekday": WEEKDAYS[cell["weekday"] - 1],
                "hour": cell["hour_of_day"],
                "avg": cell["mean"],
                "min": cell["min"],
                "max": cell["max"],
                "count": cell["n_clean"],
            }
            for cell in summaries.week(rows, channel.code).iter_rows(named=True)
        ]
        return Response(
            {**_span(selected, missing), "channel": channel.code, "unit": channel.unit, "cells": cells}
        )  # fmt: skip


@extend_schema(tags=["analytics"])
class Histogram(APIView):
    """How the values of a channel lie; only those that no flag marks."""

    @extend_schema(operation_id="analytics_histogram", parameters=[HistogramQuery], responses=HistogramOut)
    def get(self, request: Request) -> Response:
        now = timezone.now()
        query = HistogramQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        selected = query.selected(registry.current_fleet(), now, channels=[asked["channel"]])
        rows, missing = local_hours(selected, now)
        (channel,) = selected.channels
        found = summaries.histograms(rows, most_bars=asked["bars"]).get(channel.code)
        bars = {"edges": list(found.edges), "counts": list(found.counts)} if found else {"edges": [], "counts": []}
        return Response({**_span(selected, missing), "channel": channel.code, "unit": channel.unit, **bars})


@extend_schema(tags=["analytics"])
class Trend(APIView):
    """Average with the band from lowest to highest, by hour, day or week; the band keeps every spike."""

    @extend_schema(operation_id="analytics_trend", parameters=[TrendQuery], responses=TrendOut)
    def get(self, request: Request) -> Response:
        now, fleet = timezone.now(), registry.current_fleet()
        query = TrendQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        selected = query.selected(fleet, now, channels=asked.get("channel", ()))
        every = every_for(selected) if asked["every"] == "auto" else asked["every"]
        rows, missing = local_hours(selected, now)
        points = summaries.trend(rows, every, by_mote=asked["by_mote"])
        return Response(
            {
                **_span(selected, missing),
                "every": every,
                "points": [_point(point, fleet) for point in points.iter_rows(named=True)],
            }
        )


def _point(row: Mapping[str, Any], fleet: Fleet) -> dict[str, Any]:
    mote = fleet.by_id[row["mote"]] if "mote" in row else None
    return {
        "at": row["local"].isoformat(),
        "channel": row["channel"],
        **({"mote": mote.code, "site": mote.site} if mote else {}),
        "avg": row["mean"],
        "min": row["min"],
        "max": row["max"],
        "count": row["n_clean"],
    }


@extend_schema(tags=["readings"])
class Download(APIView):
    """Raw readings of any selection as a file, with units in the names of columns and flags in words; streamed."""

    @extend_schema(
        operation_id="sensors_export",
        parameters=[ExportQuery],
        responses={(200, kind.partition(";")[0]): OpenApiTypes.BINARY for kind in MEDIA_TYPES.values()},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        now = timezone.now()
        query = ExportQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        selected = query.selected(registry.current_fleet(), now, channels=asked.get("channel", ()))
        return download(Export(selected, tiers(), now), asked["form"])


def download(export: Export, form: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(streamed(export, form), content_type=MEDIA_TYPES[form])
    answer["Content-Disposition"] = f'attachment; filename="{export.name}.{form}"'
    return answer
