"""The registry: model versions, the jobs that made them, what served when, and the truth they are judged by."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from mlops.forecasts.issued_models import ForecastDay, ForecastWarning, IssuedForecast, RiskDay, StageForecast
from mlops.watch_models import DriftDay, RetrainPolicy, Review, ShadowRun, Validation
from sensors.models import Mote, Profile

__all__ = [
    "DriftDay", "ForecastDay", "ForecastWarning", "IssuedForecast", "Label", "ModelVersion", "RetrainPolicy", "Review",
    "RiskDay", "ServingPeriod", "ShadowRun", "StageForecast", "TrainingJob", "Validation", "VersionCounter",
]  # fmt: skip


class Kind(models.TextChoices):
    """What a model is: the engine that judges the stream, what tells smoke where labels exist, or what foretells."""

    DETECTOR = "anomaly_detector"
    CLASSIFIER = "smoke_classifier"
    FORECAST = "forecast"


KIND_FLAGS = {Kind.DETECTOR: "", Kind.CLASSIFIER: " --classifier", Kind.FORECAST: " --kind forecast"}


class Detectors(models.Manager["ModelVersion"]):
    """Versions of the engine only: what judges readings, is compared, watched and cited."""

    def get_queryset(self) -> models.QuerySet[ModelVersion]:
        return super().get_queryset().filter(kind=Kind.DETECTOR)


class VersionCounter(models.Model):
    """The last number given to a version of a profile. A row of its own, so that no deletion frees a number."""

    profile = models.OneToOneField(Profile, models.CASCADE, related_name="version_counter")
    last = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.profile} {self.last}"


class ModelVersion(models.Model):
    """One immutable model of a scope: a profile, or one mote of it."""

    class Stage(models.TextChoices):
        CANDIDATE = "candidate"
        SHADOW = "shadow"
        PRODUCTION = "production"
        ARCHIVED = "archived"

    kind = models.CharField(max_length=24, choices=Kind, default=Kind.DETECTOR)
    number = models.PositiveIntegerField(help_text="Counts within the scope's profile; never used twice")
    name = models.CharField(max_length=120, unique=True)
    profile = models.ForeignKey(Profile, models.PROTECT, related_name="model_versions")
    mote = models.ForeignKey(Mote, models.PROTECT, null=True, blank=True, related_name="model_versions")
    stage = models.CharField(max_length=16, choices=Stage, default=Stage.CANDIDATE)
    artefact = models.CharField(max_length=300, help_text="Name in the artefact storage")
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField(default=0, help_text="Bytes of the artefact")
    profile_version = models.PositiveIntegerField()
    features = models.JSONField(default=list)
    parameters = models.JSONField(default=dict)
    libraries = models.JSONField(default=dict)
    seed = models.PositiveIntegerField()
    data = models.JSONField(default=dict, help_text="Range, rows, lake version and content hash of what it learnt from")
    metrics = models.JSONField(default=dict, help_text="Measured on held-out data only")
    calibration = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    promoted_at = models.DateTimeField(
        null=True, blank=True, help_text="When it last began to serve; empty: it never did"
    )

    every = models.Manager["ModelVersion"]()
    objects = Detectors()

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=("profile", "number"), name="version_number_once_a_profile"),
            models.UniqueConstraint(
                fields=("profile", "kind"),
                condition=models.Q(stage="production", mote__isnull=True),
                name="one_production_version_a_profile",
            ),
            models.UniqueConstraint(
                fields=("mote", "kind"), condition=models.Q(stage="production"), name="one_production_version_a_mote"
            ),
        )
        permissions = (("operate_models", "Can train, promote and roll back models"),)

    def __str__(self) -> str:
        return self.name

    @property
    def retrain_command(self) -> str:
        """What trains its successor."""
        scope = f" --mote {self.mote}" if self.mote else ""
        return f"manage.py train --profile {self.profile.code}{scope}{KIND_FLAGS[Kind(self.kind)]}"

    @property
    def is_classifier(self) -> bool:
        return self.kind == Kind.CLASSIFIER

    @property
    def is_forecast(self) -> bool:
        return self.kind == Kind.FORECAST

    @property
    def kind_words(self) -> str:
        """For people; empty for what is meant where nothing is said."""
        return {Kind.CLASSIFIER: "smoke classifier", Kind.FORECAST: "forecasts"}.get(Kind(self.kind), "")


class TrainingJob(models.Model):
    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNFINISHED = (Status.QUEUED, Status.RUNNING)

    profile = models.ForeignKey(Profile, models.CASCADE, related_name="training_jobs")
    mote = models.ForeignKey(Mote, models.CASCADE, null=True, blank=True, related_name="training_jobs")
    kind = models.CharField(max_length=24, choices=Kind, default=Kind.DETECTOR)
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    trigger = models.CharField(max_length=24, help_text="first_run, schedule, person, api, …")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    predecessor = models.ForeignKey(ModelVersion, models.SET_NULL, null=True, blank=True, related_name="+")
    result = models.OneToOneField(ModelVersion, models.SET_NULL, null=True, blank=True, related_name="job")
    parameters = models.JSONField(default=dict)
    progress = models.FloatField(default=0.0)
    message = models.CharField(max_length=400, blank=True)
    log = models.TextField(blank=True, help_text="What it did, with the seconds since it began")
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)

    class Meta:
        ordering = ("-queued_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("profile", "kind"),
                condition=models.Q(status__in=("queued", "running"), mote__isnull=True),
                name="one_unfinished_job_a_profile",
            ),
            models.UniqueConstraint(
                fields=("mote", "kind"),
                condition=models.Q(status__in=("queued", "running")),
                name="one_unfinished_job_a_mote",
            ),
        )

    def __str__(self) -> str:
        return f"job {self.pk} {self.profile} {self.status}"

    @property
    def is_unfinished(self) -> bool:
        return self.status in self.UNFINISHED


class ServingPeriod(models.Model):
    """From which message of a partition on a version scored a scope: answers "which version scored this?"."""

    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="serving_periods")
    topic = models.CharField(max_length=200)
    topic_id = models.CharField(max_length=64, blank=True, help_text="The broker's id of the topic at that time")
    partition = models.PositiveIntegerField()
    from_offset = models.PositiveBigIntegerField()
    started_at = models.DateTimeField()
    who = models.CharField(max_length=150)
    why = models.CharField(max_length=200)

    class Meta:
        ordering = ("topic", "partition", "-from_offset")
        indexes = (models.Index(fields=("topic", "partition", "from_offset")),)
        constraints = (
            models.UniqueConstraint(
                fields=("version", "topic", "topic_id", "partition", "from_offset"), name="serving_period_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.version} from {self.topic}/{self.partition}@{self.from_offset}"


class Label(models.Model):
    """The truth about a stretch: an injected fault, or what a person said of it."""

    mote = models.ForeignKey(Mote, models.CASCADE, related_name="labels")
    channel = models.CharField(max_length=64, blank=True)
    kind = models.CharField(max_length=32)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    source = models.CharField(max_length=32, help_text="simulator, person, …")
    note = models.CharField(max_length=200, blank=True)
    told_at = models.DateTimeField(auto_now_add=True, null=True)

    class Meta:
        ordering = ("-starts_at",)
        constraints = (
            models.UniqueConstraint(fields=("mote", "channel", "kind", "starts_at", "source"), name="label_once"),
        )

    def __str__(self) -> str:
        return f"{self.mote} {self.kind} {self.starts_at:%Y-%m-%d %H:%M}"
