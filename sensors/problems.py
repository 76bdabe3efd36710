"""What the API answers when it cannot: RFC 9457 problem details, in sentences for the person who called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.http import Http404
from drf_spectacular.authentication import BasicScheme, SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.exceptions import APIException, NotAuthenticated, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from sensors.stores import StoreUnavailable

MEDIA_TYPE = "application/problem+json"
SHOWN_OF_A_VALUE = 200
# What any operation may answer, beside what it names itself.
TROUBLES = (
    HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND,
    HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)  # fmt: skip
TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "field": TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": TEXT, "value": {**TEXT, "nullable": True}, "detail": TEXT},
            },
        },
    },
}


class Conflict(APIException):
    """The thing is not in the state that the request needs, mostly because somebody was faster.

    `told` goes into the answer beside the words: how the thing stands now.
    """

    status_code = HTTPStatus.CONFLICT

    def __init__(self, words: str, **told: Any) -> None:
        super().__init__(words)
        self.told = told


class NoSuchThing(NotFound):
    """What a part of the question names is not there."""

    def __init__(self, words: str, field: str, value: str) -> None:
        super().__init__(words)
        self.told = {"field": field, "errors": [{"field": field, "value": value, "detail": words}]}


class Unavailable(APIException):
    """A server behind this one does not answer."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE


class Unprocessable(APIException):
    """The question is well put, and what is there does not suffice to answer it; the words say what would."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY


class CookieSessionScheme(SessionScheme):
    """How the OpenAPI document calls the pages' session."""

    target_class = "sensors.authentication.CookieSession"
    name = "session"


class NameAndPasswordScheme(BasicScheme):
    target_class = "sensors.authentication.NameAndPassword"
    name = "name_and_password"


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "sensors.authentication.ByToken"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token of yours: /account/tokens/ makes them."}


class NoSuchAddress(APIView):
    """Every other address below /api/v1/."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound(f"There is no {request.path} here; /docs lists what there is.")


def problem_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: what it cannot answer stays an exception and ends as a 500."""
    if isinstance(error, StoreUnavailable):
        error = Unavailable(f"The hot store does not answer: {error}. Health says since when; try again later.")
    response = exception_handler(error, context)
    if response is None:
        return None
    response.data = {
        "type": "about:blank",
        "title": HTTPStatus(response.status_code).phrase,
        "status": response.status_code,
        **_details(error, response.data, context.get("request")),
    }
    response.content_type = MEDIA_TYPE
    return response


def document_problems(result: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Adds to every operation of the OpenAPI document what it answers when it cannot."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    answer = {
        "description": "What went wrong, by RFC 9457",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            for status in TROUBLES:
                operation["responses"].setdefault(str(status.value), answer)
    return result


def _details(error: Exception, data: Any, request: Request | None) -> dict[str, Any]:
    if isinstance(error, Http404) and request is not None:
        return {"detail": f"There is nothing at {request.path}."}
    if type(error) is NotAuthenticated:  # a door of its own kind says itself what it takes
        return {"detail": "Log in on the pages, or send name and password (HTTP Basic)."}
    if not isinstance(error, ValidationError):
        return {"detail": str(data["detail"]), **getattr(error, "told", {})}
    errors = list(_errors(data, _given(request, data)))
    first = errors[0]
    words = " ".join(f"{one['field']}: {one['detail']}" if one["field"] else one["detail"] for one in errors)
    return {"detail": words, "field": first["field"], "errors": errors}


def _given(request: Request | None, complaints: Any) -> Mapping[str, Any]:
    """What the complaints are about: the address or the body."""
    if request is None:
        return {}
    asked = request.query_params
    is_asked = request.method == "GET" or (isinstance(complaints, Mapping) and complaints.keys() & asked.keys())
    given = asked if is_asked else request.data
    return given if isinstance(given, Mapping) else {}


def _errors(data: Any, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each complaint with the field it is about and the value that was there."""
    fields = data.items() if isinstance(data, Mapping) else [("non_field_errors", data)]
    for field, complaints in fields:
        name = "" if field == "non_field_errors" else field
        value = given.get(name)
        shown = None if value is None else str(value)[:SHOWN_OF_A_VALUE]
        for complaint in complaints if isinstance(complaints, list) else [complaints]:
            yield {"field": name, "value": shown, "detail": _shortened(str(complaint))}


def _shortened(words: str) -> str:
    """Many repeat the value that they are about, however long it is; what was expected stands before or after it."""
    most = 4 * SHOWN_OF_A_VALUE
    return words if len(words) <= most else f"{words[: most // 2]}…{words[-most // 2 :]}"
