"""Who calls the API. Named in settings, so that nothing here may import DRF's views."""

from __future__ import annotations

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.utils import timezone
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
    get_authorization_header,
)
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request


class Locked(APIException):
    status_code = 429
    default_detail = "Too many wrong passwords: this name is locked for your address. Try again later."


class CookieSession(SessionAuthentication):
    """The pages' session. Somebody without one is answered 401, and no browser asks for a password."""

    def authenticate_header(self, request: Request) -> str:
        return "Session"


class NameAndPassword(BasicAuthentication):
    """For programs. Wrong passwords count as failed log-ins and lock the name as they do on the login page."""

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> Any:
        if not AxesProxyHandler.is_allowed(request._request, {"username": userid}):
            raise Locked
        return super().authenticate_credentials(userid, password, request._request)


class ByToken(BaseAuthentication):
    """`Authorization: Bearer sieisapi_…`: a program in a person's name, within its token's scope."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        # Settings name this module before models can be imported.
        from sensors import tokens
        from sensors.holding import note_use

        kind, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            return None
        now, token = timezone.now(), tokens.token_of(text.strip())
        if token is None:
            raise AuthenticationFailed("This token is not known. Make one under API tokens in the account menu.")
        if token.revoked_at is not None:
            raise AuthenticationFailed(f"This token was revoked at {token.revoked_at:%Y-%m-%d %H:%M} UTC.")
        if token.expires_at <= now:
            raise AuthenticationFailed(f"This token ended at {token.expires_at:%Y-%m-%d %H:%M} UTC. Make a new one.")
        if not token.user.is_active:
            raise AuthenticationFailed("The account of this token is closed.")
        note_use(token, now)
        token.user.token_allows = tokens.SCOPES[token.scope]  # type: ignore[attr-defined]
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
