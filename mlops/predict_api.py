"""The API of single readings: what a model says of one, of up to 10,000, and what that model is."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from django.http import HttpResponse, HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import registry
from mlops.classifying import SMOKE
from mlops.models import Kind, ModelVersion
from mlops.predicting import MOST_ROWS, BadRow, Fire, NoModel, Prediction, Refused, predictor
from mlops.smoke import THRESHOLD
from sensors.problems import NoSuchThing, Unavailable
from sensors.readings import Profile
from sensors.serializers import Instant, Query

ENCODER = msgspec.json.Encoder()
NO_CHANNELS = frozenset({"", "UTC", "CNT", "Fire Alarm"})  # columns of the public smoke set that measure nothing
ROW = {
    "type": "object",
    "additionalProperties": {"type": "number", "nullable": True},
    "properties": {
        "temperature": {"type": "number"},
        "humidity": {"type": "number"},
        "light": {"type": "number"},
        "voltage": {"type": "number"},
        "mote_id": {"type": "string", "description": "Code of the mote; without one, the whole fleet is the measure"},
        "site": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time", "description": "By default now"},
        "profile": {"type": "string", "description": "By default the mote's, or the one with these channels"},
    },
}
BATCH = {
    "oneOf": [
        {"type": "array", "items": ROW, "maxItems": MOST_ROWS},
        {"type": "object", "properties": {"readings": {"type": "array", "items": ROW}, "profile": {"type": "string"}}},
    ]
}


class DetailsOut(serializers.Serializer[Any]):
    words = serializers.CharField()
    channel = serializers.CharField(allow_null=True, help_text="The channel that is oddest")
    layer = serializers.CharField(allow_null=True, help_text="The part of the engine that says so")


class PredictionOut(serializers.Serializer[Any]):
    is_anomaly = serializers.BooleanField()
    anomaly_score = serializers.FloatField(help_text="0 to -1; anomalous from -0.3 on, high from -0.6 on")
    severity = serializers.CharField(help_text="low, medium or high")
    details = DetailsOut()
    surprise = serializers.FloatField(help_text="−log10 of the probability on a normal day")
    contributions = serializers.DictField(child=serializers.FloatField(), help_text="Each channel's share")
    expected = serializers.DictField(help_text="Low and high of each channel at this hour")
    model_version = serializers.CharField()
    profile = serializers.CharField()
    mote_id = serializers.CharField(allow_null=True)
    timestamp = serializers.CharField()
    assumed = serializers.ListField(child=serializers.CharField(), help_text="What was not said and had to be assumed")


class RefusedOut(serializers.Serializer[Any]):
    field = serializers.CharField(required=False)
    detail = serializers.CharField()


class OneOfManyOut(PredictionOut):
    """A prediction, or of a bad reading its error alone."""

    error = RefusedOut(required=False)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields


class BatchOut(serializers.Serializer[Any]):
    n = serializers.IntegerField()
    n_anomalies = serializers.IntegerField()
    n_errors = serializers.IntegerField()
    predictions = OneOfManyOut(many=True, help_text="In the order of the readings; of a bad one, its error")


class ModelInfoOut(serializers.ModelSerializer[ModelVersion]):
    model_version = serializers.CharField(source="name")
    profile = serializers.CharField(source="profile.code")
    mote_id = serializers.CharField(source="mote.code", default=None, allow_null=True)
    stage = serializers.CharField()
    features = serializers.ListField(child=serializers.CharField())
    parameters = serializers.DictField()
    libraries = serializers.DictField()
    data = serializers.DictField()  # type: ignore[assignment]
    metrics = serializers.DictField()
    trouble = serializers.SerializerMethodField(
        help_text="Of the version that is in production for this and cannot be loaded: why, and what trains the next"
    )
    trained_at = Instant(source="created_at")
    serving_since = Instant(source="promoted_at", allow_null=True)

    class Meta:
        model = ModelVersion
        fields = (
            "model_version", "number", "profile", "profile_version", "mote_id", "stage", "trained_at", "serving_since",
            "trouble",
            "features", "parameters", "metrics", "data", "libraries", "seed", "sha256", "size",
        )  # fmt: skip

    def get_trouble(self, version: ModelVersion) -> str | None:
        """This one judges, so that the one in trouble is its successor."""
        wanted = registry.production(version.profile.code, version.mote, kind=Kind(version.kind))
        trouble = predictor().trouble_with(wanted) if wanted else ""
        return f"{trouble} {wanted.retrain_command}" if wanted and trouble else None


class FastJson(BaseParser):
    """JSON, several times as fast as the framework's own."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return msgspec.json.decode(stream.read())
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise ParseError(f"The body is no JSON: {wrong}.") from wrong


class _Asking(APIView):
    """Asked often by programs: no limit a minute, answers encoded once."""

    throttle_classes = ()
    parser_classes = (FastJson,)


def _answer(told: Any) -> HttpResponseBase:
    return HttpResponse(ENCODER.encode(told), content_type="application/json")


@extend_schema(tags=["models"])
class Predict(_Asking):
    """Judges one reading by itself. 503 with the reason while no model serves its profile."""

    @extend_schema(request={"application/json": ROW}, responses=PredictionOut)
    def post(self, request: Request) -> HttpResponseBase:
        return _answer(_predicted(request.data))


def _predicted(row: Any, profile: str = "") -> Prediction:
    try:
        return predictor().predict(row, now=timezone.now(), profile=profile)
    except BadRow as wrong:
        raise ValidationError({wrong.name or "non_field_errors": str(wrong)}) from wrong
    except NoModel as missing:
        raise Unavailable(str(missing)) from missing


@extend_schema(tags=["models"])
class PredictMany(_Asking):
    """Judges up to 10,000 readings; a bad one is answered in its place by what is wrong with it."""

    @extend_schema(request={"application/json": BATCH}, responses=BatchOut)
    def post(self, request: Request) -> HttpResponseBase:
        rows, profile = _rows(request.data)
        try:
            told = predictor().predict_many(rows, now=timezone.now(), profile=profile)
        except NoModel as missing:
            raise Unavailable(str(missing)) from missing
        return _answer({
            "n": len(told),
            "n_anomalies": sum(isinstance(one, Prediction) and one.is_anomaly for one in told),
            "n_errors": sum(isinstance(one, Refused) for one in told),
            "predictions": told,
        })  # fmt: skip


def _rows(body: Any) -> tuple[list[Any], str]:
    rows, profile = (body.get("readings"), body.get("profile", "")) if isinstance(body, dict) else (body, "")
    if not isinstance(rows, list):
        raise ValidationError({"readings": 'A batch is a list of readings, or {"readings": [...]}.'})
    if len(rows) > MOST_ROWS:
        raise ValidationError({"readings": f"These are {len(rows):,} readings; at most {MOST_ROWS:,} at once."})
    return rows, str(profile)


class ServingQuery(Query):
    profile = serializers.CharField(required=False, max_length=64, help_text="Code; by default the mote's")
    mote_id = serializers.CharField(required=False, max_length=64, help_text="Its own model where it has one")


@extend_schema(tags=["models"])
class ModelInfo(APIView):
    """What serves a profile, or one mote of it. 404 where nothing that was learnt does."""

    throttle_classes = ()

    @extend_schema(parameters=[ServingQuery], responses=ModelInfoOut)
    def get(self, request: Request) -> Response:
        asked = ServingQuery.asked_in(request)
        return Response(ModelInfoOut(_serving(asked.get("profile", ""), asked.get("mote_id"))).data)


def _serving(code: str, mote_code: str | None) -> ModelVersion:
    mote = predictor().fleet.find(mote_code) if mote_code else None
    if mote_code and mote is None:
        raise NoSuchThing(f"There is no mote “{mote_code}”; /api/v1/motes lists them.", "mote_id", mote_code)
    _, versions = _model(_profile(code or (mote.profile if mote else "")))
    own = [one for one in versions.values() if mote and one.mote_id == mote.id]
    return (own or [one for one in versions.values() if one.mote_id is None])[0]


def _profile(code: str) -> Profile:
    profiles = predictor().fleet.profiles
    if not code and len(profiles) == 1:
        return next(iter(profiles.values()))
    if code not in profiles:
        wrong = f"There is no profile “{code}”" if code else "Say which profile, by ?profile="
        raise NoSuchThing(f"{wrong}; there are: {', '.join(profiles) or 'none yet'}.", "profile", code)
    return profiles[code]


def _model(profile: Profile) -> Any:
    try:
        return predictor().model(profile)
    except NoModel as missing:
        raise NotFound(str(missing)) from missing


# ---- in the shape of the smoke system -------------------------------------------------------------------------


class SmokePredict(_Asking):
    """`POST /predict` of the smoke system: fields such as `Temperature[C]`, judged by the classifier and the engine."""

    schema = None

    def post(self, request: Request) -> HttpResponseBase:
        began = time.perf_counter()
        row = request.data
        row = {k: row[k] for k in row if k not in NO_CHANNELS} if isinstance(row, dict) else row
        engine = _predicted_if_served(row)
        fire = predictor().fire(row, now=timezone.now())
        told = _by_classifier(fire) if fire else _by_engine(engine or _predicted(row, SMOKE))
        spent = round(time.perf_counter() - began, 6)
        return _answer({**told, "processing_time_seconds": spent, "engine": _engine(engine)})


def _predicted_if_served(row: Any) -> Prediction | None:
    try:
        return _predicted(row, SMOKE)
    except Unavailable:
        return None


def _by_classifier(fire: Fire) -> dict[str, Any]:
    is_fire = fire.probability >= THRESHOLD
    return {
        "prediction": int(is_fire),
        "prediction_label": "fire" if is_fire else "no_fire",
        "confidence": {"no_fire": round(1.0 - fire.probability, 4), "fire": fire.probability},
        "timestamp": fire.timestamp,
        "model_info": {"algorithm": CLASSIFIER, "version": fire.model_version},
        "assumed": fire.assumed,
    }


def _by_engine(told: Prediction) -> dict[str, Any]:
    fire = -told.anomaly_score
    return {
        "prediction": int(told.is_anomaly),
        "prediction_label": "fire" if told.is_anomaly else "no_fire",
        "confidence": {"no_fire": round(1.0 - fire, 4), "fire": fire},
        "timestamp": told.timestamp,
        "model_info": {"algorithm": ALGORITHM, "version": told.model_version},
        "details": told.details,
        "assumed": [*told.assumed, "fire stands for an anomaly of the smoke profile"],
    }


def _engine(told: Prediction | None) -> dict[str, Any] | None:
    """The engine's judgement beside the classifier's; null where no version of it serves."""
    if told is None:
        return None
    named = ("is_anomaly", "anomaly_score", "severity", "details", "surprise", "model_version")
    return {name: getattr(told, name) for name in named}


CLASSIFIER = "histogram gradient boosting over values, changes and spreads"
ALGORITHM = "SIEIS detection engine (layers, isolation forest among them)"


class SmokeModelInfo(APIView):
    """`GET /model/info` of the smoke system."""

    schema = None
    throttle_classes = ()

    def get(self, request: Request) -> Response:
        code = request.query_params.get("profile", SMOKE)
        classifier = predictor().classifier() if code == SMOKE else None
        version = classifier and ModelVersion.every.get(pk=classifier.pk)
        version = version or _serving(code, request.query_params.get("mote_id"))
        return Response(
            {
                "model_type": version.kind,
                "algorithm": CLASSIFIER if classifier else ALGORITHM,
                "feature_count": len(version.features),
                "features": version.features,
                "training_timestamp": version.created_at,
                "version": version.name,
                "loaded_at": version.promoted_at,
                "metrics": version.metrics,
            }
        )
