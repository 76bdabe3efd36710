"""Rules as people keep them, and where each mote stands with them."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.db import models

from alerts.rules import saying
from sensors.models import Mote, Profile, Site, Zone


class RuleQuerySet(models.QuerySet["Rule"]):
    def standing(self) -> RuleQuerySet:
        """Those that nobody removed, with all that their scope names."""
        return self.filter(removed_at=None).select_related("profile", "site", "zone__site", "mote__site")


class Rule(models.Model):
    """What people want to be told of, beside what the models find. Each change makes it another version."""

    name = models.CharField(max_length=80)
    version = models.PositiveIntegerField(default=1)
    severity = models.CharField(
        max_length=8, choices=[("low", "low"), ("medium", "medium"), ("high", "high")], default="medium"
    )
    profile = models.ForeignKey(
        Profile, models.CASCADE, null=True, blank=True, related_name="+", help_text="Needed where it names channels"
    )
    site = models.ForeignKey(Site, models.CASCADE, null=True, blank=True, related_name="+")
    zone = models.ForeignKey(Zone, models.CASCADE, null=True, blank=True, related_name="+")
    mote = models.ForeignKey(Mote, models.CASCADE, null=True, blank=True, related_name="+")
    definition = models.JSONField(help_text="Conditions, for how long, hours, and what a silence means")
    is_on = models.BooleanField(default=True)
    changed_at = models.DateTimeField()
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = RuleQuerySet.as_manager()

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("name",), condition=models.Q(removed_at=None), name="one_rule_of_a_name"
            ),
        )  # fmt: skip

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        """Of its alerts."""
        return f"rule:{self.pk}"

    @property
    def silence_kind(self) -> str:
        """Of its alerts where a silence is one of its own."""
        return f"rule:{self.pk}:silent"

    def parsed(self) -> saying.Rule:
        return saying.parse(self.definition)

    @property
    def where(self) -> str:
        """Its scope in words."""
        place = (
            f"mote {self.mote}" if self.mote else f"zone {self.zone}" if self.zone else
            f"site {self.site}" if self.site else "all motes"
        )  # fmt: skip
        return f"{place} of profile {self.profile}" if self.profile and not self.mote else place

    def sentence(self, units: Mapping[str, str]) -> str:
        return f"{self.parsed().sentence(units)} → {self.severity} alert, {self.where}."


class RuleState(models.Model):
    """Where each mote stands with a version of a rule, and who is judging it at the moment."""

    rule = models.OneToOneField(Rule, models.CASCADE, related_name="state")
    version = models.PositiveIntegerField()
    motes = models.JSONField(default=dict)
    since_at = models.DateTimeField(help_text="From when on its motes are judged by this version")
    judged_at = models.DateTimeField(null=True)
    leased_until = models.DateTimeField(null=True)
    trouble = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering = ("rule",)

    def __str__(self) -> str:
        return f"{self.rule} v{self.version}"
