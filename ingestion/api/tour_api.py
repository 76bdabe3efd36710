"""The API of the tour: in the demo, a fault on a simulated sensor when asked."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import tour
from sensors.roles import CanOperate, person
from sensors.serializers import Instant


class DemoFaultOut(serializers.Serializer[Any]):
    site = serializers.CharField()
    mote = serializers.CharField()
    channel = serializers.CharField()
    starts_at = Instant()
    ends_at = Instant(help_text="From then on the sensor is as it was, by itself")


class DemoFault(APIView):
    """In the demo only: lets a simulated sensor fail for two minutes. The same one while it lasts."""

    permission_classes = (CanOperate,)

    @extend_schema(tags=["demo"], operation_id="demo_fault", request=None, responses={201: DemoFaultOut})
    def post(self, request: Request) -> Response:
        try:
            asked = tour.ask_fault(who=person(request), now=timezone.now())
        except tour.NoTour as refusal:
            raise NotFound(str(refusal)) from refusal
        return Response(DemoFaultOut(asked).data, status=status.HTTP_201_CREATED)
