"""An address of the API that asks for something unknown is refused: a slip would be taken for the default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Mapping
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.urls import path
from django.utils.deprecation import MiddlewareMixin
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from sensors.serializers import Query


class ExactQueries(MiddlewareMixin):
    """What may be asked for is what the API's document names, so that neither knows more than the other."""

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if match is None or not request.GET or getattr(getattr(view, "cls", None), "schema", None) is None:
            return None
        known = _documented(match.route, view).get((request.method or "").lower())
        if known is None or not (unknown := sorted(request.GET.keys() - known - Query.heard_elsewhere)):
            return None
        answer: HttpResponseBase = _refused(request, unknown=unknown, known=known)
        return answer


class Slip(APIView):
    """Refuses in the words of a Query, once it is known who asks."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise ValidationError(dict.fromkeys(kwargs["unknown"], Query.no_such(kwargs["known"])))


_refused = Slip.as_view()


@cache
def _documented(route: str, view: Callable[..., Any]) -> Mapping[str, KeysView[str]]:
    """By method what it can be asked, but for pages and formats; nothing of what the document leaves out."""
    paths = SchemaGenerator(patterns=[path(route, view)]).get_schema(request=None, public=True)["paths"]
    return {
        method: {name: None for name in _names(operation) if name not in Query.heard_elsewhere}.keys()
        for operations in paths.values()
        for method, operation in operations.items()
    }


def _names(operation: Mapping[str, Any]) -> Iterator[str]:
    return (one["name"] for one in operation.get("parameters", ()) if one["in"] == "query")
