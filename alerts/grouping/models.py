"""Incidents: what one cause made."""

from __future__ import annotations

from django.db import models

from sensors.models import Site


class IncidentQuerySet(models.QuerySet["Incident"]):
    def of_many(self) -> IncidentQuerySet:
        """Those of several alerts; an alert alone is an incident that nobody needs to see."""
        return self.filter(n_alerts__gt=1)

    def running(self) -> IncidentQuerySet:
        return self.filter(ended_at=None)


class Incident(models.Model):
    """Alerts that came close in time and share something. Every alert that was told belongs to one."""

    cause = models.CharField(
        max_length=16, help_text="What its alerts share: zone, gateway, channel, kind; alone: none"
    )
    shared = models.CharField(max_length=200, blank=True, help_text="Such as main/lab or temperature")
    site = models.ForeignKey(Site, models.CASCADE, null=True, related_name="+")
    first_mover = models.ForeignKey("alerts.Alert", models.SET_NULL, null=True, related_name="+")
    why_first = models.CharField(max_length=200, blank=True)
    n_alerts = models.PositiveIntegerField(default=1)
    opened_at = models.DateTimeField(db_index=True)
    joined_at = models.DateTimeField(help_text="When the last alert came to it")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When the last of its alerts was over")

    objects = IncidentQuerySet.as_manager()

    class Meta:
        ordering = ("-opened_at", "-id")

    def __str__(self) -> str:
        return f"incident {self.pk} of {self.n_alerts}"


class Membership(models.Model):
    """To which incident an alert belongs. An alert that was opened again may come to a later one."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="memberships")
    alert = models.OneToOneField("alerts.Alert", models.CASCADE, related_name="membership")
    began_at = models.DateTimeField(help_text="The alert's onset, by which the first mover is found")
    joined_at = models.DateTimeField()

    class Meta:
        ordering = ("began_at", "pk")

    def __str__(self) -> str:
        return f"{self.alert_id} in {self.incident_id}"
