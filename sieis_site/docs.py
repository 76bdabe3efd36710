"""Swagger UI under /docs, with its assets from this server."""

from __future__ import annotations

from typing import Any

from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from sensors.roles import RoleRequired
from sieis_site.security import POLICY

# Swagger UI writes style attributes and a style element of its own; its scripts keep to the strict policy.
SWAGGER_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class Docs(RoleRequired, SpectacularSwaggerSplitView):
    """Every address of the API, to read and to try."""

    url_name = "api:schema"

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        finished = super().finalize_response(request, response, *args, **kwargs)
        finished.headers["Content-Security-Policy"] = SWAGGER_POLICY
        return finished
