"""The API of alerts: what stands, and what people do about it."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Prefetch
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import figures, finding
from alerts.models import Alert, AlertChange, AlertQuerySet, Event, Judgement, Severity
from sensors.roles import operators, person
from sensors.serializers import Instant

ROWS_AT_ONCE = 500


class AlertsQuery(serializers.Serializer[Any]):
    status = serializers.ChoiceField(finding.STATUSES, required=False, help_text="active: all that is not over")
    severity = serializers.ChoiceField(Severity.values, required=False)
    kind = serializers.CharField(max_length=32, required=False, help_text="anomaly, sink_down, …")
    mote = serializers.CharField(max_length=64, required=False, help_text="Code of the mote")
    site = serializers.SlugField(required=False, help_text="Code of its site")
    assignee = serializers.CharField(max_length=150, required=False, help_text="A name, `me` or `nobody`")
    verdict = serializers.ChoiceField(Judgement.Verdict.values, required=False, help_text="As a person judged it last")
    since = Instant(required=False, help_text="Seen at or after")
    until = Instant(required=False, help_text="Begun before")
    q = serializers.CharField(max_length=100, required=False, help_text="Words in it, its subject or its notes")


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
    assignee = serializers.CharField(source="assignee.username", default=None, allow_null=True)
    snoozed_until = Instant(allow_null=True)
    peak_channel = serializers.CharField(allow_null=True, help_text="Of its worst event")
    grade = serializers.CharField(allow_null=True, help_text="Of that channel's sensor, A to F")
    is_suppressed = serializers.BooleanField(help_text="Whether a silence keeps it quiet, or kept it so to its end")
    grade_reasons = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Why the grade is no better, the worst first"
    )

    class Meta:
        model = Alert
        fields = (
            "id", "subject", "mote", "site", "kind", "status", "severity", "words", "score", "peak_surprise",
            "n_events", "first_seen_at", "last_seen_at", "acknowledged_at", "acknowledged_by", "resolved_at",
            "resolved_by", "assignee", "snoozed_until", "revision", "peak_channel", "grade", "grade_reasons",
            "is_suppressed",
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


class ChangeOut(serializers.ModelSerializer[AlertChange]):
    at = Instant()
    who = serializers.CharField(source="who.username", default=None, allow_null=True, help_text="null: SIEIS itself")
    deed = serializers.CharField()
    before = serializers.CharField()
    after = serializers.CharField()

    class Meta:
        model = AlertChange
        fields = ("at", "who", "deed", "before", "after", "note", "detail", "door", "address")


class AlertWithEvents(AlertOut):
    events = EventOut(many=True)
    changes = ChangeOut(many=True, help_text="Its story, the oldest first")
    verdict = serializers.SerializerMethodField(help_text="What a person said last that it was")

    class Meta(AlertOut.Meta):
        fields = (*AlertOut.Meta.fields, "verdict", "events", "changes")  # type: ignore[assignment]

    def get_verdict(self, alert: Alert) -> str | None:
        said = max(alert.judgements.all(), key=lambda one: one.pk, default=None)
        return said.verdict if said else None


class Pages(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000


def alerts_as_told() -> AlertQuerySet:
    return Alert.objects.with_grades().with_people().newest_first()


def _asked(request: Request) -> AlertQuerySet:
    query = AlertsQuery(data=request.query_params)
    query.is_valid(raise_exception=True)
    return finding.find(query.validated_data, now=timezone.now(), username=person(request).username)


@extend_schema(tags=["alerts"], parameters=[AlertsQuery])
class Alerts(ListAPIView[Alert]):
    """Alerts, the last seen first."""

    serializer_class = AlertOut
    pagination_class = Pages
    queryset = Alert.objects.none()

    def get_queryset(self) -> AlertQuerySet:
        return _asked(self.request).with_grades().with_people()


@extend_schema(tags=["alerts"])
class OneAlert(RetrieveAPIView[Alert]):
    """An alert with the events that it gathers and its story."""

    serializer_class = AlertWithEvents
    queryset = alerts_as_told().prefetch_related(
        "events", "judgements", Prefetch("changes", AlertChange.objects.select_related("who"))
    )


# What the export has, and where it comes from.
COLUMNS = {
    "id": "pk", "subject": "subject", "mote": "mote__code", "site": "mote__site__code", "kind": "kind",
    "status": "status", "severity": "severity", "words": "words", "score": "score", "peak_surprise": "peak_surprise",
    "n_events": "n_events", "first_seen_at": "first_seen_at", "last_seen_at": "last_seen_at",
    "acknowledged_at": "acknowledged_at", "acknowledged_by": "acknowledged_by__username",
    "resolved_at": "resolved_at", "resolved_by": "resolved_by__username", "assignee": "assignee__username",
}  # fmt: skip


async def csv_parts(alerts: AlertQuerySet) -> AsyncIterator[str]:
    """The alerts as CSV, a few hundred lines at a time, however many there are."""
    yield _csv([tuple(COLUMNS)])
    rows = alerts.values_list(*COLUMNS.values()).iterator(chunk_size=ROWS_AT_ONCE)
    while some := await sync_to_async(lambda: list(islice(rows, ROWS_AT_ONCE)))():
        yield _csv(some)


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    # A spreadsheet takes a text that begins with these for a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


class Export(APIView):
    """The alerts that fit as CSV, streamed; the same filters as the list."""

    @extend_schema(tags=["alerts"], parameters=[AlertsQuery], responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request) -> StreamingHttpResponse:
        answer = StreamingHttpResponse(csv_parts(_asked(request)), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="alerts-{timezone.now():%Y%m%d-%H%M}.csv"'
        return answer


class FiguresQuery(serializers.Serializer[Any]):
    start = Instant(required=False, help_text="By default a week before the end")
    end = Instant(required=False, help_text="By default now")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        end = given.get("end") or timezone.now()
        start = given.get("start") or end - figures.DEFAULT_SPAN
        if not timedelta(0) < end - start <= figures.LONGEST_SPAN:
            raise serializers.ValidationError(
                f"start must lie before end, by {figures.LONGEST_SPAN.days} days at most."
            )
        return {"start": start, "end": end}


class AlarmFigures(APIView):
    """How the alerts do as an alarm system: per operator and day, floods, chattering, stale, the worst motes."""

    @extend_schema(tags=["alerts"], parameters=[FiguresQuery], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        query = FiguresQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        span = query.validated_data
        n = operators().count()
        return Response(figures.figures(span["start"], span["end"], n_operators=n, now=timezone.now()).as_json())
