"""The API of alerts: what stands, and what people do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import judging, services
from alerts.models import Alert, Event, Judgement, Severity
from sensors import live
from sensors.problems import Conflict
from sensors.roles import CanOperate, person
from sensors.serializers import Instant


class AlertsQuery(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["active", *Alert.Status.values], required=False)
    severity = serializers.ChoiceField(Severity.values, required=False)
    mote = serializers.CharField(max_length=64, required=False, help_text="Code of the mote")
    site = serializers.SlugField(required=False, help_text="Code of its site")


class AlertOut(serializers.ModelSerializer[Alert]):
    mote = serializers.CharField(source="mote.code", default=None, allow_null=True)
    site = serializers.CharField(source="mote.site.code", default=None, allow_null=True)
    status = serializers.CharField()
    severity = serializers.CharField()
    first_seen_at = Instant()
    last_seen_at = Instant()
    acknowledged_at = Instant(allow_null=True)
    acknowledged_by = serializers.CharField(source="acknowledged_by.username", default=None, allow_null=True)
    resolved_at = Instant(allow_null=True)
    resolved_by = serializers.CharField(source="resolved_by.username", default=None, allow_null=True)
    peak_channel = serializers.CharField(allow_null=True, help_text="Of its worst event")
    grade = serializers.CharField(allow_null=True, help_text="Of that channel's sensor, A to F")
    grade_reasons = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Why the grade is no better, the worst first"
    )

    class Meta:
        model = Alert
        fields = (
            "id", "subject", "mote", "site", "kind", "status", "severity", "words", "score", "peak_surprise",
            "n_events", "first_seen_at", "last_seen_at", "acknowledged_at", "acknowledged_by", "resolved_at",
            "resolved_by", "peak_channel", "grade", "grade_reasons",
        )  # fmt: skip


class EventOut(serializers.ModelSerializer[Event]):
    started_at = Instant()
    noticed_at = Instant()
    last_at = Instant()
    ended_at = Instant(allow_null=True)
    peak_at = Instant()

    class Meta:
        model = Event
        fields = (
            "id", "started_at", "noticed_at", "last_at", "ended_at", "n_readings", "peak_surprise", "peak_at",
            "peak_channel", "peak_value", "expected_low", "expected_high", "layer", "contributions", "words",
            "model_version",
        )  # fmt: skip


class AlertWithEvents(AlertOut):
    events = EventOut(many=True)

    class Meta(AlertOut.Meta):
        fields = (*AlertOut.Meta.fields, "events")  # type: ignore[assignment]


class Pages(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000


def alerts_as_told() -> QuerySet[Alert]:
    return Alert.objects.with_grades().newest_first().select_related("mote__site", "acknowledged_by", "resolved_by")


@extend_schema(tags=["alerts"], parameters=[AlertsQuery])
class Alerts(ListAPIView[Alert]):
    """Alerts, the last seen first."""

    serializer_class = AlertOut
    pagination_class = Pages
    queryset = Alert.objects.none()

    def get_queryset(self) -> QuerySet[Alert]:
        query = AlertsQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        asked = dict(query.validated_data)
        status = asked.pop("status", None)
        names = {"severity": "severity", "mote": "mote__code", "site": "mote__site__code"}
        found = alerts_as_told().filter(**{names[key]: value for key, value in asked.items()})
        if status == "active":
            return found.filter(status__in=Alert.ACTIVE)
        return found.filter(status=status) if status else found


@extend_schema(tags=["alerts"])
class OneAlert(RetrieveAPIView[Alert]):
    """An alert with the events that it gathers."""

    serializer_class = AlertWithEvents
    queryset = alerts_as_told().prefetch_related("events")


class _Act(APIView):
    permission_classes = (CanOperate,)
    deed: Callable[..., Alert]

    def post(self, request: Request, pk: int) -> Response:
        alert = get_object_or_404(Alert, pk=pk)
        try:
            type(self).deed(alert, who=person(request), now=timezone.now())
        except services.AlreadyMoved as moved:
            raise Conflict(str(moved)) from moved
        live.announce_alert(alert)
        return Response(AlertOut(alerts_as_told().get(pk=pk)).data)


@extend_schema(tags=["alerts"], request=None, responses=AlertOut)
class Acknowledge(_Act):
    """Says that somebody has the alert in hand. 409 where it is not open any more."""

    deed = staticmethod(services.acknowledge_alert)


@extend_schema(tags=["alerts"], request=None, responses=AlertOut)
class Resolve(_Act):
    """Ends an alert. 409 where it has ended already."""

    deed = staticmethod(services.resolve_alert)


class JudgementIn(serializers.Serializer[Any]):
    verdict = serializers.ChoiceField(Judgement.Verdict.choices)
    note = serializers.CharField(max_length=400, required=False, allow_blank=True, default="")


class JudgementOut(serializers.ModelSerializer[Judgement]):
    by = serializers.CharField(source="by.username", default=None, allow_null=True)
    at = Instant()

    class Meta:
        model = Judgement
        fields = ("id", "alert", "verdict", "note", "by", "at")


class Judge(APIView):
    """Says what the alert was worth; it stands instead of what was said before. Models are compared by it."""

    permission_classes = (CanOperate,)

    @extend_schema(tags=["alerts"], request=JudgementIn, responses=JudgementOut)
    def post(self, request: Request, pk: int) -> Response:
        given = JudgementIn(data=request.data)
        given.is_valid(raise_exception=True)
        alert = get_object_or_404(Alert, pk=pk)
        said = given.validated_data
        kept = judging.judge(alert, said["verdict"], by=person(request), note=said["note"], now=timezone.now())
        return Response(JudgementOut(kept).data)
