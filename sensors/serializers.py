"""What the API takes and gives of sensors. Answers of many rows are built by sensors.spoken and only described here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from sensors.models import Mote
from sensors.presence import presence
from sensors.readings import Profile

DEFAULT_LIMIT, MAX_LIMIT = 1000, 10_000
DEFAULT_SPAN = timedelta(hours=1)


class Instant(serializers.DateTimeField):
    """An instant with its zone; told in UTC, ending in Z."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, **options)

    def to_internal_value(self, value: Any) -> datetime:
        try:
            instant = datetime.fromisoformat(str(value))
        except ValueError:
            hint = "; in an address, + is written %2B" if " " in str(value) else ""
            raise serializers.ValidationError(
                f"“{value}” is no instant; expected ISO 8601 such as 2026-03-02T12:00:00Z{hint}."
            ) from None
        if instant.tzinfo is None:
            raise serializers.ValidationError(f"“{value}” has no time zone; add Z for UTC.")
        try:
            return instant.astimezone(UTC)
        except OverflowError:
            raise serializers.ValidationError(f"“{value}” is outside the years 1 to 9999.") from None


class SiteQuery(serializers.Serializer[Any]):
    site = serializers.SlugField(required=False, help_text="Code of the mote's site; needed where two have that mote")


class ReadingsQuery(SiteQuery):
    mote_id = serializers.CharField(max_length=64, help_text="Code of the mote")
    start = Instant(required=False, help_text="First instant; by default an hour before the end")
    end = Instant(required=False, help_text="First instant that is left out; by default now")
    limit = serializers.IntegerField(required=False, default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        end = given.get("end") or timezone.now()
        start = given.get("start") or end - DEFAULT_SPAN
        if start >= end:
            raise serializers.ValidationError(
                {"start": f"“{start.isoformat()}” is not before the end, “{end.isoformat()}”."}
            )
        return {**given, "start": start, "end": end}


class ReadingOut(serializers.Serializer[Any]):
    mote = serializers.CharField()
    site = serializers.CharField()
    profile = serializers.CharField()
    at = Instant()
    values = serializers.DictField(child=serializers.FloatField(allow_null=True), help_text="By channel")
    quality = serializers.FloatField(help_text="Share of the channels that can be trusted, 0 to 1")
    flags = serializers.ListField(child=serializers.CharField(), help_text="Kinds of trouble")
    score = serializers.FloatField(allow_null=True, help_text="0 to 1; 0.3 is the onset of an anomaly, 0.6 is high")
    surprise = serializers.FloatField(allow_null=True, help_text="−log10 of the probability on a normal day")
    severity = serializers.CharField(allow_null=True, help_text="low, medium or high")
    is_anomaly = serializers.BooleanField()
    model_version = serializers.IntegerField(help_text="Number within the profile; 0 is the pack's fallback")


class ReadingsOut(serializers.Serializer[Any]):
    readings = ReadingOut(many=True)


class ReadingsPage(ReadingsOut):
    start = Instant()
    end = Instant()
    next = Instant(allow_null=True, help_text="The start of the next page; null on the last")


class MoteOut(serializers.ModelSerializer[Mote]):
    mote = serializers.CharField(source="code")
    key = serializers.IntegerField(source="pk", help_text="Names the mote in the hot store and the lake")
    site = serializers.CharField(source="site.code")
    zone = serializers.CharField(source="zone.code", default=None, allow_null=True)
    profile = serializers.CharField(source="profile.code")
    state = serializers.CharField()
    status = serializers.SerializerMethodField(help_text="live, silent, never_seen, or the state of one not active")
    last_seen_at = Instant(allow_null=True)

    class Meta:
        model = Mote
        fields = ("mote", "key", "site", "zone", "label", "profile", "state", "status", "last_seen_at", "x", "y")

    def get_status(self, mote: Mote) -> str:
        profiles: dict[str, Profile] = self.context["profiles"]
        profile = profiles.get(mote.profile.code)
        return presence(mote.state, mote.last_seen_at, profile.interval_s if profile else 0, now=self.context["now"])
