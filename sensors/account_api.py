"""The API of one's own account. A token changes nothing of it: log in for that, or send name and password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import account
from sensors.api import deed
from sensors.models import Preferences
from sensors.roles import person
from sensors.serializers import Body, Instant, Query
from sensors.token_api import BY_A_PERSON


class AccountIn(Body):
    """What is left out stays as it is."""

    first_name = serializers.CharField(required=False, allow_blank=True, max_length=150)
    last_name = serializers.CharField(required=False, allow_blank=True, max_length=150)
    email = serializers.EmailField(required=False, allow_blank=True)
    time_zone = serializers.CharField(
        required=False, allow_blank=True, max_length=64, help_text="IANA name, for the pages; empty: the site's"
    )
    theme = serializers.ChoiceField(Preferences.Theme.choices, required=False, allow_blank=True)
    is_toured = serializers.BooleanField(required=False, help_text="Whether the tour was taken or declined")


class AccountOut(serializers.Serializer[Any]):
    username = serializers.CharField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    email = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    time_zone = serializers.CharField(help_text="Empty: the site's")
    theme = serializers.CharField(help_text="light, dark, or empty: as the system")
    is_toured = serializers.BooleanField()


class LoginOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="The hash of the session's key")
    browser = serializers.CharField()
    address = serializers.CharField()
    began_at = Instant(allow_null=True)
    ends_at = Instant()
    is_this = serializers.BooleanField(help_text="Whether it is the one that asks")


class EndQuery(Query):
    name = serializers.CharField(required=False, max_length=64, help_text="The one to end; by default all others")


class Ended(serializers.Serializer[Any]):
    n_ended = serializers.IntegerField()


@extend_schema(tags=["account"])
class Account(APIView):
    """Who you are here, and how the pages look to you."""

    authentication_classes = BY_A_PERSON
    permission_classes = (IsAuthenticated,)

    @extend_schema(operation_id="account_retrieve", responses=AccountOut)
    def get(self, request: Request) -> Response:
        return Response(told(person(request)))

    @extend_schema(operation_id="account_change", request=AccountIn, responses=AccountOut)
    def patch(self, request: Request) -> Response:
        asked = AccountIn(data=request.data)
        asked.is_valid(raise_exception=True)
        values, now = dict(asked.validated_data), timezone.now()
        if "is_toured" in values:
            values["toured_at"] = now if values.pop("is_toured") else None
        deed(account.change_account, person(request), now=now, **values)
        return Response(told(person(request)))


@extend_schema(tags=["account"])
class Logins(APIView):
    """Where you are logged in; DELETE logs you out there."""

    authentication_classes = BY_A_PERSON
    permission_classes = (IsAuthenticated,)

    @extend_schema(operation_id="account_sessions", responses=LoginOut(many=True))
    def get(self, request: Request) -> Response:
        found = account.logins(person(request), this=request.session.session_key, now=timezone.now())
        return Response(LoginOut(found, many=True).data)

    @extend_schema(operation_id="account_sessions_end", parameters=[EndQuery], responses=Ended)
    def delete(self, request: Request) -> Response:
        query = EndQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        this, only = request.session.session_key, query.validated_data.get("name", "")
        n = account.end_logins(person(request), this=this, only=only, now=timezone.now())
        return Response({"n_ended": n})


def told(user: User) -> dict[str, Any]:
    wants = account.preferences_of(user)
    return {
        "username": user.username, "first_name": user.first_name, "last_name": user.last_name, "email": user.email,
        "roles": [group.name for group in user.groups.all()], "time_zone": wants.time_zone, "theme": wants.theme,
        "is_toured": wants.toured_at is not None,
    }  # fmt: skip
