"""Imports as people ask for them: files that are kept and looked at, started, stopped, gone on with after a crash.

A job moves looked → queued → running → done, stopped or failed. It runs only within the lock of imports: one that is
said to run while nobody holds the lock has lost its process, and goes on from where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.storage import Storage
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError

from ingestion.checkpoints import Fenced
from ingestion.importing import report
from ingestion.importing.alone import AnotherImport, alone
from ingestion.importing.bringing import bring_in
from ingestion.importing.columns import BadMap, parse_map
from ingestion.importing.looking import CannotImport, Look, Request, look
from ingestion.models import ImportJob
from ingestion.streams import StreamClosed, StreamRefused
from sensors import audit, errands
from sensors.installation import CannotInstall
from sensors.lake import LakeFenced
from sensors.models import Profile
from sensors.packs import BadPack, Pack, read_pack, shipped
from sensors.stores import StoreUnavailable
from sensors.tables.files import BadFile
from sensors.tables.progress import Tell

log = structlog.get_logger(__name__)
State = ImportJob.State
COMMAND = "command"
REFUSALS = (
    BadFile, BadMap, BadPack, CannotImport, CannotInstall, Fenced, LakeFenced, StoreUnavailable, StreamClosed,
    StreamRefused,
)  # fmt: skip
LARGEST = 100 << 20  # bytes of all files of an upload: they are read whole
KEPT = timedelta(days=7)  # an upload that nobody starts
LOOK_S = 1.0
WORDS = ("site", "time_zone", "times_in", "mote", "decimal", "date_order")


class CannotChange(CannotImport):
    """The import is not in a state in which that can be done."""


# ---- asking -------------------------------------------------------------------------------------------------


def keep(
    uploads: Sequence[UploadedFile[Any]],
    asked: Mapping[str, str],
    *,
    storage: Storage,
    who: User,
    trigger: str,
    now: datetime,
) -> ImportJob:
    """Keeps the files and looks at them; nothing is imported yet. Raises one of REFUSALS, or ValidationError."""
    if not uploads:
        raise CannotImport("Choose at least one file: CSV or Parquet.")
    if (size := sum(each.size or 0 for each in uploads)) > LARGEST:
        raise CannotImport(
            f"These files have {size / 2**20:,.0f} MiB; {LARGEST >> 20} MiB can be uploaded at once. Bring the rest "
            "in by further uploads, the oldest first, or with manage.py import_readings on the server."
        )
    with tempfile.TemporaryDirectory(prefix="sieis-import-") as name:
        paths = [_written(Path(name), i, each) for i, each in enumerate(uploads)]
        view = _looked(paths, asked, Path(name), now)
        job = _job(view, asked, trigger, who, now)
        token = hashlib.sha256(f"{job.fingerprint}{now.timestamp()}".encode()).hexdigest()[:20]
        for one, path in zip(job.files, paths, strict=True):
            with path.open("rb") as file:
                one["kept"] = storage.save(f"imports/{token}/{path.parent.name}-{one['sha256'][:12]}", file)
    job.save()
    return job


def look_again(job: ImportJob, asked: Mapping[str, str], *, storage: Storage, now: datetime) -> ImportJob:
    """The same files, read another way."""
    if job.state != State.LOOKED:
        raise CannotChange(f"Import {job.pk} is {job.state}: what it is read as can be changed before it begins only.")
    with _fetched(job, storage) as (paths, folder):
        view = _looked(paths, asked, folder, now)
    other = _job(view, asked, job.trigger, job.who, now)
    for name in ("asked", "fingerprint", "profile", "site", "foretold", "n_rows"):
        setattr(job, name, getattr(other, name))
    job.save()
    return job


def for_command(view: Look, asked: Mapping[str, Any], *, now: datetime) -> ImportJob:
    """Within `alone()`: the job that an earlier attempt at the same has left, or a new one."""
    job = _job(view, asked, COMMAND, None, now)
    left = ImportJob.objects.filter(trigger=COMMAND, fingerprint=job.fingerprint).exclude(state=State.DONE).first()
    if left is not None:
        left.foretold, left.error, job = job.foretold, "", left
    job.state, job.started_at = State.RUNNING, job.started_at or now
    job.save()
    return job


def _job(view: Look, asked: Mapping[str, Any], trigger: str, who: User | None, now: datetime) -> ImportJob:
    request = view.request
    read_as = [request.site, view.zone, dict(request.mapping), request.mote, request.decimal, request.date_order]
    same = json.dumps([[one["sha256"] for one in view.files], view.rows.profile.code, read_as], sort_keys=True)
    return ImportJob(
        asked=dict(asked), files=[dict(one) for one in view.files], profile=view.rows.profile.code, site=request.site,
        fingerprint=hashlib.sha256(same.encode()).hexdigest(), foretold=_foretold(view), trigger=trigger, who=who,
        asked_at=now, n_rows=len(view.rows),
    )  # fmt: skip


def _foretold(view: Look) -> dict[str, Any]:
    by_code = {channel.code: channel for channel in view.rows.profile.channels}
    return {
        "recognised": list(view.rows.words), "place": view.place, "motes": view.motes(), "times": view.times(),
        "new_motes": [mote.code for mote in view.pack.motes], "problems": view.problems, "estimate": view.estimate,
        "channels": [
            {**asdict(each), "unit": by_code[each.code].unit, "label": by_code[each.code].label,
             "words": report.beyond(each, by_code[each.code])}
            for each in view.figures
        ],
        "fates": view.by_fate,
    }  # fmt: skip


def _looked(paths: Sequence[Path], asked: Mapping[str, str], folder: Path, now: datetime) -> Look:
    try:
        return look(_request(paths, asked), now=now)
    except (BadFile, BadMap) as wrong:  # they name the place where the file lies for the moment
        raise type(wrong)(re.sub(rf"{re.escape(str(folder))}/\d+/", "", str(wrong))) from None


def _request(paths: Sequence[Path], asked: Mapping[str, str]) -> Request:
    given = {name: asked.get(name, "").strip() for name in WORDS}
    given["site"] = given["site"] or settings.SIEIS_DEFAULT_SITE
    if not re.fullmatch(r"[-\w]{1,50}", given["site"], re.ASCII):
        raise CannotImport(f"“{given['site']}” is no code of a site: up to 50 letters, digits, - and _ are taken.")
    pieces = [line for line in re.split(r"[\r\n]+", asked.get("map", "")) if line.strip()]
    return Request(paths=paths, pack=pack_of(asked.get("pack", "")), mapping=parse_map(pieces), **given)


def pack_of(code: str) -> Pack:
    """A pack that SIEIS comes with, or the installed profile of that code."""
    if code in shipped():
        return read_pack(code)
    found = Profile.objects.filter(code=code).first()
    version = found.versions.filter(is_current=True).first() if found else None
    if version is None:
        raise CannotImport(
            f"There is no profile “{code}”. Choose one of those that are offered, or load its pack first."
        )
    return Pack(f"{code}.toml", version.as_profile(), **version.settings)


# ---- starting, stopping, forgetting -------------------------------------------------------------------------


def start(job: ImportJob, *, who: User | None, now: datetime) -> None:
    """Queues what was looked at, or what was stopped or has failed, which goes on where it was."""
    if job.foretold.get("problems"):
        raise CannotChange("Settle first: " + "; ".join(job.foretold["problems"]))
    if job.trigger == COMMAND:
        raise CannotChange("This import reads files of the server's own: repeat its command there.")
    waiting = ImportJob.objects.filter(pk=job.pk, state__in=(State.LOOKED, *ImportJob.RESUMABLE))
    if not waiting.update(state=State.QUEUED, wants_stop=False, error="", step=""):
        raise CannotChange(_too_late(job, "started"))
    audit.record(who=who, deed="start_import", subject=f"import:{job.pk}", now=now, detail={"rows": job.n_rows})
    job.refresh_from_db()


def ask_to_stop(job: ImportJob, *, who: User | None, now: datetime) -> None:
    """One that runs saves what it has and stops within seconds; one that is queued does not begin."""
    waiting = ImportJob.objects.filter(pk=job.pk, state=State.QUEUED)
    running = ImportJob.objects.filter(pk=job.pk, state=State.RUNNING)
    fresh = waiting.filter(started_at=None)
    if not (fresh.update(state=State.LOOKED) or waiting.update(state=State.STOPPED) or running.update(wants_stop=True)):
        raise CannotChange(_too_late(job, "stopped"))
    audit.record(who=who, deed="stop_import", subject=f"import:{job.pk}", now=now)
    job.refresh_from_db()


def forget(job: ImportJob, *, storage: Storage, who: User | None, now: datetime) -> None:
    """Drops its files; the row goes too if nothing was imported. What is stored stays."""
    gone = (
        ImportJob.objects.filter(pk=job.pk).exclude(state__in=(State.QUEUED, State.RUNNING)).exclude(state=State.DONE)
    )
    if not gone.exists():
        raise CannotChange(_too_late(job, "discarded"))
    drop_files(job, storage)
    if job.n_sent or job.leg or job.tail:
        job.save(update_fields=["files"])
    else:
        job.delete()
    audit.record(who=who, deed="discard_import", subject=f"import:{job.pk or ''}", now=now)


def _too_late(job: ImportJob, done: str) -> str:
    job.refresh_from_db()
    return f"Import {job.pk} is {job.state} and cannot be {done}."


def drop_files(job: ImportJob, storage: Storage) -> None:
    for one in job.files:
        if name := one.pop("kept", ""):
            storage.delete(name)


def forget_old(*, storage: Storage, now: datetime) -> int:
    """Uploads that nobody started within a week."""
    old = list(ImportJob.objects.filter(state=State.LOOKED, asked_at__lt=now - KEPT))
    for job in old:
        drop_files(job, storage)
        job.delete()
    return len(old)


def dispatch(job: ImportJob) -> None:
    errands.send("ingestion.tasks.run_import", job)


def recover() -> ImportJob | None:
    """Jobs whose process is gone go on, or wait for their command; answers the one to be sent to a worker next."""
    try:
        with alone():
            died = ImportJob.objects.filter(state=State.RUNNING)
            words = "Its process ended before it was done. Nothing is lost: repeat the same command, and it goes on."
            died.filter(trigger=COMMAND).update(state=State.STOPPED, error=words)
            died.update(state=State.QUEUED)
    except AnotherImport:
        return None
    return ImportJob.objects.filter(state=State.QUEUED).order_by("pk").first()


# ---- running ------------------------------------------------------------------------------------------------


def run(job: ImportJob, *, storage: Storage, now: Callable[[], datetime]) -> ImportJob:
    """Brings a queued job in; while another import is under way it stays queued and is sent again later."""
    try:
        with alone():
            taken = ImportJob.objects.filter(pk=job.pk, state=State.QUEUED).update(state=State.RUNNING)
            job.refresh_from_db()
            if taken:
                _run(job, storage, now)
    except AnotherImport as busy:
        log.info("import_waits", job=job.pk, reason=str(busy))
    return job


def _run(job: ImportJob, storage: Storage, now: Callable[[], datetime]) -> None:
    job.started_at = job.started_at or now()
    with failing(job, now), _fetched(job, storage) as (paths, folder):
        view = _looked(paths, job.asked, folder, now())
        stop = StopOrder(lambda: ImportJob.objects.filter(pk=job.pk, wants_stop=True).exists())
        bring_in(
            view, job, now=now, stop=stop, tell=Progress(job), warn=lambda words: log.warning("import", words=words)
        )
    if job.state == State.DONE:
        drop_files(job, storage)
        job.save(update_fields=["files"])


@contextmanager
def failing(job: ImportJob, now: Callable[[], datetime]) -> Iterator[None]:
    """What is raised within is kept with the job; it can go on from where it was."""
    try:
        yield
    except (*REFUSALS, ValidationError) as refusal:
        ImportJob.objects.filter(pk=job.pk).update(state=State.FAILED, error=words_of(refusal), done_at=now())
        job.refresh_from_db()
        if job.trigger == COMMAND:
            raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}. What was sent is not lost; start it again when that is mended."
        ImportJob.objects.filter(pk=job.pk).update(state=State.FAILED, error=words, done_at=now())
        raise


def words_of(refusal: Exception) -> str:
    return "; ".join(refusal.messages) if isinstance(refusal, ValidationError) else str(refusal)


@contextmanager
def _fetched(job: ImportJob, storage: Storage) -> Iterator[tuple[list[Path], Path]]:
    """The files of the job under their own names, for as long as it reads them."""
    with tempfile.TemporaryDirectory(prefix="sieis-import-") as name:
        folder, paths = Path(name), []
        for i, one in enumerate(job.files):
            path = folder / str(i) / one["name"]
            path.parent.mkdir()
            try:
                with storage.open(one["kept"]) as kept, path.open("wb") as file:
                    shutil.copyfileobj(kept, file)
            except (KeyError, FileNotFoundError):
                raise CannotImport(f"The file {one['name']} is not kept any more: upload it again.") from None
            paths.append(path)
        yield paths, folder


def _written(folder: Path, i: int, upload: UploadedFile[Any]) -> Path:
    path = folder / str(i) / (Path(upload.name or "").name or "file")
    path.parent.mkdir()
    with path.open("wb") as file:
        for chunk in upload.chunks():
            file.write(chunk)
    return path


class StopOrder(threading.Event):
    """Is set once somebody has asked for it, wherever that is looked for: also while a sink is waited for."""

    def __init__(self, asked: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._asked, self._clock, self._looked_at = asked, clock, clock()

    def is_set(self) -> bool:
        if not super().is_set() and self._clock() - self._looked_at >= LOOK_S:
            self._looked_at = self._clock()
            with suppress(DatabaseError):
                if self._asked():
                    self.set()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(timeout) or self.is_set()


class Progress:
    """Keeps how far a job is, once a second."""

    def __init__(self, job: ImportJob, clock: Callable[[], float] = time.monotonic) -> None:
        self._job, self._clock, self._told_at = job, clock, 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        if step == self._job.step and done < total and self._clock() - self._told_at < LOOK_S:
            return
        self._told_at = self._clock()
        job = self._job
        job.step, job.n_step_done, job.n_step_total = step, done, total
        with suppress(DatabaseError):
            job.save(update_fields=["step", "n_step_done", "n_step_total"])


def told_by(tell: Tell, job: ImportJob) -> Tell:
    """Tells both: the terminal and the row."""
    keep_it = Progress(job)

    def both(step: str, done: int, total: int) -> None:
        keep_it(step, done, total)
        tell(step, done, total)

    return both
