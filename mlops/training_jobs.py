"""Training jobs as rows: asked for once a scope, run in a process of their own, ended once.

A job moves queued → running → succeeded, failed or cancelled by conditional update, so that a worker that comes late,
a cancelled job or an expired lease never overwrites what somebody else has said.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, InterfaceError, OperationalError, close_old_connections, transaction
from django.utils import timezone

from mlops import registry
from mlops.children import STOPPING, Child
from mlops.classifying import SMOKE
from mlops.models import Kind, ModelVersion, TrainingJob
from mlops.parameters import BadParameters, Parameters, refuse_two_ranges
from mlops.policies import wishes
from sensors import audit, errands, live
from sensors.fleet import there_is_no
from sensors.models import Mote, Profile, ProfileVersion
from sensors.registry import profiles

LEASE = timedelta(seconds=60)
WATCH_S = 0.5
HEARTBEAT_S = 5.0
KEPT_WORDS = 400
ESTIMATED_BY = 5  # trainings

Status = TrainingJob.Status
log = structlog.get_logger(__name__)


class AlreadyTraining(Exception):
    """The scope has an unfinished job; `job` is that one."""

    def __init__(self, job: TrainingJob) -> None:
        super().__init__(
            f"{_scope(job)[0].upper()}{_scope(job)[1:]} is being trained already: job {job.pk} is {job.status} since "
            f"{job.queued_at:%Y-%m-%d %H:%M} UTC. Wait for it or cancel it."
        )
        self.job = job


class NotUnfinished(Exception):
    """The job is over, so there is nothing to run or to cancel."""


class UnknownProfile(Exception):
    """No profile of that code."""


class UnknownMote(Exception):
    """No mote of that name in the profile."""


# ---- asking -------------------------------------------------------------------------------------------------


def request(
    profile_code: str,
    *,
    trigger: str,
    who: User | None,
    now: datetime,
    parameters: Mapping[str, Any] | None = None,
    mote: Mote | None = None,
    kind: str = Kind.DETECTOR,
) -> TrainingJob:
    """Queues a job for the profile, or for one mote of it; the constraints let only one a scope be unfinished."""
    if kind == Kind.CLASSIFIER and (profile_code != SMOKE or mote is not None):
        raise BadParameters(f"The classifier is of profile {SMOKE} as a whole; this is for {mote or profile_code}.")
    refuse_two_ranges(parameters or {})
    profile = Profile.objects.filter(code=profile_code).first()
    if profile is None:
        raise UnknownProfile(there_is_no("profile", profile_code, profiles()))
    if mote is not None and mote.profile_id != profile.pk:
        raise UnknownMote(f"Mote {mote} is of profile {mote.profile.code}, not of {profile_code}.")
    predecessor = registry.production(profile_code, mote, kind=Kind(kind))
    usual = {**_of_pack(profile_code), **wishes(profile), **_of_predecessor(predecessor)}
    asked = Parameters.parse({**usual, **(parameters or {})})
    try:
        with transaction.atomic():
            job = TrainingJob.objects.create(
                profile=profile,
                mote=mote,
                kind=kind,
                trigger=trigger,
                requested_by=who,
                predecessor=predecessor,
                parameters=asked.to_json(),
                queued_at=now,
            )
            audit.record(deed="request_training", subject=_subject(job), who=who, now=now, detail={"trigger": trigger})
    except IntegrityError:
        running = _unfinished(profile, mote, kind)
        if running is None:
            raise
        raise AlreadyTraining(running) from None
    _announce(job)
    return job


def _of_pack(profile_code: str) -> dict[str, Any]:
    """What the pack's `[detector]` table says of a training that nobody asked otherwise."""
    current = ProfileVersion.objects.filter(profile__code=profile_code, is_current=True)
    return dict((current.values_list("settings", flat=True).first() or {}).get("detector", {}))


def _of_predecessor(version: ModelVersion | None) -> dict[str, Any]:
    """Forecasts go on being made as they were: by the same members, as far ahead."""
    made = version.parameters if version is not None and version.is_forecast else {}
    return {name: made[name] for name in ("model", "horizon_h") if name in made}


def request_each(
    profile_code: str, *, trigger: str, who: User | None, now: datetime, parameters: Mapping[str, Any] | None = None,
    kind: str = Kind.DETECTOR,
) -> tuple[list[TrainingJob], list[AlreadyTraining]]:  # fmt: skip
    """Queues a job for every active mote of the profile; answers those that were, and those that were refused."""
    jobs, refused = [], []
    for mote in motes_to_train(profile_code):
        try:
            jobs.append(
                request(profile_code, trigger=trigger, who=who, now=now, parameters=parameters, mote=mote, kind=kind)
            )
        except AlreadyTraining as error:
            refused.append(error)
    if not (jobs or refused):
        raise UnknownMote(f"Profile {profile_code} has no active mote that could have a model of its own.")
    return jobs, refused


def estimate(profile: Profile, *, is_mote: bool = False) -> str:
    """How long a training will take, by how long the last ones took."""
    done = TrainingJob.objects.filter(
        profile=profile, kind=Kind.DETECTOR, status=Status.SUCCEEDED, started_at__isnull=False
    )
    last = done.filter(mote__isnull=not is_mote).order_by("-finished_at")[:ESTIMATED_BY]
    took = [(job.finished_at - job.started_at).total_seconds() for job in last if job.finished_at and job.started_at]
    if not took:
        return "unknown: no training like this one has ended yet"
    return f"about {statistics.median(took):.0f} s, as the last {len(took)} took"


def _unfinished(profile: Profile, mote: Mote | None, kind: str) -> TrainingJob | None:
    unfinished = TrainingJob.objects.filter(profile=profile, mote=mote, kind=kind, status__in=TrainingJob.UNFINISHED)
    return unfinished.select_related("profile", "mote__site").first()


def motes_to_train(profile_code: str) -> list[Mote]:
    """The motes that can have a model of their own: active, and no probe of ours."""
    active = Mote.objects.filter(profile__code=profile_code, state=Mote.State.ACTIVE, is_probe=False)
    return list(active.select_related("site", "profile"))


def find_mote(profile_code: str, name: str) -> Mote:
    """The mote called `site/code`, or `code` where one site has it."""
    site, _, code = name.rpartition("/")
    found = Mote.objects.filter(code=code, profile__code=profile_code, is_probe=False).select_related("site", "profile")
    named = list(found.filter(site__code=site) if site else found)
    if len(named) != 1:
        seen = ", ".join(map(str, named))
        trouble = f"several motes are called so: {seen}" if named else f"profile {profile_code} has no such mote"
        raise UnknownMote(f"Mote “{name}”: {trouble}. Name it as site/code, such as main/7.")
    return named[0]


def _scope(job: TrainingJob) -> str:
    whole = "the smoke classifier" if job.kind == Kind.CLASSIFIER else f"profile {job.profile.code}"
    scope = f"mote {job.mote}" if job.mote else whole
    return f"the forecasts of {scope}" if job.kind == Kind.FORECAST else scope


def _subject(job: TrainingJob) -> str:
    return f"job:{job.pk}"


def dispatch(job: TrainingJob) -> None:
    errands.send("mlops.tasks.train_job", job)


def cancel(job: TrainingJob, *, who: User | None, now: datetime) -> TrainingJob:
    """Ends a queued job at once and asks the process of a running one to end."""
    with transaction.atomic():
        unstarted = TrainingJob.objects.filter(pk=job.pk, status=Status.QUEUED).update(
            status=Status.CANCELLED, cancel_requested=True, finished_at=now, message="Cancelled before it began."
        )
        running = TrainingJob.objects.filter(pk=job.pk, status=Status.RUNNING).update(cancel_requested=True)
        job.refresh_from_db()
        if not (unstarted or running):
            raise NotUnfinished(f"Job {job.pk} is {job.status} already.")
        audit.record(deed="cancel_training", subject=_subject(job), who=who, now=now)
    _announce(job)
    return job


# ---- the worker's side --------------------------------------------------------------------------------------


def claim(job: TrainingJob, *, now: datetime) -> bool:
    """Whether the job is ours to run: true for exactly one of all who ask."""
    claimed = TrainingJob.objects.filter(pk=job.pk, status=Status.QUEUED).update(
        status=Status.RUNNING, started_at=now, heartbeat_at=now, message="Starting"
    )
    job.refresh_from_db()
    return bool(claimed)


def run_in_process(
    job_id: int,
    *,
    command: Sequence[str] | None = None,
    stop: threading.Event | None = None,
    watch: Callable[[TrainingJob], None] = lambda job: None,
    now: Callable[[], datetime] = timezone.now,
) -> TrainingJob:
    """Runs the job in a child process and stays by it: heartbeat, cancellation, and the reason if it dies.

    Does nothing for a job that is not queued any more. `watch` is told of each change of the row.
    """
    job = TrainingJob.objects.select_related("profile", "mote__site").get(pk=job_id)
    if not claim(job, now=now()):
        return job
    child = Child(command or training_command(job_id), folder=settings.BASE_DIR)
    try:
        words = _stay_by(job, child, stop or STOPPING, watch, now)
        finish(job, *_outcome(job, child, words), now())
    except BaseException as error:
        child.end()
        status = Status.CANCELLED if isinstance(error, KeyboardInterrupt) else Status.FAILED
        finish(job, status, f"What watched over the training ended: {str(error) or type(error).__name__}", now())
        raise
    finally:
        child.close()
    _announce(job)
    watch(job)
    log.info("training_finished", job=job.pk, profile=job.profile.code, status=job.status, message=job.message)
    return job


def training_command(job_id: int) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_training", str(job_id), "--watched"]


def _stay_by(
    job: TrainingJob,
    child: Child,
    stop: threading.Event,
    watch: Callable[[TrainingJob], None],
    now: Callable[[], datetime],
) -> str:
    """Returns when the child is gone; what it answers says why we ended it, nothing if it ended by itself."""
    seen: tuple[object, ...] = ()
    beaten = 0.0
    while child.wait(WATCH_S) is None:
        if stop.is_set():
            child.end()
            return "SIEIS was stopped while it trained; ask for the training again."
        try:
            if time.monotonic() - beaten > HEARTBEAT_S:
                TrainingJob.objects.filter(pk=job.pk, status=Status.RUNNING).update(heartbeat_at=now())
                beaten = time.monotonic()
            job.refresh_from_db()
        except (OperationalError, InterfaceError) as error:
            # The training goes on without us; the lease says how long we may be gone.
            log.warning("database_away", job=job.pk, error=str(error))
            close_old_connections()
            continue
        if job.cancel_requested or job.status != Status.RUNNING:
            child.end()
            return "Cancelled."
        if (job.progress, job.message) != seen:
            seen = (job.progress, job.message)
            _announce(job)
            watch(job)
    return ""


def _outcome(job: TrainingJob, child: Child, words: str) -> tuple[Status, str]:
    job.refresh_from_db()
    if job.cancel_requested:
        return Status.CANCELLED, words or "Cancelled."
    return Status.FAILED, words or child.obituary()


def finish(job: TrainingJob, status: Status, message: str, now: datetime) -> bool:
    """Ends a running job; changes nothing if it has ended already, as a child that worked to the end has seen to."""
    moved = TrainingJob.objects.filter(pk=job.pk, status=Status.RUNNING).update(
        status=status, message=message[:KEPT_WORDS], finished_at=now
    )
    job.refresh_from_db()
    return bool(moved)


def expire_leases(now: datetime, *, lease: timedelta = LEASE, queued_for: timedelta = LEASE) -> list[TrainingJob]:
    """Fails the jobs whose worker is gone and sends those again that wait for longer than `queued_for`.

    A worker calls it with zero when it starts: with an in-memory broker, what was queued is only in the rows. And where
    one process is all there is, its start calls it with a lease of zero: whoever held one is dead.
    """
    expired = list(TrainingJob.objects.filter(status=Status.RUNNING, heartbeat_at__lt=now - lease))
    failed = [job for job in expired if _expire(job, now, lease)]
    for job in TrainingJob.objects.filter(status=Status.QUEUED, queued_at__lte=now - queued_for):
        dispatch(job)
    for job in failed:
        _announce(job)
        log.error("training_lease_expired", job=job.pk, profile=job.profile.code)
    return failed


def _expire(job: TrainingJob, now: datetime, lease: timedelta) -> bool:
    words = (
        f"No sign of life for {lease.total_seconds():.0f} s: its worker was killed or lost the database."
        if lease
        else "SIEIS was killed while it trained."
    )
    # Asked again in the same statement: a heartbeat may have come since.
    moved = TrainingJob.objects.filter(pk=job.pk, status=Status.RUNNING, heartbeat_at__lt=now - lease).update(
        status=Status.FAILED, message=words, finished_at=now
    )
    job.refresh_from_db()
    return bool(moved)


def _announce(job: TrainingJob) -> None:
    live.announce({"type": "job", "job": spoken_job(job)})


def spoken_job(job: TrainingJob) -> dict[str, Any]:
    """A job as the live channel and the API tell it."""
    return {
        "id": job.pk,
        "profile": job.profile.code,
        "mote": str(job.mote) if job.mote else None,
        "status": job.status,
        "progress": round(job.progress, 3),
        "message": job.message,
    }
