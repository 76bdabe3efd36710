"""What runs by itself and when: rows of django-celery-beat, so that an administrator can change them."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from sensors.models import ProfileVersion

DAY_H, WEEK_H = 24, 168
DAILY = "0 2 * * *"
SOON_S = 50  # a look that could not be done in time is the next one's
QUARTERLY = "4-59/15 * * * *"  # four minutes after each quarter of an hour
MORNING = "10 5 * * *"
HOURLY = "50 * * * *"
NIGHTLY = "30 2 * * *"
EARLY = "30 4 * * *"  # when the hot store has forgotten what is old
HOURLY = "7 * * * *"
AFTER_THE_HOUR, WHEN_SCORED = "10 * * * *", "12 * * * *"
WEEKLY = "0 3 * * 1"  # Monday 03:00, when a site sleeps


def install_schedule() -> list[str]:
    """Adds what is missing and answers its names; a row that is there stays as it is, whoever changed it.

    To end one for good, disable it in the admin: a deleted row is missing and comes again.
    """
    every_minute, _ = IntervalSchedule.objects.get_or_create(every=60, period=IntervalSchedule.SECONDS)
    wanted: dict[str, dict[str, Any]] = {
        "Expire training leases": {"task": "mlops.tasks.expire_leases", "interval": every_minute},
        "Watch the flow": {"task": "ingestion.tasks.watch_flow", "interval": every_minute, "expire_seconds": SOON_S},
        "Take evidence": {"task": "ingestion.tasks.take_evidence", "interval": every_minute, "expire_seconds": SOON_S},
        "Send a canary": {"task": "ingestion.tasks.send_canary", "interval": every_minute, "expire_seconds": SOON_S},
        "Aggregate the lake": {"task": "sensors.tasks.aggregate_lake", "crontab": _crontab(QUARTERLY)},
        "Forget old hot readings": {"task": "sensors.tasks.forget_old_readings", "crontab": _crontab(NIGHTLY)},
        "Grade sensors": {"task": "sensors.tasks.grade_sensors", "crontab": _crontab(NIGHTLY)},
        "Expire quality reports": {"task": "ingestion.tasks.expire_reports", "interval": every_minute},
        "Expire reconciliations": {"task": "ingestion.tasks.expire_reconciliations", "interval": every_minute},
        "Reconcile books and stores": {"task": "ingestion.tasks.reconcile_all", "crontab": _crontab(EARLY)},
        "Retire engine states": {"task": "ingestion.tasks.retire_snapshots", "crontab": _crontab(NIGHTLY)},
        "Validate the data": {"task": "ingestion.tasks.validate_all", "crontab": _crontab(NIGHTLY)},
        "Release held messages": {"task": "ingestion.tasks.release_held", "interval": every_minute},
        "Expire replays": {"task": "ingestion.tasks.expire_replays", "interval": every_minute},
        "Recover imports": {"task": "ingestion.tasks.recover_imports", "interval": every_minute},
        "Forget receipts of devices": {"task": "ingestion.tasks.forget_receipts", "crontab": _crontab(NIGHTLY)},
        "Forget old quarantine": {"task": "ingestion.tasks.forget_old_quarantine", "crontab": _crontab(NIGHTLY)},
        "Measure capability": {"task": "ingestion.tasks.measure_capability", "crontab": _crontab(HOURLY)},
        "Tidy judged files": {"task": "ingestion.tasks.tidy_judged_files", "interval": every_minute},
        "Score forecasts": {"task": "mlops.tasks.score_forecasts", "crontab": _crontab(AFTER_THE_HOUR)},
        "Issue forecasts": {"task": "mlops.tasks.issue_forecasts", "crontab": _crontab(WHEN_SCORED)},
        "Back up the models": {"task": "mlops.tasks.back_up_models", "crontab": _crontab(EARLY)},
        "Compact the lake": {"task": "mlops.tasks.compact_lake", "crontab": _crontab(NIGHTLY)},
        "Follow shadows": {"task": "mlops.tasks.follow_shadows", "interval": every_minute, "expire_seconds": SOON_S},
        "Watch drift": {"task": "mlops.tasks.watch_drift", "crontab": _crontab(MORNING)},
        "Validate models": {"task": "mlops.tasks.validate_models", "crontab": _crontab(MORNING)},
        "Look at labels": {"task": "mlops.tasks.look_at_labels", "crontab": _crontab(HOURLY)},
        **{f"Retrain {version.profile.code}": _retraining(version) for version in _current_profiles()},
    }
    added = [name for name, row in wanted.items() if _add(name, row)]
    if settings.ML_RETRAIN_HOUR is not None or settings.ML_TRAINING_INTERVAL_HOURS is not None:
        _obey({name: row for name, row in wanted.items() if row["task"] == "mlops.tasks.retrain"})
    return added


def _obey(rows: dict[str, dict[str, Any]]) -> None:
    """What the environment says of trainings holds at each start, over what stands in the row."""
    for task in PeriodicTask.objects.filter(name__in=rows):
        task.crontab, task.interval = (rows[task.name].get(kind) for kind in ("crontab", "interval"))
        task.save()


def _current_profiles() -> list[ProfileVersion]:
    return list(ProfileVersion.objects.filter(is_current=True).select_related("profile"))


def _retraining(version: ProfileVersion) -> dict[str, Any]:
    """The pack's own `[schedule] retrain = "minute hour day month weekday"`, else weekly."""
    line = version.settings.get("schedule", {}).get("retrain", WEEKLY)
    return {"task": "mlops.tasks.retrain", "args": json.dumps([version.profile.code]), **_when_to_retrain(line)}


def _when_to_retrain(line: str) -> dict[str, Any]:
    hours, hour = settings.ML_TRAINING_INTERVAL_HOURS, settings.ML_RETRAIN_HOUR
    if hours in (DAY_H, WEEK_H):
        line = DAILY if hours == DAY_H else WEEKLY
    elif hours is not None:
        every, _ = IntervalSchedule.objects.get_or_create(every=round(hours * 3600), period=IntervalSchedule.SECONDS)
        return {"interval": every}
    if hour is not None:
        line = f"0 {hour} {' '.join(line.split()[2:])}"
    return {"crontab": _crontab(line)}


def _crontab(line: str) -> CrontabSchedule:
    fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    schedule, _ = CrontabSchedule.objects.get_or_create(
        **dict(zip(fields, line.split(), strict=True)), timezone=settings.SIEIS_TIME_ZONE
    )
    return schedule


def _add(name: str, row: dict[str, Any]) -> bool:
    _, is_new = PeriodicTask.objects.get_or_create(name=name, defaults=row)
    return is_new
