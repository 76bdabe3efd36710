"""The API's answer to: which model scored this?"""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.models import Alert
from mlops import tracing
from sensors import registry
from sensors.fleet import there_is_no
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import Profile
from sensors.serializers import Instant
from sensors.tiers import tiers


class ScoredQuery(serializers.Serializer[Any]):
    """One of three: a reading (mote_id and at), an alert, or a day of a profile."""

    mote_id = serializers.CharField(max_length=64, required=False)
    site = serializers.SlugField(required=False, help_text="Needed where two sites have that mote")
    at = Instant(required=False, help_text="Instant of the reading; the last in the minute before counts too")
    alert = serializers.IntegerField(required=False)
    profile = serializers.CharField(max_length=50, required=False)
    day = serializers.DateField(required=False, help_text="A day in UTC")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        asked = [name for name in ("alert", "day", "mote_id") if name in given]
        if len(asked) != 1:
            raise ValidationError("Ask for one: mote_id and at, alert, or profile and day.")
        for name, needed in (("mote_id", "at"), ("day", "profile")):
            if name in given and needed not in given:
                raise ValidationError({needed: f"{name} needs {needed} beside it."})
        return given


class ScoredOut(serializers.Serializer[Any]):
    model_version = serializers.CharField(source="name")
    number = serializers.IntegerField(help_text="0 is the fallback")
    n_readings = serializers.IntegerField(source="n")
    first_at = Instant()
    last_at = Instant()


def answer(asked: dict[str, Any]) -> list[tracing.Scored]:
    """What the query is about; NotFound says what is not there."""
    if "alert" in asked:
        return tracing.of_alert(get_object_or_404(Alert, pk=asked["alert"]))
    if "day" in asked:
        return tracing.of_day(_profile(asked["profile"]), asked["day"], lake=lake())
    sites = {"site__code": asked["site"]} if asked.get("site") else {}
    motes = list(Mote.objects.filter(code=asked["mote_id"], **sites).select_related("profile", "site")[:2])
    if len(motes) != 1:
        raise NotFound(f"{'Two sites have' if motes else 'There is no'} mote “{asked['mote_id']}”; name its site.")
    (mote,) = motes
    found = tracing.of_reading(mote, _profile(mote.profile.code), asked["at"], tiers=tiers(), now=timezone.now())
    if found is None:
        raise NotFound(f"Mote {mote} has no reading at {asked['at'].isoformat()} or in the minute before.")
    return [found]


def _profile(code: str) -> Profile:
    profiles = registry.profiles()
    if code not in profiles:
        raise NotFound(there_is_no("profile", code, profiles))
    return profiles[code]


@extend_schema(tags=["models"])
class ScoredBy(APIView):
    """Which model scored a reading, the events of an alert, or a day of a profile."""

    @extend_schema(parameters=[ScoredQuery], responses=ScoredOut(many=True))
    def get(self, request: Request) -> Response:
        asked = ScoredQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return Response(ScoredOut(answer(asked.validated_data), many=True).data)
