"""The API of models and their training."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import keeping, registry, training_jobs
from mlops.models import Kind, ModelVersion, TrainingJob
from mlops.parameters import BadParameters
from sensors.fleet import there_is_no
from sensors.models import Profile
from sensors.problems import Conflict, Unavailable
from sensors.registry import profiles
from sensors.roles import CanEngineer, person
from sensors.serializers import Body, Instant, Query


class VersionOut(serializers.ModelSerializer[ModelVersion]):
    profile = serializers.CharField(source="profile.code")
    mote = serializers.CharField(source="mote.code", default=None, allow_null=True)
    kind = serializers.CharField()
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
            "name", "kind", "number", "profile", "mote", "stage", "profile_version", "features", "parameters",
            "libraries", "seed", "data", "metrics", "sha256", "size", "created_at", "promoted_at",
        )  # fmt: skip


class PromotionIn(Body):
    why = serializers.CharField(max_length=200, required=False, default="asked for by the API")


class RetrainIn(Body):
    profile = serializers.CharField(
        max_length=50, required=False, help_text="Code of the profile; needed where there are several"
    )
    mote_id = serializers.CharField(
        max_length=130, required=False, help_text="A model for this mote alone: its code, or site/code"
    )
    each_mote = serializers.BooleanField(
        required=False, default=False, help_text="A model for every active mote, each in a job of its own"
    )
    kind = serializers.ChoiceField(
        Kind.choices,
        required=False,
        default=Kind.DETECTOR,
        help_text="The engine, the classifier of smoke, or forecasts",
    )
    parameters = serializers.DictField(
        required=False, default=dict, help_text="days, start, end, seed, promote; of forecasts model, horizon_h"
    )

    def validate_profile(self, code: str) -> str:
        if code not in (known := profiles()):
            raise ValidationError(there_is_no("profile", code, known))
        return code

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["each_mote"] and "mote_id" in given:
            raise ValidationError({"mote_id": "Give a mote, or each_mote, not both."})
        if given["each_mote"] and given["kind"] == Kind.CLASSIFIER:
            raise ValidationError({"each_mote": "The classifier is of the profile smoke as a whole."})
        if "profile" in given:
            return given
        codes = list(Profile.objects.values_list("code", flat=True))
        if len(codes) != 1:
            raise ValidationError({"profile": f"Say which profile; there are: {', '.join(codes) or 'none yet'}."})
        return {**given, "profile": codes[0]}


class RetrainOut(serializers.Serializer[Any]):
    status = serializers.CharField()
    job_id = serializers.IntegerField(help_text="Of several jobs, the first")
    job_ids = serializers.ListField(child=serializers.IntegerField())
    estimated_time = serializers.CharField(help_text="By how long the last trainings took")
    refused = serializers.ListField(child=serializers.CharField(), help_text="Motes that are being trained already")


class JobOut(serializers.ModelSerializer[TrainingJob]):
    profile = serializers.CharField(source="profile.code")
    mote = serializers.CharField(default=None, allow_null=True)
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
            "id", "profile", "mote", "status", "progress", "message", "trigger", "requested_by", "parameters", "result",
            "queued_at", "started_at", "finished_at",
        )  # fmt: skip


@extend_schema(tags=["models"])
class Models(ListAPIView[ModelVersion]):
    """Every model version with what it learnt from and the held-out data it was measured on, the newest first."""

    serializer_class = VersionOut
    queryset = ModelVersion.every.select_related("profile", "mote").defer("calibration")
    pagination_class = None


@extend_schema(tags=["models"])
class Promote(APIView):
    """Makes a version serve its profile; the one that did is archived. 409 where it serves already or cannot."""

    permission_classes = (CanEngineer,)

    @extend_schema(request=PromotionIn, responses=VersionOut)
    def post(self, request: Request, name: str) -> Response:
        asked = PromotionIn(data=request.data)
        asked.is_valid(raise_exception=True)
        version = get_object_or_404(ModelVersion.every, name=name)
        try:
            promoted = registry.promote(
                version, who=person(request), why=asked.validated_data["why"], now=timezone.now()
            )
        except (registry.AlreadyPromoted, registry.ModelUnloadable, registry.NotValidated) as refusal:
            raise Conflict(str(refusal)) from refusal
        except registry.ArtefactUnavailable as away:
            raise Unavailable(str(away)) from away
        return Response(VersionOut(promoted).data)


@extend_schema(tags=["models"])
class Retrain(APIView):
    """Starts the training of the next model of a profile, of a mote or of each mote. 409 where that runs already."""

    permission_classes = (CanEngineer,)

    @extend_schema(request=RetrainIn, responses={202: RetrainOut})
    def post(self, request: Request) -> Response:
        asked = RetrainIn(data=request.data)
        asked.is_valid(raise_exception=True)
        jobs, refused = _start(asked.validated_data, who=person(request))
        for job in jobs:
            training_jobs.dispatch(job)
        told = {
            "status": "retraining_started", "job_id": jobs[0].pk, "job_ids": [job.pk for job in jobs],
            "estimated_time": training_jobs.estimate(jobs[0].profile, is_mote=jobs[0].mote is not None),
            "refused": [str(one) for one in refused],
        }  # fmt: skip
        return Response(told, status=202)


def _start(asked: dict[str, Any], *, who: User) -> tuple[list[TrainingJob], list[training_jobs.AlreadyTraining]]:
    ask = {"parameters": asked["parameters"], "trigger": "api", "who": who, "now": timezone.now()}
    given: dict[str, Any] = {"profile_code": asked["profile"], **ask}
    try:
        if asked["each_mote"]:
            jobs, refused = training_jobs.request_each(kind=asked["kind"], **given)
            if not jobs:
                raise refused[0]
            return jobs, refused
        mote = training_jobs.find_mote(asked["profile"], asked["mote_id"]) if "mote_id" in asked else None
        return [training_jobs.request(mote=mote, kind=asked["kind"], **given)], []
    except BadParameters as wrong:
        raise ValidationError({"parameters": str(wrong)}) from wrong
    except training_jobs.UnknownMote as unknown:
        raise ValidationError({"mote_id": str(unknown)}) from unknown
    except training_jobs.AlreadyTraining as already:
        raise Conflict(str(already)) from already


@extend_schema(tags=["models"])
class Job(RetrieveAPIView[TrainingJob]):
    """How far a training is, and what came of it."""

    serializer_class = JobOut
    queryset = TrainingJob.objects.select_related("profile", "mote__site", "requested_by", "result")


class Newest(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000


class JobsQuery(Query):
    profile = serializers.CharField(max_length=50, required=False)
    status = serializers.ChoiceField(choices=TrainingJob.Status.choices, required=False)


@extend_schema(tags=["models"], parameters=[JobsQuery])
class Jobs(ListAPIView[TrainingJob]):
    """Every training, the newest first: who asked, what for, what came of it and why."""

    serializer_class = JobOut
    pagination_class = Newest
    queryset = Job.queryset

    def get_queryset(self) -> QuerySet[TrainingJob]:
        asked = JobsQuery(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        renamed = {"profile": "profile__code", "status": "status"}
        return super().get_queryset().filter(**{renamed[name]: said for name, said in asked.validated_data.items()})


@extend_schema(tags=["models"])
class CancelJob(APIView):
    """Ends a training: at once if it waits, within seconds if it runs. 409 where it is over already."""

    permission_classes = (CanEngineer,)

    @extend_schema(request=None, responses=JobOut)
    def post(self, request: Request, pk: int) -> Response:
        job = get_object_or_404(Job.queryset, pk=pk)
        try:
            training_jobs.cancel(job, who=person(request), now=timezone.now())
        except training_jobs.NotUnfinished as over:
            raise Conflict(str(over)) from over
        return Response(JobOut(job).data)


@extend_schema(tags=["models"], responses={(200, "application/zip"): bytes})
class Bundle(APIView):
    """A version as a ZIP: its artefact, its card, and a program that says whether both are what they were."""

    def get(self, request: Request, name: str) -> HttpResponse:
        version = get_object_or_404(ModelVersion.every.select_related("profile", "mote__site"), name=name)
        try:
            content = keeping.bundle(version)
        except registry.ModelUnloadable as refusal:
            raise Conflict(str(refusal)) from refusal
        except registry.ArtefactUnavailable as away:
            raise Unavailable(str(away)) from away
        named = f'attachment; filename="{name.replace("/", "_")}.zip"'
        return HttpResponse(content, content_type="application/zip", headers={"Content-Disposition": named})


class RollBackIn(Body):
    profile = serializers.SlugRelatedField(slug_field="code", queryset=Profile.objects.all())
    mote_id = serializers.CharField(max_length=130, required=False)
    kind = serializers.ChoiceField(Kind.choices, required=False, default=Kind.DETECTOR)
    why = serializers.CharField(max_length=200, required=False, default="asked for by the API")


@extend_schema(tags=["models"])
class RollBack(APIView):
    """Lets the version serve again that served the profile, or the mote, before the present one."""

    permission_classes = (CanEngineer,)

    @extend_schema(request=RollBackIn, responses=VersionOut)
    def post(self, request: Request) -> Response:
        asked = RollBackIn(data=request.data)
        asked.is_valid(raise_exception=True)
        profile, code = asked.validated_data["profile"], asked.validated_data.get("mote_id")
        try:
            mote = training_jobs.find_mote(profile.code, code) if code else None
            version = registry.roll_back(
                profile, mote=mote, kind=Kind(asked.validated_data["kind"]), who=person(request),
                why=asked.validated_data["why"], now=timezone.now(),
            )  # fmt: skip
        except training_jobs.UnknownMote as unknown:
            raise ValidationError({"mote_id": str(unknown)}) from unknown
        except (registry.NothingToRollBackTo, registry.ModelUnloadable, registry.NotValidated) as refusal:
            raise Conflict(str(refusal)) from refusal
        except registry.ArtefactUnavailable as away:
            raise Unavailable(str(away)) from away
        return Response(VersionOut(version).data)
