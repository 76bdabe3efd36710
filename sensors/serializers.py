"""What the API takes and gives of sensors. Answers of many rows are built by sensors.spoken and only described here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from sensors.fleet import there_is_no
from sensors.models import Correction, Mote, SensorGrade, Site, Zone
from sensors.models import Profile as ProfileRow
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


MOST_ID = 2**63 - 1  # of a key in the database
MOST_NAMED = 30  # choices in one sentence
CSRF_FIELD = "csrfmiddlewaretoken"  # of forms that are sent as they are


class Exact(serializers.Serializer[Any]):
    """All that may be said. Something unknown is refused: a slip would be taken for the default."""

    called = "field"
    heard_elsewhere: frozenset[str] = frozenset()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """A choice that there is not is answered with those that there are."""
        fields = super().get_fields()
        for field in fields.values():
            if isinstance(field, serializers.ChoiceField) and len(field.choices) <= MOST_NAMED:
                names = ", ".join(str(one) for one in field.choices if one != "")
                field.error_messages["invalid_choice"] = f"“{{input}}” is not a valid choice; expected {names}."
        return fields

    def to_internal_value(self, data: Any) -> Any:
        known = self.fields.keys() | self.heard_elsewhere
        if isinstance(data, Mapping) and (unknown := sorted(data.keys() - known)):
            raise serializers.ValidationError(dict.fromkeys(unknown, self.no_such(self.fields)))
        return super().to_internal_value(data)

    @classmethod
    def no_such(cls, known: Collection[str]) -> str:
        """The words of the refusal."""
        names = f"there are {', '.join(known)}" if known else "what is told here cannot be narrowed"
        return f"There is no such {cls.called}; {names}."


class Body(Exact):
    """What the body of a request may say."""

    heard_elsewhere = frozenset({CSRF_FIELD})


class Query(Exact):
    """What an address may ask for, beside the page of a long answer and its format."""

    called = "parameter"
    heard_elsewhere = frozenset({"cursor", "limit", "offset", "page", "format"})

    @classmethod
    def asked_in(cls, request: Request) -> dict[str, Any]:
        """What the address asks for, or its refusal."""
        query = cls(data=request.query_params)
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)


class BodyDocument(OpenApiSerializerExtension):
    """Says in the API's document that such a body has no further fields."""

    target_class = Body
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        described = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**described, "additionalProperties": False}


class SiteQuery(Query):
    site = serializers.SlugField(required=False, help_text="Code of the mote's site; needed where two have that mote")


class Codes(serializers.CharField):
    """Several, with commas between them."""

    def to_internal_value(self, value: Any) -> list[str]:  # type: ignore[override]
        return [code.strip() for code in super().to_internal_value(value).split(",") if code.strip()]


class ReadingsQuery(SiteQuery):
    mote_id = Codes(max_length=2000, help_text="Code of the mote, or several by commas")
    channel = Codes(required=False, max_length=2000, help_text="Codes of channels, by commas; by default all")
    resolution = serializers.ChoiceField(
        ("raw", "1m", "1h", "1d", "auto"), required=False, default="raw", help_text="auto chooses by the span"
    )
    cursor = serializers.CharField(required=False, max_length=200, help_text="Of the last answer: what comes after it")
    start = Instant(required=False, help_text="First instant; by default an hour before the end")
    end = Instant(required=False, help_text="First instant that is left out; by default now")
    limit = serializers.IntegerField(required=False, default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT)
    impute = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Fill gaps as the profile's channels allow; flagged imputed, no evidence",
    )

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
    suspect = serializers.ListField(child=serializers.CharField(), help_text="Channels that are in any trouble")
    score = serializers.FloatField(allow_null=True, help_text="0 to 1; 0.3 is the onset of an anomaly, 0.6 is high")
    surprise = serializers.FloatField(allow_null=True, help_text="−log10 of the probability on a normal day")
    severity = serializers.CharField(allow_null=True, help_text="low, medium or high")
    is_anomaly = serializers.BooleanField()
    model_version = serializers.IntegerField(help_text="Number within the profile; 0 is the pack's fallback")
    profile_version = serializers.IntegerField(allow_null=True, help_text="The profile's version that judged it")


class ReadingsOut(serializers.Serializer[Any]):
    readings = ReadingOut(many=True)


class ReadingsPage(ReadingsOut):
    start = Instant()
    end = Instant()
    resolution = serializers.CharField(required=False, help_text="raw, 1m, 1h or 1d")
    tier = serializers.CharField(help_text="Which store told them: hot, lake, or hot and lake; hours: the aggregates")
    missing = serializers.ListField(
        required=False, child=serializers.CharField(), help_text="Which store could not be read, in words"
    )
    next = Instant(
        required=False, allow_null=True, help_text="Of one mote: the start of the next page; null on the last"
    )
    cursor = serializers.CharField(
        required=False, allow_null=True, help_text="Asks for what comes after; null: nothing"
    )


class MoteOut(serializers.ModelSerializer[Mote]):
    mote = serializers.CharField(source="code")
    key = serializers.IntegerField(source="pk", help_text="Names the mote in the hot store and the lake")
    site = serializers.CharField(source="site.code")
    zone = serializers.CharField(source="zone.code", default=None, allow_null=True)
    profile = serializers.CharField(source="profile.code")
    state = serializers.CharField()
    status = serializers.SerializerMethodField(help_text="live, silent, never_seen, or the state of one not active")
    grade = serializers.CharField(
        source="worst_grade", default=None, allow_null=True, help_text="The worst of its channels, A to F"
    )
    last_seen_at = serializers.SerializerMethodField()
    clock_skew_s = serializers.FloatField(
        allow_null=True, help_text="Seconds its clock is ahead, negative where its readings come late; null: neither"
    )

    class Meta:
        model = Mote
        fields = (
            "mote", "key", "site", "zone", "label", "profile", "state", "status", "grade", "last_seen_at",
            "clock_skew_s", "x", "y",
        )  # fmt: skip

    def get_status(self, mote: Mote) -> str:
        profiles: dict[str, Profile] = self.context["profiles"]
        profile = profiles.get(mote.profile.code)
        return presence(mote.state, self._heard_at(mote), profile.interval_s if profile else 0, now=self.context["now"])

    @extend_schema_field(Instant(allow_null=True))
    def get_last_seen_at(self, mote: Mote) -> Any:
        heard_at = self._heard_at(mote)
        return heard_at and Instant().to_representation(heard_at)

    def _heard_at(self, mote: Mote) -> datetime | None:
        return max(filter(None, (mote.last_seen_at, self.context["heard"].get(mote.pk))), default=None)


class MotesQuery(SiteQuery):
    zone = serializers.SlugField(required=False, help_text="Code of its zone")
    profile = serializers.SlugField(required=False, help_text="Code of its profile")
    state = serializers.ChoiceField(
        [*Mote.State.values, "all"], required=False, help_text="By default all but the retired"
    )


class MoteChange(Body):
    """What may change of a mote. The state is an operator's business, everything else an engineer's."""

    state = serializers.ChoiceField(Mote.State.values, required=False)
    label = serializers.CharField(required=False, allow_blank=True, max_length=120)  # type: ignore[assignment]
    zone = serializers.SlugField(required=False, allow_null=True, help_text="Code of a zone of its site; null: none")
    x = serializers.FloatField(required=False, allow_null=True, help_text="Metres from the site's left edge")
    y = serializers.FloatField(required=False, allow_null=True, help_text="Metres from the site's upper edge")
    profile = serializers.SlugField(required=False, help_text="Only while it has no readings")

    def changes(self, site: Site) -> dict[str, Any]:
        """By field of the model, with the rows that the codes name."""
        found = dict(self.validated_data)
        if found.get("zone") is not None:
            found["zone"] = named(Zone.objects.filter(site=site), "zone", found["zone"])
        if "profile" in found:
            found["profile"] = named(ProfileRow.objects.all(), "profile", found["profile"])
        return found


class NewMote(MoteChange):
    mote = serializers.CharField(max_length=64, help_text="Its code, unique in the site")
    site = serializers.SlugField()
    profile = serializers.SlugField()

    def named(self) -> dict[str, Any]:
        site = named(Site.objects.all(), "site", self.validated_data["site"])
        return {**self.changes(site), "site": site}


def named(rows: QuerySet[Any], field: str, code: str) -> Any:
    """The one row of that code, or a refusal that lists the codes there are."""
    found = rows.filter(code=code).first()
    if found is None:
        raise serializers.ValidationError({field: there_is_no(field, code, rows.values_list("code", flat=True))})
    return found


class GradeOut(serializers.ModelSerializer[SensorGrade]):
    starts_at = Instant()
    ends_at = Instant()
    graded_at = Instant()
    reasons = serializers.JSONField(help_text="What kept it from an A, the worst first")

    class Meta:
        model = SensorGrade
        fields = ("channel", "grade", "reasons", "starts_at", "ends_at", "graded_at")


class CorrectionsQuery(SiteQuery):
    mote = serializers.CharField(max_length=64, required=False, help_text="Code of the mote")
    status = serializers.ChoiceField(["standing", "undone"], required=False, help_text="By default both")


class CorrectionOut(serializers.ModelSerializer[Correction]):
    mote = serializers.CharField(source="mote.code")
    site = serializers.CharField(source="mote.site.code")
    channel = serializers.CharField(help_text="Empty: all channels")
    kind = serializers.CharField(help_text="exclude or offset")
    starts_at = Instant()
    ends_at = Instant()
    made_at = Instant()
    made_by = serializers.CharField(source="made_by.username", default=None, allow_null=True)
    undone_at = Instant(allow_null=True)
    undone_by = serializers.CharField(source="undone_by.username", default=None, allow_null=True)

    class Meta:
        model = Correction
        fields = (
            "id", "mote", "site", "channel", "kind", "offset", "starts_at", "ends_at", "why", "made_at", "made_by",
            "undone_at", "undone_by",
        )  # fmt: skip


class NewCorrection(Body):
    site = serializers.SlugField(required=False, help_text="Code of the mote's site; needed where two have that mote")
    mote = serializers.CharField(max_length=64, help_text="Code of the mote")
    kind = serializers.ChoiceField(Correction.Kind.values, help_text="exclude or offset")
    channel = serializers.SlugField(required=False, default="", allow_blank=True, help_text="Empty: all channels")
    offset = serializers.FloatField(required=False, default=0.0, help_text="Added to what was measured")
    starts_at = Instant()
    ends_at = Instant(help_text="The first instant that is no longer corrected; may lie ahead")
    why = serializers.CharField(max_length=300)
    is_rehearsal = serializers.BooleanField(
        required=False, default=False, help_text="Only count the readings that it would touch"
    )


class Touched(serializers.Serializer[Any]):
    n_readings = serializers.IntegerField(help_text="Readings of the hot store that it touches")
