"""The API of root causes."""

from __future__ import annotations

import time
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import root_cause
from sensors import registry
from sensors.aggregates import aggregates
from sensors.fleet import there_is_no
from sensors.serializers import Instant
from sensors.tiers import tiers


class Stretch(serializers.Serializer[Any]):
    start = Instant()
    end = Instant()
    site = serializers.CharField(
        max_length=64, required=False, default="", allow_blank=True, help_text="By default all"
    )
    profile = serializers.CharField(max_length=64, required=False, default="", allow_blank=True)
    limit = serializers.IntegerField(required=False, default=50, min_value=1, max_value=root_cause.MOST_ROWS)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["start"] >= given["end"]:
            raise serializers.ValidationError({"start": f"“{given['start']}” is not before the end, “{given['end']}”."})
        if given["end"] - given["start"] > root_cause.LONGEST:
            raise serializers.ValidationError(
                {"start": f"At most {root_cause.LONGEST.days} days are looked at at once."}
            )
        fleet = registry.current_fleet()
        if given["profile"] and given["profile"] not in fleet.profiles:
            words = there_is_no("profile", given["profile"], fleet.profiles)
            raise serializers.ValidationError({"profile": words})
        sites = sorted({one.site for one in fleet.motes})
        if given["site"] and given["site"] not in sites:
            raise serializers.ValidationError(
                {"site": f"There is no site “{given['site']}” with motes; there are {', '.join(sites)}."}
            )
        return given


class CauseOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    zone = serializers.CharField(allow_null=True)
    profile = serializers.CharField()
    channel = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a serializer has a label of its own
    unit = serializers.CharField()
    deviations = serializers.FloatField(help_text="How far its worst tenth lay from its norm, in robust deviations")
    peak_deviations = serializers.FloatField(help_text="With a sign, at its most distant")
    peak_at = Instant()
    value = serializers.FloatField(help_text="At its most distant")
    low = serializers.FloatField(help_text="Its norm there: three deviations to either side of what is usual")
    high = serializers.FloatField()
    share = serializers.FloatField(help_text="Of the stretch, beyond three deviations")
    onset_at = Instant(allow_null=True, help_text="From when on it was beyond them and stayed; null: it never did")
    order = serializers.IntegerField(allow_null=True, help_text="1 left its norm first; null: it did not leave it")


class CausesOut(serializers.Serializer[Any]):
    start = Instant()
    end = Instant()
    bin_s = serializers.FloatField(help_text="How finely was looked: a profile's step, or an hour")
    n_looked_at = serializers.IntegerField(help_text="Channels of motes")
    seconds = serializers.FloatField()
    missing = serializers.ListField(child=serializers.CharField(), help_text="What could not be read, in words")
    first = CauseOut(allow_null=True)
    causes = CauseOut(many=True)


class RootCause(APIView):
    """Ranks every mote and channel by how far it left its norm in a stretch of time, with the order of onset."""

    @extend_schema(tags=["analytics"], request=Stretch, responses=CausesOut)
    def post(self, request: Request) -> Response:
        asked = Stretch(data=request.data)
        asked.is_valid(raise_exception=True)
        given, began = asked.validated_data, time.monotonic()
        found = root_cause.find(
            given["start"], given["end"], fleet=registry.current_fleet(), aggregates=aggregates(), tiers=tiers(),
            now=timezone.now(), site=given["site"], profile=given["profile"],
        )  # fmt: skip
        told = {
            "start": found.start, "end": found.end, "bin_s": found.bin_s, "n_looked_at": found.n_looked_at,
            "seconds": round(time.monotonic() - began, 3), "missing": found.missing, "first": found.first,
            "causes": found.rows[: given["limit"]],
        }  # fmt: skip
        return Response(CausesOut(told).data)
