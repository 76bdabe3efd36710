"""The API of quality reports."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.models import QualityReport
from ingestion.validation import failing, reports
from sensors import quality, registry
from sensors.lake import lake
from sensors.problems import Conflict
from sensors.readings import Profile
from sensors.roles import CanOperate, CanView, person
from sensors.serializers import Body, Instant, Query
from sensors.stores import hot

REPORTS = QualityReport.objects.select_related("profile", "site", "who")


class CheckOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    words = serializers.CharField(help_text="The verdict as a sentence")
    figure = serializers.CharField()
    limit = serializers.CharField()
    has_passed = serializers.BooleanField(allow_null=True, help_text="null: there was nothing to judge")
    n = serializers.IntegerField(help_text="What speaks against it")
    of = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True, help_text="n of it, 0 to 1")
    lists = serializers.CharField(help_text="readings, where …/readings?check= shows what is behind it; else empty")


class ReportLine(serializers.ModelSerializer[QualityReport]):
    """A report in a list."""

    profile = serializers.CharField(source="profile.code")
    site = serializers.CharField(source="site.code", default=None, allow_null=True)
    state = serializers.CharField(help_text="queued, running, done or failed")
    asked_by = serializers.CharField(source="who.username", default=None, allow_null=True)
    starts_at = Instant(allow_null=True)
    ends_at = Instant(allow_null=True)
    asked_at = Instant()
    done_at = Instant(allow_null=True)
    error = serializers.CharField(help_text="Why it failed")

    class Meta:
        model = QualityReport
        fields = (
            "id", "profile", "profile_version", "site", "state", "progress", "trigger", "asked_by", "asked_at",
            "done_at", "seconds", "starts_at", "ends_at", "interval_s", "n_readings", "quality_percent",
            "has_passed", "error",
        )  # fmt: skip


class ComparedOut(serializers.Serializer[Any]):
    report = serializers.IntegerField(source="report.pk")
    quality = serializers.FloatField(allow_null=True, help_text="Percent points; above 0 is better")
    checks = serializers.DictField(child=serializers.DictField(), help_text="By check: points more or less against it")


class ReportOut(ReportLine):
    """A report with its checks, its table by mote and channel, and what became of it since the last one."""

    checks = CheckOut(many=True)
    detail = serializers.DictField()
    compared = serializers.SerializerMethodField()

    class Meta(ReportLine.Meta):
        fields = (*ReportLine.Meta.fields, "checks", "detail", "compared")  # type: ignore[assignment]

    @extend_schema_field(ComparedOut(allow_null=True))
    def get_compared(self, report: QualityReport) -> dict[str, Any] | None:
        since = reports.compared(report)
        if since is None:
            return None
        changes = {
            name: {"points": one.points, "is_better": one.is_better, "had_passed": one.had_passed}
            for name, one in since.checks.items()
        }
        return {"report": since.report.pk, "quality": since.quality, "checks": changes}


class ReportIn(Body):
    profile = serializers.CharField(max_length=50, required=False, help_text="Needed where there are several")
    site = serializers.CharField(max_length=50, required=False, help_text="Needed where the profile has several")
    start = Instant(required=False, allow_null=True, help_text="First instant; by default from the first reading on")
    end = Instant(required=False, allow_null=True, help_text="First instant that is left out")
    interval_s = serializers.FloatField(
        required=False, allow_null=True, help_text="Seconds to expect between two readings of a mote"
    )


class AskedOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    state = serializers.CharField()
    address = serializers.CharField(help_text="Where the report will be")


class ReportsQuery(Query):
    profile = serializers.CharField(max_length=50, required=False, source="profile__code")
    site = serializers.CharField(max_length=50, required=False, source="site__code")
    state = serializers.ChoiceField(QualityReport.State.values, required=False)


class ReportPages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500


class Reports(ListAPIView[QualityReport]):
    """Quality reports, the newest first; POST asks for one. 409 where one of that scope is being made."""

    serializer_class = ReportLine
    pagination_class = ReportPages
    queryset = QualityReport.objects.none()

    def get_permissions(self) -> list[BasePermission]:
        return [CanOperate() if self.request.method == "POST" else CanView()]

    def get_queryset(self) -> Any:
        return REPORTS.filter(**ReportsQuery.asked_in(self.request)).defer("detail", "checks")

    @extend_schema(tags=["quality"], parameters=[ReportsQuery])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["quality"], request=ReportIn, responses={202: AskedOut})
    def post(self, request: Request) -> Response:
        given = ReportIn(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        try:
            scope = reports.one_scope(asked.get("profile"), asked.get("site"))
            span = reports.Span(asked.get("start"), asked.get("end"), asked.get("interval_s"))
            report = reports.ask(scope, span, trigger="api", who=person(request), now=timezone.now())
        except reports.CannotValidate as refusal:
            raise ValidationError(str(refusal)) from refusal
        except reports.AlreadyValidating as already:
            raise Conflict(str(already)) from already
        reports.dispatch(report)
        address = reverse("api:quality-report", args=[report.pk])
        answer = {"id": report.pk, "state": report.state, "address": address}
        return Response(answer, status=202, headers={"Location": address})


@extend_schema(tags=["quality"])
class OneReport(RetrieveAPIView[QualityReport]):
    """A quality report: every check with its figure, its limit and its verdict."""

    serializer_class = ReportOut
    queryset = REPORTS


class FailingQuery(Query):
    check = serializers.CharField(max_length=80, help_text="Name of a check of the report, such as range:temperature")
    mote = serializers.CharField(max_length=64, required=False, default="", help_text="Code of the mote")
    flag = serializers.ChoiceField(
        list(failing.FLAGS), required=False, default="", help_text="Only those with the flag"
    )
    behind = serializers.CharField(max_length=64, required=False, default="", help_text="`next` of the page before")
    limit = serializers.IntegerField(required=False, default=100, min_value=1, max_value=1000)

    def validate_behind(self, text: str) -> failing.Place | None:
        try:
            return failing.Place.parse(text) if text else None
        except ValueError:
            raise ValidationError(f"“{text}” is no place in the list; give the `next` of the page before.") from None

    def asked(self) -> failing.Asked:
        given = self.validated_data
        return failing.Asked(given["check"], given["flag"], given["behind"] or None, given["limit"])


class FailingOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    at = Instant()
    values = serializers.DictField(child=serializers.FloatField(allow_null=True))
    flags = serializers.ListField(child=serializers.CharField())
    channels = serializers.ListField(child=serializers.CharField(), help_text="Channels that are in any trouble")
    waited_s = serializers.FloatField(allow_null=True, help_text="Seconds since the mote had spoken before")


class FailingPage(serializers.Serializer[Any]):
    readings = FailingOut(many=True)
    next = serializers.CharField(allow_null=True, help_text="`behind` of the next page; null on the last")


@extend_schema(tags=["quality"])
class FailingReadings(APIView):
    """The readings behind a check of a report, in order of time."""

    @extend_schema(parameters=[FailingQuery], responses=FailingPage)
    def get(self, request: Request, pk: int) -> Response:
        report = get_object_or_404(REPORTS, pk=pk)
        query = FailingQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        fleet = registry.current_fleet()
        try:
            page = reports.failing_readings(
                report, query.asked(), mote=query.validated_data["mote"], lake=lake(), hot=hot(), fleet=fleet
            )
        except failing.NoReadings as none:
            raise NotFound(str(none)) from none
        codes = {mote.id: mote.code for mote in fleet.motes}
        rows = spoken(page, fleet.profiles[report.profile.code], codes)
        return Response({"readings": FailingOut(rows, many=True).data, "next": _text(page.following)})


def _text(place: failing.Place | None) -> str | None:
    return None if place is None else str(place)


def spoken(page: failing.Page, profile: Profile, codes: dict[int, str]) -> list[dict[str, Any]]:
    """The rows of a page by the names that people know."""
    return [
        {
            "mote": codes[row["mote"]],
            "at": row["at"],
            "values": {name: row[name] for name in profile.names},
            "flags": quality.names(row["flags"]),
            "channels": quality.channels(row["flags"], profile),
            "waited_s": row["waited_s"],
        }
        for row in page.rows.iter_rows(named=True)
    ]
