"""The read API of motes and their readings."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import registry
from sensors.fleet import Fleet, MoteRef
from sensors.models import Mote
from sensors.serializers import (
    MoteOut,
    ReadingOut,
    ReadingsOut,
    ReadingsPage,
    ReadingsQuery,
    SiteQuery,
)
from sensors.spoken import Spoken, spoken_table
from sensors.stores import hot


@extend_schema(tags=["motes"])
class Motes(ListAPIView[Mote]):
    """All motes but the retired ones: where they are, and whether they are heard."""

    serializer_class = MoteOut
    queryset = Mote.objects.on_page()
    pagination_class = None

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "profiles": registry.profiles(), "now": timezone.now()}


@extend_schema(tags=["readings"])
class LatestOfAll(APIView):
    """The newest reading of every mote that has one."""

    @extend_schema(responses=ReadingsOut)
    def get(self, request: Request) -> Response:
        return Response({"readings": latest_of_all(registry.current_fleet())})


@extend_schema(tags=["readings"])
class LatestOfMote(APIView):
    """The newest reading of one mote."""

    @extend_schema(operation_id="sensors_mote_latest", parameters=[SiteQuery], responses=ReadingOut)
    def get(self, request: Request, mote: str) -> Response:
        query = SiteQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        fleet = registry.current_fleet()
        found = known_mote(fleet, mote, query.validated_data.get("site"))
        newest = hot().latest(fleet.profiles[found.profile], [found.id])
        if newest.is_empty():
            raise NotFound(f"Mote “{mote}” of site “{found.site}” has no reading yet.")
        return Response(spoken_table(newest, found.profile, fleet)[0])


@extend_schema(tags=["readings"])
class Readings(APIView):
    """One mote's readings of a span of time, oldest first."""

    @extend_schema(parameters=[ReadingsQuery], responses=ReadingsPage)
    def get(self, request: Request) -> Response:
        query = ReadingsQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        fleet = registry.current_fleet()
        mote = known_mote(fleet, asked["mote_id"], asked.get("site"))
        start, end, limit = asked["start"], asked["end"], asked["limit"]
        # One more than asked for: it is where the next page starts.
        table = hot().between(fleet.profiles[mote.profile], [mote.id], start, end, limit=limit + 1)
        rows = spoken_table(table, mote.profile, fleet)
        following = rows[limit]["at"] if len(rows) > limit else None
        span = ReadingsPage({"start": start, "end": end, "readings": [], "next": None}).data
        return Response({**span, "readings": rows[:limit], "next": following})


def latest_of_all(fleet: Fleet) -> list[Spoken]:
    """One query of the hot store a profile, whatever the number of motes."""
    found: list[Spoken] = []
    for code, profile in fleet.profiles.items():
        motes = [mote.id for mote in fleet.motes if mote.profile == code]
        if motes:
            found += spoken_table(hot().latest(profile, motes), code, fleet)
    return found


def known_mote(fleet: Fleet, code: str, site: str | None) -> MoteRef:
    found = fleet.find(code, site)
    if found is not None and found.profile in fleet.profiles:
        return found
    sites = sorted(mote.site for mote in fleet.motes if mote.code == code)
    if site is None and len(sites) > 1:
        raise NotFound(f"The sites {', '.join(sites)} all have a mote “{code}”; say which with ?site=.")
    raise NotFound(f"There is no mote “{code}”{f' at site “{site}”' if site else ''}; /api/v1/motes lists them.")
