"""The API of one's own tokens. A token makes and revokes none: log in for that, or send name and password."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import tokens
from sensors.api import deed
from sensors.authentication import CookieSession, NameAndPassword
from sensors.models import ApiToken
from sensors.problems import Conflict
from sensors.roles import person
from sensors.serializers import Body, Instant

BY_A_PERSON = (CookieSession, NameAndPassword)
DEFAULT_DAYS = 90


class TokenOut(serializers.ModelSerializer[ApiToken]):
    made_at = Instant()
    expires_at = Instant()
    last_used_at = Instant(allow_null=True)
    revoked_at = Instant(allow_null=True)

    class Meta:
        model = ApiToken
        fields: tuple[str, ...] = (
            "id", "name", "scope", "public_id", "made_at", "expires_at", "last_used_at", "revoked_at",
        )  # fmt: skip


class NewTokenOut(TokenOut):
    token = serializers.CharField(help_text="What the program sends; shown this once")

    class Meta(TokenOut.Meta):
        fields: tuple[str, ...] = (*TokenOut.Meta.fields, "token")


class TokenIn(Body):
    name = serializers.CharField(max_length=120, help_text="Which program uses it")
    scope = serializers.ChoiceField(ApiToken.Scope.choices, default=ApiToken.Scope.READ)
    days = serializers.IntegerField(
        default=DEFAULT_DAYS, min_value=tokens.SHORTEST, max_value=tokens.LONGEST, help_text="How long it holds"
    )


@extend_schema(tags=["tokens"])
class Tokens(ListAPIView[ApiToken]):
    """Your tokens, the ended ones too."""

    authentication_classes = BY_A_PERSON
    serializer_class = TokenOut
    queryset = ApiToken.objects.none()
    pagination_class = None

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(user=person(self.request))

    @extend_schema(operation_id="tokens_make", request=TokenIn, responses={201: NewTokenOut})
    def post(self, request: Request) -> Response:
        """Makes a token. Its text is in this answer and nowhere else."""
        asked = TokenIn(data=request.data)
        asked.is_valid(raise_exception=True)
        made = deed(tokens.make_token, person(request), now=timezone.now(), **asked.validated_data)
        return Response({**TokenOut(made.token).data, "token": made.text}, status=status.HTTP_201_CREATED)


@extend_schema(tags=["tokens"])
class OneToken(APIView):
    authentication_classes = BY_A_PERSON

    @extend_schema(operation_id="tokens_revoke", responses=TokenOut)
    def delete(self, request: Request, pk: int) -> Response:
        """Revokes a token of yours: it opens nothing from now on."""
        token = ApiToken.objects.select_related("user").filter(pk=pk, user=person(request)).first()
        if token is None:
            raise NotFound(f"You have no token {pk}; /api/v1/tokens lists yours.")
        if not tokens.revoke_token(token, who=person(request), now=timezone.now()):
            raise Conflict(f"The token “{token.name}” was revoked at {token.revoked_at:%Y-%m-%d %H:%M} UTC already.")
        return Response(TokenOut(token).data)
