"""The API of notifications: where messages go, who hears of what, and what became of each message."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as BadValues
from django.db.models import Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts.notifying import deeds
from alerts.notifying.models import SEVERITIES, Delivery, Route, Target
from alerts.notifying.waiting import waiting
from sensors.models import Site, Zone
from sensors.problems import Conflict
from sensors.roles import ENGINEERING, OPERATE, REFUSALS, may, person
from sensors.serializers import Body, Instant

TAGS = ["notifications"]


def demand_own(request: Request, target: Target) -> None:
    """Everybody manages what is their own, engineers what is everybody's."""
    if target.owner_id == person(request).pk or (target.owner_id is None and may(request.user, ENGINEERING)):
        return
    raise PermissionDenied(REFUSALS[ENGINEERING])


class Described(serializers.ModelSerializer[Any]):
    """Answers a row; the same for pages and programs."""


class TargetOut(Described):
    address = serializers.CharField(source="shown_address", help_text="Without what is secret in it")
    owner = serializers.CharField(source="owner.username", default=None, allow_null=True)
    made_at = Instant()

    class Meta:
        model = Target
        fields: tuple[str, ...] = ("id", "name", "kind", "address", "owner", "made_at")


class NewTargetOut(TargetOut):
    secret = serializers.CharField(help_text="Verifies a webhook's signature; shown this once")

    class Meta(TargetOut.Meta):
        fields = (*TargetOut.Meta.fields, "secret")


class TargetIn(Body):
    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(Target.Kind.choices)
    address = serializers.CharField(max_length=500)
    is_own = serializers.BooleanField(default=False, help_text="For yourself alone; only e-mail")


@extend_schema(tags=TAGS)
class Targets(ListAPIView[Target]):
    """Where messages can be sent: what is everybody's, and your own."""

    serializer_class = TargetOut
    queryset = Target.objects.none()
    pagination_class = None

    def get_queryset(self) -> QuerySet[Target]:
        return Target.objects.shared_or_of(person(self.request)).select_related("owner")

    @extend_schema(request=TargetIn, responses={201: NewTargetOut})
    def post(self, request: Request) -> Response:
        """Makes one. A webhook's secret is in this answer and nowhere else."""
        asked = TargetIn(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        owner = person(request) if given.pop("is_own") else None
        if owner is None and not may(request.user, ENGINEERING):
            raise PermissionDenied(f"{REFUSALS[ENGINEERING]} An e-mail address of your own takes is_own.")
        try:
            made = deeds.make_target(**given, owner=owner, who=person(request), now=timezone.now())
        except BadValues as wrong:
            raise ValidationError(wrong.message_dict) from wrong
        return Response(NewTargetOut(made).data, status=201)


@extend_schema(tags=TAGS)
class OneTarget(APIView):
    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Removes it with its routes; its log stays."""
        target = get_object_or_404(Target.objects.standing(), pk=pk)
        demand_own(request, target)
        deeds.remove_target(target, who=person(request), now=timezone.now())
        return Response(status=204)


class RouteOut(Described):
    target = TargetOut()
    site = serializers.CharField(source="site.code", default=None, allow_null=True)
    zone = serializers.CharField(default=None, allow_null=True, help_text="site/zone")

    class Meta:
        model = Route
        fields: tuple[str, ...] = (
            "id", "name", "target", "least_severity", "site", "zone", "kinds", "hours", "mode", "after_s",
            "tells_recovery", "is_on",
        )  # fmt: skip


class RouteIn(Body):
    target = serializers.IntegerField(help_text="Id of the target")
    name = serializers.CharField(max_length=80, required=False, allow_blank=True)
    least_severity = serializers.ChoiceField(SEVERITIES, required=False)
    site = serializers.SlugField(required=False, allow_null=True, help_text="Only alerts of this site")
    zone = serializers.CharField(required=False, allow_null=True, help_text="Only alerts of this zone: site/zone")
    kinds = serializers.ListField(
        child=serializers.CharField(max_length=32),
        required=False,
        help_text="Such as anomaly, silent, rule; all if empty",
    )
    hours = serializers.JSONField(
        required=False, allow_null=True, help_text='{"days": [0], "from": "08:00", "to": "18:00", "time_zone": "UTC"}'
    )
    mode = serializers.ChoiceField(Route.Mode.choices, required=False)
    after_s = serializers.IntegerField(
        min_value=0, required=False, help_text="A step of escalation: only what nobody acknowledged for so many seconds"
    )
    tells_recovery = serializers.BooleanField(required=False)
    is_on = serializers.BooleanField(required=False)

    def onto(self, route: Route, request: Request) -> Route:
        given = dict(self.validated_data)
        if "target" in given:
            route.target = _target(given.pop("target"), request)
        if "site" in given:
            given["site"] = _named(Site, given["site"], code=given["site"]) if given["site"] else None
        if "zone" in given:
            site, _, code = (given["zone"] or "").partition("/")
            given["zone"] = _named(Zone, given["zone"], site__code=site, code=code) if given["zone"] else None
        for name, value in given.items():
            setattr(route, name, value)
        return route


def _target(pk: int, request: Request) -> Target:
    target = Target.objects.shared_or_of(person(request)).filter(pk=pk).first()
    if target is None:
        raise ValidationError({"target": f"There is no target {pk} that you may use."})
    demand_own(request, target)
    return target


def _named(model: type[Site | Zone], shown: str, **key: str) -> Site | Zone:
    found = model._default_manager.filter(**key).first()
    if found is None:
        name = model.__name__.lower()
        raise ValidationError({name: f"There is no {name} “{shown}”."})
    return found


def routes_of(request: Request) -> QuerySet[Route]:
    shared_or_own = Q(target__owner=None) | Q(target__owner=person(request))
    found = Route.objects.filter(shared_or_own, target__removed_at=None)
    return found.select_related("target__owner", "site", "zone__site")


@extend_schema(tags=TAGS)
class Routes(ListAPIView[Route]):
    """Who hears of what: everybody's routes, and your own."""

    serializer_class = RouteOut
    queryset = Route.objects.none()
    pagination_class = None

    def get_queryset(self) -> QuerySet[Route]:
        return routes_of(self.request)

    @extend_schema(request=RouteIn, responses={201: RouteOut})
    def post(self, request: Request) -> Response:
        return Response(RouteOut(_keep(Route(), request)).data, status=201)


@extend_schema(tags=TAGS)
class OneRoute(APIView):
    @extend_schema(request=RouteIn, responses=RouteOut)
    def patch(self, request: Request, pk: int) -> Response:
        route = get_object_or_404(routes_of(request), pk=pk)
        demand_own(request, route.target)
        return Response(RouteOut(_keep(route, request)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        route = get_object_or_404(routes_of(request), pk=pk)
        demand_own(request, route.target)
        deeds.remove_route(route, who=person(request), now=timezone.now())
        return Response(status=204)


def _keep(route: Route, request: Request) -> Route:
    asked = RouteIn(data=request.data, partial=route.pk is not None)
    asked.is_valid(raise_exception=True)
    try:
        return deeds.keep_route(asked.onto(route, request), who=person(request), now=timezone.now())
    except BadValues as wrong:
        raise ValidationError(wrong.message_dict) from wrong


class DeliveryOut(Described):
    target = serializers.CharField(source="target.name")
    title = serializers.SerializerMethodField()
    n_alerts = serializers.IntegerField()
    made_at = Instant()
    due_at = Instant()
    sent_at = Instant(allow_null=True)

    class Meta:
        model = Delivery
        fields = (
            "id", "key", "target", "what", "state", "title", "n_alerts", "made_at", "due_at", "sent_at", "n_tries",
            "trouble",
        )  # fmt: skip

    def get_title(self, delivery: Delivery) -> str | None:
        return delivery.message["title"] if delivery.message else None


class DeliveriesQuery(serializers.Serializer[Any]):
    alert = serializers.IntegerField(required=False, help_text="Those that speak of this alert")
    state = serializers.ChoiceField(Delivery.State.choices, required=False)
    target = serializers.IntegerField(required=False)


class Pages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500


@extend_schema(tags=TAGS, parameters=[DeliveriesQuery])
class Deliveries(ListAPIView[Delivery]):
    """The log: every message, the newest first."""

    serializer_class = DeliveryOut
    queryset = Delivery.objects.none()
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Delivery]:
        query = DeliveriesQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        names = {"alert": "mentions__alert", "state": "state", "target": "target"}
        found = seen_by(self.request).filter(**{names[key]: value for key, value in query.validated_data.items()})
        return found.distinct()


def seen_by(request: Request) -> QuerySet[Delivery]:
    """What went to shared targets, and to one's own."""
    return Delivery.objects.told().filter(Q(target__owner=None) | Q(target__owner=person(request)))


class _OnDelivery(APIView):
    def found(self, request: Request, pk: int) -> Delivery:
        delivery = get_object_or_404(seen_by(request), pk=pk)
        if delivery.target.owner_id is None and not may(request.user, OPERATE):
            raise PermissionDenied(REFUSALS[OPERATE])
        return delivery


@extend_schema(tags=TAGS, request=None, responses=DeliveryOut)
class Redeliver(_OnDelivery):
    """Sends a message once more, with the same key. 409 while it is on its way."""

    def post(self, request: Request, pk: int) -> Response:
        delivery = self.found(request, pk)
        try:
            deeds.redeliver(delivery, who=person(request), now=timezone.now())
        except deeds.NotSent as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(DeliveryOut(seen_by(request).get(pk=pk)).data)


@extend_schema(tags=TAGS, request=None, responses={201: DeliveryOut})
class TestTarget(APIView):
    """Sends a test to a target; the log says what became of it."""

    def post(self, request: Request, pk: int) -> Response:
        target = Target.objects.shared_or_of(person(request)).filter(pk=pk).first()
        if target is None:
            raise Http404
        if target.owner_id is None and not may(request.user, OPERATE):
            raise PermissionDenied(REFUSALS[OPERATE])
        try:
            made = deeds.send_test(target, who=person(request), now=timezone.now())
        except deeds.NotSent as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(DeliveryOut(seen_by(request).get(pk=made.pk)).data, status=201)


class WaitingOut(serializers.Serializer[Any]):
    open = serializers.IntegerField(help_text="Alerts that nobody has acknowledged, and that nothing keeps quiet")
    worst = serializers.ChoiceField(SEVERITIES, allow_null=True)


@extend_schema(tags=TAGS, responses=WaitingOut)
class Waiting(APIView):
    """What the badge on every page says."""

    def get(self, request: Request) -> Response:
        return Response(waiting(timezone.now()))
