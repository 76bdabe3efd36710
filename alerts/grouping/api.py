"""The API of incidents."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import LimitOffsetPagination

from alerts.grouping.models import Incident, Membership
from sensors.serializers import Instant


class MemberOut(serializers.ModelSerializer[Membership]):
    id = serializers.IntegerField(source="alert.pk", help_text="Of the alert")
    subject = serializers.CharField(source="alert.subject")
    kind = serializers.CharField(source="alert.kind")
    status = serializers.CharField(source="alert.status")
    severity = serializers.CharField(source="alert.severity")
    words = serializers.CharField(source="alert.words")
    began_at = Instant()

    class Meta:
        model = Membership
        fields = ("id", "subject", "kind", "status", "severity", "words", "began_at")


class IncidentOut(serializers.ModelSerializer[Incident]):
    site = serializers.CharField(source="site.code", default=None, allow_null=True)
    first_mover = serializers.CharField(source="first_mover.subject", default=None, allow_null=True)
    first_alert = serializers.IntegerField(source="first_mover_id", allow_null=True, help_text="Its id")
    opened_at = Instant()
    joined_at = Instant()
    ended_at = Instant(allow_null=True)

    class Meta:
        model = Incident
        fields: tuple[str, ...] = (
            "id", "cause", "shared", "site", "n_alerts", "first_mover", "first_alert", "why_first", "opened_at",
            "joined_at", "ended_at",
        )  # fmt: skip


class IncidentWithAlerts(IncidentOut):
    alerts = MemberOut(source="memberships", many=True, help_text="By their onset")

    class Meta(IncidentOut.Meta):
        fields = (*IncidentOut.Meta.fields, "alerts")


class IncidentsQuery(serializers.Serializer[Any]):
    state = serializers.ChoiceField(["running", "over"], required=False)
    site = serializers.SlugField(required=False)
    alert = serializers.IntegerField(required=False, help_text="The incident of this alert, also if it is alone")


class Pages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500


@extend_schema(tags=["incidents"], parameters=[IncidentsQuery])
class Incidents(ListAPIView[Incident]):
    """Incidents of several alerts, the newest first."""

    serializer_class = IncidentOut
    pagination_class = Pages
    queryset = Incident.objects.none()

    def get_queryset(self) -> QuerySet[Incident]:
        query = IncidentsQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        found = Incident.objects.select_related("first_mover", "site")
        if "alert" in asked:
            return found.filter(memberships__alert=asked["alert"])
        found = found.of_many()
        if "site" in asked:
            found = found.filter(site__code=asked["site"])
        return found.filter(ended_at__isnull=asked["state"] == "running") if "state" in asked else found


@extend_schema(tags=["incidents"])
class OneIncident(RetrieveAPIView[Incident]):
    """An incident with its alerts."""

    serializer_class = IncidentWithAlerts
    queryset = Incident.objects.select_related("first_mover", "site").prefetch_related("memberships__alert")
