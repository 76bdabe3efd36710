"""The API of whole fleets: a CSV file in, what becomes of each line out; and the present fleet as such a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import mote_csv, mote_import
from sensors.lake import lake
from sensors.roles import CanEngineer, CanView, person
from sensors.serializers import Query
from sensors.stores import hot


class FleetQuery(Query):
    dry_run = serializers.BooleanField(required=False, default=False, help_text="Only say what would become of it")


class OutcomeOut(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    site = serializers.CharField()
    mote = serializers.CharField()
    verdict = serializers.ChoiceField(["new", "changed", "same", "refused"])
    changes = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), help_text="By field: what it was, what it becomes"
    )
    wrong = serializers.ListField(child=serializers.CharField())


class FleetOut(serializers.Serializer[Any]):
    is_dry_run = serializers.BooleanField()
    new = serializers.IntegerField()
    changed = serializers.IntegerField()
    same = serializers.IntegerField()
    refused = serializers.IntegerField()
    new_zones = serializers.ListField(child=serializers.CharField())
    unused_columns = serializers.ListField(child=serializers.CharField())
    rows = OutcomeOut(many=True)


class CsvParser(BaseParser):
    """A CSV file as the body."""

    media_type = "text/csv"

    def parse(
        self, stream: Any, media_type: str | None = None, context: Mapping[str, Any] | None = None
    ) -> dict[str, bytes]:
        # One byte more than allowed: enough to refuse it.
        return {"file": stream.read(mote_csv.MAX_BYTES + 1)}


@extend_schema(tags=["motes"])
class MotesImport(APIView):
    """A fleet by CSV: a line for each mote, new ones are registered and known ones changed, all or none."""

    permission_classes = (CanEngineer,)
    parser_classes = (CsvParser, MultiPartParser)

    @extend_schema(
        operation_id="motes_import",
        parameters=[FleetQuery],
        request={
            "text/csv": OpenApiTypes.STR,
            "multipart/form-data": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}},
        },
        responses=FleetOut,
    )
    def post(self, request: Request) -> Response:
        """The CSV as the body, or as the file `file` of a form. If a line is refused (400 names it) none is taken."""
        query = FleetQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        is_dry_run = query.validated_data["dry_run"]
        deed = mote_import.preview if is_dry_run else mote_import.bring
        try:
            file = mote_csv.parse(*_sent(request))
            became = deed(file, who=person(request), now=timezone.now(), store=hot(), lake=lake())
        except mote_csv.BadFleet as wrong:
            raise ValidationError({"file": [str(wrong)]}) from wrong
        except mote_import.Refused as refusal:
            raise ValidationError(_complaints(refusal.became)) from refusal
        return Response({"is_dry_run": is_dry_run, **told(became)})


class MotesExport(APIView):
    """The fleet as CSV, in the form in which it can be brought in again."""

    permission_classes = (CanView,)

    @extend_schema(tags=["motes"], operation_id="motes_export", responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        answer = HttpResponse(mote_import.exported(), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="motes-{timezone.now():%Y%m%d-%H%M}.csv"'
        return answer


def told(became: mote_import.Became) -> dict[str, Any]:
    return {
        **became.counts,
        "new_zones": list(became.zones),
        "unused_columns": list(became.unused),
        "rows": OutcomeOut(became.rows, many=True).data,
    }


def _complaints(became: mote_import.Became) -> dict[str, list[str]]:
    return {f"line {row.line}": list(row.wrong) for row in became.rows if row.wrong}


def _sent(request: Request) -> tuple[bytes, str]:
    """What came, and the name by which errors call it."""
    came = request.data.get("file") if isinstance(request.data, Mapping) else None
    if isinstance(came, bytes):
        return came, "motes.csv"
    if isinstance(came, UploadedFile):
        return came.read(mote_csv.MAX_BYTES + 1), came.name or "motes.csv"
    raise ValidationError({"file": "No file came; send the CSV as the body, or as the file “file” of a form."})
