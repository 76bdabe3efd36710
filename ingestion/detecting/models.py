"""Files that people had judged."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class DetectRun(models.Model):
    """One file of a person: how it is to be read, how far it is, and what was found. Forgotten after some days."""

    class State(models.TextChoices):
        LOOKED = "looked"
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNFINISHED = (State.QUEUED, State.RUNNING)

    who = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="detect_runs")
    name = models.CharField(max_length=200, help_text="The file's, as it was called")
    size = models.PositiveBigIntegerField(help_text="Bytes")
    folder = models.CharField(max_length=100, help_text="Where the file and its results are, in the artefact storage")
    asked = models.JSONField(default=dict, help_text="How the file is to be read; empty where the data decide")
    seen = models.JSONField(default=dict, help_text="What was recognised in its head")
    state = models.CharField(max_length=16, choices=State, default=State.LOOKED)
    progress = models.FloatField(default=0.0)
    message = models.CharField(max_length=400, blank=True)
    found = models.JSONField(default=dict, help_text="In a few words; the events' own file has them all")
    wants_cancel = models.BooleanField(default=False)
    trigger = models.CharField(max_length=16, default="person", help_text="person or api")
    asked_at = models.DateTimeField(db_index=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)

    class Meta:
        app_label = "ingestion"
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("who",), condition=models.Q(state__in=("queued", "running")), name="one_detect_run_a_person"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} of {self.who} {self.asked_at:%Y-%m-%d %H:%M}"

    @property
    def is_unfinished(self) -> bool:
        return self.state in self.UNFINISHED
