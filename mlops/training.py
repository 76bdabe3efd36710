"""Training jobs: asked for once a scope, run in a process of their own, judged before what they made may serve.

A job moves queued → running → succeeded, failed or cancelled by conditional update, so that a worker that comes late,
a cancelled job or an expired lease never overwrites what somebody else has said.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, InterfaceError, OperationalError, close_old_connections, transaction
from django.utils import timezone

from mlops import calibrations, candidates, gate, history, keeping, labelled, registry
from mlops.children import STOPPING, Child
from mlops.classifying import SMOKE
from mlops.detection import Engine, FittedEngine, held_out
from mlops.forecasts import training as forecasting
from mlops.models import Kind, ModelVersion, TrainingJob
from mlops.parameters import BadParameters, Parameters, refuse_two_ranges
from mlops.policies import wishes
from mlops.probes import probe
from sensors import audit, errands, live
from sensors.lake import lake
from sensors.models import Mote, Profile, ProfileVersion
from sensors.registry import current_fleet

LEASE = timedelta(seconds=60)
WATCH_S = 0.5
HEARTBEAT_S = 5.0
WRITE_EVERY_S = 0.5
KEPT_WORDS = 400
KEPT_LINES = 200  # of a job's log
ESTIMATED_BY = 5  # trainings

Status = TrainingJob.Status
Report = Callable[[float, str], None]
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


class Cancelled(Exception):
    """Somebody asked for the job to end."""


class UnknownProfile(Exception):
    """No profile of that code."""


class UnknownMote(Exception):
    """No mote of that name in the profile."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a job made and what the gate said."""

    version: ModelVersion
    judgement: gate.Judgement


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
        known = ", ".join(Profile.objects.values_list("code", flat=True)) or "none yet; load a pack first"
        raise UnknownProfile(f"There is no profile “{profile_code}”; there are: {known}.")
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
        _finish(job, *_outcome(job, child, words), now())
    except BaseException as error:
        child.end()
        status = Status.CANCELLED if isinstance(error, KeyboardInterrupt) else Status.FAILED
        _finish(job, status, f"What watched over the training ended: {error or type(error).__name__}", now())
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


def _finish(job: TrainingJob, status: Status, message: str, now: datetime) -> bool:
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


# ---- the child's side ---------------------------------------------------------------------------------------


def train(
    job: TrainingJob,
    *,
    now: datetime,
    report: Report = lambda progress, words: None,
    engine: Callable[..., Engine] = Engine,
) -> Trained:
    """Reads, fits, judges and registers for a job that was claimed; promotes what passes the gate.

    `now` is when it begins; later instants are counted from there.
    """
    began = time.monotonic()
    if job.status != Status.RUNNING:
        raise NotUnfinished(f"Job {job.pk} is {job.status}, so it cannot be trained; only a claimed job can.")
    tell = _Teller(job, report)
    try:
        trained = _train(job, now, tell, engine)
    except Cancelled:
        _finish(job, Status.CANCELLED, "Cancelled.", now + _since(began))
        raise
    except Exception as error:
        _finish(job, Status.FAILED, str(error) or type(error).__name__, now + _since(began))
        raise
    for gone in keeping.retire(job.profile, now=now + _since(began)):
        log.info("version_removed", version=gone)
    TrainingJob.objects.filter(pk=job.pk).update(progress=1.0)
    _finish(job, Status.SUCCEEDED, trained.judgement.words, now + _since(began))
    report(1.0, trained.judgement.words)
    return trained


def _since(began: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - began)


def _train(job: TrainingJob, now: datetime, tell: _Teller, engine: Callable[..., Engine]) -> Trained:
    asked = Parameters.parse(job.parameters)
    began = time.monotonic()
    if job.kind == Kind.CLASSIFIER:
        serving = registry.production(SMOKE, kind=Kind.CLASSIFIER)
        classifier, data, found = labelled.learn(
            current_fleet().profiles[SMOKE], *asked.range(now), seed=asked.seed, lake=lake(), tell=tell
        )
        judgement = gate.judge_classifier(found, serving.metrics if serving else None, asked.promote)
        return _registered(job, classifier, data, found, judgement, began, tell, now)
    past = _history(job, asked, now, tell.part(0.0, 0.3))
    if job.kind == Kind.FORECAST:
        forecasts, held, found = forecasting.learn(past, asked, fleet=current_fleet(), tell=tell)
        judgement, compared = _judge_forecasts(job, asked, past, held, found)
        data = {**past.card(), "parts": forecasting.parts(held)}
        return _registered(job, forecasts, data, found | compared, judgement, began, tell, now)
    tell(0.3, f"Fitting {len(past.train):,} readings")
    fitted = engine(seed=asked.seed).fit(past.train, calibration=past.calibrate)
    if serving := registry.serving(job.profile.code, job.mote):
        fitted = fitted.with_onset(serving.parameters.get("own_onset"))  # an alert budget outlives its model
    tell(0.8, f"Judging it on {len(past.held_out):,} readings held out")
    metrics = _metrics(fitted, past)
    fitted = calibrations.checked(fitted, past.held_out)
    tell(0.9, "Asking the gate")
    judgement, compared = _judge(job, asked, fitted, metrics, past, now)
    metrics |= compared
    return _registered(job, fitted, past.card(), metrics, judgement, began, tell, now)


def _judge_forecasts(
    job: TrainingJob, asked: Parameters, past: history.History, held: Sequence[forecasting.Held], found: dict[str, Any]
) -> tuple[gate.Judgement, dict[str, Any]]:
    """What the gate says, and how the version that serves did on the same days."""
    serving, learnt = _comparable(job, past)
    before = forecasting.of_serving(learnt, held) if learnt else None
    compared = {"comparison_with": serving.name, "serving": before} if serving and before else {}
    return gate.judge_forecasts(found, before, asked.promote), compared


def _registered(
    job: TrainingJob, fitted: registry.Fitted, data: Mapping[str, Any], metrics: Mapping[str, Any],
    judgement: gate.Judgement, began: float, tell: _Teller, now: datetime,
) -> Trained:  # fmt: skip
    data = {**data, "seconds": round(time.monotonic() - began, 2)}
    metrics = {**metrics, "gate": judgement.to_json()}
    tell(0.95, "Registering")
    version = registry.register(
        fitted, profile=job.profile, mote=job.mote, data=data, metrics=metrics, job=job, now=now
    )
    if judgement.promote:
        registry.promote(version, who=job.requested_by, why=f"job {job.pk}: {judgement.words}", now=now + _since(began))
    return Trained(version, judgement)


def _history(job: TrainingJob, asked: Parameters, now: datetime, report: Report) -> history.History:
    fleet = current_fleet()
    start, end = asked.range(now)
    return history.read(
        fleet.profiles[job.profile.code],
        start,
        end,
        lake=lake(),
        fleet=fleet,
        leave_out=history.to_leave_out(fleet, start, end),
        report=report,
        mote=job.mote_id,
    )


def _judge(
    job: TrainingJob, asked: Parameters, fitted: FittedEngine, metrics: Mapping[str, Any], past: history.History,
    now: datetime,
) -> tuple[gate.Judgement, dict[str, Any]]:  # fmt: skip
    """What the gate says, and what it was shown of the version that serves."""
    serving, engine = _comparable(job, past)
    if serving is None or engine is None:
        return gate.judge(metrics, None, asked.promote), {}
    sides = candidates.side_by_side(engine, fitted, past, lake=lake(), fleet=current_fleet(), now=now)
    of_serving = _metrics(engine, past)
    compared = {
        "confirmed_lost": len(sides["confirmed"]["lost"]),
        "comparison": {
            "with": serving.name,
            "serving_metrics": of_serving,
            "serving_learnt_until": _learnt_until(serving),
            **sides,
        },
    }
    return gate.judge({**metrics, **compared}, of_serving, asked.promote), compared


def _learnt_until(version: ModelVersion) -> str | None:
    """Days before are known to the version, so that it does better on them than it would on others."""
    last: str | None = version.data.get("parts", {}).get("calibrate", {}).get("last_at")
    return last


def _metrics(fitted: FittedEngine, past: history.History) -> dict[str, Any]:
    return {**held_out(fitted, past.held_out), **probe(fitted, past.held_out)}


def _comparable(job: TrainingJob, past: history.History) -> tuple[ModelVersion | None, Any]:
    """The version that serves the scope and its engine, if there is one that can be asked about the same readings."""
    version = registry.serving(job.profile.code, job.mote, kind=Kind(job.kind))
    if version is None:
        return None, None
    try:
        registry.refuse_other_profile(version, past.held_out.profile.version)
        return version, registry.load(version)
    except registry.ModelUnloadable as error:
        log.warning("production_not_comparable", version=version.name, reason=str(error))
        return None, None


class _Teller:
    """Keeps the job's row up to date and notices that the job shall end."""

    def __init__(self, job: TrainingJob, report: Report) -> None:
        self._job = job
        self._report = report
        self._written = 0.0
        self._began = time.monotonic()
        self._said: list[str] = []

    def __call__(self, progress: float, words: str) -> None:
        self._report(progress, words)
        self._written = time.monotonic()
        self._said.append(f"{self._written - self._began:7.1f} s  {words}")
        going = TrainingJob.objects.filter(pk=self._job.pk, status=Status.RUNNING, cancel_requested=False).update(
            progress=progress, message=words[:KEPT_WORDS], log="\n".join(self._said[-KEPT_LINES:])
        )
        if not going:
            raise Cancelled(f"Job {self._job.pk} was cancelled or given up.")

    def part(self, begin: float, end: float) -> Report:
        """A report whose 0..1 is this part of the whole, and which writes now and then only."""

        def tell(progress: float, words: str) -> None:
            if time.monotonic() - self._written >= WRITE_EVERY_S:
                self(begin + (end - begin) * progress, words)

        return tell
