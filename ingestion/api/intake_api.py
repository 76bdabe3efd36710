"""The API's door for devices: readings by HTTP, and the keys to it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as BadValues
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion import devices, intake
from ingestion.models import DeviceKey
from ingestion.streams import StreamRefused, StreamUnavailable, stream
from sensors.models import Mote, Site
from sensors.problems import Conflict, Unavailable
from sensors.registry import current_fleet
from sensors.roles import CanEngineer, person
from sensors.serializers import Body, Instant, named

IDEMPOTENCY_KEY = "Idempotency-Key"
LONGEST_KEY = 200


class Untouched(BaseParser):
    """Any body as it came: what is stored shall be what was sent."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read()


class TooLarge(APIException):
    status_code = 413


class OneIn(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="Place in the request, from 0")
    status = serializers.CharField(help_text="accepted, held (its mote is not registered yet) or refused")
    reason = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)


class IntakeOut(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    held = serializers.IntegerField()
    refused = serializers.IntegerField()
    readings = OneIn(many=True)


@extend_schema(tags=["ingest"])
class Ingest(APIView):
    """Takes readings of a device: one JSON object, a list of them, or one a line (application/x-ndjson).

    202 says what became of each: accepted ones are in the stream for good, refused ones are not and say why. 422 where
    none could be taken. With an Idempotency-Key a retry is answered alike and nothing is taken twice.
    """

    authentication_classes = (devices.ByDeviceKey,)
    permission_classes = (devices.HasDeviceKey,)
    throttle_classes = (devices.DeviceThrottle,)
    parser_classes = (Untouched,)

    @extend_schema(
        request={"application/json": OpenApiTypes.OBJECT, "application/x-ndjson": OpenApiTypes.STR},
        responses={202: IntakeOut, 422: IntakeOut},
        parameters=[OpenApiParameter(IDEMPOTENCY_KEY, str, OpenApiParameter.HEADER, description="Makes a retry safe")],
    )
    def post(self, request: Request) -> Response:
        again = request.headers.get(IDEMPOTENCY_KEY, "").strip()
        if len(again) > LONGEST_KEY:
            raise ValidationError({IDEMPOTENCY_KEY: f"has {len(again)} characters; {LONGEST_KEY} is the most"})
        assert isinstance(request.auth, DeviceKey)
        try:
            messages = intake.split(request.body, request.content_type or "")
            told = intake.once(
                messages, again, key=request.auth, fleet=current_fleet(), stream=stream("readings"), now=timezone.now()
            )
        except intake.BadBody as wrong:
            raise ValidationError(f"{str(wrong)[0].upper()}{str(wrong)[1:]}.") from wrong
        except (intake.AnotherBody, intake.AlreadyUnderWay) as refusal:
            raise Conflict(f"{str(refusal)[0].upper()}{str(refusal)[1:]}.") from refusal
        except StreamRefused as refusal:
            raise TooLarge(f"The stream does not take this: {refusal}") from refusal
        except StreamUnavailable as away:
            raise Unavailable(
                f"The stream cannot be reached, nothing was taken: {away}. Send the same again."
            ) from away
        return Response(told, status=202 if told["accepted"] or told["held"] else 422)


class DeviceKeyOut(serializers.ModelSerializer[DeviceKey]):
    site = serializers.CharField(source="site.code")
    mote = serializers.CharField(source="mote.code", default=None, allow_null=True)
    made_by = serializers.CharField(source="made_by.username", default=None, allow_null=True)
    made_at = Instant()
    last_used_at = Instant(allow_null=True)
    revoked_at = Instant(allow_null=True)

    class Meta:
        model = DeviceKey
        fields: tuple[str, ...] = (
            "id", "name", "public_id", "site", "mote", "made_at", "made_by", "last_used_at", "revoked_at",
        )  # fmt: skip


class NewKeyOut(DeviceKeyOut):
    key = serializers.CharField(help_text="What the device sends; shown this once")

    class Meta(DeviceKeyOut.Meta):
        fields: tuple[str, ...] = (*DeviceKeyOut.Meta.fields, "key")


class DeviceKeyIn(Body):
    name = serializers.CharField(max_length=120)
    site = serializers.SlugField()
    mote = serializers.CharField(max_length=64, required=False, help_text="Absent: a gateway for the whole site")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        site = named(Site.objects.all(), "site", given["site"])
        mote = Mote.objects.filter(site=site, code=given["mote"]).first() if "mote" in given else None
        if "mote" in given and mote is None:
            raise ValidationError({"mote": f"Site {site.code} has no mote “{given['mote']}”."})
        return {"name": given["name"], "site": site, "mote": mote}


@extend_schema(tags=["ingest"])
class DeviceKeys(ListAPIView[DeviceKey]):
    """The keys that devices send readings with, the revoked ones too."""

    serializer_class = DeviceKeyOut
    queryset = DeviceKey.objects.select_related("site", "mote", "made_by")
    pagination_class = None
    permission_classes = (CanEngineer,)

    @extend_schema(request=DeviceKeyIn, responses={201: NewKeyOut})
    def post(self, request: Request) -> Response:
        """Makes a key. Its text is in this answer and nowhere else."""
        asked = DeviceKeyIn(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            made = devices.make_key(**asked.validated_data, who=person(request), now=timezone.now())
        except BadValues as wrong:
            raise ValidationError(wrong.message_dict) from wrong
        return Response({**DeviceKeyOut(made.key).data, "key": made.text}, status=201)


@extend_schema(tags=["ingest"])
class OneDeviceKey(APIView):
    permission_classes = (CanEngineer,)

    @extend_schema(responses=DeviceKeyOut)
    def delete(self, request: Request, pk: int) -> Response:
        """Revokes the key: from now on nothing is taken with it. What it has sent stays."""
        key = get_object_or_404(DeviceKey, pk=pk)
        if not devices.revoke_key(key, who=person(request), now=timezone.now()):
            raise Conflict(f"The key {key} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC already.")
        return Response(DeviceKeyOut(key).data)
