"""The API of profiles: what each kind of mote measures, its versions, and packs that engineers send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError as Invalid
from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sensors import profiles, registry
from sensors.installation import CannotInstall
from sensors.models import Profile
from sensors.packs import BadPack
from sensors.problems import Conflict
from sensors.roles import CanEngineer, CanView, person
from sensors.serializers import Instant, Query


class FormulaOut(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="ratio, difference, dew_point or rate")
    of = serializers.ListField(child=serializers.CharField(), help_text="The channels that it is made of")
    scale = serializers.FloatField(help_text="What the result is multiplied by")


class ImputationOut(serializers.Serializer[Any]):
    method = serializers.CharField(help_text="none, hold, interpolate, seasonal or neighbours")
    limit_s = serializers.FloatField(help_text="Longer gaps stay open")


class BatteryOut(serializers.Serializer[Any]):
    channel = serializers.CharField()
    low = serializers.FloatField(help_text="Below it the mote's other channels are suspect")
    empty = serializers.FloatField(help_text="At it the mote falls silent")


class ChannelOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    unit = serializers.CharField()
    physical = serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2)
    normal = serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2)
    resolution = serializers.FloatField()
    max_rate_per_s = serializers.FloatField(help_text="The largest plausible change a second")
    flat_after_s = serializers.FloatField(help_text="A value that has not moved for longer is stuck")
    aliases = serializers.ListField(child=serializers.CharField(), help_text="Other names that messages may use")
    formula = FormulaOut(allow_null=True, help_text="Null for what the mote measures itself")
    is_detected = serializers.BooleanField(help_text="Whether the engine judges it")
    imputation = ImputationOut()


class ProfileOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    version = serializers.IntegerField()
    step_s = serializers.FloatField()
    interval_s = serializers.FloatField()
    silent_after_s = serializers.FloatField(help_text="A longer time without a reading is a gap")
    onset = serializers.FloatField(help_text="Surprise from which a reading is anomalous")
    battery = BatteryOut(allow_null=True)
    channels = ChannelOut(many=True)


class ProfileVersionOut(serializers.Serializer[Any]):
    version = serializers.IntegerField(source="version.number", help_text="`profile_version` of what it judged")
    is_current = serializers.BooleanField(source="version.is_current")
    created_at = Instant(source="version.created_at")
    by = serializers.CharField(help_text="Account that brought it; empty: the command line")
    content_hash = serializers.CharField(source="version.content_hash")
    changes = serializers.ListField(child=serializers.CharField(), help_text="To the version before, in words")


class OneProfileOut(ProfileOut):
    n_motes = serializers.IntegerField()
    versions = ProfileVersionOut(many=True, help_text="The newest first")


class PackQuery(Query):
    dry_run = serializers.BooleanField(required=False, default=False, help_text="Only say what would change")
    site = serializers.SlugField(
        required=False, default="", help_text="Where the pack's motes stand; by default the main site"
    )


class InstalledOut(serializers.Serializer[Any]):
    profile = serializers.CharField()
    version = serializers.IntegerField()
    is_changed = serializers.BooleanField()
    is_dry_run = serializers.BooleanField()
    created = serializers.ListField(child=serializers.CharField())
    updated = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.ListField(child=serializers.CharField())


class TomlParser(BaseParser):
    """A TOML file as the body."""

    media_type = "application/toml"

    def parse(
        self, stream: Any, media_type: str | None = None, context: Mapping[str, Any] | None = None
    ) -> dict[str, bytes]:
        # One byte more than allowed: enough to refuse it.
        return {"pack": stream.read(profiles.MAX_BYTES + 1)}


@extend_schema(tags=["profiles"])
class Profiles(APIView):
    """What each kind of mote measures, at its current version. Engineers send new packs."""

    parser_classes = (TomlParser, MultiPartParser)

    def get_permissions(self) -> list[BasePermission]:
        return [CanEngineer() if self.request.method == "POST" else CanView()]

    @extend_schema(operation_id="profiles_list", responses=ProfileOut(many=True))
    def get(self, request: Request) -> Response:
        return Response(ProfileOut(list(registry.profiles().values()), many=True).data)

    @extend_schema(
        operation_id="profiles_install",
        parameters=[PackQuery],
        request={
            "application/toml": OpenApiTypes.STR,
            "multipart/form-data": {"type": "object", "properties": {"pack": {"type": "string", "format": "binary"}}},
        },
        responses={200: InstalledOut, 201: InstalledOut},
    )
    def post(self, request: Request) -> Response:
        """Installs a pack: the TOML as the body, or as the file `pack` of a form. 200 where nothing was changed."""
        query = PackQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        deed = profiles.preview if asked["dry_run"] else profiles.install
        try:
            pack = profiles.read_upload(*_sent(request))
            done = deed(pack, site_code=asked["site"], who=person(request), now=timezone.now())
        except BadPack as wrong:
            raise ValidationError([str(wrong)]) from wrong
        except Invalid as wrong:
            raise ValidationError(wrong.messages) from wrong
        except CannotInstall as refusal:
            raise Conflict(str(refusal)) from refusal
        is_made = done.is_changed and not asked["dry_run"]
        told = {
            "profile": pack.profile.code, "version": done.profile_version, "is_changed": done.is_changed,
            "is_dry_run": asked["dry_run"], "created": done.created, "updated": done.updated,
            "unchanged": done.unchanged,
        }  # fmt: skip
        return Response(told, status=status.HTTP_201_CREATED if is_made else status.HTTP_200_OK)


def _sent(request: Request) -> tuple[bytes, str]:
    """What came, and the name by which errors call it."""
    came = request.data.get("pack") if isinstance(request.data, Mapping) else None
    if isinstance(came, bytes):
        return came, "pack.toml"
    if isinstance(came, UploadedFile):
        return came.read(profiles.MAX_BYTES + 1), came.name or "pack.toml"
    raise ValidationError({"pack": "No file came; send the TOML as the body, or as the file “pack” of a form."})


@extend_schema(tags=["profiles"])
class OneProfile(APIView):
    """A profile at its current version, and what each version changed."""

    @extend_schema(operation_id="profiles_retrieve", responses=OneProfileOut)
    def get(self, request: Request, code: str) -> Response:
        row = Profile.objects.filter(code=code).first()
        told = registry.profiles().get(code)
        if row is None or told is None:
            raise NotFound(f"There is no profile “{code}”; /api/v1/profiles lists them.")
        return Response(
            {
                **ProfileOut(told).data,
                "n_motes": row.motes.exclude(state="retired").count(),
                "versions": ProfileVersionOut(profiles.versions(row), many=True).data,
            }
        )
