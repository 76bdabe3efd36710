"""A training, in the process of its own: read, fit, judge, register, and promote what passes the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from mlops import calibrations, candidates, gate, history, keeping, labelled, registry
from mlops.classifying import SMOKE
from mlops.detection import Engine, FittedEngine, held_out
from mlops.forecasts import training as forecasting
from mlops.models import Kind, ModelVersion, TrainingJob
from mlops.parameters import Parameters
from mlops.probes import probe
from mlops.training_jobs import KEPT_WORDS, NotUnfinished, Status, finish
from sensors.lake import lake
from sensors.registry import current_fleet

WRITE_EVERY_S = 0.5
KEPT_LINES = 200  # of a job's log

Report = Callable[[float, str], None]
log = structlog.get_logger(__name__)


class Cancelled(Exception):
    """Somebody asked for the job to end."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a job made and what the gate said."""

    version: ModelVersion
    judgement: gate.Judgement


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
        finish(job, Status.CANCELLED, "Cancelled.", now + _since(began))
        raise
    except Exception as error:
        finish(job, Status.FAILED, str(error) or type(error).__name__, now + _since(began))
        raise
    for gone in keeping.retire(job.profile, now=now + _since(began)):
        log.info("version_removed", version=gone)
    TrainingJob.objects.filter(pk=job.pk).update(progress=1.0)
    finish(job, Status.SUCCEEDED, trained.judgement.words, now + _since(began))
    report(1.0, trained.judgement.words)
    return trained


def _since(began: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was learnt, of which data, how good it is, and what the gate thinks of it."""

    fitted: registry.Fitted
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    judgement: gate.Judgement


def _train(job: TrainingJob, now: datetime, tell: _Teller, engine: Callable[..., Engine]) -> Trained:
    asked = Parameters.parse(job.parameters)
    began = time.monotonic()
    if job.kind == Kind.CLASSIFIER:
        return _registered(job, _classifier(asked, now, tell), began, tell, now)
    past = _history(job, asked, now, tell.part(0.0, 0.3))
    if job.kind == Kind.FORECAST:
        return _registered(job, _forecasts(job, asked, past, tell), began, tell, now)
    return _registered(job, _detector(job, asked, past, tell, now, engine), began, tell, now)


def _classifier(asked: Parameters, now: datetime, tell: _Teller) -> _Made:
    serving = registry.production(SMOKE, kind=Kind.CLASSIFIER)
    classifier, data, found = labelled.learn(
        current_fleet().profiles[SMOKE], *asked.range(now), seed=asked.seed, lake=lake(), tell=tell
    )
    judgement = gate.judge_classifier(found, serving.metrics if serving else None, asked.promote)
    return _Made(classifier, data, found, judgement)


def _forecasts(job: TrainingJob, asked: Parameters, past: history.History, tell: _Teller) -> _Made:
    forecasts, held, found = forecasting.learn(past, asked, fleet=current_fleet(), tell=tell)
    judgement, compared = _judge_forecasts(job, asked, past, held, found)
    return _Made(forecasts, {**past.card(), "parts": forecasting.parts(held)}, found | compared, judgement)


def _detector(
    job: TrainingJob, asked: Parameters, past: history.History, tell: _Teller, now: datetime,
    engine: Callable[..., Engine],
) -> _Made:  # fmt: skip
    tell(0.3, f"Fitting {len(past.train):,} readings")
    fitted = engine(seed=asked.seed).fit(past.train, calibration=past.calibrate)
    if serving := registry.serving(job.profile.code, job.mote):
        fitted = fitted.with_onset(serving.parameters.get("own_onset"))  # an alert budget outlives its model
    tell(0.8, f"Judging it on {len(past.held_out):,} readings held out")
    metrics = _metrics(fitted, past)
    fitted = calibrations.checked(fitted, past.held_out)
    tell(0.9, "Asking the gate")
    judgement, compared = _judge(job, asked, fitted, metrics, past, now)
    return _Made(fitted, past.card(), metrics | compared, judgement)


def _judge_forecasts(
    job: TrainingJob, asked: Parameters, past: history.History, held: Sequence[forecasting.Held], found: dict[str, Any]
) -> tuple[gate.Judgement, dict[str, Any]]:
    """What the gate says, and how the version that serves did on the same days."""
    serving, learnt = _comparable(job, past)
    before = forecasting.of_serving(learnt, held) if learnt else None
    compared = {"comparison_with": serving.name, "serving": before} if serving and before else {}
    return gate.judge_forecasts(found, before, asked.promote), compared


def _registered(job: TrainingJob, made: _Made, began: float, tell: _Teller, now: datetime) -> Trained:
    data = {**made.data, "seconds": round(time.monotonic() - began, 2)}
    metrics = {**made.metrics, "gate": made.judgement.to_json()}
    tell(0.95, "Registering")
    version = registry.register(
        made.fitted, profile=job.profile, mote=job.mote, data=data, metrics=metrics, job=job, now=now
    )
    if made.judgement.promote:
        why = f"job {job.pk}: {made.judgement.words}"
        registry.promote(version, who=job.requested_by, why=why, now=now + _since(began))
    return Trained(version, made.judgement)


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
