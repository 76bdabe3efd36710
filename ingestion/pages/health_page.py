"""What the Health page shows beside the answers of the parts: schedules, jobs, disk and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from ingestion.detecting.models import DetectRun
from ingestion.models import ImportJob, QualityReport, Reconciliation, ReplayJob
from mlops.models import TrainingJob

MISSED_RUNS = 3  # an interval that was missed so often is late
LIBRARIES = ("Django", "channels", "celery", "polars", "deltalake", "numpy", "scikit-learn")
SIZES_HOLD_S = 60.0
LOW_DISK = 0.1
# The steps of the path in order: code, label, what stands behind it, and which steps of the consumer it takes.
PATH = (
    ("stream", "Stream", "messages are taken", "poll"),
    ("decode", "Decode", "bytes to readings", "decode"),
    ("judge", "Judge", "quality flags", "judge"),
    ("detect", "Detect", "scores and events", "detect"),
    ("hot_store", "Hot store", "readings are kept", "store"),
    ("database", "Alerts", "events become alerts", "alert"),
    ("lake", "Lake", "kept for good", "lake gather"),
    ("artefacts", "Checkpoint", "where it would go on", "checkpoint snapshot"),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str
    when: str
    is_enabled: bool
    last_run_at: datetime | None
    n_runs: int
    is_late: bool

    @property
    def state(self) -> str:
        if not self.is_enabled:
            return "switched off"
        return "late" if self.is_late else "on time" if self.last_run_at else "not yet run"


@dataclass(frozen=True, slots=True)
class Job:
    """The newest of its kind."""

    kind: str
    what: str
    state: str
    asked_at: datetime
    done_at: datetime | None
    address: str


@dataclass(frozen=True, slots=True)
class Disk:
    """The volume of the data folder, and what its parts take."""

    total: int
    free: int
    parts: tuple[tuple[str, int], ...]

    @property
    def is_low(self) -> bool:
        return self.free < LOW_DISK * self.total

    @property
    def used_percent(self) -> str:
        return f"{100 * (1 - self.free / self.total):.0f} %"


def context(now: datetime) -> dict[str, Any]:
    """A database that is away leaves out what it would have told."""
    try:
        told: dict[str, Any] = {"schedules": list(_schedules(now)), "jobs": sorted(_jobs(), key=_newest_first)}
    except DatabaseError:
        told = {"schedules": [], "jobs": []}
    return {**told, "disk": disk(), "versions": [("Python", platform.python_version()), *_libraries(), *_database()],
            "path": PATH}  # fmt: skip


def _newest_first(job: Job) -> float:
    return -job.asked_at.timestamp()


def _schedules(now: datetime) -> Iterator[Schedule]:
    tasks = PeriodicTask.objects.exclude(task="celery.backend_cleanup").select_related("interval", "crontab")
    for task in tasks.order_by("name"):
        every = timedelta(**{task.interval.period: task.interval.every}) if task.interval else None
        waited = now - task.last_run_at if task.last_run_at else None
        yield Schedule(
            name=task.name,
            when=_when(task),
            is_enabled=task.enabled,
            last_run_at=task.last_run_at,
            n_runs=task.total_run_count,
            is_late=bool(task.enabled and every and waited and waited > MISSED_RUNS * every),
        )


def _when(task: PeriodicTask) -> str:
    """As a person reads an interval; a crontab as it is written."""
    if task.interval:
        return str(task.interval)
    one = task.crontab
    return f"{one.minute} {one.hour} {one.day_of_month} {one.month_of_year} {one.day_of_week}" if one else "–"


def _jobs() -> Iterator[Job]:
    """The newest job of each kind that people wait for."""
    if training := TrainingJob.objects.select_related("profile").order_by("-queued_at").first():
        yield Job(
            "training", training.profile.label, training.status, training.queued_at, training.finished_at,
            reverse("training"),
        )  # fmt: skip
    if brought := ImportJob.objects.order_by("-asked_at").first():
        address = reverse("import", args=[brought.pk])
        yield Job("import", brought.profile, brought.state, brought.asked_at, brought.done_at, address)
    if judged := DetectRun.objects.order_by("-asked_at").first():
        yield Job("judged file", "", judged.state, judged.asked_at, judged.done_at, reverse("detect"))
    for kind, found, address in (
        ("quality report", QualityReport.objects.order_by("-asked_at").first(), "reports"),
        ("reconciliation", Reconciliation.objects.order_by("-asked_at").first(), "books"),
        ("replay of messages put aside", ReplayJob.objects.order_by("-asked_at").first(), "quarantine"),
    ):
        if found:
            yield Job(kind, "", found.state, found.asked_at, found.done_at, reverse(address))


# ---- disk and versions --------------------------------------------------------------------------------------

_sizes: tuple[float, tuple[tuple[str, int], ...]] = (float("-inf"), ())


def disk() -> Disk:
    """Parts are counted at most once a minute: a lake is many files."""
    global _sizes
    if time.monotonic() - _sizes[0] > SIZES_HOLD_S:
        parts = ((entry.name, _size(entry)) for entry in Path(settings.SIEIS_DATA).iterdir())
        _sizes = (time.monotonic(), tuple(sorted(parts, key=lambda part: -part[1])[:6]))
    volume = shutil.disk_usage(settings.SIEIS_DATA)
    return Disk(volume.total, volume.free, _sizes[1])


def _size(path: Path) -> int:
    """Files come and go while they are counted."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total or (path.lstat().st_size if path.is_file() else 0)


@cache
def _libraries() -> list[tuple[str, str]]:
    return [(name, importlib.metadata.version(name)) for name in LIBRARIES]


def _database() -> list[tuple[str, str]]:
    try:
        return [(connection.display_name, ".".join(map(str, connection.get_database_version())))]
    except DatabaseError:
        return []
