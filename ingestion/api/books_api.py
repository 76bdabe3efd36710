"""The API of the books and of reconciliations."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.models import Reconciliation
from ingestion.pages import books_page
from ingestion.reconciling import deed
from sensors.fleet import there_is_no
from sensors.models import Profile
from sensors.problems import Conflict
from sensors.roles import OPERATE, demand, person
from sensors.serializers import Body, Instant, Query

RECONCILIATIONS = Reconciliation.objects.select_related("profile", "site", "who")


def _span(first: str) -> dict[str, Any]:
    """Fields `from`, which Python lets no attribute be called, and `to`."""
    return {
        "from": Instant(required=False, allow_null=True, source="start", help_text=first),
        "to": Instant(required=False, allow_null=True, source="end", help_text="First hour that is left out"),
    }


class BooksQuery(Query):
    profile = serializers.CharField(max_length=50, required=False)

    def validate_profile(self, code: str) -> str:
        known = Profile.objects.values_list("code", flat=True)
        if code not in known:
            raise ValidationError(there_is_no("profile", code, known))
        return code

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **_span("First hour; a week back by default")}


class MoteCounts(serializers.Serializer[Any]):
    mote = serializers.CharField(source="code")
    booked = serializers.IntegerField()
    cold = serializers.IntegerField()
    due = serializers.IntegerField()
    hot = serializers.IntegerField()


class DifferenceOut(serializers.Serializer[Any]):
    """What the last comparison of an hour that differed found."""

    hour = Instant()
    profile = serializers.CharField(source="profile.code")
    site = serializers.CharField(source="site.code")
    booked = serializers.IntegerField(help_text="Stored, as the books say")
    cold = serializers.IntegerField(help_text="In the lake")
    due = serializers.IntegerField(help_text="Of those the hot store must still have")
    hot = serializers.IntegerField(help_text="Has the hot store of those")
    motes = MoteCounts(many=True)
    found_at = Instant()
    equal_at = Instant(allow_null=True, help_text="When it was found or made equal again; null: it differs")


class BooksLine(serializers.Serializer[Any]):
    """An hour of a profile: received = stored + quarantined + duplicate + held."""

    hour = Instant()
    profile = serializers.CharField(help_text="Empty: the message did not say")
    received = serializers.IntegerField()
    stored = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    held = serializers.IntegerField()
    state = serializers.CharField(help_text="equal, differs, unbalanced or waiting: not compared since it ended")
    differences = DifferenceOut(many=True)


class BooksOut(serializers.Serializer[Any]):
    hours = BooksLine(many=True)


class Books(APIView):
    """The books hour by hour, the newest first, with what the last comparison with the stores found."""

    @extend_schema(tags=["books"], parameters=[BooksQuery], responses=BooksOut)
    def get(self, request: Request) -> Response:
        asked = BooksQuery.asked_in(request)
        hours = books_page.hours(
            timezone.now(), start=asked.get("start"), end=asked.get("end"), profile=asked.get("profile")
        )
        return Response({"hours": BooksLine(hours, many=True).data})


class ReconciliationOut(serializers.ModelSerializer[Reconciliation]):
    profile = serializers.CharField(source="profile.code", default=None, allow_null=True, help_text="null: all")
    site = serializers.CharField(source="site.code", default=None, allow_null=True, help_text="null: all")
    state = serializers.CharField(help_text="queued, running, done or failed")
    asked_by = serializers.CharField(source="who.username", default=None, allow_null=True)
    starts_at = Instant(allow_null=True)
    ends_at = Instant(allow_null=True)
    asked_at = Instant()
    done_at = Instant(allow_null=True)
    did = serializers.ListField(child=serializers.CharField())
    differences = serializers.SerializerMethodField()

    class Meta:
        model = Reconciliation
        fields = (
            "id", "profile", "site", "starts_at", "ends_at", "heals", "state", "trigger", "asked_by", "asked_at",
            "done_at", "seconds", "n_readings", "n_hours", "n_differing", "n_left", "did", "error", "differences",
        )  # fmt: skip

    @extend_schema_field(DifferenceOut(many=True))
    def get_differences(self, made: Reconciliation) -> Any:
        """Hours that it was the first to find, or that it made or found equal again."""
        return DifferenceOut(books_page.differences_of(made), many=True).data


class ReconciliationIn(Body):
    profile = serializers.CharField(max_length=50, required=False, help_text="All by default")
    site = serializers.CharField(max_length=50, required=False, help_text="All by default")
    heal = serializers.BooleanField(required=False, default=False, help_text="Mend what differs; operator and up")

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **_span("First hour; from the first reading on by default")}

    def asked(self) -> deed.Request:
        given = self.validated_data
        return deed.Request(
            given.get("profile"), given.get("site"), given.get("start"), given.get("end"), heals=given["heal"]
        )


class ReconciliationAskedOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    state = serializers.CharField()
    address = serializers.CharField(help_text="Where it tells how it goes")


class ReconciliationPages(LimitOffsetPagination):
    default_limit = 20
    max_limit = 100


@extend_schema(tags=["books"])
class Reconciliations(ListAPIView[Reconciliation]):
    """Reconciliations, the newest first; POST asks for one. 409 while another of its kind is unfinished."""

    serializer_class = ReconciliationOut
    pagination_class = ReconciliationPages
    queryset = RECONCILIATIONS

    @extend_schema(request=ReconciliationIn, responses={202: ReconciliationAskedOut})
    def post(self, request: Request) -> Response:
        given = ReconciliationIn(data=request.data)
        given.is_valid(raise_exception=True)
        if given.validated_data["heal"]:
            demand(request.user, OPERATE)
        try:
            made = deed.ask(given.asked(), trigger="api", who=person(request), now=timezone.now())
        except deed.CannotReconcile as refusal:
            raise ValidationError(str(refusal)) from refusal
        except deed.AlreadyReconciling as already:
            raise Conflict(str(already)) from already
        deed.dispatch(made)
        address = reverse("api:reconciliation", args=[made.pk])
        return Response(
            {"id": made.pk, "state": made.state, "address": address}, status=202, headers={"Location": address}
        )


@extend_schema(tags=["books"])
class OneReconciliation(RetrieveAPIView[Reconciliation]):
    """A reconciliation: how far it is, what differed, and what was healed."""

    serializer_class = ReconciliationOut
    queryset = RECONCILIATIONS
