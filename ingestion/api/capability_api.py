"""The API of what the models can do."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.capability import keeping
from ingestion.capability.models import CapabilityTable
from ingestion.capability.telling import Line, cannot, lines
from sensors.serializers import Instant


class CapabilityQuery(serializers.Serializer[Any]):
    profile = serializers.CharField(max_length=50, required=False, default="")


class FaultKindOut(serializers.Serializer[Line]):
    """A kind of fault."""

    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    n = serializers.IntegerField(help_text="Faults planted")
    found = serializers.IntegerField(help_text="Of them, with an event that was noticed while they lasted")
    at_once = serializers.IntegerField(help_text="Of them, noticed at the first wrong reading or the next")
    recall = serializers.FloatField(allow_null=True)
    median_delay_s = serializers.FloatField(allow_null=True, help_text="From the first wrong reading")
    layers = serializers.DictField(
        child=serializers.FloatField(allow_null=True), help_text="The share that each layer alone would have found"
    )
    elsewhere = serializers.CharField(help_text="Who tells it where it is not the engine's business")


class CapabilityOut(serializers.ModelSerializer[CapabilityTable]):
    profile = serializers.CharField(source="profile.code")
    version = serializers.CharField(source="version.name", default=None, allow_null=True)
    measured_at = Instant()
    starts_at = Instant()
    ends_at = Instant()
    interval_s = serializers.FloatField(source="table.interval_s")
    fault_length_s = serializers.ListField(child=serializers.FloatField(), source="table.fault_length_s")
    kinds = serializers.SerializerMethodField()
    false_events_per_mote_week = serializers.FloatField(source="table.clean.per_mote_week", allow_null=True)
    mote_weeks = serializers.FloatField(source="table.clean.mote_weeks", help_text="Judged without a fault")
    false_by_layer = serializers.DictField(
        child=serializers.FloatField(allow_null=True), source="table.clean.layers",
        help_text="Stretches a mote and week in which a layer alone would have cried",
    )  # fmt: skip
    cannot = serializers.SerializerMethodField()

    class Meta:
        model = CapabilityTable
        fields = (
            "profile", "version", "measured_at", "seconds", "is_quick", "is_simulated", "starts_at", "ends_at",
            "interval_s", "fault_length_s", "kinds", "false_events_per_mote_week", "mote_weeks", "false_by_layer",
            "cannot",
        )  # fmt: skip

    @extend_schema_field(FaultKindOut(many=True))
    def get_kinds(self, made: CapabilityTable) -> Any:
        return [FaultKindOut(line).data for line in lines(made.table)]

    def get_cannot(self, made: CapabilityTable) -> list[str]:
        return cannot(made.table, keeping.labels(made))


class CapabilityAnswer(serializers.Serializer[Any]):
    tables = CapabilityOut(many=True)


@extend_schema(tags=["models"])
class Capability(APIView):
    """What each profile's model finds of each kind of fault, as last measured; empty where nothing was measured yet."""

    @extend_schema(parameters=[CapabilityQuery], responses=CapabilityAnswer)
    def get(self, request: Request) -> Response:
        query = CapabilityQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        code = query.validated_data["profile"]
        wanted = [made for made in keeping.newest() if code in ("", made.profile.code)]
        return Response(CapabilityAnswer({"tables": wanted}).data)
