"""The API of what people do with alerts. 409 where somebody was faster, with the alert as it stands now."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import lifecycle
from alerts.api import AlertOut, alerts_as_told
from alerts.changes import Actor
from alerts.models import Alert, Judgement
from sensors.problems import Conflict
from sensors.roles import CanOperate
from sensors.serializers import Body, Instant

MOST_AT_ONCE = 500
BIGGEST = 2**63 - 1  # no database holds a greater number of an alert


class Note(Body):
    note = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    revision = serializers.IntegerField(
        min_value=0, required=False, allow_null=True,
        help_text="As you saw the alert: 409 if it has changed since. Without it the status alone decides",
    )  # fmt: skip


class Words(Body):
    note = serializers.CharField(max_length=1000)


class Resolution(Note):
    verdict = serializers.ChoiceField(
        Judgement.Verdict.choices, required=False, allow_blank=True, help_text="What it was, if you know"
    )


class Assignment(Note):
    assignee = serializers.SlugRelatedField(
        slug_field="username", queryset=User.objects.filter(is_active=True), allow_null=True,
        help_text="Who has it from now on; null: nobody",
    )  # fmt: skip


class Sleep(Note):
    until = Instant(help_text="Within the next seven days")


class Verdict(Body):
    verdict = serializers.ChoiceField(Judgement.Verdict.choices)
    note = serializers.CharField(max_length=400, required=False, allow_blank=True)


class JudgementOut(serializers.ModelSerializer[Judgement]):
    by = serializers.CharField(source="by.username", default=None, allow_null=True)
    at = Instant()

    class Meta:
        model = Judgement
        fields = ("id", "alert", "verdict", "note", "by", "at")


GIVEN: dict[str, type[serializers.Serializer[Any]]] = {
    "resolve": Resolution, "assign": Assignment, "comment": Words, "snooze": Sleep, "judge": Verdict,
}  # fmt: skip


def _parsed(deed: str, data: Any) -> dict[str, Any]:
    given = GIVEN.get(deed, Note)(data=data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class _Act(APIView):
    permission_classes = (CanOperate,)
    deed = ""

    def post(self, request: Request, pk: int) -> Response:
        alert = get_object_or_404(Alert, pk=pk)
        given = _parsed(self.deed, request.data)
        try:
            lifecycle.DEEDS[self.deed](alert, by=Actor.of(request), now=timezone.now(), **given)
        except lifecycle.AlreadyMoved as moved:
            raise Conflict(str(moved), alert=_told(moved.alert.pk)) from moved
        except lifecycle.CannotAct as error:
            raise ValidationError({"non_field_errors": [str(error)]}) from error
        return Response(self.answer(pk))

    def answer(self, pk: int) -> dict[str, Any]:
        return _told(pk)


def _told(pk: int) -> dict[str, Any]:
    return dict(AlertOut(alerts_as_told().get(pk=pk)).data)


def _door(deed: str, promise: str) -> type[_Act]:
    """The endpoint of a deed that answers the alert as it then stands."""
    described = extend_schema(tags=["alerts"], request=GIVEN.get(deed, Note), responses=AlertOut)
    return described(type(deed.capitalize(), (_Act,), {"deed": deed, "__doc__": promise}))


Acknowledge = _door("acknowledge", "Says that somebody has the alert in hand. 409 where it is not open any more.")
Start = _door("start", "Says that somebody is working on it; it is that person's unless it is somebody's already.")
Resolve = _door("resolve", "Ends an alert, with a note and what it was. 409 where it has ended already.")
Close = _door("close", "Says that nothing more is to be learnt from a resolved alert.")
Reopen = _door("reopen", "Takes back that it is over. 409 where its subject has another active alert of the kind.")
Assign = _door(
    "assign", "Puts it into somebody's hands. To take it from somebody else, send the `revision` that you saw."
)
Comment = _door("comment", "Adds words to its story.")
Snooze = _door("snooze", "Puts it out of sight until an instant; it still ends by itself.")
Wake = _door("wake", "Ends its sleep.")


@extend_schema(tags=["alerts"], request=Verdict, responses=JudgementOut)
class Judge(_Act):
    """Says what the alert was; it stands instead of what was said before. Models are compared by it."""

    deed = "judge"

    def answer(self, pk: int) -> dict[str, Any]:
        return dict(JudgementOut(Judgement.objects.filter(alert=pk).select_related("by").latest("pk")).data)


class Bulk(serializers.Serializer[Any]):  # the deed refuses what is no field of its own
    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=BIGGEST), allow_empty=False, max_length=MOST_AT_ONCE
    )
    deed = serializers.ChoiceField(sorted(lifecycle.DEEDS))


class Refused(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    detail = serializers.CharField()


class BulkOut(serializers.Serializer[Any]):
    done = AlertOut(many=True)
    refused = Refused(many=True)


class ActOnMany(APIView):
    """Does one deed to many alerts, each by itself; beside `ids` and `deed` send what the deed takes."""

    permission_classes = (CanOperate,)

    @extend_schema(tags=["alerts"], request=Bulk, responses=BulkOut)
    def post(self, request: Request) -> Response:
        asked = Bulk(data=request.data)
        asked.is_valid(raise_exception=True)
        deed = asked.validated_data["deed"]
        said: dict[str, Any] = dict(request.data)  # an object, or it were no Bulk
        given = _parsed(deed, {name: value for name, value in said.items() if name not in asked.fields})
        given.pop("revision", None)
        done, refused = [], []
        found = Alert.objects.in_bulk(asked.validated_data["ids"])
        for pk in dict.fromkeys(asked.validated_data["ids"]):
            try:
                if pk not in found:
                    raise lifecycle.CannotAct(f"There is no alert {pk}.")
                lifecycle.DEEDS[deed](found[pk], by=Actor.of(request), now=timezone.now(), **given)
                done.append(pk)
            except (lifecycle.AlreadyMoved, lifecycle.CannotAct) as error:
                refused.append({"id": pk, "detail": str(error)})
        told = AlertOut(alerts_as_told().filter(pk__in=done), many=True).data
        return Response({"done": told, "refused": refused})
