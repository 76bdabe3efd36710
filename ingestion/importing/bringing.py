"""Bringing files in: every row through the history stream and the reading path, once, however often it is interrupted.

Nothing is stored past the path, so an import is judged, accounted and repeatable as live readings are. What an
interrupted one has left in the stream is brought in first by the next; a job goes on where its sending had come.
"""

from __future__ import annotations

import getpass
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial

import polars as pl

from alerts.services import instant
from ingestion.importing import legs, messages
from ingestion.importing.looking import DEED, CannotImport, Look
from ingestion.models import ImportJob
from ingestion.running import build_runner
from ingestion.simulating.simulation import patiently
from ingestion.streams import Stream, stream
from mlops import retraining
from mlops.history import LEAST_READINGS
from sensors import audit, registry
from sensors.installation import install_pack
from sensors.lake import lake
from sensors.tables.progress import Tell

CHUNK = 20_000
SENDING, JUDGING, LEFT_OVER = "Sending", "Judging and storing", "What an interrupted import left"
State = ImportJob.State


def bring_in(
    view: Look,
    job: ImportJob,
    *,
    now: Callable[[], datetime],
    stop: threading.Event,
    tell: Tell,
    warn: Callable[[str], None],
) -> None:
    """Within `alone()`: registers what is new and moves every row not yet sent through the path.

    Told to stop, it saves what it has and says so; the job then is stopped and can go on.
    """
    if view.problems:
        raise CannotImport("; ".join(view.problems))
    began = time.monotonic()
    job.n_rows = len(view.rows)
    done = install_pack(
        view.pack, site_code=view.request.site, time_zone=view.site_zone, who=job.who, now=now(), keeps_profile=True
    )
    job.installed = [*job.installed, *done.created]
    history = stream("history")
    patiently(history.ensure, stop=stop, topic=history.topic, tell=warn)
    job.n_left_over += _run_to_end(history, stop, partial(tell, LEFT_OVER))
    _settle_all(job, history)
    if not stop.is_set() and not legs.waiting(history):
        legs.begin(job, history)
        _send(view, job, history, stop, partial(tell, SENDING), warn)
        if not stop.is_set():
            _run_to_end(history, stop, partial(tell, JUDGING))
        legs.settle(job, history)
    job.seconds += time.monotonic() - began
    job.state = State.DONE if job.is_complete else State.STOPPED
    job.done_at = now()
    job.save()
    _keep_audit(view, job, now())
    _train_again(view, job, now())


def _train_again(view: Look, job: ImportJob, now: datetime) -> None:
    """What was brought in may be what a model needs; the profile's policy says whether it is asked for."""
    n = job.became.get("stored", 0)
    if job.state == State.DONE and n >= LEAST_READINGS:
        newest = instant(int(view.rows.table["at"].cast(pl.Int64).max()))  # type: ignore[arg-type]
        retraining.because(
            job.profile, retraining.IMPORT, why=f"import {job.pk}: {n:,} readings", now=now, newest=newest
        )


def _settle_all(job: ImportJob, history: Stream) -> None:
    """Also of those whose process died: their messages are through now, unless this import was stopped meanwhile."""
    for other in ImportJob.objects.exclude(leg={}).exclude(pk=job.pk):
        legs.settle(other, history)
    legs.settle(job, history)


def _send(
    view: Look,
    job: ImportJob,
    history: Stream,
    stop: threading.Event,
    tell: Callable[[int, int], None],
    warn: Callable[[str], None],
) -> None:
    """Appends the rows that are not known to be sent, in order of time."""
    fleet = registry.current_fleet()
    keys = {mote.code: mote.group_key.encode() for mote in fleet.motes if mote.site == view.request.site}
    there = legs.arrived(job, history, lake())
    while job.n_sent < job.n_rows and not stop.is_set():
        values, routes = messages.write(view.rows, job.n_sent, CHUNK, site=view.request.site, keys=keys)
        missing = _missing(values, there)
        append = partial(history.append, [values[i] for i in missing], [routes[i] for i in missing])
        if not patiently(append, stop=stop, topic=history.topic, tell=warn):
            break
        legs.note_sent(job, len(values), history)
        there.clear()
        tell(job.n_sent, job.n_rows)


def _missing(values: list[bytes], there: Counter[bytes]) -> list[int]:
    """The places of those that are not in the stream yet."""
    left, missing = Counter(there), []
    for i, value in enumerate(values):
        if left[value] > 0:
            left[value] -= 1
        else:
            missing.append(i)
    return missing


def _run_to_end(history: Stream, stop: threading.Event, tell: Callable[[int, int], None]) -> int:
    """Moves what waits in the history stream through the reading path; answers how many messages that were."""
    n_done = 0
    while (waiting := legs.waiting(history)) and not stop.is_set():
        build_runner("history").run(stop, until_end=True, progress=partial(_told, tell, n_done, waiting))
        n_done += waiting - legs.waiting(history)
    return n_done


def _told(tell: Callable[[int, int], None], before: int, waiting: int, n: int) -> None:
    tell(before + n, before + waiting)


def _keep_audit(view: Look, job: ImportJob, now: datetime) -> None:
    audit.record(
        who=job.who, deed=DEED, subject=f"site:{view.request.site}", now=now,
        detail={
            "job": job.pk, "files": view.files, "profile": job.profile, "rows": job.n_rows, "sent": job.n_sent,
            "became": job.became, "waiting": job.n_waiting, "is_complete": job.is_complete,
            "seconds": round(job.seconds, 1), "account": "" if job.who else _account(),
        },
    )  # fmt: skip


def _account() -> str:
    """Of the machine, where nobody is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
