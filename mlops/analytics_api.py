"""The API of patterns: periods of a mote's channels, and pairs of motes and channels that move together."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import patterns
from mlops.analytics.correlation import Pair
from mlops.analytics.seasonality import Period
from sensors import registry
from sensors.aggregates import aggregates
from sensors.analytics_api import chosen
from sensors.fleet import MoteRef
from sensors.readings import Channel
from sensors.serializers import Codes, Instant, SiteQuery


class PatternQuery(SiteQuery):
    profile = serializers.SlugField(required=False, help_text="By default that of the motes")
    mote_id = Codes(required=False, max_length=2000, help_text="Codes of motes, by commas; by default all")
    channel = Codes(required=False, max_length=2000, help_text="Codes of channels, by commas; by default all")
    start = Instant(required=False, help_text="By default 28 days before the end")
    end = Instant(required=False, help_text="By default now")

    def series(self, now: datetime) -> patterns.Series:
        """Raises ValidationError, the field named."""
        self.is_valid(raise_exception=True)
        asked = self.validated_data
        end = asked.get("end") or now
        selected = chosen(
            registry.current_fleet(), start=asked.get("start") or end - patterns.SPAN, end=end,
            profile=asked.get("profile", ""), site=asked.get("site", ""), motes=asked.get("mote_id", ()),
            channels=asked.get("channel", ()),
        )  # fmt: skip
        try:
            return patterns.series(selected, aggregates=aggregates(), now=now)
        except patterns.TooMuch as wrong:
            raise ValidationError({wrong.field: str(wrong)}) from wrong


class PairQuery(PatternQuery):
    of = Codes(required=False, max_length=2000, help_text="Codes of motes of which each pair must have one")
    max_lag_h = serializers.IntegerField(required=False, default=6, min_value=0, max_value=48)
    with_day = serializers.BooleanField(
        required=False, default=False, help_text="Compare values as they are, with the day that all of them share"
    )


class PeriodOut(serializers.Serializer[Any]):
    period_s = serializers.FloatField()
    strength = serializers.FloatField(help_text="Share of the movement that other cycles foretell, 0 to 1")
    amplitude = serializers.FloatField(help_text="From the lowest to the highest of the usual cycle, in the unit")
    peaks_at = Instant(help_text="A highest point, in the first cycle; it repeats with the period")
    n_cycles = serializers.IntegerField()


class SeasonalOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    channel = serializers.CharField()
    unit = serializers.CharField()
    n_hours = serializers.IntegerField(help_text="With an unmarked value")
    periods = PeriodOut(many=True)
    note = serializers.CharField(help_text="Why there is none")


class _Ranged(serializers.Serializer[Any]):
    start = Instant()
    end = Instant(help_text="The last hour that is over")
    missing = serializers.ListField(child=serializers.CharField(), help_text="What could not be read, in words")


class SeasonalityOut(_Ranged):
    series = SeasonalOut(many=True)


class EndOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    channel = serializers.CharField()


class PairOut(serializers.Serializer[Any]):
    first = EndOut()
    second = EndOut()
    lag_s = serializers.IntegerField(help_text="The second follows the first by so much; 0 is within the hour")
    strength = serializers.FloatField(help_text="Pearson's r at that lag, -1 to 1")
    n_hours = serializers.IntegerField(help_text="In which both have a value")
    n_effective = serializers.FloatField(help_text="So many independent hours they are worth")
    p = serializers.FloatField(help_text="That chance makes such a pair among all that were looked at")
    before = serializers.FloatField(allow_null=True, help_text="Strength in the first half of the range")
    after = serializers.FloatField(allow_null=True, help_text="In the second half")
    change = serializers.FloatField(allow_null=True)
    change_p = serializers.FloatField(allow_null=True, help_text="That chance makes the halves differ as much")


class CorrelationOut(_Ranged):
    n_series = serializers.IntegerField()
    n_found = serializers.IntegerField(help_text="Pairs that are surely alike; the strongest are listed")
    pairs = PairOut(many=True)


@extend_schema(tags=["analytics"], parameters=[PatternQuery], responses=SeasonalityOut)
class Seasonality(APIView):
    """Periods of each mote and channel, from hourly means. A period counts if it foretells cycles it has not seen."""

    def get(self, request: Request) -> Response:
        found = PatternQuery(data=request.query_params).series(timezone.now())
        told = [
            {
                **_end(mote, channel), "unit": channel.unit, "n_hours": seen.n, "note": seen.note,
                "periods": [_period(period, found.start) for period in seen.periods],
            }
            for mote, channel, seen in patterns.periods(found)
        ]  # fmt: skip
        return Response(SeasonalityOut({**_range(found), "series": told}).data)


@extend_schema(tags=["analytics"], parameters=[PairQuery], responses=CorrelationOut)
class Correlation(APIView):
    """Pairs of motes and channels that move together, with lag, strength and its change between the range's halves."""

    def get(self, request: Request) -> Response:
        query = PairQuery(data=request.query_params)
        found = query.series(timezone.now())
        asked = query.validated_data
        of = asked.get("of", [])
        if unknown := sorted(set(of) - {mote.code for mote, _ in found.names}):
            raise ValidationError({"of": f"Mote “{unknown[0]}” is not among those that are compared."})
        pairs = patterns.related(found, most_lag_h=asked["max_lag_h"], of=of, with_day=asked["with_day"])
        told = [_pair(pair, found) for pair in pairs[: patterns.MOST_PAIRS]]
        shown = {**_range(found), "n_series": len(found.names), "n_found": len(pairs), "pairs": told}
        return Response(CorrelationOut(shown).data)


def _range(found: patterns.Series) -> dict[str, Any]:
    return {"start": found.start, "end": found.end, "missing": list(found.missing)}


def _end(mote: MoteRef, channel: Channel) -> dict[str, str]:
    return {"mote": mote.code, "site": mote.site, "channel": channel.code}


def _period(period: Period, start: datetime) -> dict[str, Any]:
    return {
        "period_s": round(period.hours * 3600.0, 1), "strength": period.strength, "amplitude": period.amplitude,
        "peaks_at": start + timedelta(hours=period.peak_hour), "n_cycles": period.n_cycles,
    }  # fmt: skip


def _pair(pair: Pair, found: patterns.Series) -> dict[str, Any]:
    change = None if pair.before is None or pair.after is None else pair.after - pair.before
    return {
        "first": _end(*found.names[pair.first]), "second": _end(*found.names[pair.second]),
        "lag_s": pair.lag_h * 3600, "strength": pair.r, "n_hours": pair.n, "n_effective": pair.n_effective,
        "p": pair.p, "before": pair.before, "after": pair.after, "change": change, "change_p": pair.change_p,
    }  # fmt: skip
