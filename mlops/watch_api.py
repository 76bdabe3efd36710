"""The API of watching models: retrain policies, comparisons, feedback."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.api import Pages
from mlops import feedback, policies, shadowing, validating
from mlops.models import DriftDay, Label, ModelVersion, RetrainPolicy, Review, ShadowRun, Validation
from sensors.lake import lake
from sensors.models import Mote, Profile
from sensors.problems import Conflict
from sensors.registry import current_fleet
from sensors.roles import CanEngineer, CanOperate, CanView, person
from sensors.serializers import Body, Instant, Query


class PolicyOut(serializers.ModelSerializer[RetrainPolicy]):
    profile = serializers.CharField(source="profile.code", read_only=True)

    class Meta:
        model = RetrainPolicy
        fields = ("profile", "mode", "days", "after_import", "on_drift", "on_labels", "rest_hours")


@extend_schema(tags=["models"], responses=PolicyOut(many=True))
class Policies(APIView):
    """What makes each profile's model be trained again, and who decides whether the result serves."""

    def get(self, request: Request) -> Response:
        return Response(PolicyOut([policies.policy(one) for one in Profile.objects.all()], many=True).data)


class OnePolicy(APIView):
    """The policy of one profile; an engineer may change it."""

    def get_permissions(self) -> list[Any]:
        return [CanView() if self.request.method == "GET" else CanEngineer()]

    @extend_schema(tags=["models"], responses=PolicyOut)
    def get(self, request: Request, profile: str) -> Response:
        return Response(PolicyOut(policies.policy(get_object_or_404(Profile, code=profile))).data)

    @extend_schema(tags=["models"], request=PolicyOut, responses=PolicyOut)
    def patch(self, request: Request, profile: str) -> Response:
        found = get_object_or_404(Profile, code=profile)
        asked = PolicyOut(policies.policy(found), data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        changed = policies.change_policy(found, asked.validated_data, who=person(request), now=timezone.now())
        return Response(PolicyOut(changed).data)


@extend_schema(tags=["models"], responses=OpenApiTypes.OBJECT)
class Comparison(APIView):
    """A version beside the one that served when it was made: metrics, events gained and lost, score distributions."""

    def get(self, request: Request, name: str) -> Response:
        version = get_object_or_404(ModelVersion, name=name)
        if "comparison" not in version.metrics:
            raise NotFound(f"When {name} was made, nothing served that it could be compared with.")
        kept = {key: version.metrics.get(key) for key in ("gate", "confirmed_lost", "comparison")}
        return Response({"name": version.name, "stage": version.stage, **kept})


class PrecisionOut(serializers.Serializer[Any]):
    profile = serializers.CharField()
    number = serializers.IntegerField(help_text="Of the version; 0 is the pack's normal bands")
    name = serializers.CharField()
    n = serializers.IntegerField(help_text="Alerts that people have judged")
    real = serializers.IntegerField()
    expected = serializers.IntegerField()
    false = serializers.IntegerField()
    new_normal = serializers.IntegerField()
    precision = serializers.FloatField(allow_null=True, help_text="Share of real and expected ones")
    low = serializers.FloatField(help_text="Of Wilson's 95 % interval")
    high = serializers.FloatField()


class PrecisionQuery(Query):
    profile = serializers.CharField(required=False, max_length=64, help_text="Code; by default all")


@extend_schema(tags=["models"], parameters=[PrecisionQuery], responses=PrecisionOut(many=True))
class Precision(APIView):
    """How many of the alerts that people have judged told of something that was there, by model version."""

    def get(self, request: Request) -> Response:
        found = feedback.precision(profile=PrecisionQuery.asked_in(request).get("profile"))
        return Response([one.to_json() for one in found])


class DriftOut(serializers.ModelSerializer[DriftDay]):
    profile = serializers.CharField(source="profile.code")
    version = serializers.CharField(source="version.name")

    class Meta:
        model = DriftDay
        fields = ("profile", "version", "day", "kind", "name", "shift", "effect", "n_motes", "worst", "is_over")


@extend_schema(tags=["models"])
class Drift(ListAPIView[DriftDay]):
    """How far each day lies from those that the serving version has learnt from, by channel, residual and score."""

    serializer_class = DriftOut
    queryset = DriftDay.objects.select_related("profile", "version")
    pagination_class = Pages


class ValidationOut(serializers.ModelSerializer[Validation]):
    version = serializers.CharField(source="version.name")
    who = serializers.CharField(source="who.username", default=None, allow_null=True)
    made_at = Instant()
    starts_at = Instant()
    ends_at = Instant()
    metrics = serializers.DictField()

    class Meta:
        model = Validation
        fields = (
            "version",
            "made_at",
            "trigger",
            "who",
            "starts_at",
            "ends_at",
            "n_readings",
            "holds",
            "words",
            "metrics",
        )


class ValidationIn(Body):
    start = serializers.DateTimeField(required=False)
    end = serializers.DateTimeField(required=False)


class Validations(APIView):
    """A version judged on days newer than those that it was made of: what was kept, and once more now."""

    def get_permissions(self) -> list[Any]:
        return [CanView() if self.request.method == "GET" else CanEngineer()]

    @extend_schema(tags=["models"], responses=ValidationOut(many=True))
    def get(self, request: Request, name: str) -> Response:
        version = get_object_or_404(ModelVersion, name=name)
        return Response(ValidationOut(version.validations.select_related("version", "who"), many=True).data)

    @extend_schema(tags=["models"], request=ValidationIn, responses={201: ValidationOut})
    def post(self, request: Request, name: str) -> Response:
        version = get_object_or_404(ModelVersion.objects.select_related("profile"), name=name)
        asked = ValidationIn(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            made = validating.validate(
                version, **asked.validated_data, lake=lake(), fleet=current_fleet(), trigger="api", who=person(request),
                now=timezone.now(),
            )  # fmt: skip
        except validating.CannotValidate as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(ValidationOut(made).data, status=201)


class ShadowOut(serializers.ModelSerializer[ShadowRun]):
    version = serializers.CharField(source="version.name")
    started_at = Instant()
    stopped_at = Instant(allow_null=True)
    agreement = serializers.FloatField(allow_null=True)
    tally = serializers.SerializerMethodField(help_text="Who was right where they differed; what the lot says")

    class Meta:
        model = ShadowRun
        fields = (
            "id", "version", "started_at", "stopped_at", "n_readings", "n_both", "n_only_serving", "n_only_candidate",
            "agreement", "seconds", "error", "tally",
        )  # fmt: skip

    def get_tally(self, run: ShadowRun) -> dict[str, Any]:
        return shadowing.tally(run)


class ShadowIn(Body):
    version = serializers.CharField(max_length=120)


class Shadows(APIView):
    """Versions that judge the live readings beside the one that serves; an engineer starts one."""

    def get_permissions(self) -> list[Any]:
        return [CanView() if self.request.method == "GET" else CanEngineer()]

    @extend_schema(tags=["models"], responses=ShadowOut(many=True))
    def get(self, request: Request) -> Response:
        return Response(ShadowOut(ShadowRun.objects.select_related("version")[:50], many=True).data)

    @extend_schema(tags=["models"], request=ShadowIn, responses={201: ShadowOut})
    def post(self, request: Request) -> Response:
        asked = ShadowIn(data=request.data)
        asked.is_valid(raise_exception=True)
        version = get_object_or_404(
            ModelVersion.objects.select_related("profile"), name=asked.validated_data["version"]
        )
        try:
            run = shadowing.start(version, who=person(request), now=timezone.now())
        except shadowing.CannotShadow as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(ShadowOut(run).data, status=201)


@extend_schema(tags=["models"], request=None, responses=ShadowOut)
class StopShadow(APIView):
    """Ends a run in shadow."""

    permission_classes = (CanEngineer,)

    def post(self, request: Request, pk: int) -> Response:
        run = get_object_or_404(ShadowRun.objects.select_related("version"), pk=pk)
        shadowing.stop(run, who=person(request), now=timezone.now())
        run.refresh_from_db()
        return Response(ShadowOut(run).data)


class ReviewOut(serializers.ModelSerializer[Review]):
    site = serializers.CharField(source="mote.site.code")
    mote = serializers.CharField(source="mote.code")
    version = serializers.CharField(source="run.version.name")
    kind = serializers.CharField()
    starts_at = Instant()
    ends_at = Instant()

    class Meta:
        model = Review
        fields = (
            "id", "version", "site", "mote", "kind", "starts_at", "ends_at", "n_readings", "serving_surprise",
            "candidate_surprise", "rarity", "weight", "verdict",
        )  # fmt: skip


@extend_schema(tags=["models"])
class Reviews(ListAPIView[Review]):
    """What a person shall look at: disagreements by rarity × disagreement, and what was drawn by lot."""

    serializer_class = ReviewOut
    queryset = Review.objects.select_related("mote__site", "run__version").filter(verdict="")
    pagination_class = Pages


class VerdictIn(Body):
    verdict = serializers.ChoiceField(choices=[feedback.FAULT, feedback.NORMAL])


@extend_schema(tags=["models"], request=VerdictIn, responses=ReviewOut)
class SettleReview(APIView):
    """Says what a stretch was; 409 where somebody has."""

    permission_classes = (CanOperate,)

    def post(self, request: Request, pk: int) -> Response:
        asked = VerdictIn(data=request.data)
        asked.is_valid(raise_exception=True)
        found = get_object_or_404(Review.objects.select_related("mote__site", "run__version"), pk=pk)
        try:
            shadowing.settle(found, asked.validated_data["verdict"], who=person(request), now=timezone.now())
        except shadowing.AlreadySettled as refusal:
            raise Conflict(str(refusal)) from refusal
        found.refresh_from_db()
        return Response(ReviewOut(found).data)


class LabelOut(serializers.ModelSerializer[Label]):
    site = serializers.CharField(source="mote.site.code")
    mote = serializers.CharField(source="mote.code")
    starts_at = Instant()
    ends_at = Instant()
    told_at = Instant(allow_null=True)

    class Meta:
        model = Label
        fields = ("id", "site", "mote", "channel", "kind", "starts_at", "ends_at", "source", "note", "told_at")


class LabelIn(Body):
    site = serializers.CharField(max_length=50)
    mote = serializers.CharField(max_length=64)
    kind = serializers.ChoiceField(choices=list(feedback.KINDS))
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    channel = serializers.CharField(max_length=64, required=False, default="", allow_blank=True)
    note = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)


class Labels(ListAPIView[Label]):
    """What is known to be true of stretches, the newest first; operators add what they see."""

    serializer_class = LabelOut
    queryset = Label.objects.select_related("mote__site")

    def get_permissions(self) -> list[Any]:
        return [CanView() if self.request.method == "GET" else CanOperate()]

    @extend_schema(tags=["models"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["models"], request=LabelIn, responses={201: LabelOut})
    def post(self, request: Request) -> Response:
        asked = LabelIn(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        mote = get_object_or_404(
            Mote.objects.select_related("site"), site__code=given.pop("site"), code=given.pop("mote")
        )
        try:
            label = feedback.label_stretch(mote, **given, who=person(request), now=timezone.now())
        except feedback.BadLabel as wrong:
            raise ValidationError(str(wrong)) from wrong
        return Response(LabelOut(label).data, status=201)
