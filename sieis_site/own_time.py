"""Pages tell times in the zone of whoever looks; the API speaks UTC."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from sensors.account import preferences_of


class OwnTimeZone(MiddlewareMixin):
    """Activates the zone of the account for a page, and keeps its preferences at the request for the template."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path.startswith("/api/"):
            return
        wants = preferences_of(request.user)
        request.preferences = wants  # type: ignore[attr-defined]
        if wants.time_zone:
            timezone.activate(ZoneInfo(wants.time_zone))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        timezone.deactivate()
        return response
