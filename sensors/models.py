"""What is out there: sites, zones, motes and the versioned profiles that say what they measure."""

from __future__ import annotations

from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from sensors import readings


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
        )


class MoteQuerySet(models.QuerySet["Mote"]):
    def on_page(self) -> MoteQuerySet:
        """Everything but the retired, with what a page shows of it, in one query."""
        return self.exclude(state=Mote.State.RETIRED).select_related("site", "zone", "profile")


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

    objects = MoteQuerySet.as_manager()

    class Meta:
        ordering = ("site__code", "id")
        constraints = (models.UniqueConstraint(fields=("site", "code"), name="mote_code_once_a_site"),)

    def __str__(self) -> str:
        return f"{self.site.code}/{self.code}"

    @property
    def subject(self) -> str:
        return f"mote:{self.site.code}/{self.code}"


class FleetRevision(models.Model):
    """Counts the changes to motes, profiles and sites, so that every process notices one cheaply."""

    number = models.PositiveBigIntegerField(default=1)

    def __str__(self) -> str:
        return str(self.number)


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
