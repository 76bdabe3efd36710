"""The API of imports: files in, what would become of them, then start, stop and how far it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError as Refused
from django.core.files.storage import default_storage
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.importing import jobs
from ingestion.models import ImportJob
from ingestion.pages.import_page import packs
from sensors.problems import Conflict
from sensors.roles import CanEngineer, CanView, person
from sensors.serializers import Body, Instant
from sensors.tables.times import ORDERS
from sensors.uploads import takes_files

JOBS = ImportJob.objects.select_related("who")


class ImportIn(Body):
    files = serializers.ListField(child=serializers.FileField(), help_text="CSV or Parquet, 100 MiB in all")
    pack = serializers.CharField(help_text="Code of a profile, or of a pack that SIEIS comes with")
    site = serializers.CharField(required=False, help_text="Code of the site; a new one is made")
    time_zone = serializers.CharField(required=False, help_text="Of a new site")
    times_in = serializers.CharField(required=False, help_text="Zone of times without an offset; by default the site's")
    map = serializers.CharField(required=False, help_text="Which column is what: mote=moteid,at=ts")
    mote = serializers.CharField(required=False, help_text="The one mote of files that name none")
    decimal = serializers.ChoiceField([",", "."], required=False)
    date_order = serializers.ChoiceField([*ORDERS], required=False)


class ImportLine(serializers.ModelSerializer[ImportJob]):
    who = serializers.CharField(source="who.username", default=None, allow_null=True)
    asked_at = Instant()
    started_at = Instant(allow_null=True)
    done_at = Instant(allow_null=True)
    files = serializers.SerializerMethodField(help_text="Name, sha256 and rows of each")
    progress = serializers.FloatField(read_only=True)

    class Meta:
        model = ImportJob
        fields = (
            "id", "state", "profile", "site", "files", "n_rows", "n_sent", "n_waiting", "became", "progress", "step",
            "error", "trigger", "who", "asked_at", "started_at", "done_at", "seconds",
        )  # fmt: skip

    def get_files(self, job: ImportJob) -> list[dict[str, Any]]:
        return [{name: one[name] for name in ("name", "sha256", "rows")} for one in job.files]


class ImportOut(ImportLine):
    """With what was recognised, what will become of each row, and which motes it registered."""

    foretold = serializers.SerializerMethodField()

    class Meta(ImportLine.Meta):
        fields = (*ImportLine.Meta.fields, "asked", "foretold", "installed")  # type: ignore[assignment]

    def get_foretold(self, job: ImportJob) -> dict[str, Any]:
        told = dict(job.foretold)
        return told | {"problems": [_for_programs(one) for one in told["problems"]]} if "problems" in told else told


class ImportPages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500


@takes_files(jobs.LARGEST)
@extend_schema(tags=["imports"])
class Imports(ListAPIView[ImportJob]):
    """Imports of history, the newest first; POST brings files and answers what would become of them."""

    serializer_class = ImportLine
    pagination_class = ImportPages
    queryset = JOBS.defer("foretold")
    parser_classes = (MultiPartParser,)

    def get_permissions(self) -> list[BasePermission]:
        return [CanEngineer() if self.request.method == "POST" else CanView()]

    @extend_schema(request={"multipart/form-data": ImportIn}, responses={201: ImportOut})
    def post(self, request: Request) -> Response:
        given = ImportIn(data=request.data)
        given.is_valid(raise_exception=True)
        asked = {name: str(value) for name, value in given.validated_data.items() if name != "files"}
        if asked["pack"] not in dict(packs()):
            raise ValidationError({"pack": f"“{asked['pack']}” is none of {', '.join(dict(packs()))}"})
        with _refusing():
            job = jobs.keep(
                given.validated_data["files"], asked, storage=default_storage, who=person(request), trigger="api",
                now=timezone.now(),
            )  # fmt: skip
        address = reverse("api:import", args=[job.pk])
        return Response(ImportOut(job).data, status=201, headers={"Location": address})


class OneImport(APIView):
    """One import: how far it is, and what became of its rows. DELETE drops its files; what is stored stays."""

    parser_classes = (JSONParser,)

    def get_permissions(self) -> list[BasePermission]:
        return [CanEngineer() if self.request.method == "DELETE" else CanView()]

    @extend_schema(tags=["imports"], responses=ImportOut)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ImportOut(get_object_or_404(JOBS, pk=pk)).data)

    @extend_schema(tags=["imports"], responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        with _refusing():
            job = get_object_or_404(JOBS, pk=pk)
            jobs.forget(job, storage=default_storage, who=person(request), now=timezone.now())
        return Response(status=204)


class _Act(APIView):
    permission_classes = (CanEngineer,)


class StartImport(_Act):
    """Starts what was looked at, or goes on with what was stopped or failed; 409 where that cannot be."""

    @extend_schema(tags=["imports"], request=None, responses={202: ImportOut})
    def post(self, request: Request, pk: int) -> Response:
        job = get_object_or_404(JOBS, pk=pk)
        with _refusing():
            jobs.start(job, who=person(request), now=timezone.now())
        jobs.dispatch(job)
        return Response(ImportOut(job).data, status=202)


class StopImport(_Act):
    """Lets it save what it has and stop, within seconds; it can go on later."""

    @extend_schema(tags=["imports"], request=None, responses={202: ImportOut})
    def post(self, request: Request, pk: int) -> Response:
        job = get_object_or_404(JOBS, pk=pk)
        with _refusing():
            jobs.ask_to_stop(job, who=person(request), now=timezone.now())
        return Response(ImportOut(job).data, status=202)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except jobs.CannotChange as refusal:
        raise Conflict(_for_programs(str(refusal))) from refusal
    except (*jobs.REFUSALS, Refused) as refusal:
        raise ValidationError(_for_programs(jobs.words_of(refusal))) from refusal


def _for_programs(words: str) -> str:
    """A command's words, with the API's own names of what they ask for."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda flag: f"“{flag[1].replace('-', '_')}”", words)
