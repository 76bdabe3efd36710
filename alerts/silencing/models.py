"""Silences, and which alerts each of them kept quiet."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from alerts.weekly import Weekly


class Silence(models.Model):
    """While it lasts, alerts of its scope are shown as suppressed and nobody is told of them."""

    site = models.ForeignKey("sensors.Site", models.CASCADE, null=True, blank=True, related_name="+")
    zone = models.ForeignKey("sensors.Zone", models.CASCADE, null=True, blank=True, related_name="silences")
    mote = models.ForeignKey("sensors.Mote", models.CASCADE, null=True, blank=True, related_name="silences")
    kind = models.CharField(max_length=32, blank=True, help_text="Kind of alert, such as silent or rule; empty for all")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted; only for hours a week")
    weekly = models.JSONField(null=True, blank=True, help_text="Only in these hours of each week")
    is_maintenance = models.BooleanField(default=False, help_text="Its readings are left out of training, too")
    reason = models.CharField(max_length=200)
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("-starts_at", "-pk")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at=None) | models.Q(ends_at__gt=models.F("starts_at")),
                name="silence_ends_after_start",
            ),
        )

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"

    @property
    def where(self) -> str:
        """Its scope in words, as far as the rows are at hand."""
        place = (
            f"mote {self.mote}" if self.mote else f"zone {self.zone}" if self.zone else
            f"site {self.site}" if self.site else "everything"
        )  # fmt: skip
        return f"{place}, {self.kind} alerts" if self.kind else place

    @property
    def hours(self) -> Weekly | None:
        return Weekly.parse(self.weekly) if self.weekly else None


class Suppression(models.Model):
    """That an alert was kept quiet by a silence, since when, and until when."""

    alert = models.ForeignKey("alerts.Alert", models.CASCADE, related_name="suppressions")
    silence = models.ForeignKey(Silence, models.CASCADE, related_name="suppressions")
    since_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-since_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("alert", "silence"), condition=models.Q(ended_at=None), name="suppressed_once_by_a_silence"
            ),
        )

    def __str__(self) -> str:
        return f"{self.alert_id} by {self.silence_id}"
