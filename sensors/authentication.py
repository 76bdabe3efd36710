"""Who calls the API. Named in settings, so that nothing here may import DRF's views."""

from __future__ import annotations

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.exceptions import APIException
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
