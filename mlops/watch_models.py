"""What is kept of watching models: when they are trained anew, and what came of looking at them."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from sensors.models import Profile


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
