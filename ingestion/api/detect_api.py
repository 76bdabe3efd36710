"""The API of judging a file: one request brings it and starts, another says how far it is and what was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files.storage import default_storage
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.detecting import results, runs
from ingestion.detecting.models import DetectRun
from mlops.detect import CannotJudge
from sensors.problems import Conflict
from sensors.roles import CanOperate, person
from sensors.serializers import Body, Instant
from sensors.uploads import takes_files


class DetectIn(Body):
    file = serializers.FileField(help_text="CSV or Parquet, at most 200 MiB")
    time = serializers.CharField(required=False, max_length=200, help_text="Column that says when a row was measured")
    interval = serializers.CharField(required=False, max_length=20, help_text="Of a file without times, such as 30s")
    start = serializers.CharField(required=False, max_length=40, help_text="When its first row was measured")
    values = serializers.CharField(required=False, max_length=4000, help_text="Columns to judge: a,b,c")
    by = serializers.CharField(required=False, max_length=200, help_text="Column that says whose a row is")
    train = serializers.CharField(
        required=False, max_length=40, help_text="To learn from: 15 %, 400 rows, or a time until which (default 15 %)"
    )
    profile = serializers.CharField(required=False, max_length=50, help_text="Code of a profile that knows the sensors")
    decimal = serializers.CharField(required=False, max_length=1)
    date_order = serializers.CharField(required=False, max_length=3)
    detector = serializers.CharField(
        required=False, max_length=20, help_text="engine (the default), ridge or telemanom (needs PyTorch)"
    )


class DetectLine(serializers.ModelSerializer[DetectRun]):
    """A judged file in a list."""

    state = serializers.CharField(help_text="looked, queued, running, done, failed or cancelled")
    asked_at = Instant()
    done_at = Instant(allow_null=True)

    class Meta:
        model = DetectRun
        fields = ("id", "name", "size", "state", "progress", "message", "trigger", "asked_at", "done_at", "seconds")


class DetectOut(DetectLine):
    """With how it was read, what was found in a few words, and where the results are."""

    asked = serializers.DictField(child=serializers.CharField())
    found = serializers.DictField(help_text="Empty until it is done")
    results = serializers.SerializerMethodField()

    class Meta(DetectLine.Meta):
        fields = (*DetectLine.Meta.fields, "asked", "found", "results")  # type: ignore[assignment]

    @extend_schema_field(serializers.DictField(child=serializers.CharField(), help_text="Addresses of the three files"))
    def get_results(self, run: DetectRun) -> dict[str, str]:
        if run.state != DetectRun.State.DONE:
            return {}
        return {name: reverse("detect-result", args=[run.pk, name]) for name in results.FILES}


class DetectPages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except CannotJudge as refusal:
        raise ValidationError({"file": str(refusal)}) from refusal
    except (runs.AlreadyJudging, runs.TooLate) as refusal:
        raise Conflict(str(refusal)) from refusal


@takes_files(runs.LARGEST)
class Detect(ListAPIView[DetectRun]):
    """Your judged files, the newest first; POST brings one and judges it. 409 while another of yours is being judged.

    A file and its results are kept for seven days.
    """

    permission_classes = (CanOperate,)
    serializer_class = DetectLine
    pagination_class = DetectPages
    queryset = DetectRun.objects.none()
    parser_classes = (MultiPartParser,)

    def get_queryset(self) -> Any:
        return runs.of(person(self.request)).defer("seen", "found")

    @extend_schema(tags=["models"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["models"], request={"multipart/form-data": DetectIn}, responses={202: DetectOut})
    def post(self, request: Request) -> Response:
        given = DetectIn(data=request.data)
        given.is_valid(raise_exception=True)
        asked = {name: value for name, value in given.validated_data.items() if name != "file"}
        who, now = person(request), timezone.now()
        with _refusing():
            run = runs.keep(
                given.validated_data["file"], asked, storage=default_storage, who=who, trigger="api", now=now
            )
            try:
                runs.start(run, who=who, now=now)
            except (CannotJudge, runs.AlreadyJudging):
                runs.forget(run, storage=default_storage)
                raise
        runs.dispatch(run)
        address = reverse("api:detect-run", args=[run.pk])
        return Response(DetectOut(run).data, status=202, headers={"Location": address})


class OneDetectRun(APIView):
    """One of your judged files: how far it is, what was found. DELETE cancels one that is under way, forgets others."""

    permission_classes = (CanOperate,)
    parser_classes = (JSONParser,)

    @extend_schema(tags=["models"], responses=DetectOut)
    def get(self, request: Request, pk: int) -> Response:
        return Response(DetectOut(get_object_or_404(runs.of(person(request)), pk=pk)).data)

    @extend_schema(tags=["models"], responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        run = get_object_or_404(runs.of(person(request)), pk=pk)
        with _refusing():
            if run.is_unfinished:
                runs.cancel(run, now=timezone.now())
            else:
                runs.forget(run, storage=default_storage)
        return Response(status=204)
