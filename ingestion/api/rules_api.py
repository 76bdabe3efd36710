"""The API's door for trying a rule on the past, before it is kept."""

from __future__ import annotations

import time
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.rules.api import RuleIn, asked_rule, units
from ingestion import backtesting
from ingestion.backtesting import Backtest
from sensors import registry
from sensors.lake import lake
from sensors.serializers import Instant


class BacktestIn(RuleIn):
    draw = serializers.CharField(required=False, allow_blank=True, help_text="site/mote whose curve is answered")


class FiringOut(serializers.Serializer[Any]):
    mote = serializers.CharField(help_text="site/mote")
    began_at = Instant()
    ended_at = Instant(allow_null=True)
    is_silence = serializers.BooleanField()


class TruthOut(serializers.Serializer[Any]):
    mote = serializers.CharField(help_text="site/mote")
    kind = serializers.CharField()
    starts_at = Instant()
    ends_at = Instant()
    is_caught = serializers.BooleanField()


class LineOut(serializers.Serializer[Any]):
    mote = serializers.CharField(help_text="site/mote")
    channel = serializers.CharField()
    unit = serializers.CharField()
    points = serializers.ListField(help_text="An hour each: milliseconds, least, most")
    levels = serializers.ListField(child=serializers.FloatField())


class BacktestOut(serializers.Serializer[Any]):
    sentence = serializers.CharField()
    starts_at = Instant(help_text="Of the first reading of the last 30 days")
    ends_at = Instant()
    n_readings = serializers.IntegerField()
    n_motes = serializers.IntegerField()
    n_alerts = serializers.IntegerField()
    a_week = serializers.FloatField()
    n_labelled = serializers.IntegerField()
    n_caught = serializers.IntegerField()
    n_unlabelled = serializers.IntegerField(help_text="Alerts of which no label knows anything")
    firings = FiringOut(many=True, help_text="The last 200")
    truths = TruthOut(many=True, help_text="The last 200 labelled stretches")
    line = LineOut(allow_null=True)
    seconds = serializers.FloatField()


@extend_schema(tags=["rules"], request=BacktestIn, responses=BacktestOut)
class BacktestRule(APIView):
    """What a rule would have raised in the last 30 days; keeps nothing. Everybody may try, engineers may keep."""

    def post(self, request: Request) -> Response:
        began = time.perf_counter()
        asked = BacktestIn(data=request.data)
        asked.is_valid(raise_exception=True)
        rule, draw = asked_rule(request), asked.validated_data.get("draw", "")
        done = backtesting.backtest(
            rule, lake=lake(), fleet=registry.current_fleet(), now=timezone.now(), mote=draw
        )  # fmt: skip
        told = spoken(done) | {"sentence": rule.sentence(units(rule))}
        return Response(BacktestOut({**told, "seconds": round(time.perf_counter() - began, 3)}).data)


def spoken(done: Backtest) -> dict[str, Any]:
    def name(mote: Any) -> str:
        return f"{mote.site}/{mote.code}"

    line = done.line
    return {
        "starts_at": done.starts_at,
        "ends_at": done.ends_at,
        "n_readings": done.n_readings,
        "n_motes": done.n_motes,
        "n_alerts": len(done.firings),
        "a_week": round(done.a_week, 2),
        "n_labelled": len(done.truths),
        "n_caught": done.n_caught,
        "n_unlabelled": done.n_unlabelled,
        "firings": [
            {"mote": name(one.mote), "began_at": one.began_at, "ended_at": one.ended_at, "is_silence": one.is_silence}
            for one in done.firings[-backtesting.MOST_SHOWN :]
        ],
        "truths": [
            {
                "mote": name(one.mote), "kind": one.kind, "starts_at": one.starts_at, "ends_at": one.ends_at,
                "is_caught": one.is_caught,
            }
            for one in done.truths[-backtesting.MOST_SHOWN :]
        ],
        "line": line
        and {
            "mote": name(line.mote), "channel": line.channel, "unit": line.unit, "levels": line.levels,
            "points": [[round(at.timestamp() * 1000), low, high] for at, low, high in line.points],
        },
    }  # fmt: skip
