"""Celery's doors to the deeds: what a worker runs and beat schedules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.utils import timezone

from mlops import children, retraining, training
from sensors.lake import lake

log = structlog.get_logger(__name__)


@shared_task
def train_job(job_id: int) -> None:
    training.run_in_process(job_id)


@shared_task
def retrain(profile: str) -> None:
    """Asks for a training unless the profile is being trained already."""
    try:
        job = training.request(profile, trigger="schedule", who=None, now=timezone.now())
    except training.AlreadyTraining as error:
        log.info("retrain_not_needed", profile=profile, reason=str(error))
        return
    training.dispatch(job)


@shared_task
def expire_leases() -> None:
    training.expire_leases(timezone.now())


@shared_task
def look_at_labels() -> None:
    """Trains again where people have judged and labelled enough since the last training."""
    for job in retraining.look_at_labels(timezone.now()):
        training.dispatch(job)


@shared_task
def compact_lake() -> None:
    """Merges the small files of each table; one table's trouble leaves the others alone."""
    failed = []
    for table in lake().tables():
        try:
            lake().compact(table)
        except Exception as error:
            failed.append(f"{table}: {error}")
    if failed:
        raise RuntimeError(f"Not compacted: {'; '.join(failed)}")


@worker_ready.connect
def _take_up_what_waits(**kwargs: Any) -> None:
    training.expire_leases(timezone.now(), queued_for=timedelta(0))


@worker_shutting_down.connect
def _end_children(**kwargs: Any) -> None:
    children.STOPPING.set()
