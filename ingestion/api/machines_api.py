"""The API of machines: how healthy each is and why, and how that went."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.pages.machines_page import Machine, history, machines
from mlops.forecasts.api import StageTimeOut
from mlops.forecasts.machine_stages import as_json
from sensors.serializers import Instant
from sensors.stores import hot


class PartOut(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="stage, surprise, data, or a channel")
    label = serializers.CharField()  # type: ignore[assignment]
    lost = serializers.FloatField(help_text="Points that it takes")
    most = serializers.FloatField(help_text="Points that it could take")
    why = serializers.CharField()


class GaugeOut(serializers.Serializer[Any]):
    channel = serializers.CharField()
    value = serializers.FloatField(allow_null=True)
    unit = serializers.CharField(allow_blank=True)
    level = serializers.IntegerField(allow_null=True, help_text="0 healthy, 1 and 2 the pack's stages")
    word = serializers.CharField()


class MachineOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    profile = serializers.CharField()
    at = Instant(allow_null=True)
    stage = serializers.CharField(help_text="healthy, a stage of the pack, unknown, silent or never heard")
    level = serializers.IntegerField(allow_null=True, help_text="0 healthy, 1 and 2 the pack's stages")
    score = serializers.FloatField(allow_null=True, help_text="0 to 100: 100 less what the parts take")
    parts = PartOut(many=True)
    channels = GaugeOut(many=True)
    foretold = StageTimeOut(many=True, help_text="When it will be in which stage, as its forecasts said last")


class MachinesOut(serializers.Serializer[Any]):
    machines = MachineOut(many=True)


class HistoryQuery(serializers.Serializer[Any]):
    window_s = serializers.IntegerField(min_value=90, max_value=86_400, default=3600)


class MachineHistoryOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    scores = serializers.ListField(child=serializers.FloatField(allow_null=True))
    levels = serializers.ListField(child=serializers.IntegerField(allow_null=True))


class HistoryOut(serializers.Serializer[Any]):
    start = Instant()
    step_s = serializers.FloatField(help_text="Shorter than asked for in all where too much would have to be read")
    at = serializers.ListField(child=serializers.CharField(), help_text="Where each step begins")
    machines = MachineHistoryOut(many=True)


@extend_schema(tags=["motes"])
class Machines(APIView):
    """Every machine with its health score as the sum of its parts; the least healthy first."""

    @extend_schema(responses=MachinesOut)
    def get(self, request: Request) -> Response:
        found = machines(store=hot(), now=timezone.now())
        return Response(MachinesOut({"machines": [_told(one) for one in found]}).data)


@extend_schema(tags=["motes"])
class MachineHistory(APIView):
    """How the score of every machine went, in 90 equal steps; null where nothing was heard that can be trusted."""

    @extend_schema(parameters=[HistoryQuery], responses=HistoryOut)
    def get(self, request: Request) -> Response:
        query = HistoryQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        found = history(store=hot(), now=timezone.now(), **query.validated_data)
        told = []
        for key, values in found.scores.items():
            site, _, code = key.partition("/")
            told.append({"mote": code, "site": site, "scores": values, "levels": found.stages[key]})
        answer = {"start": found.start, "step_s": found.step_s, "at": found.at, "machines": told}
        return Response(HistoryOut(answer).data)


def _told(one: Machine) -> dict[str, Any]:
    return {
        "mote": one.mote.code,
        "site": one.mote.site.code,
        "profile": one.kind.profile.code,
        "at": one.reading["at"] if one.reading else None,
        "stage": one.stage,
        "level": one.health.stage,
        "score": None if one.health.score is None else round(one.health.score, 1),
        "parts": [
            {"code": part.code, "label": part.label, "lost": round(part.lost, 1), "most": part.most, "why": part.why}
            for part in one.health.parts
        ],
        "channels": [
            {
                "channel": of.limits.channel.code,
                "value": of.value,
                "unit": of.limits.channel.unit,
                "level": of.stage,
                "word": of.word,
            }
            for of in one.gauges
        ],
        "foretold": [as_json(each) for each in one.foretold],
    }
