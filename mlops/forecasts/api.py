"""The API of forecasts: of a mote's channel by the version that serves it, and of a series of one's own."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops.forecasting import CannotForecast
from mlops.forecasting.fitting import MOST_STEPS
from mlops.forecasting.intervals import NAMES
from mlops.forecasting.risk import Limit, risk
from mlops.forecasts import machine_stages, own, record, risks
from mlops.forecasts.serving import Forecast, Refusal, foreteller
from mlops.forecasts.spoken import as_json, spoken, steps
from sensors.fleet import Fleet
from sensors.problems import Unprocessable
from sensors.readings import micros
from sensors.selection import NoSuch, known_mote
from sensors.serializers import Body, Instant, SiteQuery

UNITS_S = {"min": 60.0, "h": 3600.0, "d": 86_400.0}
MOST_LIMITS = 20


class ForecastQuery(SiteQuery):
    channel = serializers.CharField(max_length=64, help_text="Code of the channel")
    horizon = serializers.CharField(
        required=False, max_length=16, help_text="How far ahead, such as 90min, 6h or 1d; as far as it looks by default"
    )

    def validate_horizon(self, text: str) -> timedelta:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(min|h|d)", text)
        if found is None or not 0 < float(found[1]) * UNITS_S[found[2]] <= 366 * UNITS_S["d"]:
            raise ValidationError(f"“{text}” is no horizon; expected one such as 90min, 6h or 1d.")
        return timedelta(seconds=float(found[1]) * UNITS_S[found[2]])


class RiskToldOut(serializers.Serializer[Any]):
    limit = serializers.CharField(help_text="normal band, physical range, the rule, or given")
    value = serializers.FloatField()
    is_upper = serializers.BooleanField()
    probability = serializers.FloatField(help_text="Of passing it within the horizon")
    level = serializers.CharField(help_text="low, medium or high")
    is_beyond = serializers.BooleanField(help_text="It has passed already")
    at = Instant(allow_null=True)
    earliest = Instant(allow_null=True)
    latest = Instant(allow_null=True)
    words = serializers.CharField()


class QuantilesOut(serializers.Serializer[Any]):
    q025 = serializers.ListField(child=serializers.FloatField())
    q10 = serializers.ListField(child=serializers.FloatField())
    q50 = serializers.ListField(child=serializers.FloatField())
    q90 = serializers.ListField(child=serializers.FloatField())
    q975 = serializers.ListField(child=serializers.FloatField())


class TrackRecordToldOut(serializers.Serializer[Any]):
    words = serializers.CharField()
    n_warnings = serializers.IntegerField()
    n_came_true = serializers.IntegerField()
    n_forecasts = serializers.IntegerField()
    mae = serializers.FloatField(allow_null=True)
    within80 = serializers.FloatField(allow_null=True)
    within95 = serializers.FloatField(allow_null=True)


class StageTimeOut(serializers.Serializer[Any]):
    """When a machine will be in a stage of wear."""

    stage = serializers.CharField(help_text="As the pack calls it, such as degrading or failing")
    probability = serializers.FloatField(help_text="Of being in it within the horizon")
    is_beyond = serializers.BooleanField(help_text="It is in it already")
    at = Instant(allow_null=True, help_text="When it begins in half of the ways in which it does")
    earliest = Instant(allow_null=True, help_text="In 80 of 100 of those ways it begins between these two")
    latest = Instant(allow_null=True)
    last_reading_at = Instant()
    ends_at = Instant(help_text="The horizon")
    words = serializers.CharField()


class OwnForecastOut(serializers.Serializer[Any]):
    model_version = serializers.CharField()
    model = serializers.CharField(help_text="The member that spoke")
    last_reading_at = Instant(help_text="Where the forecast begins, whatever the clock says")
    issued_at = Instant()
    step_s = serializers.FloatField()
    at = serializers.ListField(child=Instant())
    mean = serializers.ListField(child=serializers.FloatField())
    quantiles = QuantilesOut()
    risk = RiskToldOut(many=True)
    track_record = TrackRecordToldOut(allow_null=True)


class ForecastOut(OwnForecastOut):
    mote = serializers.CharField(help_text="As site/code")
    channel = serializers.CharField()
    unit = serializers.CharField(allow_blank=True)
    age_s = serializers.FloatField(help_text="Of the last reading")
    is_stale = serializers.BooleanField(help_text="The mote has been silent for longer than it should")
    stages = StageTimeOut(many=True, help_text="Of a machine, as its forecasts of all channels said last; else empty")


@extend_schema(tags=["forecasts"], parameters=[ForecastQuery], responses=ForecastOut)
class MoteForecast(APIView):
    """How a channel of a mote goes on after its last reading, with risks. 422 with the reason where nobody can say."""

    throttle_classes = ()

    def get(self, request: Request, mote: str) -> Response:
        query = ForecastQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked, now = query.validated_data, timezone.now()
        fleet = foreteller().look(now)
        try:
            known = known_mote(fleet, mote, asked.get("site", ""))
        except NoSuch as unknown:
            raise ValidationError({"mote": str(unknown)}) from unknown
        channels = [channel.code for channel in fleet.profiles[known.profile].channels]
        if asked["channel"] not in channels:
            raise ValidationError({"channel": f"There is no such channel; expected one of {', '.join(channels)}."})
        (told,) = foreteller().forecasts_of([known], [asked["channel"]], asked.get("horizon"), now=now)
        if isinstance(told, Refusal):
            raise Unprocessable(told.reason)
        told_before = record.track_record(known.id, told.channel.code)
        stages = [machine_stages.as_json(one) for one in machine_stages.stage_times(now, known.id)[known.id]]
        said = as_json(told, risk=risks_of(told, fleet), track_record=told_before.spoken(), stages=stages)
        return Response(said)


def risks_of(forecast: Forecast, fleet: Fleet) -> list[dict[str, Any]]:
    """Of all limits that the channel has there."""
    of_rules = risks.limits_of_rules(fleet).get((forecast.mote.id, forecast.channel.code), ())
    found = risks.risks_of(forecast, risks.limits_of(forecast.channel, of_rules))
    return [
        {**one, "level": risks.level(one["probability"]), "words": risks.words(one, forecast.channel)} for one in found
    ]


# ---- a series of one's own ------------------------------------------------------------------------------------


class OwnSeries(Body):
    values = serializers.ListField(
        child=serializers.FloatField(allow_null=True), min_length=1, max_length=own.MOST_POINTS,
        help_text="null where nothing was measured",
    )  # fmt: skip
    at = serializers.ListField(
        child=Instant(), required=False, max_length=own.MOST_POINTS, help_text="When each was measured, in any order"
    )
    start = Instant(required=False, help_text="Instead of `at`: when the first was measured")
    step_s = serializers.FloatField(
        required=False, min_value=0.001, max_value=366 * 86_400.0,
        help_text="How far they are apart; beside `at`, the step to forecast in",
    )  # fmt: skip
    horizon = serializers.IntegerField(default=24, min_value=1, max_value=MOST_STEPS, help_text="Steps ahead")
    model = serializers.ChoiceField([(name, name) for name in own.MODELS], default=own.MODELS[0])
    least = serializers.FloatField(required=False, help_text="What the series cannot fall below")
    most = serializers.FloatField(required=False, help_text="What it cannot rise above")
    above = serializers.ListField(
        child=serializers.FloatField(), default=list, max_length=MOST_LIMITS, help_text="Say the risk of rising above"
    )
    below = serializers.ListField(
        child=serializers.FloatField(), default=list, max_length=MOST_LIMITS, help_text="Say the risk of falling below"
    )
    time_zone = serializers.CharField(default="UTC", max_length=64, help_text="Whose clocks its days follow")

    def validate_time_zone(self, name: str) -> str:
        if name not in zoneinfo.available_timezones():
            raise ValidationError(f"There is no time zone “{name}”; expected one such as Europe/Berlin.")
        return name

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if ("at" in given) == ("start" in given and "step_s" in given):
            raise ValidationError({"at": "Say when each was measured (at), or start and step_s of values in order."})
        if "at" in given and len(given["at"]) != len(given["values"]):
            raise ValidationError(
                {"at": f"These are {len(given['at']):,} instants of {len(given['values']):,} values; expected as many."}
            )
        if given.get("least", -np.inf) >= given.get("most", np.inf):
            raise ValidationError({"least": f"{given['least']:g} is not below most, {given['most']:g}."})
        return given


@extend_schema(tags=["forecasts"], request=OwnSeries, responses=OwnForecastOut)
class OwnForecast(APIView):
    """How a series of one's own goes on: up to 10,000 points, learnt from as they are and not kept."""

    def post(self, request: Request) -> Response:
        body = OwnSeries(data=request.data)
        body.is_valid(raise_exception=True)
        asked, now = body.validated_data, timezone.now()
        ask = own_ask(asked)
        try:
            said = own.forecast_of(ask)
        except CannotForecast as why:
            raise Unprocessable(str(why)) from why
        return Response(own_json(ask, said, now))


def own_ask(asked: Mapping[str, Any]) -> own.Ask:
    values = np.array([np.nan if value is None else value for value in asked["values"]])
    if "at" in asked:
        at = np.array([micros(one) for one in asked["at"]])
    else:
        at = micros(asked["start"]) + np.round(np.arange(len(values)) * asked["step_s"] * 1e6).astype(np.int64)
    limits = [Limit(value) for value in asked["above"]] + [Limit(value, False) for value in asked["below"]]
    bounds = asked.get("least", -np.inf), asked.get("most", np.inf)
    return own.Ask(
        at, values, asked["horizon"], asked["model"], bounds, limits, asked.get("step_s"), asked["time_zone"]
    )  # fmt: skip


def own_json(ask: own.Ask, said: own.Said, now: datetime) -> dict[str, Any]:
    return {
        "model_version": f"{ask.model}, learnt from these {len(ask.values):,} points",
        "model": ask.model,
        "last_reading_at": spoken(said.last_at),
        "issued_at": spoken(now),
        "step_s": said.step_s,
        **steps(said.table["at"].to_list(), said.table["mean"].to_numpy(), said.table.select(NAMES).to_numpy()),
        "risk": [own_risk(said, limit) for limit in ask.limits],
        "track_record": None,
    }


def own_risk(said: own.Said, limit: Limit) -> dict[str, Any]:
    found = risk(said.ways, limit)
    told = risks.told(risks.Named("given", limit), found)
    return {**told, "level": risks.level(found.probability), "words": found.words(own.NAME, limit)}
