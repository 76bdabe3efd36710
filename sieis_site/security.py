"""What holds for every answer and every request: a strict Content-Security-Policy, and no body without bounds."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import Resolver404, resolve
from django.utils.deprecation import MiddlewareMixin

from sensors.uploads import FORM, largest_upload

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class ContentSecurityPolicy(MiddlewareMixin):
    """Adds the policy to every answer that does not bring one of its own."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


class BodyLimit(MiddlewareMixin):
    """Refuses a body that is larger than any page or endpoint takes, before anything of it is parsed."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        length = request.META.get("CONTENT_LENGTH") or "0"
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if length.isdigit() and int(length) > limit:
            limit = max(limit, _of_files(request))
        if length.isdigit() and int(length) <= limit:
            return None
        problem = {
            "type": "about:blank",
            "title": "Content Too Large",
            "status": 413,
            "detail": f"The body has {length} bytes; at most {limit:,} are taken.",
        }
        return JsonResponse(problem, status=413, content_type="application/problem+json")


def _of_files(request: HttpRequest) -> int:
    """What the view takes in files; one file more than that is for it to refuse, in its own words."""
    if request.method != "POST" or request.content_type != "multipart/form-data":
        return 0
    try:
        largest = largest_upload(resolve(request.path_info).func)
    except Resolver404:
        return 0
    return 2 * largest + FORM if largest else 0
