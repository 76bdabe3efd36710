"""The API of silences: tried first, kept, lifted."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as BadValues
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.silencing import deeds
from alerts.silencing.models import Silence
from sensors.models import Mote, Site, Zone
from sensors.problems import Conflict
from sensors.roles import CanOperate, CanView, person
from sensors.serializers import Body, Instant

TAGS = ["silences"]


class SilenceOut(serializers.ModelSerializer[Silence]):
    site = serializers.CharField(source="site.code", default=None, allow_null=True)
    zone = serializers.CharField(default=None, allow_null=True, help_text="site/zone")
    mote = serializers.CharField(default=None, allow_null=True, help_text="site/mote")
    starts_at = Instant()
    ends_at = Instant(allow_null=True)
    made_at = Instant()
    lifted_at = Instant(allow_null=True)
    made_by = serializers.CharField(source="made_by.username", default=None, allow_null=True)
    state = serializers.SerializerMethodField(help_text="now, coming or over")

    class Meta:
        model = Silence
        fields = (
            "id", "site", "zone", "mote", "kind", "starts_at", "ends_at", "weekly", "is_maintenance", "reason",
            "state", "made_at", "made_by", "lifted_at",
        )  # fmt: skip

    def get_state(self, silence: Silence) -> str:
        return deeds.state(silence, timezone.now())


class SilenceIn(Body):
    site = serializers.SlugField(required=False, allow_null=True)
    zone = serializers.CharField(required=False, allow_null=True, help_text="site/zone")
    mote = serializers.CharField(required=False, allow_null=True, help_text="site/mote")
    kind = serializers.CharField(
        required=False, allow_blank=True, max_length=32, help_text="Kind of alert; all if empty"
    )
    starts_at = Instant(required=False, help_text="By default now")
    ends_at = Instant(required=False, allow_null=True, help_text="Needed unless it comes again each week")
    weekly = serializers.JSONField(
        required=False, allow_null=True, help_text='{"days": [0], "from": "22:00", "to": "06:00", "time_zone": "UTC"}'
    )
    is_maintenance = serializers.BooleanField(default=False, help_text="Leaves its readings out of training, too")
    reason = serializers.CharField(max_length=200)

    def silence(self) -> Silence:
        given = dict(self.validated_data)
        given.setdefault("starts_at", timezone.now())
        for name, model, parent in (("site", Site, ""), ("zone", Zone, "site"), ("mote", Mote, "site")):
            if given.get(name):
                given[name] = _named(model, name, given[name], parent)
            else:
                given.pop(name, None)
        try:
            return deeds.checked(Silence(**given))
        except BadValues as wrong:
            raise ValidationError(wrong.message_dict) from wrong


def _named(model: type[Site | Zone | Mote], name: str, given: str, parent: str) -> Any:
    site, _, code = given.partition("/") if parent else ("", "", given)
    key = {"code": code, **({"site__code": site} if parent else {})}
    found = model._default_manager.filter(**key).first()
    if found is None:
        form = f"site/{name}" if parent else "its code"
        raise ValidationError({name: f"There is no {name} “{given}”; expected {form}."})
    return found


class SilencesQuery(serializers.Serializer[Any]):
    state = serializers.ChoiceField(["now", "coming", "over"], required=False)


class Span(Body):
    starts_at = Instant()
    ends_at = Instant()


class PreviewOut(serializers.Serializer[Any]):
    n_motes = serializers.IntegerField(help_text="Motes in its scope")
    alerts = serializers.ListField(child=serializers.CharField(), help_text="Active alerts that it would keep quiet")
    n_before = serializers.IntegerField(help_text="Alerts of the last 7 days that it would have kept quiet")
    next = Span(many=True, help_text="When it will be in force, the first of the next 14 days")


@extend_schema(tags=TAGS)
class Silences(APIView):
    def get_permissions(self) -> list[Any]:
        return [CanOperate() if self.request.method == "POST" else CanView()]

    @extend_schema(parameters=[SilencesQuery], responses=SilenceOut(many=True), operation_id="silences_list")
    def get(self, request: Request) -> Response:
        """All silences, the last to begin first."""
        query = SilencesQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data.get("state")
        rows = Silence.objects.select_related("site", "zone__site", "mote__site", "made_by")
        told = SilenceOut(rows, many=True).data
        return Response([one for one in told if asked in (None, one["state"])])

    @extend_schema(request=SilenceIn, responses={201: SilenceOut})
    def post(self, request: Request) -> Response:
        silence = deeds.keep_silence(_asked(request), who=person(request), now=timezone.now())
        return Response(SilenceOut(silence).data, status=201)


@extend_schema(tags=TAGS, request=SilenceIn, responses=PreviewOut)
class PreviewSilence(APIView):
    """What such a silence would keep quiet; nothing is kept."""

    def post(self, request: Request) -> Response:
        seen = deeds.preview(_asked(request), now=timezone.now())
        spans = [{"starts_at": begins, "ends_at": ends} for begins, ends in seen.next]
        alerts = [f"{one.subject}: {one.words}" for one in seen.now[:20]]
        told = {"n_motes": seen.n_motes, "alerts": alerts, "n_before": seen.n_before, "next": spans}
        return Response(PreviewOut(told).data)


def _asked(request: Request) -> Silence:
    asked = SilenceIn(data=request.data)
    asked.is_valid(raise_exception=True)
    return asked.silence()


@extend_schema(tags=TAGS, request=None, responses=SilenceOut)
class LiftSilence(APIView):
    """Ends a silence now. 409 where it is over already."""

    permission_classes = (CanOperate,)

    def post(self, request: Request, pk: int) -> Response:
        silence = get_object_or_404(Silence.objects.select_related("site", "zone__site", "mote__site"), pk=pk)
        try:
            deeds.lift_silence(silence, who=person(request), now=timezone.now())
        except deeds.AlreadyOver as over:
            raise Conflict(str(over)) from over
        return Response(SilenceOut(silence).data)
