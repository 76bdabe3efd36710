"""What is answered where a page or an endpoint fails."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error

DATABASE_AWAY = (OperationalError, InterfaceError)
WORDS = "The database does not answer, so nobody can be let in or shown anything now. Try again later."


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler of what nothing else caught: a database that is away is no fault of this program."""
    if not isinstance(sys.exc_info()[1], DATABASE_AWAY):
        return server_error(request)
    if request.path.startswith("/api/"):
        problem = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": WORDS}
        return JsonResponse(problem, status=503, content_type="application/problem+json")
    return HttpResponse(render_to_string("503.html"), status=503)
