"""The API of alert budgets."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops import budgets, registry, training_jobs
from mlops.budget import Choice, NoHistory, Unreachable
from sensors.lake import lake
from sensors.problems import Conflict
from sensors.registry import current_fleet
from sensors.roles import CanEngineer, CanView, person
from sensors.serializers import Body, Instant

WRONG = (budgets.BadBudget, training_jobs.UnknownMote)
# The history or the registry forbids what could be asked for at another time.
NOT_NOW = (
    NoHistory, Unreachable, budgets.NothingServes, budgets.NoBudget, registry.ModelUnloadable,
    registry.ArtefactUnavailable,
)  # fmt: skip


class ScopeIn(Body):
    profile = serializers.SlugField(max_length=50)
    mote = serializers.CharField(required=False, default="", help_text="As site/code; without: all of the profile")


class BudgetIn(ScopeIn):
    at_most = serializers.FloatField(help_text="Events in a week, of all motes of the scope together")
    days = serializers.FloatField(required=False, default=budgets.DAYS, help_text="How far back to look")


class BudgetPointOut(serializers.Serializer[Any]):
    onset = serializers.FloatField(help_text="Surprise from which readings are anomalous")
    n_events = serializers.IntegerField()
    a_week = serializers.FloatField()
    busiest_week = serializers.FloatField(help_text="Events of the busiest week; this is what a budget limits")
    missed = serializers.IntegerField(help_text="Known faults in which nothing would have been told")
    needless = serializers.IntegerField(help_text="Told again, of what people judged false or expected")


class KnownFaultOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    what = serializers.CharField(help_text="The label's kind, or what people judged")
    starts_at = Instant()
    ends_at = Instant()


class BudgetOut(serializers.Serializer[Any]):
    at_most = serializers.FloatField()
    weeks = serializers.FloatField()
    n_readings = serializers.IntegerField()
    n_motes = serializers.IntegerField()
    first_at = Instant()
    last_at = Instant()
    n_faults = serializers.IntegerField(help_text="Labelled, or judged real")
    n_needless = serializers.IntegerField(help_text="Judged false or expected")
    now = BudgetPointOut()
    chosen = BudgetPointOut()
    curve = BudgetPointOut(many=True)
    missed = KnownFaultOut(many=True)
    newly_missed = KnownFaultOut(many=True, help_text="Caught by the onset in force")
    n_newly_missed = serializers.IntegerField()
    gained = serializers.DictField(help_text="Events that would be told and are not now: how many, the loudest first")
    lost = serializers.DictField(help_text="Events that are told now and would not be")


class BudgetServesOut(serializers.Serializer[Any]):
    version = serializers.CharField(help_text="What judges the scope from now on")
    onset = serializers.FloatField()


class BudgetDeedOut(serializers.Serializer[Any]):
    at = Instant()
    who = serializers.CharField(source="who.username", default=None, allow_null=True)
    deed = serializers.CharField()
    subject = serializers.CharField()
    detail = serializers.DictField()


class AlertBudget(APIView):
    """What "at most N events a week" would have told of the history; a POST makes it so.

    400 where there is no such profile or mote, or the number is none; 409 where there is too little history, where no
    onset keeps the budget, or where no model serves.
    """

    def get_permissions(self) -> list[Any]:
        return [CanView() if self.request.method == "GET" else CanEngineer()]

    @extend_schema(tags=["models"], parameters=[BudgetIn], responses=BudgetOut)
    def get(self, request: Request) -> Response:
        _, told = _asked(request.query_params)
        return Response(budgets.spoken(told, current_fleet()))

    @extend_schema(tags=["models"], request=BudgetIn, responses=BudgetServesOut)
    def post(self, request: Request) -> Response:
        of, told = _asked(request.data)
        try:
            version = budgets.apply(of, told, who=person(request), now=timezone.now())
        except NOT_NOW as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response({"version": version.name, "onset": told.chosen.onset})


def _asked(given: Any) -> tuple[budgets.Scope, Choice]:
    asked = BudgetIn(data=given)
    asked.is_valid(raise_exception=True)
    wanted, fleet = asked.validated_data, current_fleet()
    of = _scope(wanted)
    try:
        return of, budgets.preview(
            of, wanted["at_most"], lake=lake(), fleet=fleet, now=timezone.now(), days=wanted["days"]
        )
    except WRONG as wrong:
        raise ValidationError({"at_most": str(wrong)}) from wrong
    except NOT_NOW as refusal:
        raise Conflict(str(refusal)) from refusal


def _scope(wanted: dict[str, Any]) -> budgets.Scope:
    try:
        return budgets.scope(current_fleet(), wanted["profile"], wanted["mote"])
    except WRONG as wrong:
        raise ValidationError({"profile": str(wrong)}) from wrong


class UndoBudget(APIView):
    """Takes the last budget of a profile, or of one mote, back; 409 where none is in force."""

    permission_classes = (CanEngineer,)

    @extend_schema(tags=["models"], request=ScopeIn, responses=BudgetServesOut)
    def post(self, request: Request) -> Response:
        asked = ScopeIn(data=request.data)
        asked.is_valid(raise_exception=True)
        of = _scope(asked.validated_data)
        try:
            version = budgets.undo(of, who=person(request), now=timezone.now())
        except NOT_NOW as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response({"version": version.name, "onset": budgets.onset_of(version, of.profile)})


class BudgetStory(APIView):
    """Who set and took back which budgets of a profile and its motes; the newest first."""

    @extend_schema(tags=["models"], parameters=[ScopeIn], responses=BudgetDeedOut(many=True))
    def get(self, request: Request) -> Response:
        asked = ScopeIn(data=request.query_params)
        asked.is_valid(raise_exception=True)
        of = _scope(asked.validated_data)
        return Response(BudgetDeedOut(list(budgets.story(of.profile)[: budgets.SHOWN]), many=True).data)
