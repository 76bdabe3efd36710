"""Replaying all messages of a kind: asked for once, done in chunks by a worker, its progress in its row.

A job moves queued → running → done or failed by conditional update; one whose worker is gone fails by its lease. What
it has sent is settled, so that asking again goes on with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Max

from ingestion.filters import QuarantineFilter
from ingestion.models import Quarantined, ReplayJob
from ingestion.replaying import CannotReplay, Parts, chunks, send_again
from sensors import audit, errands

LEASE = timedelta(seconds=120)
State = ReplayJob.State
UNFINISHED = (State.QUEUED, State.RUNNING)


class AlreadyReplaying(Exception):
    """One job at a time; `job` is the one that is under way."""

    def __init__(self, job: ReplayJob) -> None:
        super().__init__(
            f"Messages are being sent again already: job {job.pk}, asked for at {job.asked_at:%Y-%m-%d %H:%M} UTC, "
            f"has done {job.n_sent + job.n_left:,} of {job.n_asked:,}. Wait for it."
        )
        self.job = job


class NothingToReplay(Exception):
    """No message that waits fits the filters."""


def ask(asked: Mapping[str, str], *, who: User | None, now: datetime) -> ReplayJob:
    """Queues a job for what waits and fits the filters of that moment; messages that come later are not its own."""
    expire(now)
    waiting = QuarantineFilter(asked).found().filter(status__in=Quarantined.WAITING)
    n, last = waiting.count(), waiting.aggregate(Max("pk"))["pk__max"]
    if not n:
        raise NothingToReplay("No message that waits fits these filters.")
    try:
        with transaction.atomic():
            job = ReplayJob.objects.create(asked=dict(asked), last_id=last, n_asked=n, who=who, asked_at=now)
            detail = {"job": job.pk, "messages": n, "asked": dict(asked)}
            audit.record(deed="replay_messages", subject="quarantine", detail=detail, who=who, now=now)
    except IntegrityError:
        other = ReplayJob.objects.filter(state__in=UNFINISHED).first()
        if other is None:
            raise
        raise AlreadyReplaying(other) from None
    return job


def dispatch(job: ReplayJob) -> None:
    errands.send("ingestion.tasks.replay_messages", job)


def expire(now: datetime) -> list[ReplayJob]:
    return errands.expire(ReplayJob, "its worker was killed. Ask again for the rest.", lease=LEASE, now=now)


def run(job: ReplayJob, *, parts: Parts, now: Callable[[], datetime]) -> ReplayJob:
    """Sends what the job asks for, in the order in which it came; one that is not queued any more stays as it is."""
    if not ReplayJob.objects.filter(pk=job.pk, state=State.QUEUED).update(state=State.RUNNING, heartbeat_at=now()):
        job.refresh_from_db()
        return job
    running = ReplayJob.objects.filter(pk=job.pk, state=State.RUNNING)
    waiting = QuarantineFilter(job.asked).found().filter(status__in=Quarantined.WAITING, pk__lte=job.last_id)
    n_sent, left = 0, Counter[str]()
    try:
        for rows in chunks(waiting):
            sent = send_again(rows, parts=parts, who=job.who, now=now())
            n_sent, left = n_sent + sent.n, left + sent.left
            if not running.update(n_sent=n_sent, left=left, heartbeat_at=now()):
                break  # somebody has failed it meanwhile: its lease ran out
        running.update(state=State.DONE, done_at=now())
    except BaseException as error:
        running.update(state=State.FAILED, error=_words(error), done_at=now())
        if not isinstance(error, CannotReplay):
            raise
    job.refresh_from_db()
    return job


def _words(error: BaseException) -> str:
    return f"{error or type(error).__name__} Nothing of the rest was marked; ask again when that is mended."


def latest() -> ReplayJob | None:
    return ReplayJob.objects.select_related("who").first()


def spoken(job: ReplayJob) -> dict[str, Any]:
    """The job as the API and the page's module hear it."""
    return {
        "id": job.pk, "state": job.state, "n_asked": job.n_asked, "n_sent": job.n_sent, "n_left": job.n_left,
        "left": job.left, "progress": round(job.progress, 3), "error": job.error,
    }  # fmt: skip
