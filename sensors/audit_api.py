"""The API of the audit log: who did what to what, when; for engineers and administrators."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import audit
from sensors.api import Pages
from sensors.models import AuditEntry
from sensors.roles import CanEngineer
from sensors.serializers import Instant, Query
from sensors.tables.cells import guarded

ROWS_AT_ONCE = 500
COLUMNS = ("at", "who", "deed", "subject", "detail")


class AuditQuery(Query):
    who = serializers.CharField(required=False, max_length=150, help_text="Name of the account; SIEIS: the system")
    deed = serializers.CharField(required=False, max_length=64, help_text="Such as load_pack")
    subject = serializers.CharField(required=False, max_length=200, help_text="Text in it, such as mote:main/7")
    since = serializers.DateField(required=False, help_text="First day, UTC")
    until = serializers.DateField(required=False, help_text="Last day, UTC")


class AuditOut(serializers.ModelSerializer[AuditEntry]):
    at = Instant()
    who = serializers.CharField(source="who.username", default=None, allow_null=True, help_text="null: SIEIS itself")
    detail = serializers.DictField()

    class Meta:
        model = AuditEntry
        fields = ("id", *COLUMNS)


def asked(request: Request) -> QuerySet[AuditEntry]:
    query = AuditQuery(data=request.query_params)
    query.is_valid(raise_exception=True)
    return audit.entries(**query.validated_data)


@extend_schema(tags=["audit"])
class Audit(ListAPIView[AuditEntry]):
    """What was done, the newest first."""

    permission_classes = (CanEngineer,)
    serializer_class = AuditOut
    pagination_class = Pages
    queryset = AuditEntry.objects.none()

    def get_queryset(self) -> QuerySet[AuditEntry]:
        return asked(self.request)

    @extend_schema(operation_id="audit_list", parameters=[AuditQuery])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.list(request, *args, **kwargs)


class AuditExport(APIView):
    """The entries that fit as CSV, streamed; the same filters as the list."""

    permission_classes = (CanEngineer,)

    @extend_schema(tags=["audit"], parameters=[AuditQuery], responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request) -> StreamingHttpResponse:
        answer = StreamingHttpResponse(_parts(asked(request)), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="audit-{timezone.now():%Y%m%d-%H%M}.csv"'
        return answer


async def _parts(entries: QuerySet[AuditEntry]) -> AsyncIterator[str]:
    """A few hundred lines at a time, however many there are."""
    yield _csv([COLUMNS])
    rows = entries.iterator(chunk_size=ROWS_AT_ONCE)
    while some := await sync_to_async(lambda: list(islice(rows, ROWS_AT_ONCE)))():
        yield _csv(map(_row, some))


def _row(one: AuditEntry) -> tuple[str, ...]:
    who = one.who.username if one.who else audit.OURSELVES
    at = f"{one.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return at, who, one.deed, one.subject, json.dumps(one.detail, ensure_ascii=False)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue()
