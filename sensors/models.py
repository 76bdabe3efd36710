"""What is out there: sites, zones, motes and the versioned profiles that say what they measure."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from sensors import readings
from sensors.overlay import Overlay


def valid_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"“{name}” is not an IANA time zone; expected a name such as Europe/Berlin")


class Site(models.Model):
    code = models.SlugField(unique=True)
    label = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[valid_time_zone])

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.code


class Zone(models.Model):
    """A part of a site whose motes feel the same air: peers meet in a zone."""

    site = models.ForeignKey(Site, models.CASCADE, related_name="zones")
    code = models.SlugField()
    label = models.CharField(max_length=120)

    class Meta:
        ordering = ("site__code", "code")
        constraints = (models.UniqueConstraint(fields=("site", "code"), name="zone_once_a_site"),)

    def __str__(self) -> str:
        return f"{self.site.code}/{self.code}"


class Profile(models.Model):
    """A kind of mote. What it measures stands in its versions; exactly one of them is current."""

    code = models.SlugField(unique=True)
    label = models.CharField(max_length=120)

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.code


class ProfileVersion(models.Model):
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    step_s = models.FloatField(help_text="Seconds between two steps of a mote's detection state")
    interval_s = models.FloatField(help_text="Seconds expected between two readings")
    content_hash = models.CharField(max_length=64)
    settings = models.JSONField(
        default=dict, blank=True, help_text="The pack's simulator, detector and schedule tables"
    )
    battery = models.JSONField(null=True, blank=True, help_text="Channel that tells the battery, its low and empty")
    is_current = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("profile__code", "-number")
        constraints = (
            models.UniqueConstraint(fields=("profile", "number"), name="profile_version_once"),
            models.UniqueConstraint(
                fields=("profile",), condition=models.Q(is_current=True), name="one_current_version_a_profile"
            ),
        )

    def __str__(self) -> str:
        return f"{self.profile.code} v{self.number}"

    def as_profile(self) -> readings.Profile:
        return readings.Profile(
            code=self.profile.code,
            version=self.number,
            label=self.profile.label,
            step_s=self.step_s,
            interval_s=self.interval_s,
            channels=tuple(channel.as_channel() for channel in self.channels.all()),
            battery=readings.Battery(**self.battery) if self.battery else None,
        )


class Channel(models.Model):
    version = models.ForeignKey(ProfileVersion, models.CASCADE, related_name="channels")
    position = models.PositiveSmallIntegerField()
    code = models.SlugField()
    label = models.CharField(max_length=120)
    unit = models.CharField(max_length=24, blank=True)
    physical_min = models.FloatField()
    physical_max = models.FloatField()
    normal_min = models.FloatField()
    normal_max = models.FloatField()
    resolution = models.FloatField()
    max_rate_per_s = models.FloatField()
    flat_after_s = models.FloatField()
    aliases = models.JSONField(default=list, blank=True)
    formula = models.JSONField(null=True, blank=True, help_text="Kind, channels and scale of a derived channel")
    is_detected = models.BooleanField(default=True, help_text="Whether the engine judges it")
    imputation = models.CharField(max_length=16, default="none")
    imputation_limit_s = models.FloatField(default=0.0)

    class Meta:
        ordering = ("version", "position")
        constraints = (
            models.UniqueConstraint(fields=("version", "code"), name="channel_once_a_version"),
            models.UniqueConstraint(fields=("version", "position"), name="channel_place_once_a_version"),
        )

    def __str__(self) -> str:
        return f"{self.version} {self.code}"

    def as_channel(self) -> readings.Channel:
        return readings.Channel(
            code=self.code,
            label=self.label,
            unit=self.unit,
            physical=(self.physical_min, self.physical_max),
            normal=(self.normal_min, self.normal_max),
            resolution=self.resolution,
            max_rate_per_s=self.max_rate_per_s,
            flat_after_s=self.flat_after_s,
            aliases=tuple(self.aliases),
            formula=_formula(self.formula) if self.formula else None,
            is_detected=self.is_detected,
            imputation=readings.Imputation(self.imputation, self.imputation_limit_s),
        )


def _formula(kept: dict[str, Any]) -> readings.Formula:
    return readings.Formula(kept["kind"], tuple(kept["of"]), kept["scale"])


class MoteQuerySet(models.QuerySet["Mote"]):
    def on_page(self) -> MoteQuerySet:
        """Everything but the retired and our own probes, with what a page shows of it, in one query."""
        return self.exclude(state=Mote.State.RETIRED).exclude(is_probe=True).select_related("site", "zone", "profile")

    def with_grade(self) -> MoteQuerySet:
        """With `worst_grade`, that of its worst channel: letters rise as the data gets worse."""
        worst = models.Max("grades__grade")
        return self.select_related("site", "zone", "profile").annotate(worst_grade=worst).order_by("site__code", "id")

    def narrowed(
        self, *, site: str = "", zone: str = "", profile: str = "", state: str = "", q: str = ""
    ) -> MoteQuerySet:
        """Those that fit; without a state all but the retired, with "all" these, too. Never our own probes."""
        codes = {"site__code": site, "zone__code": zone, "profile__code": profile}
        found = self.filter(is_probe=False, **{field: code for field, code in codes.items() if code})
        if state != "all":
            found = found.filter(state=state) if state else found.exclude(state=Mote.State.RETIRED)
        for word in q.split():
            found = found.filter(models.Q(code__icontains=word) | models.Q(label__icontains=word))
        return found


class Mote(models.Model):
    class State(models.TextChoices):
        COMMISSIONING = "commissioning"
        ACTIVE = "active"
        MAINTENANCE = "maintenance"
        RETIRED = "retired"

    site = models.ForeignKey(Site, models.CASCADE, related_name="motes")
    zone = models.ForeignKey(Zone, models.SET_NULL, null=True, blank=True, related_name="motes")
    code = models.CharField(max_length=64)
    label = models.CharField(max_length=120, blank=True)
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="motes")
    x = models.FloatField(null=True, blank=True, help_text="Metres from the site's left edge")
    y = models.FloatField(null=True, blank=True, help_text="Metres from the site's upper edge")
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    clock_skew_s = models.FloatField(
        null=True, blank=True, editable=False,
        help_text="How far its clock is ahead (+) or its readings come late (-), where that is beyond the bound",
    )  # fmt: skip
    is_probe = models.BooleanField(
        default=False, editable=False, help_text="SIEIS' own: its readings are followed, and in no statistic"
    )

    objects = MoteQuerySet.as_manager()

    class Meta:
        ordering = ("site__code", "id")
        constraints = (models.UniqueConstraint(fields=("site", "code"), name="mote_code_once_a_site"),)

    def __str__(self) -> str:
        return f"{self.site.code}/{self.code}"

    @property
    def subject(self) -> str:
        return f"mote:{self.site.code}/{self.code}"


class CorrectionQuerySet(models.QuerySet["Correction"]):
    def standing(self) -> CorrectionQuerySet:
        """Those that nobody took back, in the order in which they were made."""
        return self.filter(undone_at=None).order_by("pk")

    def reaching_on(self) -> CorrectionQuerySet:
        """Those that were made for readings to come, too."""
        return self.standing().filter(ends_at__gt=models.F("made_at"))


class Correction(models.Model):
    """What a person says about a stretch of stored readings. The readings stay as they are; it is applied at read."""

    class Kind(models.TextChoices):
        EXCLUDE = "exclude", "left out"
        OFFSET = "offset", "recalibrated by an offset"

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="corrections")
    channel = models.SlugField(blank=True, help_text="Empty for all channels of the mote")
    kind = models.CharField(max_length=16, choices=Kind)
    offset = models.FloatField(default=0.0, help_text="Added to what was measured")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(help_text="The first instant that is no longer corrected")
    why = models.CharField(max_length=300)
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = CorrectionQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=("mote", "starts_at", "ends_at")),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(starts_at__lt=models.F("ends_at")), name="correction_starts_before_it_ends"
            ),
        )

    def __str__(self) -> str:
        return f"{self.mote} {self.channel or 'all channels'} {self.get_kind_display()}"

    def as_overlay(self) -> Overlay:
        return Overlay(
            mote=self.mote_id,
            channel=self.channel,
            is_excluded=self.kind == Correction.Kind.EXCLUDE,
            offset=self.offset,
            starts_us=readings.micros(self.starts_at),
            ends_us=readings.micros(self.ends_at),
        )


class SensorGrade(models.Model):
    """How good a mote's channel has been of late: A to F, and why. One row a mote and channel, set anew each time."""

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="grades")
    channel = models.SlugField()
    grade = models.CharField(max_length=1)
    reasons = models.JSONField(default=list, blank=True, help_text="What kept it from an A in words, the worst first")
    figures = models.JSONField(default=dict, blank=True, help_text="What was measured, by name")
    profile_version = models.PositiveIntegerField(default=0, help_text="Of the profile whose limits were applied")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    graded_at = models.DateTimeField()

    class Meta:
        ordering = ("mote", "channel")
        constraints = (models.UniqueConstraint(fields=("mote", "channel"), name="one_grade_a_mote_and_channel"),)

    def __str__(self) -> str:
        return f"{self.mote} {self.channel} {self.grade}"


class FleetRevision(models.Model):
    """Counts the changes to motes, profiles and sites, so that every process notices one cheaply."""

    number = models.PositiveBigIntegerField(default=1)

    def __str__(self) -> str:
        return str(self.number)


class Onset(models.Model):
    """From which surprise on a model version told anomalies, where an alert budget gave it an onset of its own.

    Kept beside readings and not with the version, so that an old reading's score means the same when that is gone.
    """

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="onsets")
    model_version = models.PositiveIntegerField(help_text="The number that readings carry")
    surprise = models.FloatField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("profile", "model_version"), name="onset_once_a_version"),)

    def __str__(self) -> str:
        return f"{self.profile.code} version {self.model_version}: {self.surprise:.3f}"


class ProcessHeartbeat(models.Model):
    """A process of SIEIS that says it lives: web, consumer, worker, beat."""

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=24)
    beat_at = models.DateTimeField()
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("kind", "name")

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """Who did what to what, when. Written by the deeds themselves and never changed."""

    at = models.DateTimeField(db_index=True)
    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    deed = models.CharField(max_length=64)
    subject = models.CharField(max_length=200, db_index=True)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-at", "-id")
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.deed} {self.subject}"


class ApiToken(models.Model):
    """Lets a program call the API in a person's name. Only the hash of its secret is kept."""

    class Scope(models.TextChoices):
        READ = "read", "read only"
        OPERATE = "operate", "read and act on alerts and motes"
        ENGINEER = "engineer", "all that its person may"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=120, help_text="Which program uses it")
    scope = models.CharField(max_length=16, choices=Scope, default=Scope.READ)
    public_id = models.CharField(max_length=12, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-made_at", "-id")

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


class Preferences(models.Model):
    """How a person wants the pages. Who has none sees the site's zone and the browser's theme."""

    class Theme(models.TextChoices):
        SYSTEM = "", "as the system"
        LIGHT = "light"
        DARK = "dark"

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="preferences")
    time_zone = models.CharField(
        max_length=64, blank=True, validators=[valid_time_zone], help_text="Empty: that of the site"
    )
    theme = models.CharField(max_length=8, choices=Theme, blank=True, default=Theme.SYSTEM)
    toured_at = models.DateTimeField(null=True, blank=True, help_text="When the tour was taken or declined")

    class Meta:
        verbose_name_plural = "preferences"

    def __str__(self) -> str:
        return f"preferences of {self.user}"
