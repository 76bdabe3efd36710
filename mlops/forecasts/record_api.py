"""The API of what forecasts warn of, and of how good they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops.forecasts.accuracy import DAYS, MOST_DAYS, accuracy
from mlops.forecasts.api import StageTimeOut
from mlops.forecasts.fleet_risks import FleetRisk, fleet_risks
from mlops.forecasts.machine_stages import as_json, stage_times
from mlops.forecasts.record import TrackRecord, track_records
from sensors.fleet import Fleet, MoteRef, there_is_no
from sensors.registry import current_fleet, profiles
from sensors.serializers import Instant, SiteQuery

LEVELS = ("low", "medium", "high", "beyond")


class RiskQuery(SiteQuery):
    profile = serializers.SlugField(required=False)
    mote = serializers.CharField(required=False, max_length=64, help_text="Code of a mote")
    channel = serializers.SlugField(required=False)
    level = serializers.ChoiceField(
        [(name, name) for name in LEVELS], required=False, help_text="This level and what is worse"
    )
    limit = serializers.IntegerField(required=False, default=200, min_value=1, max_value=5000)


class LimitOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="normal band, physical range, or the rule")
    value = serializers.FloatField()
    is_upper = serializers.BooleanField()
    unit = serializers.CharField(allow_blank=True)


class TrackRecordOut(serializers.Serializer[Any]):
    words = serializers.CharField()
    n_warnings = serializers.IntegerField(help_text="Of the last 50 that are closed")
    n_came_true = serializers.IntegerField()
    n_forecasts = serializers.IntegerField(help_text="At hand, and over")
    mae = serializers.FloatField(allow_null=True, help_text="Mean absolute error, in the channel's unit")
    within80 = serializers.FloatField(allow_null=True, help_text="Share of outcomes within the interval of 80 %")
    within95 = serializers.FloatField(allow_null=True)


class RiskOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    profile = serializers.CharField()
    channel = serializers.CharField()
    limit = LimitOut()
    probability = serializers.FloatField(help_text="Of passing it within the horizon")
    level = serializers.ChoiceField([(name, name) for name in LEVELS])
    at = Instant(allow_null=True, help_text="When it is passed in half of the ways in which it is")
    earliest = Instant(allow_null=True, help_text="In 80 of 100 of those ways it is passed between these two")
    latest = Instant(allow_null=True)
    words = serializers.CharField()
    last_reading_at = Instant()
    issued_at = Instant()
    ends_at = Instant(help_text="The horizon")
    model_version = serializers.CharField()
    track_record = TrackRecordOut()


class MachineStageOut(StageTimeOut):
    mote = serializers.CharField()
    site = serializers.CharField()


class RisksOut(serializers.Serializer[Any]):
    n = serializers.IntegerField(help_text="That fit; the worst are listed")
    risks = RiskOut(many=True)
    stages = MachineStageOut(
        many=True, help_text="When the machines among those asked for will be degrading or failing"
    )


class AccuracyQuery(serializers.Serializer[Any]):
    profile = serializers.SlugField()
    days = serializers.IntegerField(required=False, default=DAYS, min_value=1, max_value=MOST_DAYS)

    def validate_profile(self, code: str) -> str:
        if code not in (known := profiles()):
            raise ValidationError(there_is_no("profile", code, known))
        return code


class StretchOut(serializers.Serializer[Any]):
    channel = serializers.CharField()
    version = serializers.CharField()
    ahead_h = serializers.IntegerField(help_text="Steps up to so many hours ahead, beyond the row before")
    n = serializers.IntegerField(help_text="Steps that came")
    mae = serializers.FloatField()
    rmse = serializers.FloatField()
    naive = serializers.FloatField(help_text="Mean absolute error of saying that the last value stays")
    skill = serializers.FloatField(allow_null=True, help_text="1 - mae / naive")
    pinball = serializers.FloatField(help_text="Of the five quantiles, doubled: near the CRPS")
    within80 = serializers.FloatField()
    within95 = serializers.FloatField()


class TenthOut(serializers.Serializer[Any]):
    start = serializers.FloatField(help_text="Chances from here to 0.1 more")
    n = serializers.IntegerField()
    stated = serializers.FloatField(help_text="Mean chance that was said")
    passed = serializers.FloatField(help_text="Share that came")


class AccuracyOut(serializers.Serializer[Any]):
    profile = serializers.CharField()
    days = serializers.IntegerField()
    stretches = StretchOut(many=True)
    reliability = TenthOut(many=True)
    warnings = serializers.DictField(child=serializers.IntegerField(), help_text="How many, by outcome")


@extend_schema(tags=["forecasts"], parameters=[RiskQuery], responses=RisksOut)
class Risks(APIView):
    """The limits of the fleet by how likely the newest forecasts say that each is passed, the likeliest first."""

    def get(self, request: Request) -> Response:
        query = RiskQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        fleet = current_fleet()
        _refuse_unknown(asked, fleet)
        found = [one for one in fleet_risks(fleet) if _fits(one, asked)]
        listed = found[: asked["limit"]]
        records = track_records([(one.mote.id, one.channel.code) for one in listed])
        told = [_told(one, records[one.mote.id, one.channel.code]) for one in listed]
        return Response(RisksOut({"n": len(found), "risks": told, "stages": _stages(fleet, asked)}).data)


def _refuse_unknown(asked: Mapping[str, Any], fleet: Fleet) -> None:
    """A slip finds nothing, which would read as no risk."""
    motes = (*fleet.motes, *fleet.retired)
    there = {
        "site": {mote.site for mote in motes}, "profile": set(fleet.profiles), "mote": {mote.code for mote in motes},
        "channel": {one.code for profile in fleet.profiles.values() for one in profile.channels},
    }  # fmt: skip
    wrong = {
        name: there_is_no(name, asked[name], known)
        for name, known in there.items()
        if asked.get(name) and asked[name] not in known
    }
    if wrong:
        raise ValidationError(wrong)


def _stages(fleet: Fleet, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Whoever asks for a channel asks for no machine as a whole."""
    if asked.get("channel"):
        return []
    times = stage_times(timezone.now())
    motes = [mote for mote in fleet.motes if mote.id in times and _is_meant(mote, asked)]
    return [{"mote": mote.code, "site": mote.site, **as_json(one)} for mote in motes for one in times[mote.id]]


def _is_meant(mote: MoteRef, asked: dict[str, Any]) -> bool:
    told = {"site": mote.site, "profile": mote.profile, "mote": mote.code}
    return all(asked.get(name) in (None, "", value) for name, value in told.items())


def _fits(one: FleetRisk, asked: dict[str, Any]) -> bool:
    is_asked = _is_meant(one.mote, asked) and asked.get("channel") in (None, "", one.channel.code)
    return is_asked and LEVELS.index(one.level) >= LEVELS.index(asked.get("level", LEVELS[0]))


def _told(one: FleetRisk, before: TrackRecord) -> dict[str, Any]:
    kept, row, unit = one.risk, one.forecast, one.channel.unit
    return {
        "mote": one.mote.code, "site": one.mote.site, "profile": one.mote.profile, "channel": one.channel.code,
        "limit": {"name": kept["limit"], "value": kept["value"], "is_upper": kept["is_upper"], "unit": unit},
        "probability": kept["probability"], "level": one.level, "words": one.words,
        **{name: Instant().to_internal_value(kept[name]) if kept[name] else None
           for name in ("at", "earliest", "latest")},
        "last_reading_at": row.origin_at, "issued_at": row.issued_at, "ends_at": row.ends_at,
        "model_version": row.version, "track_record": before.spoken(),
    }  # fmt: skip


@extend_schema(tags=["forecasts"], parameters=[AccuracyQuery], responses=AccuracyOut)
class ForecastAccuracy(APIView):
    """How good the forecasts were that are over, by channel, version and hours ahead; and the reliability of risks."""

    def get(self, request: Request) -> Response:
        query = AccuracyQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        return Response(AccuracyOut(accuracy(asked["profile"], asked["days"], now=timezone.now())).data)
