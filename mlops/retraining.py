"""When a profile's model is trained anew without being asked: after an import, on drift, on what people have said."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from mlops import feedback, registry, training_jobs
from mlops.models import Kind, RetrainPolicy, TrainingJob
from mlops.policies import policy
from sensors.models import Profile

IMPORT, DRIFT, LABELS = "import", "drift", "labels"
OLD = timedelta(days=1)  # an import that ends longer ago is trained on its own days, not on the last ones
FORECASTS_AFTER = timedelta(days=6)  # where trainings are daily, theirs come in the night that a week is over

log = structlog.get_logger(__name__)


def because(
    profile_code: str, trigger: str, *, why: str, now: datetime, newest: datetime | None = None
) -> TrainingJob | None:
    """Queues a training for this reason if the policy wants that and the last one is long enough ago.

    It is dispatched by the next look at waiting jobs, a minute or so later, from whichever process has a worker.
    `newest` is the last reading of what was brought in; of old days that end is what is learnt up to.
    """
    profile = Profile.objects.filter(code=profile_code).first()
    if profile is None or not _is_wanted(policy(profile), trigger, now):
        return None
    parameters = {"end": newest.isoformat()} if newest is not None and newest < now - OLD else {}
    try:
        job = training_jobs.request(profile_code, trigger=trigger, who=None, now=now, parameters=parameters)
    except training_jobs.AlreadyTraining as error:
        log.info("retrain_not_needed", profile=profile_code, reason=str(error))
        return None
    log.info("retrain_wanted", profile=profile_code, trigger=trigger, why=why, job=job.pk)
    return job


def _is_wanted(held: RetrainPolicy, trigger: str, now: datetime) -> bool:
    if not {IMPORT: held.after_import, DRIFT: held.on_drift, LABELS: held.on_labels > 0}[trigger]:
        return False
    last = _last(held.profile)
    return last is None or last.queued_at <= now - timedelta(hours=held.rest_hours)


def _last(profile: Profile) -> TrainingJob | None:
    return TrainingJob.objects.filter(profile=profile, mote=None, kind=Kind.DETECTOR).order_by("-queued_at").first()


def by_schedule(profile_code: str, now: datetime) -> list[TrainingJob]:
    """Asks for the profile's next engine, and once a week for its next forecasts where there are any."""
    kinds = [Kind.DETECTOR, *([Kind.FORECAST] if _has_old_forecasts(profile_code, now) else [])]
    jobs = []
    for kind in kinds:
        try:
            jobs.append(training_jobs.request(profile_code, trigger="schedule", who=None, now=now, kind=kind))
        except training_jobs.AlreadyTraining as error:
            log.info("retrain_not_needed", profile=profile_code, reason=str(error))
    return jobs


def _has_old_forecasts(profile_code: str, now: datetime) -> bool:
    serving = registry.production(profile_code, kind=Kind.FORECAST)
    return serving is not None and serving.created_at <= now - FORECASTS_AFTER


def look_at_labels(now: datetime) -> list[TrainingJob]:
    """Trains again where people have said enough since the last training."""
    jobs = []
    for profile in Profile.objects.all():
        held, last = policy(profile), _last(profile)
        if not held.on_labels or last is None:
            continue
        n = feedback.n_said_since(profile.code, last.queued_at)
        if n >= held.on_labels:
            why = f"{n} judgements and labels since the last training; {held.on_labels} were wanted"
            jobs.append(because(profile.code, LABELS, why=why, now=now))
    return [job for job in jobs if job is not None]
