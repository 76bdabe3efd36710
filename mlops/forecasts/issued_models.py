"""What was forecast, what came of it, and what was warned of."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from django.db import models

from alerts.models import Alert
from sensors.models import Mote, Profile
from sensors.readings import Floats

COLUMNS = ("mean", "q025", "q10", "q50", "q90", "q975")


class IssuedForecast(models.Model):
    """One forecast made by schedule, at hand for pages and for scoring; the lake keeps every one for good."""

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="forecasts")
    channel = models.SlugField()
    version = models.CharField(max_length=120, help_text="Name of the model version that made it")
    issued_at = models.DateTimeField(db_index=True)
    origin_at = models.DateTimeField(help_text="The last reading that it knew of")
    ends_at = models.DateTimeField(help_text="Its last step")
    step_s = models.FloatField()
    values = models.BinaryField(help_text="Mean and five quantiles a step: six rows of 32-bit floats")
    risks = models.JSONField(default=list, help_text="Each limit with its chance, and whether it was passed")
    scored_at = models.DateTimeField(null=True, blank=True, help_text="When it was compared with what came")
    figures = models.JSONField(default=dict, help_text="How good it was, in the channel's unit")

    class Meta:
        ordering = ("-origin_at", "mote", "channel")
        constraints = (
            models.UniqueConstraint(fields=("mote", "channel", "origin_at"), name="forecast_once_an_origin"),
        )
        indexes = (models.Index(fields=("scored_at", "ends_at"), name="forecasts_to_score"),)

    def __str__(self) -> str:
        return f"{self.mote} {self.channel} from {self.origin_at:%Y-%m-%d %H:%M}"

    @cached_property
    def rows(self) -> Floats:
        """Mean, q025, q10, q50, q90 and q975, each over the steps."""
        return np.frombuffer(bytes(self.values), dtype="<f4").reshape(len(COLUMNS), -1).astype(np.float64)

    @property
    def step(self) -> timedelta:
        return timedelta(seconds=self.step_s)

    @property
    def instants(self) -> list[datetime]:
        return [self.origin_at + self.step * (i + 1) for i in range(self.rows.shape[1])]

    @property
    def worst(self) -> dict[str, Any] | None:
        """The limit that is likeliest to be passed, of those that are not passed already."""
        ahead = [one for one in self.risks if not one["is_beyond"]]
        return max(ahead, key=lambda one: one["probability"], default=None)


class StageForecast(models.Model):
    """When a machine will be in a stage of wear, as its newest forecasts say together; made anew with each."""

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="stage_forecasts")
    stage = models.PositiveSmallIntegerField(help_text="1 the first stage of the pack, 2 the second")
    name = models.CharField(max_length=64, help_text="As the pack calls the stage")
    issued_at = models.DateTimeField()
    origin_at = models.DateTimeField(help_text="The last reading that was known")
    ends_at = models.DateTimeField(help_text="The horizon")
    probability = models.FloatField(help_text="Of being in it within the horizon")
    is_beyond = models.BooleanField(help_text="It is in it already")
    at = models.DateTimeField(null=True, blank=True, help_text="When it begins in half of the ways in which it does")
    earliest = models.DateTimeField(null=True, blank=True, help_text="In 80 of 100 of those ways it begins between")
    latest = models.DateTimeField(null=True, blank=True, help_text="these two")

    class Meta:
        ordering = ("mote", "stage")
        constraints = (models.UniqueConstraint(fields=("mote", "stage"), name="stage_forecast_once"),)

    def __str__(self) -> str:
        return f"{self.mote} {self.name}"


class ForecastDay(models.Model):
    """Sums over a day's forecasts that are over, by how far ahead they looked; they outlive the forecasts."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    channel = models.SlugField()
    version = models.CharField(max_length=120)
    day = models.DateField(help_text="Of the last reading known (UTC)")
    ahead_h = models.PositiveSmallIntegerField(help_text="Steps up to so many hours ahead, beyond the row before")
    n = models.PositiveBigIntegerField(default=0)
    absolute = models.FloatField(default=0.0)
    squared = models.FloatField(default=0.0)
    naive = models.FloatField(default=0.0, help_text="Absolute error of saying that the last value stays")
    pinball = models.FloatField(default=0.0)
    n_within80 = models.PositiveBigIntegerField(default=0)
    n_within95 = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-day", "channel", "version", "ahead_h")
        constraints = (
            models.UniqueConstraint(
                fields=("profile", "channel", "version", "day", "ahead_h"), name="forecast_day_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.version} {self.channel} {self.day} up to {self.ahead_h} h"


class RiskDay(models.Model):
    """How often what was said to be so likely came: a day's limits by tenths of the chance that was stated."""

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="+")
    day = models.DateField(help_text="Of the last reading known (UTC)")
    tenth = models.PositiveSmallIntegerField(help_text="0 for chances below 0.1, …, 9 from 0.9 on")
    n = models.PositiveBigIntegerField(default=0)
    stated = models.FloatField(default=0.0, help_text="Sum of the chances")
    n_passed = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-day", "tenth")
        constraints = (models.UniqueConstraint(fields=("profile", "day", "tenth"), name="risk_day_once"),)

    def __str__(self) -> str:
        return f"{self.profile} {self.day} {self.tenth / 10:g}"


class ForecastWarning(models.Model):
    """A limit that somebody was told would be passed until an instant, and whether it was."""

    class Outcome(models.TextChoices):
        STANDING = "standing"
        CAME_TRUE = "came_true", "came true"
        DID_NOT = "did_not", "did not come true"
        WITHDRAWN = "withdrawn"

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="forecast_warnings")
    channel = models.SlugField()
    alert = models.ForeignKey(Alert, models.SET_NULL, null=True, blank=True, related_name="forecast_warnings")
    limit = models.CharField(max_length=120, help_text="normal band, physical range, or the rule")
    value = models.FloatField()
    is_upper = models.BooleanField()
    origin_at = models.DateTimeField(help_text="The last reading that was known when it was said")
    ends_at = models.DateTimeField(help_text="Until when it can come true")
    probability = models.FloatField(help_text="As it was first said")
    last_probability = models.FloatField(help_text="As the newest forecast says")
    outcome = models.CharField(max_length=12, choices=Outcome, default=Outcome.STANDING)
    closed_at = models.DateTimeField(null=True, blank=True)
    why = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-origin_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("mote", "channel"), condition=models.Q(outcome="standing"),
                name="one_standing_warning_a_channel",
            ),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.mote} {self.channel} {self.limit} ({self.get_outcome_display()})"
