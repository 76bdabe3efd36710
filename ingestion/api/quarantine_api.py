"""The API of the quarantine: look, send again, discard, adopt."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError as Refused
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import adoption, replay_jobs, replaying
from ingestion.filters import QuarantineFilter
from ingestion.models import Quarantined, ReplayJob
from ingestion.pages import quarantine_page
from ingestion.payloads import shown, text_of
from ingestion.quarantine import unmarked
from ingestion.running import parts
from ingestion.streams import StreamUnavailable
from ingestion.wire import MAX_BYTES, REASONS
from sensors.models import Profile, Site, Zone
from sensors.problems import Conflict, Unavailable
from sensors.roles import CanOperate, person
from sensors.serializers import MOST_ID, Body, Instant, Query, named

MOST_CHOSEN = 1000


class Narrowing(serializers.Serializer[Any]):
    """Which of the messages are meant."""

    reason = serializers.ChoiceField(sorted(REASONS), required=False)
    status = serializers.ChoiceField(
        ["waiting", *Quarantined.Status.values],
        required=False,
        help_text="By default all; waiting: nobody settled them",
    )
    mote = serializers.CharField(max_length=64, required=False, help_text="Code of the mote; (none): names none")
    site = serializers.CharField(max_length=64, required=False, help_text="Its site; (none): names none")
    topic = serializers.CharField(max_length=200, required=False)
    since = serializers.DateField(required=False, help_text="First day, UTC")
    until = serializers.DateField(required=False, help_text="Last day, UTC")
    q = serializers.CharField(max_length=100, required=False, help_text="Text of the message, or of its detail")

    def asked(self) -> dict[str, str]:
        """As the page's own filter takes it."""
        given = {name: str(value) for name, value in self.validated_data.items() if name in Narrowing().fields}
        status = given.pop("status", "all")
        return given if status == "waiting" else {**given, "status": status}


class QuarantineQuery(Narrowing, Query):
    """As an address says it."""


class QuarantinedOut(serializers.ModelSerializer[Quarantined]):
    received_at = Instant()
    mote = serializers.CharField(source="mote_code")
    status = serializers.CharField(help_text="quarantined, held, replayed or discarded")
    payload = serializers.SerializerMethodField(help_text="Its beginning, as text")
    came_from = serializers.IntegerField(
        source="came_from_id", allow_null=True, help_text="The message that was sent again and ended here"
    )

    class Meta:
        model = Quarantined
        fields = (
            "id", "topic", "partition", "offset", "received_at", "reason", "detail", "site", "mote", "status", "size",
            "payload", "came_from",
        )  # fmt: skip

    def get_payload(self, one: Quarantined) -> str:
        return shown(bytes(one.payload), one.size)


class FateOut(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="stored, late, duplicate, label, or why it would be put aside")
    is_taken = serializers.BooleanField()
    words = serializers.CharField()


class OneQuarantinedOut(QuarantinedOut):
    """With the whole message, what became of it, and what would become of it now."""

    settled_at = Instant(allow_null=True)
    settled_by = serializers.CharField(source="settled_by.username", default=None, allow_null=True)
    text = serializers.SerializerMethodField(help_text="The whole message; null where it is no text, or not kept whole")
    base64 = serializers.SerializerMethodField(help_text="All bytes that there are")
    is_whole = serializers.SerializerMethodField()
    n_alike = serializers.SerializerMethodField(help_text="Messages of the same reason, mote and topic")
    fate = serializers.SerializerMethodField(help_text="What would become of it now; null when it is settled")

    class Meta(QuarantinedOut.Meta):
        fields = (  # type: ignore[assignment]
            *QuarantinedOut.Meta.fields, "settled_at", "settled_by", "went_to", "is_repaired", "text", "base64",
            "is_whole", "n_alike", "fate",
        )  # fmt: skip

    def get_text(self, one: Quarantined) -> str | None:
        whole = self.context["whole"]
        return None if whole is None else text_of(whole)

    def get_base64(self, one: Quarantined) -> str:
        whole = self.context["whole"]
        return base64.b64encode(bytes(one.payload) if whole is None else whole).decode()

    def get_is_whole(self, one: Quarantined) -> bool:
        return self.context["whole"] is not None

    def get_n_alike(self, one: Quarantined) -> int:
        alike = {name: getattr(one, name) for name in quarantine_page.KIND}
        return Quarantined.objects.filter(**alike).count()

    @extend_schema(responses=FateOut)
    def get_fate(self, one: Quarantined) -> dict[str, Any] | None:
        whole = self.context["whole"]
        if not one.waits or whole is None:
            return None
        [fate] = replaying.fates([whole], one.topic, parts=self.context["parts"], now=timezone.now())
        return dict(FateOut(fate).data)


class KindOut(serializers.Serializer[Any]):
    reason = serializers.CharField()
    site = serializers.CharField()
    mote = serializers.CharField(source="mote_code")
    topic = serializers.CharField()
    n = serializers.IntegerField()
    first_at = Instant()
    last_at = Instant()
    newest = serializers.IntegerField(source="newest.pk", help_text="Key of the newest message of the kind")
    example = serializers.CharField()


class PayloadIn(Body):
    payload = serializers.CharField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_BYTES,
        help_text="The repaired message as text; without it the message goes as it came",
    )  # fmt: skip


class WhichIn(Narrowing, Body):
    """Filters, or keys, or all that wait; one of them has to be given."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=MOST_ID), required=False, max_length=MOST_CHOSEN
    )
    all = serializers.BooleanField(required=False, default=False, help_text="Needed where there is no filter")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        narrowing = {name for name in given if name not in ("all", "ids", "status")}
        if not (given.get("ids") or narrowing or given["all"]):
            raise serializers.ValidationError("Give ids, or filters such as reason, or all: true for all that wait.")
        if keys := given.get("ids"):
            missing = {*keys} - {*Quarantined.objects.filter(pk__in=keys).values_list("pk", flat=True)}
            if missing:
                shown = ", ".join(map(str, sorted(missing)[:20]))
                raise serializers.ValidationError({"ids": [f"There is no message {shown} in the quarantine."]})
        return {"status": "waiting", **given}


class SentOut(serializers.Serializer[Any]):
    sent = serializers.IntegerField()
    left = serializers.DictField(child=serializers.IntegerField(), help_text="How many stayed, by reason")


class ReplayJobOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    state = serializers.CharField(help_text="queued, running, done or failed")
    n_asked = serializers.IntegerField()
    n_sent = serializers.IntegerField()
    n_left = serializers.IntegerField()
    left = serializers.DictField(child=serializers.IntegerField(), help_text="How many stayed, by reason")
    progress = serializers.FloatField()
    error = serializers.CharField()


class DiscardedOut(serializers.Serializer[Any]):
    discarded = serializers.IntegerField()


class AdoptIn(Body):
    mote = serializers.CharField(max_length=64, help_text="Its code, as the held messages name it")
    site = serializers.SlugField(required=False, help_text="By default the one that the messages name")
    profile = serializers.SlugField(required=False, help_text="By default the one that fits the messages' fields best")
    zone = serializers.SlugField(required=False, allow_null=True)
    label = serializers.CharField(required=False, allow_blank=True, default="", max_length=120)  # type: ignore[assignment]


class AdoptedOut(serializers.Serializer[Any]):
    site = serializers.CharField()
    mote = serializers.CharField()
    key = serializers.IntegerField()
    profile = serializers.CharField()
    held = serializers.IntegerField(help_text="Messages that flow in now")


class QuarantinePages(CursorPagination):
    """By key, so that a page deep down costs what the first one does; nothing is counted."""

    page_size = 100
    page_size_query_param = "limit"
    max_page_size = 1000
    ordering = "-id"
    cursor_query_param = "cursor"


@contextmanager
def _told() -> Iterator[None]:
    """What a deed refuses, as the API says it."""
    try:
        yield
    except (replaying.AlreadySettled, replay_jobs.AlreadyReplaying) as faster:
        raise Conflict(str(faster)) from faster
    except replay_jobs.NothingToReplay as nothing:
        raise Conflict(str(nothing)) from nothing
    except replaying.CannotReplay as refusal:
        raise ValidationError({"payload": [str(refusal)]}) from refusal
    except StreamUnavailable as away:
        raise Unavailable(f"The stream does not take it now: {away}. Nothing was marked; try again later.") from away


def _one(row: Quarantined) -> dict[str, Any]:
    """The row with its whole message, which a long one has in the lake only."""
    given = parts()
    found = replaying.whole_messages([row], given.lake).get(row.pk)
    context = {"whole": None if found is None else unmarked(found), "parts": given}
    return dict(OneQuarantinedOut(row, context=context).data)


def _row(pk: int) -> Quarantined:
    return get_object_or_404(Quarantined.objects.select_related("settled_by"), pk=pk)


@extend_schema(tags=["quarantine"], parameters=[QuarantineQuery])
class Quarantine(ListAPIView[Quarantined]):
    """Messages that are no readings, with the reason, the last put aside first."""

    serializer_class = QuarantinedOut
    pagination_class = QuarantinePages
    queryset = Quarantined.objects.none()

    def get_queryset(self) -> QuerySet[Quarantined]:
        query = QuarantineQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        return QuarantineFilter(query.asked()).found()


@extend_schema(tags=["quarantine"])
class Kinds(APIView):
    """What was put aside by reason, mote and topic: how often, first and last, with an example; at most 500 kinds."""

    @extend_schema(parameters=[QuarantineQuery], responses=KindOut(many=True))
    def get(self, request: Request) -> Response:
        query = QuarantineQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        found = quarantine_page.kinds(QuarantineFilter(query.asked()).found())[:500]
        return Response(KindOut(quarantine_page.spoken(list(found)), many=True).data)


@extend_schema(tags=["quarantine"])
class OneQuarantined(APIView):
    """A message that was put aside, with all its bytes, where it came from and what would become of it now."""

    @extend_schema(responses=OneQuarantinedOut)
    def get(self, request: Request, pk: int) -> Response:
        return Response(_one(_row(pk)))


class _Deed(APIView):
    permission_classes = (CanOperate,)


@extend_schema(tags=["quarantine"])
class Check(_Deed):
    """What would become of a message if it were sent like this; nothing is sent."""

    @extend_schema(request=PayloadIn, responses=FateOut)
    def post(self, request: Request, pk: int) -> Response:
        given = PayloadIn(data=request.data)
        given.is_valid(raise_exception=True)
        text = given.validated_data.get("payload", "")
        fate = quarantine_page.fate_of(_row(pk), text, parts=parts(), now=timezone.now())
        return Response(FateOut(fate).data)


@extend_schema(tags=["quarantine"])
class ReplayOne(_Deed):
    """Sends a message again, as it came or repaired. 409 when it is settled, 400 when it would be put aside again."""

    @extend_schema(operation_id="quarantine_replay_one", request=PayloadIn, responses=OneQuarantinedOut)
    def post(self, request: Request, pk: int) -> Response:
        given = PayloadIn(data=request.data)
        given.is_valid(raise_exception=True)
        text = given.validated_data.get("payload")
        payload = None if text is None else text.encode(errors="replace")
        with _told():
            fate = replaying.replay(
                _row(pk), parts=parts(), who=person(request), now=timezone.now(), payload=payload
            )  # fmt: skip
        return Response({**_one(_row(pk)), "fate": FateOut(fate).data})


@extend_schema(tags=["quarantine"])
class Replay(_Deed):
    """Sends several again: those of `ids` at once, those of filters by a job, of which there is one (409)."""

    @extend_schema(request=WhichIn, responses={200: SentOut, 202: ReplayJobOut})
    def post(self, request: Request) -> Response:
        which = WhichIn(data=request.data)
        which.is_valid(raise_exception=True)
        who, now = person(request), timezone.now()
        if keys := which.validated_data.get("ids"):
            rows = list(Quarantined.objects.filter(pk__in=keys).order_by("pk"))
            with _told():
                sent = replaying.replay_chosen(rows, parts=parts(), who=who, now=now)
            return Response({"sent": sent.n, "left": sent.left})
        with _told():
            job = replay_jobs.ask(which.asked(), who=who, now=now)
        replay_jobs.dispatch(job)
        where = reverse("api:quarantine-job", args=[job.pk])
        return Response(replay_jobs.spoken(job), status=202, headers={"Location": where})


@extend_schema(tags=["quarantine"])
class OneReplayJob(APIView):
    """How far a job is."""

    @extend_schema(responses=ReplayJobOut)
    def get(self, request: Request, pk: int) -> Response:
        return Response(replay_jobs.spoken(get_object_or_404(ReplayJob, pk=pk)))


@extend_schema(tags=["quarantine"])
class Discard(_Deed):
    """Marks those that wait as needed by nobody; they are deleted by retention only."""

    @extend_schema(request=WhichIn, responses=DiscardedOut)
    def post(self, request: Request) -> Response:
        which = WhichIn(data=request.data)
        which.is_valid(raise_exception=True)
        keys = which.validated_data.get("ids")
        rows = Quarantined.objects.filter(pk__in=keys) if keys else QuarantineFilter(which.asked()).found()
        asked = {"chosen": len(keys)} if keys else which.asked()
        n = replaying.discard(rows.order_by(), who=person(request), now=timezone.now(), asked=asked)
        return Response({"discarded": n})


@extend_schema(tags=["quarantine"])
class DiscardOne(_Deed):
    """The same for one message; 409 when it is settled."""

    @extend_schema(operation_id="quarantine_discard_one", request=None, responses=OneQuarantinedOut)
    def post(self, request: Request, pk: int) -> Response:
        row = _row(pk)
        asked = {"message": row.place}
        one = Quarantined.objects.filter(pk=pk)
        if not replaying.discard(one, who=person(request), now=timezone.now(), asked=asked):
            raise Conflict(f"The message {row.place} is {row.status} already, or is being sent at this moment.")
        return Response(_one(_row(pk)))


@extend_schema(tags=["quarantine"])
class Adopt(_Deed):
    """Registers an unknown mote; the messages held for it flow in as soon as the consumers know it."""

    @extend_schema(request=AdoptIn, responses={201: AdoptedOut})
    def post(self, request: Request) -> Response:
        given = AdoptIn(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        unknown = _unknown(asked["mote"], asked.get("site", ""))
        try:
            mote = adoption.adopt(unknown, **_places(unknown, asked), who=person(request), now=timezone.now())
        except Refused as wrong:
            raise ValidationError(wrong.message_dict) from wrong
        adoption.release_soon()
        told = {"site": mote.site.code, "mote": mote.code, "key": mote.pk, "profile": mote.profile.code}
        address = reverse("api:mote", args=[mote.site.code, mote.code])
        return Response({**told, "held": unknown.n}, status=201, headers={"Location": address})


def _unknown(code: str, site: str) -> adoption.Unknown:
    """As the messages name it: with that site, or with none."""
    named = adoption.unknown(code, site)
    return named if named.n or not site else adoption.unknown(code, "")


def _places(unknown: adoption.Unknown, asked: dict[str, Any]) -> dict[str, Any]:
    site = named(Site.objects.all(), "site", asked.get("site") or unknown.site or settings.SIEIS_DEFAULT_SITE)
    guessed = unknown.best.profile.code if unknown.best else ""
    if not asked.get("profile") and not guessed:
        if not unknown.n:
            words = f"No message of a mote “{unknown.code}” is held; name a profile to register it all the same."
        else:
            words = "No profile fits the fields of the messages; name one."
        raise ValidationError({"profile": [words]})
    profile = named(Profile.objects.all(), "profile", asked.get("profile") or guessed)
    zone = named(Zone.objects.filter(site=site), "zone", asked["zone"]) if asked.get("zone") else None
    return {"site": site, "profile": profile, "zone": zone, "label": asked["label"]}
