"""The API of motes, their readings, and what people correct in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from django.core.exceptions import ValidationError as Invalid
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import APIView

from sensors import corrections, registry, selection, services
from sensors.fleet import Fleet, MoteRef
from sensors.lake import lake
from sensors.models import Correction, Mote
from sensors.problems import Conflict, NoSuchThing
from sensors.readings import Profile
from sensors.roles import ENGINEERING, OPERATE, CanEngineer, CanOperate, CanView, demand, person
from sensors.serializers import (
    CorrectionOut,
    CorrectionsQuery,
    GradeOut,
    MoteChange,
    MoteOut,
    MotesQuery,
    NewCorrection,
    NewMote,
    ReadingOut,
    ReadingsOut,
    SiteQuery,
    Touched,
)
from sensors.spoken import Spoken, spoken_table
from sensors.stores import StoreUnavailable, hot
from sensors.tiers import HOT, tiers

Answer = TypeVar("Answer")


class _Asked(APIView):
    """Who may look, and who may do something with POST, PATCH or DELETE."""

    deed_permission: type[BasePermission] = CanOperate

    def get_permissions(self) -> list[BasePermission]:
        return [CanView() if self.request.method in ("GET", "HEAD", "OPTIONS") else self.deed_permission()]


def deed(do: Callable[..., Answer], *args: Any, **values: Any) -> Answer:
    """Does it; what the model finds wrong is told like any other wrong field."""
    try:
        return do(*args, **values)
    except Invalid as wrong:
        raise ValidationError(as_serializer_error(wrong)) from wrong


@extend_schema(tags=["motes"])
class Motes(_Asked):
    """The motes: where they are, whether they are heard, how good their data is. Engineers register new ones."""

    deed_permission = CanEngineer

    @extend_schema(operation_id="motes_list", parameters=[MotesQuery], responses=MoteOut(many=True))
    def get(self, request: Request) -> Response:
        motes = list(Mote.objects.with_grade().narrowed(**MotesQuery.asked_in(request)))
        return Response(MoteOut(motes, many=True, context=_context(motes)).data)

    @extend_schema(operation_id="motes_register", request=NewMote, responses={201: MoteOut})
    def post(self, request: Request) -> Response:
        asked = NewMote(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.named()
        made = deed(
            services.register_mote, code=values.pop("mote"), who=person(request), now=timezone.now(), **values
        )  # fmt: skip
        return Response(_told(made), status=status.HTTP_201_CREATED)


@extend_schema(tags=["motes"])
class OneMote(_Asked):
    """One mote. Operators change its state; engineers its label, zone and place, and its profile until it reports."""

    @extend_schema(operation_id="motes_retrieve", responses=MoteOut)
    def get(self, request: Request, site: str, mote: str) -> Response:
        return Response(_told(_mote(site, mote)))

    @extend_schema(operation_id="motes_change", request=MoteChange, responses=MoteOut)
    def patch(self, request: Request, site: str, mote: str) -> Response:
        found = _mote(site, mote)
        asked = MoteChange(data=request.data)
        asked.is_valid(raise_exception=True)
        demand(request.user, OPERATE if set(asked.validated_data) <= {"state"} else ENGINEERING)
        changes = asked.changes(found.site)
        _refuse_other_profile(found, changes)
        deed(services.change_mote, found, who=person(request), now=timezone.now(), **changes)
        return Response(_told(found))


@extend_schema(tags=["motes"])
class Grades(APIView):
    """How good each channel of a mote has been of late, with the reasons."""

    @extend_schema(operation_id="motes_grades", responses=GradeOut(many=True))
    def get(self, request: Request, site: str, mote: str) -> Response:
        return Response(GradeOut(_mote(site, mote).grades.all(), many=True).data)


def _refuse_other_profile(mote: Mote, changes: dict[str, Any]) -> None:
    other = changes.get("profile", mote.profile)
    if other != mote.profile and services.has_readings(mote, store=hot(), lake=lake()):
        raise Conflict(
            f"Mote {mote} has readings of profile {mote.profile}; what they mean would change. Register a new mote."
        )


def _mote(site: str, code: str) -> Mote:
    found = Mote.objects.with_grade().filter(site__code=site, code=code).first()
    if found is None:
        raise NotFound(f"There is no mote “{code}” at site “{site}”; /api/v1/motes lists them.")
    return found


def _context(motes: Sequence[Mote]) -> dict[str, Any]:
    profiles = registry.profiles()
    return {"profiles": profiles, "now": timezone.now(), "heard": _heard(motes, profiles)}


def _heard(motes: Sequence[Mote], profiles: Mapping[str, Profile]) -> dict[int, datetime]:
    """When each was heard last, as the hot store knows at once; a mote's row is told of it some seconds later."""
    heard: dict[int, datetime] = {}
    with suppress(StoreUnavailable):  # then its row has to do
        for code in {mote.profile.code for mote in motes} & profiles.keys():
            newest = hot().latest(profiles[code], [mote.pk for mote in motes if mote.profile.code == code])
            heard |= newest.select("mote", "at").iter_rows()
    return heard


def _told(mote: Mote) -> dict[str, Any]:
    return dict(MoteOut(mote, context=_context([mote])).data)


# ---- readings -----------------------------------------------------------------------------------------------


@extend_schema(tags=["readings"])
class LatestOfAll(APIView):
    """The newest reading of every mote that has one."""

    @extend_schema(responses=ReadingsOut)
    def get(self, request: Request) -> Response:
        readings, tier = latest_of_all(registry.current_fleet())
        return Response({"readings": readings, "tier": tier})


@extend_schema(tags=["readings"])
class LatestOfMote(APIView):
    """The newest reading of one mote."""

    @extend_schema(operation_id="sensors_mote_latest", parameters=[SiteQuery], responses=ReadingOut)
    def get(self, request: Request, mote: str) -> Response:
        query = SiteQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        fleet = registry.current_fleet()
        found = known_mote(fleet, mote, query.validated_data.get("site"), field="mote")
        newest = tiers().latest(fleet.profiles[found.profile], [found.id], now=timezone.now()).table
        if newest.is_empty():
            raise NotFound(f"Mote “{mote}” of site “{found.site}” has no reading yet.")
        return Response(spoken_table(newest, found.profile, fleet)[0])


def latest_of_all(fleet: Fleet) -> tuple[list[Spoken], str]:
    """One query a profile, whatever the number of motes, and the store that told them."""
    found: list[Spoken] = []
    tier = HOT
    for code, profile in fleet.profiles.items():
        motes = [mote.id for mote in fleet.motes if mote.profile == code]
        if motes:
            newest = tiers().latest(profile, motes, now=timezone.now())
            found += spoken_table(newest.table, code, fleet)
            tier = newest.tier
    return found, tier


def known_mote(fleet: Fleet, code: str, site: str | None, *, field: str = "mote_id") -> MoteRef:
    """404 where there is none, or two."""
    try:
        return selection.known_mote(fleet, code, site or "")
    except selection.NoSuch as wrong:
        raise NoSuchThing(str(wrong), field, code) from wrong


# ---- corrections --------------------------------------------------------------------------------------------


class Pages(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000


@extend_schema(tags=["corrections"])
class Corrections(_Asked, ListAPIView[Correction]):
    """What people have said about stretches of readings, the newest first. Operators lay new ones over them."""

    serializer_class = CorrectionOut
    pagination_class = Pages
    queryset = Correction.objects.none()

    def get_queryset(self) -> QuerySet[Correction]:
        query = CorrectionsQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        found = Correction.objects.select_related("mote__site", "made_by", "undone_by")
        for name, field in {"mote": "mote__code", "site": "mote__site__code"}.items():
            found = found.filter(**{field: asked[name]}) if name in asked else found
        return found.filter(undone_at__isnull=asked["status"] == "standing") if "status" in asked else found

    @extend_schema(operation_id="corrections_list", parameters=[CorrectionsQuery])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.list(request, *args, **kwargs)

    @extend_schema(operation_id="corrections_make", request=NewCorrection, responses={200: Touched, 201: CorrectionOut})
    def post(self, request: Request) -> Response:
        """With `is_rehearsal` it is only checked, and the readings that it would touch are counted."""
        query = NewCorrection(data=request.data)
        query.is_valid(raise_exception=True)
        asked = dict(query.validated_data)
        ref = known_mote(registry.current_fleet(), asked.pop("mote"), asked.pop("site", None), field="mote")
        mote = Mote.objects.select_related("site", "profile").get(pk=ref.id)
        if asked.pop("is_rehearsal"):
            return Response({"n_readings": _rehearsed(mote, timezone.now(), **asked)})
        made = deed(corrections.correct, mote, who=person(request), now=timezone.now(), **asked)
        return Response(CorrectionOut(made).data, status=status.HTTP_201_CREATED)


def _rehearsed(mote: Mote, now: datetime, **asked: Any) -> int:
    """Makes it, counts, and takes it back."""
    with transaction.atomic():
        made = deed(corrections.correct, mote, who=None, now=now, **asked)
        transaction.set_rollback(True)
    return corrections.n_touched(hot(), made)


@extend_schema(tags=["corrections"])
class OneCorrection(APIView):
    """A correction that was made; it is never deleted, only taken back."""

    permission_classes = (CanOperate,)

    @extend_schema(operation_id="corrections_undo", request=None, responses={200: CorrectionOut})
    def delete(self, request: Request, pk: int) -> Response:
        """The stored readings show again as they are. 409 where somebody was faster."""
        made = Correction.objects.select_related("mote__site").filter(pk=pk).first()
        if made is None:
            raise NotFound(f"There is no correction {pk}; /api/v1/corrections lists them.")
        try:
            corrections.undo_correction(made, who=person(request), now=timezone.now())
        except corrections.AlreadyUndone as undone:
            raise Conflict(str(undone)) from undone
        return Response(CorrectionOut(made).data)
