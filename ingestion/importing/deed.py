"""Importing: look at the files, then bring their rows in through the history stream and the reading path.

Nothing is stored past the path, so an import is judged, accounted and repeatable as live readings are. What an
interrupted one has left in the stream is brought in first by the next.
"""

from __future__ import annotations

import fcntl
import getpass
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Q, Sum

from ingestion import stored
from ingestion.importing import fates, messages, report
from ingestion.importing.rows import How, Rows, join
from ingestion.models import Checkpoint, LedgerHour, Quarantined
from ingestion.records import Records
from ingestion.running import build_runner
from ingestion.simulation import patiently
from ingestion.streams import Stream, stream
from ingestion.validation.words import plural
from ingestion.wire import Wire
from sensors import audit, registry
from sensors.fleet import Fleet, MoteRef
from sensors.installation import Installed, install_pack
from sensors.lake import lake
from sensors.models import AuditEntry, Mote, Site, valid_time_zone
from sensors.packs import Pack, PackMote
from sensors.readings import INSTANT, Profile, micros
from sensors.stores import hot
from sensors.tables import files
from sensors.tables.progress import Tell

DEED = "import_readings"
CHUNK = 20_000
LOOKED_UP = 100_000
SAMPLE = 20_000
LONGEST_CODE = 64
MANY_MOTES = 100
LOCK = 0x51E15  # PostgreSQL's advisory lock of imports


class CannotImport(Exception):
    """Why nothing was imported, and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to be imported, as they said it."""

    paths: Sequence[str | Path]
    pack: Pack
    site: str
    time_zone: str = ""
    times_in: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    mote: str = ""
    decimal: str = ""
    date_order: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about an import before it happens. `pack` has only the motes that are new at the site."""

    request: Request
    files: list[dict[str, Any]]  # name, sha256 and rows of each
    rows: Rows
    pack: Pack
    site_zone: str
    is_new_site: bool
    n_known: int
    retired: list[str]
    foreign: list[str]
    by_fate: dict[str, int]
    figures: list[fates.ChannelFigures]
    estimate: str

    @property
    def problems(self) -> list[str]:
        """What must be settled before anything is imported."""
        found = list(self.rows.doubts)
        if self.foreign:
            found.append(
                f"site {self.request.site} has motes of another profile with the same codes ({_some(self.foreign)}): "
                "import at another site with --site, or mend --map mote=COLUMN"
            )
        return found

    def lines(self) -> list[str]:
        request, new = self.request, [mote.code for mote in self.pack.motes]
        place = f"site {request.site}" + (f", which is new, in {self.site_zone}" if self.is_new_site else "")
        lines = [*self.rows.words, f"{plural(len(self.rows), 'row')} of “{self.rows.profile.code}” for {place}"]
        parts = [f"{self.n_known:,} known"] if self.n_known else []
        parts += [f"{len(new):,} new ({_some(new)})"] if new else []
        parts += [f"{len(self.retired):,} retired ({_some(self.retired)})"] if self.retired else []
        parts += [f"{len(self.foreign):,} of another profile ({_some(self.foreign)})"] if self.foreign else []
        zone = request.times_in or self.site_zone
        lines += [f"Motes: {', '.join(parts) or 'none'}"]
        if len(new) > MANY_MOTES and len(self.rows) < 10 * len(new):
            lines.append(f"  only {len(self.rows) / len(new):.1f} rows for each: is this really the column of motes?")
        lines += [*report.times(self.rows, zone, site_zone=self.site_zone)]
        lines += ["Channels:", *report.channels(self.rows, self.figures)]
        lines += report.fates(self.by_fate, "What will become of the rows")
        return [*lines, self.estimate]


@dataclass(slots=True)
class Brought:
    """What an import did. The sums are the books' own."""

    n_rows: int
    n_sent: int = 0
    n_again: int = 0  # sent a second time because the stream was away meanwhile
    n_left_over: int = 0  # of an interrupted import, brought in first
    by_fate: dict[str, int] = field(default_factory=dict)
    n_waiting: int = 0  # in the stream, not yet through the path
    installed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        return self.n_sent == self.n_rows and not self.n_waiting

    @property
    def is_accounted(self) -> bool:
        return sum(self.by_fate.values()) + self.n_waiting == self.n_sent + self.n_again


# ---- looking ------------------------------------------------------------------------------------------------


def look(request: Request, *, now: datetime) -> Look:
    """Reads the files and says what would become of each row; changes nothing. Raises CannotImport, BadFile, BadMap."""
    site = Site.objects.filter(code=request.site).first()
    if site and request.time_zone and request.time_zone != site.time_zone:
        raise CannotImport(
            f"site {site.code} is in {site.time_zone}, and --time-zone {request.time_zone} is for a new one: leave it "
            f"out, or say --times-in {request.time_zone} if only the file's times are meant"
        )
    site_zone = site.time_zone if site else request.time_zone or settings.SIEIS_TIME_ZONE
    zone = request.times_in or site_zone
    for each in (site_zone, zone):
        valid_time_zone(each)
    profile = registry.profiles().get(request.pack.profile.code, request.pack.profile)
    sources = [files.read(path) for path in files.find(request.paths)]
    how = How(zone, dict(request.mapping), request.mote, request.decimal, request.date_order)
    rows = join(sources, profile, how)
    codes = sorted(rows.table["mote"].unique().drop_nulls().to_list(), key=lambda code: (len(code), code))
    there = {mote.code: mote for mote in Mote.objects.filter(site=site).select_related("profile")} if site else {}
    known = [code for code in codes if code in there and there[code].profile.code == profile.code]
    retired = [code for code in known if there[code].state == Mote.State.RETIRED]
    new = [code for code in codes if code not in there and _is_code(code)]
    keys = {code: there[code].pk for code in known if code not in retired}
    fate = fates.fates(
        rows,
        latest_us=micros(now) + int(settings.SIEIS_FUTURE_S * 1e6),
        unknown=[code for code in codes if not _is_code(code)],
        retired=retired,
        stored=_stored(rows, profile, keys),
    )
    return Look(
        request=request, rows=rows,
        files=[{"name": each.path.name, "sha256": each.sha256, "rows": each.n_rows} for each in sources],
        pack=_only(request.pack, new), site_zone=site_zone,
        is_new_site=site is None, n_known=len(keys), retired=retired,
        foreign=[code for code in codes if code in there and code not in known],
        by_fate=fates.counts(fate, len(rows.misfits)), figures=fates.figures_of(rows),
        estimate=_estimate(rows, request.site, codes),
    )  # fmt: skip


def _is_code(code: str) -> bool:
    return len(code) <= LONGEST_CODE and code.isprintable()


def _only(pack: Pack, codes: Sequence[str]) -> Pack:
    """The pack with just these motes: its own where it knows the code, others without a place."""
    known = {mote.code: mote for mote in pack.motes}
    motes = tuple(
        known.get(code) or PackMote(code, f"Mote {code}" if code.isdigit() else code, None, None, "") for code in codes
    )
    zones = {mote.zone for mote in motes}
    return replace(pack, motes=motes, zones=tuple(zone for zone in pack.zones if zone.code in zones))


def _stored(rows: Rows, profile: Profile, keys: Mapping[str, int]) -> pl.DataFrame:
    """What is stored already at the rows' motes and instants."""
    existing = stored.anywhere(hot(), lake())
    until = stored.newest(hot(), registry.current_fleet()) if keys else {}
    newest = {code: until[key] for code, key in keys.items() if key in until}
    schema = {"mote": pl.String, "at": pl.Int64, **dict.fromkeys(profile.names, pl.Float64)}
    if not newest:
        return pl.DataFrame(schema=schema)
    may_be = rows.table.select("mote", "at").filter(
        pl.col("at") <= pl.col("mote").replace_strict(newest, default=None, return_dtype=pl.Int64)
    )
    found = [
        existing(profile, part.select(pl.col("mote").replace_strict(dict(keys)), pl.col("at").cast(INSTANT)).unique())
        for part in may_be.iter_slices(LOOKED_UP)
    ]
    codes = {key: code for code, key in keys.items()}
    named = [
        table.with_columns(
            pl.col("mote").replace_strict(codes, default=None, return_dtype=pl.String), pl.col("at").cast(pl.Int64)
        ).select("mote", "at", *profile.names)
        for table in found
    ]
    return pl.concat([pl.DataFrame(schema=schema), *named]).unique(["mote", "at"])


def _estimate(rows: Rows, site: str, codes: Sequence[str]) -> str:
    """From the last import here; before the first one a lower bound, from a part that is written and read at once."""
    last = AuditEntry.objects.filter(deed=DEED, detail__is_complete=True, detail__rows__gte=SAMPLE).first()
    if last is not None:
        seconds = len(rows) * last.detail["seconds"] / last.detail["rows"]
        return f"It will take about {max(seconds, 1):,.0f} s, at the rate of the import of {last.at:%Y-%m-%d}."
    motes = tuple(MoteRef(i, code, site, "", rows.profile.code, "UTC", "active") for i, code in enumerate(codes))
    wire = Wire(Fleet(0, motes, {rows.profile.code: rows.profile}, site))
    began = time.perf_counter()
    values, _ = messages.write(rows, 0, SAMPLE, site=site, keys={})
    nowhere = np.zeros(len(values), dtype=np.int64)
    wire.decode(Records(values, nowhere, nowhere, np.full(len(values), np.iinfo(np.int64).max // 2)))
    seconds = (time.perf_counter() - began) / max(len(values), 1) * len(rows)
    return (
        f"It will take more than {seconds:,.1f} s: so long for writing and reading the messages, then they are stored."
    )


# ---- bringing in --------------------------------------------------------------------------------------------


def bring_in(
    view: Look,
    *,
    who: User | None,
    now: Callable[[], datetime],
    stop: threading.Event,
    tell: Tell,
    warn: Callable[[str], None],
) -> Brought:
    """Registers what is new and moves every row through the path; told to stop, it saves what it has and says so."""
    if view.problems:
        raise CannotImport("; ".join(view.problems))
    began = time.monotonic()
    with alone():
        done = Brought(len(view.rows))
        done.installed = _install(view, who, now()).created
        history = stream("history")
        patiently(history.ensure, stop=stop, topic=history.topic, tell=warn)
        done.n_left_over = _run_to_end(history, stop, partial(tell, "What an interrupted import left"))
        if not stop.is_set() and not _waiting(history):
            _send_and_run(view, done, history, stop, tell, warn)
    done.seconds = time.monotonic() - began
    _keep_audit(view, done, who, now())
    return done


def _install(view: Look, who: User | None, now: datetime) -> Installed:
    return install_pack(
        view.pack, site_code=view.request.site, time_zone=view.site_zone, who=who, now=now, keeps_profile=True
    )


def _send_and_run(
    view: Look, done: Brought, history: Stream, stop: threading.Event, tell: Tell, warn: Callable[[str], None]
) -> None:
    starts = {partition: end for partition, (_, end) in history.bounds().items()}
    before = _books(history.topic)
    done.n_sent = _send(view, history, stop, partial(tell, "Sending"), warn)
    sent_ends = {partition: end for partition, (_, end) in history.bounds().items()}
    in_stream = sum(end - starts.get(partition, 0) for partition, end in sent_ends.items())
    done.n_again = in_stream - done.n_sent
    if not stop.is_set():
        _run_to_end(history, stop, partial(tell, "Judging and storing"))
    done.n_waiting = _waiting(history)
    done.by_fate = _fates(history.topic, before, starts)


def _send(
    view: Look, history: Stream, stop: threading.Event, tell: Callable[[int, int], None], warn: Callable[[str], None]
) -> int:
    """Appends the rows in order of time; answers how many are surely in the stream."""
    fleet = registry.current_fleet()
    keys = {mote.code: mote.group_key.encode() for mote in fleet.motes if mote.site == view.request.site}
    n, sent = len(view.rows), 0
    while sent < n and not stop.is_set():
        values, routes = messages.write(view.rows, sent, CHUNK, site=view.request.site, keys=keys)
        if not patiently(partial(history.append, values, routes), stop=stop, topic=history.topic, tell=warn):
            break
        sent += len(values)
        tell(sent, n)
    return sent


def _run_to_end(history: Stream, stop: threading.Event, tell: Callable[[int, int], None]) -> int:
    """Moves what waits in the history stream through the reading path; answers how many messages that were."""
    n_done = 0
    while (waiting := _waiting(history)) and not stop.is_set():
        build_runner("history").run(stop, until_end=True, progress=partial(_told, tell, n_done, waiting))
        n_done += waiting - _waiting(history)
    return n_done


def _told(tell: Callable[[int, int], None], before: int, waiting: int, n: int) -> None:
    tell(before + n, before + waiting)


def _waiting(history: Stream) -> int:
    """Messages beyond the checkpoints; the broker's own lag may be out of date."""
    done = dict(Checkpoint.objects.filter(topic=history.topic).values_list("partition", "next_offset"))
    return sum(end - max(done.get(partition, first), first) for partition, (first, end) in history.bounds().items())


def _books(topic: str) -> dict[str, int]:
    names = ("stored", "duplicate", "held", "quarantined")
    return {name: n or 0 for name, n in LedgerHour.objects.filter(topic=topic).aggregate(
        **{name: Sum(name) for name in names}
    ).items()}  # fmt: skip


def _fates(topic: str, before: Mapping[str, int], starts: Mapping[int, int]) -> dict[str, int]:
    """What the books gained; quarantined ones by the reason that each was put aside for."""
    gained = {name: n - before[name] for name, n in _books(topic).items()}
    n_quarantined = gained.pop("quarantined")
    ours = Q(*[Q(partition=partition, offset__gte=start) for partition, start in starts.items()], _connector=Q.OR)
    aside = Quarantined.objects.filter(ours, topic=topic).exclude(reason="unknown_mote")
    reasons = dict(aside.values_list("reason").annotate(n=Count("pk")).values_list("reason", "n"))
    unnamed = n_quarantined - sum(reasons.values())
    return {name: n for name, n in {**gained, **reasons, "other reasons": unnamed}.items() if n}


def _keep_audit(view: Look, done: Brought, who: User | None, now: datetime) -> None:
    audit.record(
        who=who, deed=DEED, subject=f"site:{view.request.site}", now=now,
        detail={
            "files": view.files,
            "profile": view.rows.profile.code, "rows": done.n_rows, "sent": done.n_sent, "became": done.by_fate,
            "waiting": done.n_waiting, "is_complete": done.is_complete, "seconds": round(done.seconds, 1),
            "account": _account(),
        },
    )  # fmt: skip


def _account() -> str:
    """Of the machine, where nobody is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


# ---- one at a time ------------------------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[None]:
    """Holds the only place for an import: two at once would each wait for the other's partitions. Dies with us."""
    is_ours = _in_postgres() if connection.vendor == "postgresql" else _in_folder()
    with is_ours as got_it:
        if not got_it:
            raise CannotImport("another import is under way; wait until it has ended, then repeat this one")
        yield


@contextmanager
def _in_postgres() -> Iterator[bool]:
    own = connection.copy()  # the lock lives as long as its connection, and the runner closes the shared one
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            yield bool(cursor.fetchone()[0])
    finally:
        own.close()


@contextmanager
def _in_folder() -> Iterator[bool]:
    with Path(settings.SIEIS_DATA, "import.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _some(codes: Iterable[str]) -> str:
    names = list(codes)
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:6])} … {names[-1]}"
