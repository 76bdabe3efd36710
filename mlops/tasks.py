"""Celery's doors to the deeds: what a worker runs and beat schedules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.core.files.storage import default_storage
from django.utils import timezone

from mlops import children, keeping, retraining, shadowing, training_jobs, validating
from mlops.drift import watching
from mlops.forecasts import issuing
from mlops.models import Kind, TrainingJob
from sensors.lake import lake
from sensors.registry import current_fleet
from sensors.stores import hot

log = structlog.get_logger(__name__)


@shared_task
def train_job(job_id: int) -> None:
    training_jobs.run_in_process(job_id)
    if TrainingJob.objects.filter(pk=job_id, kind=Kind.FORECAST, status=TrainingJob.Status.SUCCEEDED).exists():
        issue_forecasts.delay()  # nobody shall wait an hour for what was learnt now


@shared_task
def retrain(profile: str) -> None:
    """Asks for the trainings that are due, unless they run already."""
    for job in retraining.by_schedule(profile, timezone.now()):
        training_jobs.dispatch(job)


@shared_task
def expire_leases() -> None:
    training_jobs.expire_leases(timezone.now())


@shared_task
def look_at_labels() -> None:
    """Trains again where people have judged and labelled enough since the last training."""
    for job in retraining.look_at_labels(timezone.now()):
        training_jobs.dispatch(job)


@shared_task
def watch_drift() -> None:
    """Measures the days that came since, and tells what has drifted or performs badly."""
    for words in watching.watch_all(timezone.now(), lake=lake(), fleet=current_fleet()):
        log.warning("model_needs_attention", words=words)


@shared_task
def validate_models() -> None:
    """Judges every serving version on the days since it was made."""
    made, left = validating.validate_production(
        lake=lake(), fleet=current_fleet(), trigger="schedule", now=timezone.now()
    )
    log.info(
        "models_validated", n=len(made), n_left=len(left), failed=[one.version.name for one in made if not one.holds]
    )


@shared_task
def follow_shadows() -> None:
    """Lets the versions in shadow judge what came in since the last look."""
    n = shadowing.follow_all(timezone.now(), lake=lake(), fleet=current_fleet(), storage=default_storage)
    if n:
        log.debug("shadows_followed", readings=n)


@shared_task
def back_up_models() -> None:
    keeping.backup(timezone.now())


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


@shared_task
def issue_forecasts() -> None:
    """Forecasts the fleet; a mote that fails stops no other, and is named in the end."""
    done = issuing.issue(timezone.now(), lake=lake(), fleet=current_fleet())
    if done is None:
        log.info("forecasts_being_issued_already")
        return
    log.info("forecasts_issued", n=len(done.forecasts), n_refused=len(done.refused))
    if done.failed:
        raise RuntimeError(f"Not forecast: {'; '.join(done.failed)}")


@shared_task
def score_forecasts() -> None:
    """Holds forecasts and warnings whose time has passed to what came."""
    n = issuing.score(timezone.now(), store=hot(), fleet=current_fleet())
    log.info("forecasts_scored", n=n)


@worker_ready.connect
def _take_up_what_waits(**kwargs: Any) -> None:
    training_jobs.expire_leases(timezone.now(), queued_for=timedelta(0))


@worker_shutting_down.connect
def _end_children(**kwargs: Any) -> None:
    children.STOPPING.set()
