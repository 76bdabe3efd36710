"""What people act on: events, the alerts that gather them, and the windows in which nothing is alerted."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models

from sensors.models import Mote, SensorGrade, Zone


class Severity(models.TextChoices):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AlertQuerySet(models.QuerySet["Alert"]):
    def active(self) -> AlertQuerySet:
        return self.filter(status__in=Alert.ACTIVE)

    def snoozed(self, now: datetime) -> AlertQuerySet:
        return self.active().filter(snoozed_until__gt=now)

    def awake(self, now: datetime) -> AlertQuerySet:
        return self.filter(models.Q(snoozed_until=None) | models.Q(snoozed_until__lte=now))

    def with_people(self) -> AlertQuerySet:
        return self.select_related("mote__site", "assignee", "acknowledged_by", "resolved_by")

    def newest_first(self) -> AlertQuerySet:
        return self.order_by("-last_seen_at", "-id")

    def with_grades(self) -> AlertQuerySet:
        """With the channel of the worst event, what that sensor's grade and its reasons are (null where unknown), and
        whether a silence keeps it quiet, or kept it so to its end."""
        worst = Event.objects.filter(alert=models.OuterRef("pk")).order_by("-peak_surprise", "-pk")
        quiet = alerts.silencing.models.Suppression.objects.filter(alert=models.OuterRef("pk"), ended_at=None)
        kept = SensorGrade.objects.filter(mote=models.OuterRef("mote"), channel=models.OuterRef("peak_channel"))
        return self.annotate(peak_channel=models.Subquery(worst.values("peak_channel")[:1])).annotate(
            grade=models.Subquery(kept.values("grade")[:1]),
            grade_reasons=models.Subquery(kept.values("reasons")[:1]),
            is_suppressed=models.Exists(quiet),
        )


class Alert(models.Model):
    class Status(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        IN_PROGRESS = "in_progress", "in progress"
        RESOLVED = "resolved"
        CLOSED = "closed"

    ACTIVE = (Status.OPEN, Status.ACKNOWLEDGED, Status.IN_PROGRESS)

    subject = models.CharField(max_length=200, help_text="Such as mote:main/7 or sink:influxdb")
    kind = models.CharField(max_length=32, help_text="anomaly, sink_down, …")
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    severity = models.CharField(max_length=8, choices=Severity)
    mote = models.ForeignKey(Mote, models.CASCADE, null=True, blank=True, related_name="alerts")
    words = models.CharField(max_length=400)
    n_events = models.PositiveIntegerField(default=0)
    peak_surprise = models.FloatField(default=0.0)
    score = models.FloatField(default=0.0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    assignee = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    snoozed_until = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=0, help_text="Rises with each change of hands or status")

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ("-last_seen_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("subject", "kind"),
                condition=models.Q(status__in=("open", "acknowledged", "in_progress")),
                name="one_active_alert_a_subject_and_kind",
            ),
        )
        # The active ones are few among all that ever were; a status at a time is read from its newest.
        indexes = (models.Index(fields=("status", "last_seen_at"), name="alerts_by_status"),)
        permissions = (("act_on_alert", "Can acknowledge and resolve alerts"),)

    def __str__(self) -> str:
        return f"{self.subject} {self.kind} ({self.status})"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE

    @property
    def people(self) -> dict[str, str | None]:
        """In whose hands it is, as far as that is known without a query."""
        known = ("assignee", "acknowledged_by", "resolved_by")
        return {
            name: getattr(self, name).username if getattr(self, f"{name}_id") else None
            for name in known
            if getattr(self, f"{name}_id") is None or name in self._state.fields_cache
        }


class AlertChange(models.Model):
    """One line of an alert's story: who did what, when and from where. Written with the change, never altered."""

    class Deed(models.TextChoices):
        OPEN = "open", "opened"
        WORSEN = "worsen", "grew worse"
        ACKNOWLEDGE = "acknowledge", "acknowledged"
        START = "start", "started work"
        ASSIGN = "assign", "assigned"
        COMMENT = "comment", "commented"
        SNOOZE = "snooze", "snoozed"
        WAKE = "wake", "woken"
        JUDGE = "judge", "judged"
        RESOLVE = "resolve", "resolved"
        CLOSE = "close", "closed"
        REOPEN = "reopen", "opened again"

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="changes")
    at = models.DateTimeField(db_index=True)
    who = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", help_text="Empty: SIEIS itself"
    )
    deed = models.CharField(max_length=16, choices=Deed)
    before = models.CharField(max_length=16, blank=True, help_text="Its status until then")
    after = models.CharField(max_length=16)
    note = models.CharField(max_length=1000, blank=True)
    detail = models.JSONField(default=dict)
    door = models.CharField(max_length=16, help_text="page, api, admin, sieis")
    address = models.GenericIPAddressField(null=True)

    class Meta:
        ordering = ("at", "id")

    def __str__(self) -> str:
        return f"{self.alert_id} {self.deed} {self.at:%Y-%m-%d %H:%M:%S}"


class Event(models.Model):
    """A stretch of anomalous readings of one mote. Its key has no model version: a replay finds it again."""

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="events")
    alert = models.ForeignKey(
        Alert, models.SET_NULL, null=True, blank=True, related_name="events", db_index=False
    )  # fmt: skip
    noticed_at = models.DateTimeField()
    started_at = models.DateTimeField()
    last_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    n_readings = models.PositiveIntegerField()
    peak_surprise = models.FloatField()
    peak_at = models.DateTimeField()
    peak_channel = models.CharField(max_length=64)
    peak_value = models.FloatField(null=True)
    expected_low = models.FloatField(null=True)
    expected_high = models.FloatField(null=True)
    layer = models.CharField(max_length=32)
    contributions = models.JSONField(default=dict)
    words = models.CharField(max_length=400)
    message = models.CharField(
        max_length=250, blank=True, help_text="topic/partition@offset of the message that showed it"
    )
    model_version = models.PositiveIntegerField()
    is_history = models.BooleanField(default=False, help_text="From the history stream: alerts nobody")

    class Meta:
        ordering = ("-noticed_at", "-id")
        constraints = (models.UniqueConstraint(fields=("mote", "noticed_at"), name="event_once"),)
        # An alert's events, and its worst one without a look at the others.
        indexes = (models.Index(fields=("alert", "peak_surprise", "id"), name="events_by_alert"),)

    def __str__(self) -> str:
        return f"{self.mote} {self.noticed_at:%Y-%m-%d %H:%M:%S}"


class JudgementQuerySet(models.QuerySet["Judgement"]):
    def standing(self) -> JudgementQuerySet:
        """The last one of each alert: what was said before it counts no more."""
        later = Judgement.objects.filter(alert=models.OuterRef("alert"), pk__gt=models.OuterRef("pk"))
        return self.filter(~models.Exists(later))


class Judgement(models.Model):
    """What a person says an alert was worth. Nothing is overwritten; the last one of an alert stands."""

    class Verdict(models.TextChoices):
        REAL = "real", "real event"
        EXPECTED = "expected", "expected"
        FALSE = "false", "false alarm"
        NEW_NORMAL = "new_normal", "new normal"

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="judgements")
    verdict = models.CharField(max_length=12, choices=Verdict)
    note = models.CharField(max_length=400, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(db_index=True)

    objects = JudgementQuerySet.as_manager()

    class Meta:
        ordering = ("-at", "-id")

    def __str__(self) -> str:
        return f"{self.alert}: {self.get_verdict_display()}"


class Evidence(models.Model):
    """What was known of an alert at an instant: a file that never changes, and what it came to."""

    class Occasion(models.TextChoices):
        RAISED = "raised"
        PEAK = "peak", "grown"
        OVER = "over"

    class Verdict(models.TextChoices):
        SENSOR_FAULT = "sensor_fault", "sensor fault"
        REAL_EVENT = "real_event", "real event"
        UNCLEAR = "unclear"

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="evidence")
    event = models.ForeignKey(Event, models.SET_NULL, null=True, related_name="evidence")
    occasion = models.CharField(max_length=8, choices=Occasion)
    taken_at = models.DateTimeField()
    peak_surprise = models.FloatField()
    name = models.CharField(max_length=300, help_text="Name in the artefact storage")
    sha256 = models.CharField(max_length=64, db_index=True)
    size = models.PositiveBigIntegerField()
    verdict = models.CharField(max_length=16, choices=Verdict)
    is_reproduced = models.BooleanField(
        null=True, help_text="Whether its readings got the same scores again; empty: they cannot be scored again"
    )

    class Meta:
        ordering = ("-taken_at", "-id")
        verbose_name_plural = "evidence"

    def __str__(self) -> str:
        return f"{self.alert_id} {self.occasion} {self.taken_at:%Y-%m-%d %H:%M:%S}"


class MaintenanceWindow(models.Model):
    """While it lasts, its motes raise no alert; training leaves it out."""

    mote = models.ForeignKey(Mote, models.CASCADE, null=True, blank=True, related_name="maintenance_windows")
    zone = models.ForeignKey(Zone, models.CASCADE, null=True, blank=True, related_name="maintenance_windows")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=200)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("-starts_at",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")), name="window_ends_after_start"
            ),
            models.CheckConstraint(
                condition=models.Q(mote__isnull=False) | models.Q(zone__isnull=False),
                name="window_has_a_scope",
            ),
        )

    def __str__(self) -> str:
        return f"{self.mote or self.zone}: {self.reason}"


# Django finds models only here; those that have a folder of their own name Alert by its string.
import alerts.grouping.models
import alerts.notifying.models
import alerts.rules.models
import alerts.silencing.models
