"""The life of a judged file: looked → queued → running → done, failed or cancelled, each step by conditional update.

It is judged in a process of its own, so that the live path keeps its interpreter and cancelling returns the memory.
"""

from __future__ import annotations

import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.storage import Storage
from django.db import IntegrityError, InterfaceError, OperationalError, close_old_connections, transaction
from django.utils import timezone

from ingestion.detecting import results
from ingestion.detecting.asking import kept, request, spoken
from ingestion.detecting.models import DetectRun
from mlops.children import STOPPING, Child
from mlops.detect import CannotJudge, judge_file
from mlops.detect.looking import look
from sensors import audit, errands
from sensors.tables.files import SUFFIXES

log = structlog.get_logger(__name__)
State = DetectRun.State
LARGEST = 200 << 20  # bytes: a file is read whole
KEPT = timedelta(days=7)
LEASE = timedelta(seconds=60)
LOOK_S, HEARTBEAT_S, WRITE_EVERY_S = 0.3, 5.0, 0.5
# How far each step of a judgement is, in all of it.
STEPS = {"read": (0.0, 0.15), "learnt from": (0.15, 0.3), "judged": (0.3, 0.9)}


class Upload(Protocol):
    """A file as a form or the API brings it."""

    @property
    def name(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...
    def chunks(self) -> Iterator[bytes]: ...


class TooLarge(CannotJudge):
    """More than can be uploaded."""


class AlreadyJudging(Exception):
    """One file a person at a time; `run` is the one that is under way."""

    def __init__(self, run: DetectRun) -> None:
        super().__init__(f"“{run.name}” is being judged for you already. Wait for it or cancel it.")
        self.run = run


class TooLate(Exception):
    """The run is no longer in a state in which that can be done."""


# ---- asking -------------------------------------------------------------------------------------------------


def keep(
    upload: Upload, given: Mapping[str, object], *, storage: Storage, who: User, trigger: str, now: datetime
) -> DetectRun:
    """Keeps the file and looks at its head; nothing is judged yet. Raises CannotJudge."""
    name = Path(upload.name or "file").name[:200]
    if (upload.size or 0) > LARGEST:
        raise TooLarge(
            f"“{name}” has {(upload.size or 0) / 2**20:,.0f} MiB; at most {LARGEST >> 20} MiB can be uploaded. Judge "
            "it with manage.py detect where it lies, or cut it."
        )
    if Path(name).suffix.lower() not in SUFFIXES:
        raise CannotJudge(f"“{name}” does not end in {', '.join(SUFFIXES)}: only CSV and Parquet are judged")
    asked, folder = kept(given), f"detect/{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory(prefix="sieis-detect-") as place:
        path = Path(place, _safe(name))
        with path.open("wb") as file:
            file.writelines(upload.chunks())
        seen = _seen(path, asked)
        with path.open("rb") as file:
            storage.save(f"{folder}/{path.name}", file)
        return DetectRun.objects.create(
            who=who, name=name, size=path.stat().st_size, folder=folder, asked=asked, seen=seen, trigger=trigger,
            asked_at=now,
        )  # fmt: skip


def _seen(path: Path, asked: Mapping[str, str]) -> dict[str, Any]:
    try:
        seen = look(path, request(asked)).to_json()
    except CannotJudge as refusal:
        raise CannotJudge(spoken(str(refusal))) from None
    return {**seen, "notes": [spoken(note) for note in seen["notes"]], "problem": spoken(seen["problem"])}


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[-80:]


def look_again(run: DetectRun, given: Mapping[str, object], *, storage: Storage) -> None:
    """The same file, to be read another way; also one that was judged, to be judged anew. Raises CannotJudge."""
    asked = kept(given)
    with _fetched(run, storage) as path:
        seen = _seen(path, asked)
    moved = DetectRun.objects.filter(pk=run.pk).exclude(state__in=DetectRun.UNFINISHED)
    if not moved.update(asked=asked, seen=seen, state=State.LOOKED, message="", progress=0.0):
        raise TooLate("The file is being judged; cancel that first.")
    run.refresh_from_db()


def start(run: DetectRun, *, who: User, now: datetime) -> None:
    """Queues what was looked at. Raises CannotJudge, AlreadyJudging or TooLate."""
    if run.seen.get("problem"):
        raise CannotJudge(run.seen["problem"])
    waiting = DetectRun.objects.filter(pk=run.pk).exclude(state__in=DetectRun.UNFINISHED)
    try:
        with transaction.atomic():
            moved = waiting.update(
                state=State.QUEUED, queued_at=now, progress=0.0, message="Waiting for a worker", wants_cancel=False,
                done_at=None,
            )  # fmt: skip
            if moved:
                detail = {"file": run.name, "bytes": run.size}
                audit.record(deed="judge_file", subject=f"detect:{run.pk}", who=who, now=now, detail=detail)
    except IntegrityError:
        other = DetectRun.objects.filter(who=run.who, state__in=DetectRun.UNFINISHED).first()
        if other is None:
            raise
        raise AlreadyJudging(other) from None
    if not moved:
        raise TooLate(f"“{run.name}” is {run.state} already.")
    run.refresh_from_db()


def dispatch(run: DetectRun) -> None:
    errands.send("ingestion.tasks.judge_file", run)


def cancel(run: DetectRun, *, now: datetime) -> None:
    """Ends a queued run at once and asks the process of a running one to end. Raises TooLate."""
    own = DetectRun.objects.filter(pk=run.pk)
    waiting = own.filter(state=State.QUEUED).update(state=State.CANCELLED, done_at=now, message="Cancelled.")
    if not waiting and not own.filter(state=State.RUNNING).update(wants_cancel=True):
        raise TooLate("The file is not being judged any more.")
    run.refresh_from_db()


def forget(run: DetectRun, *, storage: Storage) -> None:
    """The file, its results and its row. Raises TooLate for one that is being judged."""
    if not DetectRun.objects.filter(pk=run.pk).exclude(state__in=DetectRun.UNFINISHED).delete()[0]:
        raise TooLate("The file is being judged; cancel that first.")
    for name in (_safe(run.name), results.SHOWN, *results.FILES):
        storage.delete(f"{run.folder}/{name}")


def of(who: User) -> Any:
    return DetectRun.objects.filter(who=who)


def tidy(now: datetime, *, storage: Storage) -> list[DetectRun]:
    """Fails what has lost its worker and forgets what is old; answers what still waits for a worker."""
    DetectRun.objects.filter(state=State.RUNNING, heartbeat_at__lt=now - LEASE).update(
        state=State.FAILED, done_at=now, message="Its worker was killed. Judge the file again."
    )
    for old in DetectRun.objects.filter(asked_at__lt=now - KEPT).exclude(state__in=DetectRun.UNFINISHED)[:100]:
        forget(old, storage=storage)
    return list(DetectRun.objects.filter(state=State.QUEUED, queued_at__lt=now - LEASE))


# ---- the worker's side --------------------------------------------------------------------------------------


def command(run_id: int) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_detect", str(run_id), "--watched"]


def run_in_process(
    run_id: int,
    *,
    by: Sequence[str] | None = None,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = timezone.now,
) -> DetectRun:
    """Judges in a child process and stays by it; does nothing for a run that is not queued any more."""
    own = DetectRun.objects.filter(pk=run_id)
    if not own.filter(state=State.QUEUED).update(state=State.RUNNING, heartbeat_at=now(), message="Starting"):
        return own.get()
    child = Child(by or command(run_id), folder=settings.BASE_DIR)
    try:
        words = _stay_by(run_id, child, stop or STOPPING, now)
        lost = own.filter(state=State.RUNNING)  # what the child did not say itself
        state = State.CANCELLED if words == CANCELLED else State.FAILED
        lost.update(state=state, done_at=now(), message=(words or _obituary(child))[:400])
    finally:
        child.end()
        child.close()
    return own.get()


CANCELLED = "Cancelled."


def _stay_by(run_id: int, child: Child, stop: threading.Event, now: Callable[[], datetime]) -> str:
    """Returns when the child is gone; what it answers says why we ended it."""
    beaten = time.monotonic()
    while child.wait(LOOK_S) is None:
        if stop.is_set():
            child.end()
            return "SIEIS was stopped meanwhile. Judge the file again."
        try:
            if DetectRun.objects.filter(pk=run_id, wants_cancel=True).exists():
                child.end()
                return CANCELLED
            if time.monotonic() - beaten > HEARTBEAT_S:
                DetectRun.objects.filter(pk=run_id, state=State.RUNNING).update(heartbeat_at=now())
                beaten = time.monotonic()
        except (OperationalError, InterfaceError) as error:
            log.warning("database_away", run=run_id, error=str(error))
            close_old_connections()
    return ""


def _obituary(child: Child) -> str:
    last = " / ".join(child.said()[-2:])
    return f"The process that judged it ended: {last or 'it said nothing'}"


def judge(run: DetectRun, *, storage: Storage, now: Callable[[], datetime] = timezone.now) -> None:
    """In the child: reads, learns, judges, keeps the results and says so in the row."""
    began = time.monotonic()
    own = DetectRun.objects.filter(pk=run.pk, state=State.RUNNING)
    try:
        with _fetched(run, storage) as path:
            judged = judge_file(path, request(run.asked), _Teller(own))
            own.update(progress=0.9, message="Writing the results")
            found = results.write(judged, path.parent)
            found["notes"] = [spoken(note) for note in found["notes"]]
            for name in (*results.FILES, results.SHOWN):
                storage.delete(f"{run.folder}/{name}")
                with (path.parent / name).open("rb") as file:
                    storage.save(f"{run.folder}/{name}", file)
    except CannotJudge as refusal:
        words = _sentence(spoken(str(refusal)))
        own.update(state=State.FAILED, message=words[:400], done_at=now(), seconds=time.monotonic() - began)
        return
    own.update(
        state=State.DONE, progress=1.0, message="", found=found, done_at=now(),
        seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].rstrip(".") + "."


@contextmanager
def _fetched(run: DetectRun, storage: Storage) -> Iterator[Path]:
    """The file in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sieis-detect-") as place:
        path = Path(place, _safe(run.name))
        with storage.open(f"{run.folder}/{path.name}") as kept_file, path.open("wb") as file:
            file.writelines(kept_file.chunks())
        yield path


class _Teller:
    """Keeps the row's progress up to date, now and then."""

    def __init__(self, own: Any) -> None:
        self.own, self.written = own, 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        if time.monotonic() - self.written < WRITE_EVERY_S and done < total:
            return
        low, high = STEPS.get(step, (0.0, 0.9))
        share = low + (high - low) * done / max(total, 1)
        self.own.update(progress=share, message=f"{step.capitalize()}: {done:,} of {total:,} rows")
        self.written = time.monotonic()
