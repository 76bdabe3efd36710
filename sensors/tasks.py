"""Celery's doors to what the sensors app does by schedule."""

from __future__ import annotations

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from sensors import gold, grading, retention
from sensors.lake import lake
from sensors.stores import hot

log = structlog.get_logger(__name__)


@shared_task
def forget_old_readings() -> None:
    keep = timedelta(days=settings.SIEIS_HOT_DAYS)
    n_motes = retention.forget_old_readings(hot(), keep=keep)
    log.info("old_readings_forgotten", motes=n_motes, kept_days=settings.SIEIS_HOT_DAYS)


@shared_task
def aggregate_lake() -> None:
    for done in gold.aggregate_all(lake(), now=timezone.now()):
        log.info("aggregated", profile=done.profile, hours=done.n_hours, rows=done.n_rows, whole=done.is_whole)


@shared_task
def grade_sensors() -> None:
    kept = grading.grade_motes(lake=lake(), store=hot(), now=timezone.now())
    log.info("sensors_graded", grades=len(kept), below_b=sum(one.grade > "B" for one in kept))
