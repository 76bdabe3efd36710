"""The API of evidence: what was taken of an alert, what it says, and the bundle."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.models import Alert, Evidence
from ingestion import evidencing
from sensors.problems import Conflict
from sensors.roles import OPERATE, demand, role_required
from sensors.serializers import Instant


class EvidenceOut(serializers.ModelSerializer[Evidence]):
    occasion = serializers.CharField(help_text="raised, peak or over")
    verdict = serializers.CharField(help_text="sensor_fault, real_event or unclear")
    taken_at = Instant()

    class Meta:
        model = Evidence
        fields = ("id", "alert", "occasion", "taken_at", "peak_surprise", "verdict", "is_reproduced", "sha256", "size")


class AllEvidence(ListAPIView[Evidence]):
    """What was taken of an alert, the newest first; a POST takes what is known now."""

    serializer_class = EvidenceOut
    pagination_class = None
    queryset = Evidence.objects.none()

    def get_queryset(self) -> Any:
        return get_object_or_404(Alert, pk=self.kwargs["pk"]).evidence.all()

    @extend_schema(tags=["alerts"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.list(request, *args, **kwargs)

    @extend_schema(tags=["alerts"], request=None, responses=EvidenceOut)
    def post(self, request: Request, pk: int) -> Response:
        """Takes evidence now instead of within a minute. Needs operator or engineer."""
        demand(request.user, OPERATE)
        alert = get_object_or_404(Alert, pk=pk)
        try:
            return Response(EvidenceOut(evidencing.take_now(alert, timezone.now())).data, status=201)
        except evidencing.NothingToTake as nothing:
            raise Conflict(str(nothing)) from nothing


class OneEvidence(APIView):
    """All that it says: readings with the expected band, votes, neighbours, timeline, similar alerts, verdict."""

    @extend_schema(tags=["alerts"], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: int, evidence: int) -> Response:
        try:
            return Response(evidencing.opened(get_object_or_404(Evidence, pk=evidence, alert=pk)).told)
        except evidencing.EvidenceAway as away:
            raise NotFound(str(away)) from away


@require_safe
@role_required()
def bundle(request: HttpRequest, pk: int, evidence: int) -> HttpResponse:
    """The file as it was written, for `manage.py verify_evidence`."""
    found = get_object_or_404(Evidence, pk=evidence, alert=pk)
    try:
        content = evidencing.read(found)
    except evidencing.EvidenceAway as away:
        return render(request, "404.html", {"exception": str(away)}, status=404)
    answer = HttpResponse(content, content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="alert-{pk}-{found.occasion}-{found.sha256[:8]}.zip"'
    return answer
