"""The API of the reading path: health and the metrics page."""

from __future__ import annotations

import hmac
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import health, metrics
from mlops.predicting import answers_smoke
from sensors import live
from sensors.roles import VIEW, may
from sensors.serializers import Instant


class DependencyOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.CharField(help_text="up, down or unknown")
    since = Instant(allow_null=True)
    latency_ms = serializers.FloatField(allow_null=True)
    error = serializers.CharField(allow_null=True, help_text="The last trouble there was")
    error_at = Instant(allow_null=True)


class PartitionOut(serializers.Serializer[Any]):
    topic = serializers.CharField()
    partition = serializers.IntegerField()
    next_offset = serializers.IntegerField()
    saved_at = Instant(allow_null=True)
    lag = serializers.IntegerField(allow_null=True)


class PipelineOut(serializers.Serializer[Any]):
    state = serializers.CharField(help_text="running, stuck, silent, not_started or unknown")
    readings_per_s = serializers.FloatField()
    last_batch_at = Instant(allow_null=True)
    serving = serializers.DictField(help_text="Name of the version that serves, by profile")
    partitions = PartitionOut(many=True)
    stuck = serializers.ListField(child=serializers.DictField(), help_text="Sinks that are away, since when and why")
    seconds = serializers.DictField(
        child=serializers.FloatField(), help_text="Spent in each step of the path since the consumers began"
    )


class TroubledOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    trouble = serializers.CharField(help_text="silent, clock or slow")
    since = Instant(allow_null=True)
    words = serializers.CharField()


class CanaryOut(serializers.Serializer[Any]):
    """Marked readings that measure the path; milliseconds to the hot store and to open pages, of the last hour."""

    at = Instant()
    stored_ms = serializers.FloatField(allow_null=True, help_text="Of the last one; null: it did not arrive")
    heard_ms = serializers.FloatField(allow_null=True)
    stored_p50_ms = serializers.FloatField(allow_null=True)
    stored_p99_ms = serializers.FloatField(allow_null=True)
    heard_p50_ms = serializers.FloatField(allow_null=True)
    heard_p99_ms = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField()
    n_lost = serializers.IntegerField()
    error = serializers.CharField()


class FlowOut(serializers.Serializer[Any]):
    state = serializers.CharField(help_text="watching, silent (nobody looks any more), not_started or unknown")
    looked_at = Instant(allow_null=True)
    n_motes = serializers.IntegerField(help_text="Active motes that were heard at least once")
    n_silent = serializers.IntegerField()
    n_slow = serializers.IntegerField(help_text="That deliver less than 80 % of what their interval promises")
    n_skewed = serializers.IntegerField(help_text="Whose clock is wrong")
    troubled = TroubledOut(many=True, help_text="The worst twenty of each kind")
    canary = CanaryOut(allow_null=True)


class ProcessOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.CharField()
    beat_at = Instant()


class HealthOut(serializers.Serializer[Any]):
    """The status for everybody; the rest for those who are logged in and have a role."""

    status = serializers.CharField(help_text="healthy, degraded or down")
    model_loaded = serializers.BooleanField(required=False, help_text="Whether a learnt model answers POST /predict")
    at = Instant(required=False)
    dependencies = DependencyOut(many=True, required=False)
    pipeline = PipelineOut(required=False)
    flow = FlowOut(required=False)
    processes = ProcessOut(many=True, required=False)


@extend_schema(tags=["health"])
class HealthView(APIView):
    """How SIEIS itself is. 503 only when it can serve nobody."""

    permission_classes = (AllowAny,)
    throttle_classes = ()

    def perform_authentication(self, request: Request) -> None:
        """Left to `get`: who has no database has no session either, and still wants to hear that it is down."""

    @extend_schema(responses={200: HealthOut, 503: HealthOut})
    def get(self, request: Request) -> Response:
        found = health.checks(timezone.now())
        answer = spoken_health(found) if _may_look(request) else {"status": found.status}
        answer |= {"model_loaded": found.status != health.DOWN and answers_smoke()}
        return Response(answer, status=503 if found.status == health.DOWN else 200)


def spoken_health(found: health.Health) -> dict[str, Any]:
    """Health as the API and the live channel tell it."""
    return dict(HealthOut(asdict(found)).data)


def tell_health(now: datetime) -> None:
    """Says on the live channel how everything is; the web process calls it every few seconds."""
    live.announce_health(spoken_health(health.checks(now)))


def _may_look(request: Request) -> bool:
    try:
        return may(request.user, VIEW)
    except DatabaseError:
        return False


@login_not_required
def metrics_page(request: HttpRequest) -> HttpResponse:
    """/metrics, for the bearer of SIEIS_METRICS_TOKEN and for people with a role."""
    if not (_has_token(request) or may(request.user, VIEW)):
        return HttpResponse(
            "Send SIEIS_METRICS_TOKEN as a bearer token, or log in.\n",
            status=401,
            content_type="text/plain; charset=utf-8",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.SIEIS_METRICS_TOKEN
    return bool(expected) and scheme == "Bearer" and hmac.compare_digest(token.encode(), expected.encode())
