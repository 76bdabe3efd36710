"""Capability tables as they are kept."""

from __future__ import annotations

from django.db import models


class CapabilityTable(models.Model):
    """What one model found of planted faults, measured once; the newest of a profile is the one that is shown."""

    profile = models.ForeignKey("sensors.Profile", models.CASCADE, related_name="capability_tables")
    version = models.ForeignKey(
        "mlops.ModelVersion", models.CASCADE, null=True, blank=True, related_name="capability_tables",
        help_text="Empty: a model that was trained for this measurement alone",
    )  # fmt: skip
    is_simulated = models.BooleanField(help_text="Planted in simulated readings; else in the fleet's own clean ones")
    is_quick = models.BooleanField(default=False)
    starts_at = models.DateTimeField(help_text="Of the readings in which faults were planted")
    ends_at = models.DateTimeField()
    measured_at = models.DateTimeField()
    seconds = models.FloatField()
    trigger = models.CharField(max_length=16, default="command", help_text="command or schedule")
    table = models.JSONField()

    class Meta:
        app_label = "ingestion"
        ordering = ("-measured_at", "-pk")
        indexes = (models.Index(fields=("profile", "-measured_at"), name="capability_newest"),)

    def __str__(self) -> str:
        return f"capability of {self.version or self.profile} {self.measured_at:%Y-%m-%d %H:%M}"
