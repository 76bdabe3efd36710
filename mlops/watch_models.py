"""What is kept of watching models: when they are trained anew, and what came of looking at them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from sensors.models import Mote, Profile

AROUND = timedelta(minutes=30)  # shown beside a stretch


class RetrainPolicy(models.Model):
    """What makes a profile's model be trained again, and who decides whether the result serves."""

    class Mode(models.TextChoices):
        MANAGED = "managed", "managed: the gate decides"
        MANUAL = "manual", "manual: an engineer decides"

    profile = models.OneToOneField(Profile, models.CASCADE, related_name="retrain_policy")
    mode = models.CharField(max_length=8, choices=Mode, default=Mode.MANAGED)
    days = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(1.0), MaxValueValidator(366.0)],
        help_text="Learns from the last so many days, 7 to 30 as a rule; empty: what the pack says, else 10",
    )  # fmt: skip
    after_import = models.BooleanField(default=True, help_text="Trains again when history was imported")
    on_drift = models.BooleanField(default=True, help_text="Trains again when what comes in has drifted for days")
    on_labels = models.PositiveIntegerField(
        default=20, help_text="Trains again when people have judged so often since the last training; 0: never"
    )
    rest_hours = models.FloatField(
        default=6.0, validators=[MinValueValidator(0.0)],
        help_text="None of these three trains again sooner than this after the last training",
    )  # fmt: skip

    class Meta:
        verbose_name_plural = "retrain policies"

    def __str__(self) -> str:
        return f"{self.profile} {self.mode}"


class DriftDay(models.Model):
    """One figure of one day against the days that the serving version has learnt from."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="drift_days")
    version = models.ForeignKey("mlops.ModelVersion", models.CASCADE, related_name="drift_days")
    day = models.DateField()
    kind = models.CharField(max_length=16, help_text="channel, residual or score")
    name = models.CharField(max_length=64, blank=True, help_text="The channel")
    shift = models.FloatField(help_text="How far away: in widths of the normal band, of the model's band, in decades")
    effect = models.FloatField(help_text="The same in spreads of the reference days among themselves")
    n_motes = models.PositiveIntegerField()
    worst = models.JSONField(default=list, help_text="The motes that are farthest away")
    is_over = models.BooleanField()

    class Meta:
        ordering = ("-day", "kind", "name")
        constraints = (
            models.UniqueConstraint(fields=("version", "day", "kind", "name"), name="drift_day_once_a_version"),
        )

    def __str__(self) -> str:
        return f"{self.profile} {self.kind} {self.name} {self.day}"


class Validation(models.Model):
    """A registered version judged on days newer than all that it had seen when it was made."""

    version = models.ForeignKey("mlops.ModelVersion", models.CASCADE, related_name="validations")
    made_at = models.DateTimeField()
    trigger = models.CharField(max_length=24, help_text="schedule, api, command, person")
    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    n_readings = models.PositiveBigIntegerField(default=0)
    metrics = models.JSONField(default=dict)
    holds = models.BooleanField(null=True, help_text="Whether it passes the gate of a first model; empty: not measured")
    words = models.CharField(max_length=600)

    class Meta:
        ordering = ("-made_at", "-id")

    def __str__(self) -> str:
        return f"{self.version} {self.made_at:%Y-%m-%d}"


class ShadowRun(models.Model):
    """A version that judges the live readings beside the one that serves; nobody hears of it."""

    version = models.ForeignKey("mlops.ModelVersion", models.CASCADE, related_name="shadow_runs")
    started_at = models.DateTimeField()
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    stopped_at = models.DateTimeField(null=True, blank=True)
    followed_at = models.DateTimeField(null=True, blank=True, help_text="When it last looked for new readings")
    places = models.JSONField(default=dict, help_text="By partition: the next offset to judge")
    state = models.CharField(max_length=300, blank=True, help_text="Name of its engine state in the artefact storage")
    n_readings = models.PositiveBigIntegerField(default=0)
    n_both = models.PositiveBigIntegerField(default=0, help_text="Readings that both call anomalous")
    n_only_serving = models.PositiveBigIntegerField(default=0)
    n_only_candidate = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0.0, help_text="Spent judging")
    error = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering = ("-started_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("version",), condition=models.Q(stopped_at__isnull=True), name="one_shadow_run_a_version"
            ),
        )

    def __str__(self) -> str:
        return f"shadow of {self.version}"

    @property
    def agreement(self) -> float | None:
        """Share of readings on which both say the same."""
        return 1 - (self.n_only_serving + self.n_only_candidate) / self.n_readings if self.n_readings else None


class Review(models.Model):
    """A stretch that a person shall look at: two models disagree on it, or it was drawn by lot."""

    class Kind(models.TextChoices):
        ONLY_SERVING = "only_serving", "only the serving version"
        ONLY_CANDIDATE = "only_candidate", "only the candidate"
        AUDIT = "audit", "drawn by lot"

    run = models.ForeignKey(ShadowRun, models.CASCADE, related_name="reviews")
    mote = models.ForeignKey(Mote, models.CASCADE, related_name="reviews")
    kind = models.CharField(max_length=16, choices=Kind)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    n_readings = models.PositiveIntegerField()
    serving_surprise = models.FloatField()
    candidate_surprise = models.FloatField()
    rarity = models.FloatField(default=0.0, help_text="How seldom the two differ on this mote")
    weight = models.FloatField(default=0.0, db_index=True, help_text="Rarity × disagreement; the queue's order")
    verdict = models.CharField(max_length=16, blank=True, help_text="fault or normal, once a person has said so")
    said_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    said_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-weight", "-id")
        constraints = (models.UniqueConstraint(fields=("run", "mote", "kind", "starts_at"), name="review_once"),)

    def __str__(self) -> str:
        return f"{self.mote} {self.kind} {self.starts_at:%Y-%m-%d %H:%M}"

    @property
    def from_at(self) -> datetime:
        return self.starts_at - AROUND

    @property
    def to_at(self) -> datetime:
        return self.ends_at + AROUND
