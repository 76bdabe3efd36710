"""The API of calibration: whether a model's probabilities come true."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import calibrations
from sensors.serializers import Instant, Query


class CalibrationQuery(Query):
    profile = serializers.SlugField(max_length=50)


class RateOut(serializers.Serializer[Any]):
    layer = serializers.CharField(help_text="combined: the whole engine")
    channel = serializers.CharField(help_text="Empty: the loudest of all channels")
    asked = serializers.FloatField(help_text="The probability that the layer names")
    n = serializers.IntegerField(help_text="Readings asked about")
    n_beyond = serializers.IntegerField(help_text="Of them, at least as odd as that")
    observed = serializers.FloatField()
    low = serializers.FloatField(help_text="Of the observed share, 95 % sure, days of a mote taken as they cluster")
    high = serializers.FloatField()
    ratio = serializers.FloatField(help_text="Observed over asked; 0.5 to 2 is wanted")
    verdict = serializers.ChoiceField((calibrations.KEPT, calibrations.SELDOM, calibrations.OFTEN, calibrations.UNSURE))


class CalibrationOut(serializers.Serializer[Any]):
    profile = serializers.CharField()
    version = serializers.CharField()
    stage = serializers.CharField()
    readings = serializers.IntegerField()
    first_at = Instant()
    last_at = Instant()
    rates = RateOut(many=True)


@extend_schema(tags=["models"], parameters=[CalibrationQuery], responses=CalibrationOut)
class Calibration(APIView):
    """Asked against observed tail rates of the serving version, on days held out of its training.

    400 where there is no such profile, 404 where none of its models has been checked yet.
    """

    def get(self, request: Request) -> Response:
        asked = CalibrationQuery(data=request.query_params)
        asked.is_valid(raise_exception=True)
        try:
            version = calibrations.newest_checked(asked.validated_data["profile"])
        except calibrations.UnknownProfile as wrong:
            raise ValidationError({"profile": str(wrong)}) from wrong
        except calibrations.NotChecked as missing:
            raise NotFound(str(missing)) from missing
        check = version.calibration["check"]
        rates = [{**rate, "verdict": calibrations.verdict(rate)} for rate in check["rates"]]
        return Response(
            {"profile": version.profile.code, "version": version.name, "stage": version.stage, **check, "rates": rates}
        )
