"""The API of rules: written, switched, removed, and carried from one SIEIS to another."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as BadValues
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.models import Severity
from alerts.rules import deeds
from alerts.rules.models import Rule
from sensors import registry
from sensors.roles import CanEngineer, CanView, person
from sensors.serializers import Body, Instant

TAGS = ["rules"]
FORM = "docs/rules.md describes it: conditions, match, for_s, hours, no_data"


class RuleOut(serializers.ModelSerializer[Rule]):
    profile = serializers.CharField(source="profile.code", default=None, allow_null=True)
    site = serializers.CharField(source="site.code", default=None, allow_null=True)
    zone = serializers.CharField(default=None, allow_null=True, help_text="site/zone")
    mote = serializers.CharField(default=None, allow_null=True, help_text="site/mote")
    definition = serializers.JSONField(help_text=FORM)
    sentence = serializers.SerializerMethodField()
    changed_at = Instant()
    changed_by = serializers.CharField(source="changed_by.username", default=None, allow_null=True)

    class Meta:
        model = Rule
        fields = (
            "id", "name", "version", "severity", "profile", "site", "zone", "mote", "definition", "sentence", "is_on",
            "changed_at", "changed_by",
        )  # fmt: skip

    def get_sentence(self, rule: Rule) -> str:
        return rule.sentence(units(rule))


def units(rule: Rule) -> dict[str, str]:
    """By channel of the rule's profile."""
    profile = registry.profiles().get(rule.profile.code) if rule.profile else None
    return {one.code: one.unit for one in profile.channels} if profile else {}


class RuleIn(Body):
    name = serializers.CharField(max_length=80)
    severity = serializers.ChoiceField(Severity.choices, default="medium")
    profile = serializers.SlugField(required=False, allow_null=True, help_text="Needed where it names channels")
    site = serializers.SlugField(required=False, allow_null=True)
    zone = serializers.CharField(required=False, allow_null=True, help_text="site/zone")
    mote = serializers.CharField(required=False, allow_null=True, help_text="site/mote")
    definition = serializers.JSONField(help_text=FORM)
    is_on = serializers.BooleanField(required=False)


class RulesIn(Body):
    rules = RuleIn(many=True)


class RulesOut(serializers.Serializer[Any]):
    rules = RuleIn(many=True)


class Switch(Body):
    is_on = serializers.BooleanField()


class _ByEngineers(APIView):
    """Everybody reads, engineers write."""

    def get_permissions(self) -> list[Any]:
        return [CanView() if self.request.method == "GET" else CanEngineer()]


def asked_rule(request: Request, known: Rule | None = None) -> Rule:
    """The rule that a request describes, checked; where one is known, as its next version."""
    asked = RuleIn(data=request.data)
    asked.is_valid(raise_exception=True)
    try:
        return deeds.of_json(asked.validated_data, known)
    except BadValues as wrong:
        raise ValidationError(wrong.message_dict) from wrong


def _keep(request: Request, known: Rule | None = None) -> Rule:
    try:
        return deeds.keep_rule(asked_rule(request, known), who=person(request), now=timezone.now())
    except BadValues as wrong:
        raise ValidationError(wrong.message_dict) from wrong


@extend_schema(tags=TAGS)
class Rules(_ByEngineers):
    @extend_schema(responses=RuleOut(many=True), operation_id="rules_list")
    def get(self, request: Request) -> Response:
        return Response(RuleOut(Rule.objects.standing().select_related("changed_by"), many=True).data)

    @extend_schema(request=RuleIn, responses={201: RuleOut})
    def post(self, request: Request) -> Response:
        """Adds a rule; it judges from now on."""
        return Response(RuleOut(_keep(request)).data, status=201)


@extend_schema(tags=TAGS)
class OneRule(_ByEngineers):
    @extend_schema(responses=RuleOut)
    def get(self, request: Request, pk: int) -> Response:
        return Response(RuleOut(get_object_or_404(Rule.objects.standing(), pk=pk)).data)

    @extend_schema(request=RuleIn, responses=RuleOut)
    def put(self, request: Request, pk: int) -> Response:
        """Makes its next version; what the last one raised is ended and judged anew."""
        return Response(RuleOut(_keep(request, get_object_or_404(Rule.objects.standing(), pk=pk))).data)

    @extend_schema(request=Switch, responses=RuleOut)
    def patch(self, request: Request, pk: int) -> Response:
        """Switches it on or off."""
        asked = Switch(data=request.data)
        asked.is_valid(raise_exception=True)
        rule = get_object_or_404(Rule.objects.standing(), pk=pk)
        is_on = asked.validated_data["is_on"]
        return Response(RuleOut(deeds.switch_rule(rule, is_on=is_on, who=person(request), now=timezone.now())).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Removes it; its alerts end."""
        rule = get_object_or_404(Rule.objects.standing(), pk=pk)
        deeds.remove_rule(rule, who=person(request), now=timezone.now())
        return Response(status=204)


@extend_schema(tags=TAGS)
class CarriedRules(_ByEngineers):
    @extend_schema(responses=RulesOut)
    def get(self, request: Request) -> Response:
        """All rules, for another SIEIS to take in."""
        return Response({"rules": [deeds.as_json(one) for one in Rule.objects.standing()]})

    @extend_schema(request=RulesIn, responses=RuleOut(many=True))
    def post(self, request: Request) -> Response:
        """Takes them in, all or none; one of a known name becomes its next version."""
        asked = RulesIn(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            kept = deeds.take_in(asked.validated_data["rules"], who=person(request), now=timezone.now())
        except BadValues as wrong:
            raise ValidationError(wrong.message_dict) from wrong
        return Response(RuleOut(kept, many=True).data)
