"""The API of models and their training."""

from __future__ import annotations

from typing import Any

import structlog
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from kombu.exceptions import OperationalError as BrokerAway
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import registry, training
from mlops.models import ModelVersion, TrainingJob
from mlops.parameters import BadParameters
from sensors.models import Profile
from sensors.problems import Conflict, Unavailable
from sensors.roles import CanEngineer, person
from sensors.serializers import Instant

log = structlog.get_logger(__name__)


class VersionOut(serializers.ModelSerializer[ModelVersion]):
    profile = serializers.CharField(source="profile.code")
    mote = serializers.CharField(source="mote.code", default=None, allow_null=True)
    stage = serializers.CharField()
    features = serializers.ListField(child=serializers.CharField())
    parameters = serializers.DictField()
    libraries = serializers.DictField(child=serializers.CharField())
    data = serializers.DictField()  # type: ignore[assignment]
    metrics = serializers.DictField()
    created_at = Instant()
    promoted_at = Instant(allow_null=True)

    class Meta:
        model = ModelVersion
        fields = (
            "name", "number", "profile", "mote", "stage", "profile_version", "features", "parameters", "libraries",
            "seed", "data", "metrics", "sha256", "size", "created_at", "promoted_at",
        )  # fmt: skip


class PromotionIn(serializers.Serializer[Any]):
    why = serializers.CharField(max_length=200, required=False, default="asked for by the API")


class RetrainIn(serializers.Serializer[Any]):
    profile = serializers.CharField(
        max_length=50, required=False, help_text="Code of the profile; needed where there are several"
    )
    parameters = serializers.DictField(required=False, default=dict, help_text="days, start, end, seed, promote")

    def validate_profile(self, code: str) -> str:
        known = list(Profile.objects.values_list("code", flat=True))
        if code not in known:
            raise ValidationError(f"There is no profile “{code}”; there are: {', '.join(known) or 'none yet'}.")
        return code

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if "profile" in given:
            return given
        codes = list(Profile.objects.values_list("code", flat=True))
        if len(codes) != 1:
            raise ValidationError({"profile": f"Say which profile; there are: {', '.join(codes) or 'none yet'}."})
        return {**given, "profile": codes[0]}


class RetrainOut(serializers.Serializer[Any]):
    status = serializers.CharField()
    job_id = serializers.IntegerField()


class JobOut(serializers.ModelSerializer[TrainingJob]):
    profile = serializers.CharField(source="profile.code")
    status = serializers.CharField()
    requested_by = serializers.CharField(source="requested_by.username", default=None, allow_null=True)
    result = serializers.CharField(source="result.name", default=None, allow_null=True, help_text="Name of the version")
    parameters = serializers.DictField()
    queued_at = Instant()
    started_at = Instant(allow_null=True)
    finished_at = Instant(allow_null=True)

    class Meta:
        model = TrainingJob
        fields = (
            "id", "profile", "status", "progress", "message", "trigger", "requested_by", "parameters", "result",
            "queued_at", "started_at", "finished_at",
        )  # fmt: skip


@extend_schema(tags=["models"])
class Models(ListAPIView[ModelVersion]):
    """Every model version with what it learnt from and the held-out data it was measured on, the newest first."""

    serializer_class = VersionOut
    queryset = ModelVersion.objects.select_related("profile", "mote").defer("calibration")
    pagination_class = None


@extend_schema(tags=["models"])
class Promote(APIView):
    """Makes a version serve its profile; the one that did is archived. 409 where it serves already or cannot."""

    permission_classes = (CanEngineer,)

    @extend_schema(request=PromotionIn, responses=VersionOut)
    def post(self, request: Request, name: str) -> Response:
        asked = PromotionIn(data=request.data)
        asked.is_valid(raise_exception=True)
        version = get_object_or_404(ModelVersion, name=name)
        try:
            promoted = registry.promote(
                version, who=person(request), why=asked.validated_data["why"], now=timezone.now()
            )
        except (registry.AlreadyPromoted, registry.ModelUnloadable) as refusal:
            raise Conflict(str(refusal)) from refusal
        except registry.ArtefactUnavailable as away:
            raise Unavailable(str(away)) from away
        return Response(VersionOut(promoted).data)


@extend_schema(tags=["models"])
class Retrain(APIView):
    """Starts the training of a profile's next model. 409 where it is being trained already."""

    permission_classes = (CanEngineer,)

    @extend_schema(request=RetrainIn, responses={202: RetrainOut})
    def post(self, request: Request) -> Response:
        asked = RetrainIn(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            job = training.request(
                **_request(asked.validated_data), trigger="api", who=person(request), now=timezone.now()
            )
        except BadParameters as wrong:
            raise ValidationError({"parameters": str(wrong)}) from wrong
        except training.AlreadyTraining as already:
            raise Conflict(str(already)) from already
        try:
            training.dispatch(job)
        except BrokerAway as away:
            # The row is what counts: workers take up queued rows when they start and every minute.
            log.warning("job_not_sent", job=job.pk, error=str(away))
        return Response({"status": "retraining_started", "job_id": job.pk}, status=202)


def _request(asked: dict[str, Any]) -> dict[str, Any]:
    return {"profile_code": asked["profile"], "parameters": asked["parameters"]}


@extend_schema(tags=["models"])
class Job(RetrieveAPIView[TrainingJob]):
    """How far a training is, and what came of it."""

    serializer_class = JobOut
    queryset = TrainingJob.objects.select_related("profile", "requested_by", "result")
