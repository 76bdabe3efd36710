"""The API's door to the public stream; `event_stream` keeps open what is let in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import event_stream, registry
from sensors.api import known_mote
from sensors.event_stream import KINDS, Full, Opening, Wanted
from sensors.fleet import Fleet
from sensors.problems import Unavailable
from sensors.roles import person
from sensors.serializers import Codes, SiteQuery

RETRY = "retry: 3000\n\n"  # milliseconds after which a lost stream is opened anew


class TooMany(APIException):
    status_code = 429


class StreamQuery(SiteQuery):
    mote_id = Codes(required=False, max_length=2000, help_text="Codes of motes, by commas; by default all")
    profile = serializers.SlugField(required=False, help_text="Only motes of this profile")
    channel = Codes(required=False, max_length=2000, help_text="Codes of channels, by commas; by default all")
    kind = Codes(required=False, max_length=100, help_text="readings, alerts, or both by commas; by default both")


class Events(BaseRenderer):
    """Events as they are; whatever else is answered is one JSON object."""

    media_type = "text/event-stream"
    format = "events"
    charset = "utf-8"

    def render(self, data: Any, media: str | None = None, context: Any = None) -> bytes:
        return (json.dumps(data) if isinstance(data, Mapping) else str(data)).encode()


@extend_schema(tags=["stream"])
class Stream(APIView):
    """What has just been stored, as server-sent events, until the caller goes: hello, readings, alert.

    Each `data` is one message of docs/live.md. After every hello ask once for what you show; nothing is sent twice.
    """

    renderer_classes = (Events, JSONRenderer)

    @extend_schema(
        operation_id="stream",
        parameters=[StreamQuery],
        responses={(200, "text/event-stream"): OpenApiResponse(str, description="Events, for as long as you listen")},
    )
    def get(self, request: Request) -> Response:
        query = StreamQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        wanted = _wanted(registry.current_fleet(), query.validated_data)
        opening: Opening | None = getattr(request._request, "scope", {}).get(event_stream.OPENING)
        if opening is not None:
            _admit(opening, person(request).pk, wanted)
        return Response(RETRY, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _admit(opening: Opening, who: int, wanted: Wanted) -> None:
    try:
        opening.admit(who, wanted)
    except Full as full:
        raise (TooMany if full.is_yours else Unavailable)(str(full)) from full


def _wanted(fleet: Fleet, asked: Mapping[str, Any]) -> Wanted:
    kinds, channels = asked.get("kind") or list(KINDS), asked.get("channel", [])
    for kind in kinds:
        if kind not in KINDS:
            raise ValidationError({"kind": f"“{kind}” is no kind of event; expected {' or '.join(KINDS)}."})
    profile = asked.get("profile")
    if profile and profile not in fleet.profiles:
        known = ", ".join(sorted(fleet.profiles))
        raise ValidationError({"profile": f"There is no profile “{profile}”; expected one of {known}."})
    measured = {name for code, one in fleet.profiles.items() if profile in (None, code) for name in one.names}
    for channel in channels:
        if channel not in measured:
            raise ValidationError({"channel": f"Nothing measures “{channel}”; expected {', '.join(sorted(measured))}."})
    return Wanted(frozenset(KINDS[kind] for kind in kinds), _places(fleet, asked), frozenset(channels))


def _places(fleet: Fleet, asked: Mapping[str, Any]) -> frozenset[tuple[str, str]] | None:
    """The motes that are meant, as events name them; None for all there are and will be."""
    profile, site, codes = asked.get("profile", ""), asked.get("site", ""), asked.get("mote_id", [])
    if not (profile or site or codes):
        return None
    motes = [known_mote(fleet, code, site) for code in codes] or fleet.motes
    return frozenset((one.site, one.code) for one in motes if profile in ("", one.profile) and site in ("", one.site))
