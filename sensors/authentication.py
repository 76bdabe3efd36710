"""Who calls the API. Named in settings, so that nothing here may import DRF's views."""

from __future__ import annotations

from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request


class CookieSession(SessionAuthentication):
    """The pages' session. Somebody without one is answered 401, and no browser asks for a password."""

    def authenticate_header(self, request: Request) -> str:
        return "Session"
