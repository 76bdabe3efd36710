"""Sending put-aside messages again, through the stream they came by, and settling what nobody needs.

A row is taken for a minute, its message appended, then the row says so. Whoever dies in between leaves a row that can
be taken again: what was appended twice is known as a duplicate, and nothing is ever marked that was not appended.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import polars as pl
import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet

from ingestion.foretelling import Fate, foretell
from ingestion.models import Quarantined
from ingestion.quarantine import marked, unmarked
from ingestion.streams import Stream, StreamRefused
from ingestion.wire import MAX_BYTES
from sensors import audit
from sensors.fleet import Fleet
from sensors.lake import Lake, NoSuchTable
from sensors.models import ProcessHeartbeat
from sensors.stores import HotStore, StoreUnavailable

log = structlog.get_logger(__name__)
Status = Quarantined.Status
LEASE = timedelta(seconds=60)
ALIVE = timedelta(seconds=30)
AT_ONCE, BYTES_AT_ONCE = 1_000, 32 << 20
MOST_BYTES = MAX_BYTES - 2_000  # what the mark and a broker's framing need
CUT, SETTLED = "cut", "settled"  # why a message stays, beside the wire's own reasons
STAYS = ("unknown_mote", "retired_mote", "too_large")  # held though its code is known: sending would not help


class CannotReplay(Exception):
    """The message was not sent; says why, and what to do. `name` is the reason as a word."""

    def __init__(self, words: str, name: str = "") -> None:
        super().__init__(words)
        self.name = name


class AlreadySettled(CannotReplay):
    """Somebody was faster."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What sending again needs to know and to reach."""

    fleet: Fleet
    hot: HotStore
    lake: Lake
    stream: Callable[[str], Stream]  # by its name among the settings' topics

    def stream_of(self, topic: str) -> Stream:
        return self.stream(name_of(topic))


@dataclass(slots=True)
class Sent:
    """What became of rows: the fate of each, and which were sent."""

    fates: dict[int, Fate] = field(default_factory=dict)
    keys: set[int] = field(default_factory=set)

    @property
    def n(self) -> int:
        return len(self.keys)

    @property
    def left(self) -> Counter[str]:
        """How many were not sent, by the reason."""
        return Counter(fate.name for key, fate in self.fates.items() if key not in self.keys)


def name_of(topic: str) -> str:
    """Which of our streams has the topic."""
    found = next((name for name, one in settings.SIEIS_TOPICS.items() if one == topic), None)
    if found is None:
        known = ", ".join(settings.SIEIS_TOPICS.values())
        raise CannotReplay(f"The topic {topic} is not read any more, so nothing can go back there; read are {known}.")
    return found


# ---- the whole message --------------------------------------------------------------------------------------


def whole_messages(rows: Sequence[Quarantined], lake: Lake) -> dict[int, bytes]:
    """The messages as they came, by key of the row; a long one, of which only the head is kept, from bronze."""
    found = {row.pk: bytes(row.payload) for row in rows if row.is_whole}
    for topic, cut in _by_topic([row for row in rows if not row.is_whole]):
        found |= _from_bronze(topic, cut, lake)
    return found


def _from_bronze(topic: str, rows: Sequence[Quarantined], lake: Lake) -> dict[int, bytes]:
    by_place = {(row.partition, row.offset, row.received_at): row.pk for row in rows}
    try:
        bronze = lake.scan("bronze").filter(
            pl.col("date").is_in([*{row.received_at.date() for row in rows}]),
            pl.col("topic") == topic,
            pl.col("offset").is_in([row.offset for row in rows]),
        )
        table = bronze.select("partition", "offset", "received_at", "payload").collect()
    except NoSuchTable:
        return {}
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreUnavailable(f"the lake cannot be searched for whole messages now: {error}") from error
    # By arrival, too: a topic made anew counts its offsets anew.
    return {by_place[place]: payload for *key, payload in table.iter_rows() if (place := tuple(key)) in by_place}


def _by_topic(rows: Iterable[Quarantined]) -> Iterator[tuple[str, list[Quarantined]]]:
    for topic, group in groupby(sorted(rows, key=lambda row: row.topic), key=lambda row: row.topic):
        yield topic, list(group)


# ---- sending ------------------------------------------------------------------------------------------------


def fates(messages: Sequence[bytes], topic: str, *, parts: Parts, now: datetime) -> list[Fate]:
    """What would become of them on that topic."""
    return foretell(
        messages, fleet=parts.fleet, hot=parts.hot, now=now, future_s=settings.SIEIS_FUTURE_S,
        are_labels=name_of(topic) == "labels",
    )  # fmt: skip


def replay(row: Quarantined, *, parts: Parts, who: User | None, now: datetime, payload: bytes | None = None) -> Fate:
    """Sends one message again, as it came or repaired; CannotReplay says why not. Answers what will become of it."""
    if not row.waits:
        raise AlreadySettled(f"The message {row.place} is {row.status} already.", SETTLED)
    as_it_came = whole_messages([row], parts.lake).get(row.pk) if payload is not None else None
    is_repaired = payload is not None and (as_it_came is None or unmarked(as_it_came) != payload)
    repaired = {row.pk: payload} if payload is not None and is_repaired else {}
    sent = send_again([row], parts=parts, who=who, now=now, repaired=repaired)
    fate = sent.fates[row.pk]
    if not sent.n:
        raise (AlreadySettled if fate.name == SETTLED else CannotReplay)(fate.words, fate.name)
    row.refresh_from_db()
    detail = {"reason": row.reason, "went_to": row.went_to, "is_repaired": row.is_repaired}
    audit.record(deed="replay_message", subject=_subject(row), detail=detail, who=who, now=now)
    return fate


def replay_chosen(rows: Sequence[Quarantined], *, parts: Parts, who: User | None, now: datetime) -> Sent:
    """Sends those again that somebody has chosen and that would be taken."""
    sent = send_again([row for row in rows if row.waits], parts=parts, who=who, now=now)
    if sent.n:
        detail = {"messages": sent.n, "asked": {"chosen": len(rows)}}
        audit.record(deed="replay_messages", subject="quarantine", detail=detail, who=who, now=now)
    return sent


def send_again(
    rows: Sequence[Quarantined],
    *,
    parts: Parts,
    who: User | None,
    now: datetime,
    repaired: Mapping[int, bytes] | None = None,
    unless: Sequence[str] | None = None,
) -> Sent:
    """Appends those that would be taken, in their order; what is raised meanwhile leaves the others as they were.

    With `unless` also those that would be put aside, but for these reasons: the path shall say why itself.
    """
    sent, repaired = Sent(), repaired or {}
    messages = {**whole_messages([row for row in rows if row.pk not in repaired], parts.lake), **repaired}
    for topic, there in _by_topic(rows):
        sent.fates |= {row.pk: _cut(row) for row in there if row.pk not in messages}
        whole = [row for row in there if row.pk in messages]
        told = fates([unmarked(messages[row.pk]) for row in whole], topic, parts=parts, now=now)
        sent.fates |= {row.pk: _fitting(fate, messages[row.pk]) for row, fate in zip(whole, told, strict=True)}
        going = [row for row in whole if _goes(sent.fates[row.pk], unless)]
        if going:
            _send(topic, going, messages, sent, parts=parts, who=who, now=now, repaired=repaired)
    return sent


def _goes(fate: Fate, unless: Sequence[str] | None) -> bool:
    return fate.is_taken or (unless is not None and fate.name not in unless)


def _cut(row: Quarantined) -> Fate:
    words = (
        f"Only the first {len(row.payload):,} of {row.size:,} bytes are kept here, and the lake has not the whole "
        "message (readings reach it some seconds after they came, labels never). Enter the whole message instead."
    )
    return Fate(CUT, words)


def _fitting(fate: Fate, message: bytes) -> Fate:
    if fate.is_taken and len(message) > MOST_BYTES:
        return Fate("too_large", f"The message has {len(message):,} bytes; {MOST_BYTES:,} are sent again at most.")
    return fate


def _send(
    topic: str,
    rows: Sequence[Quarantined],
    messages: Mapping[int, bytes],
    sent: Sent,
    *,
    parts: Parts,
    who: User | None,
    now: datetime,
    repaired: Collection[int],
) -> None:
    token = _take(rows, now)
    mine = set(Quarantined.objects.filter(taken_by=token).values_list("pk", flat=True))
    sent.fates |= {row.pk: _taken(row) for row in rows if row.pk not in mine}
    going = [row for row in rows if row.pk in mine]
    keys = [sent.fates[row.pk].key for row in going]
    try:
        parts.stream_of(topic).append([marked(messages[row.pk], row) for row in going], keys)
    except BaseException as error:
        Quarantined.objects.filter(taken_by=token).update(taken_by="", taken_until=None)
        if isinstance(error, StreamRefused):
            raise CannotReplay(f"The stream does not take it: {error}.", "too_large") from error
        raise
    # Should this fail, the rows can be taken again in a minute: what is appended twice is known as a duplicate.
    with transaction.atomic():
        for key in set(keys):
            there = [row.pk for row, one in zip(going, keys, strict=True) if one == key]
            _settle(token, there, f"{topic}, key {key.decode(errors='replace')}" if key else topic, repaired, who, now)
    sent.keys |= mine


def _take(rows: Sequence[Quarantined], now: datetime) -> str:
    """Takes those that still wait, for as long as the lease lasts; of two who try at once, one gets each row."""
    token = uuid.uuid4().hex
    waiting = Quarantined.objects.filter(pk__in=[row.pk for row in rows]).filter(_is_free(now))
    waiting.update(taken_by=token, taken_until=now + LEASE)
    return token


def _is_free(now: datetime) -> Q:
    return Q(status__in=Quarantined.WAITING) & (Q(taken_until=None) | Q(taken_until__lt=now))


def _taken(row: Quarantined) -> Fate:
    return Fate(SETTLED, f"Somebody else has just settled the message {row.place}, or is sending it at this moment.")


def _settle(
    token: str, keys: Sequence[int], went_to: str, repaired: Collection[int], who: User | None, now: datetime
) -> None:
    for is_repaired in {key in repaired for key in keys}:
        mine = [key for key in keys if (key in repaired) == is_repaired]
        Quarantined.objects.filter(taken_by=token, pk__in=mine).update(
            status=Status.REPLAYED, settled_at=now, settled_by=who, went_to=went_to[:300], is_repaired=is_repaired,
            taken_by="", taken_until=None,
        )  # fmt: skip


def _subject(row: Quarantined) -> str:
    return f"message:{row.place}"[:200]


def chunks(rows: QuerySet[Quarantined]) -> Iterator[list[Quarantined]]:
    """All rows as they came, in lists that are small in number and bytes."""
    last = 0
    while found := list(rows.filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        n, size = 0, 0
        while n < len(found) and (not n or size + found[n].size <= BYTES_AT_ONCE):
            size, n = size + found[n].size, n + 1
        yield found[:n]
        last = found[n - 1].pk


# ---- held messages ------------------------------------------------------------------------------------------


def release_held(*, parts: Parts, now: datetime) -> int:
    """Sends the held messages again whose mote is registered now, whoever did it; answers how many.

    Labels are their reader's own. A consumer that does not know the fleet of now would hold them again: not yet.
    """
    n = 0
    held = Quarantined.objects.filter(status=Status.HELD).exclude(topic=settings.SIEIS_TOPICS["labels"])
    held = held.filter(topic__in=[topic for topic in settings.SIEIS_TOPICS.values() if _all_know(topic, parts, now)])
    for site, code in _registered(held, parts.fleet):
        for rows in chunks(held.filter(site=site, mote_code=code)):
            n += send_again(rows, parts=parts, who=None, now=now, unless=STAYS).n
    if n:
        audit.record(deed="release_held", subject="quarantine", detail={"messages": n}, who=None, now=now)
    return n


def _registered(held: QuerySet[Quarantined], fleet: Fleet) -> list[tuple[str, str]]:
    """(site, code) of the motes that messages are held for and that report now."""
    codes = {mote.code for mote in fleet.motes}  # asked first: there may be many codes, most of them garbage
    asked = held.order_by().values_list("site", "mote_code").distinct()
    named = [(site, code) for site, code in asked.iterator() if code in codes]
    found = [(fleet.find(code, site or None), (site, code)) for site, code in named]
    return [name for mote, name in found if mote is not None and not mote.is_retired]


def _all_know(topic: str, parts: Parts, now: datetime) -> bool:
    """Whether every consumer of the topic that lives has the fleet as it is now."""
    beats = ProcessHeartbeat.objects.filter(kind="consumer", beat_at__gt=now - ALIVE)
    told = [beat.detail for beat in beats if beat.detail.get("state") == "running"]
    return all(one.get("fleet", 0) >= parts.fleet.revision for one in told if one.get("topic") == topic)


# ---- setting aside for good ---------------------------------------------------------------------------------


@transaction.atomic
def discard(rows: QuerySet[Quarantined], *, who: User | None, now: datetime, asked: Mapping[str, Any]) -> int:
    """Marks those that wait as needed by nobody; they stay until retention takes them. Answers how many."""
    n = rows.filter(_is_free(now)).update(status=Status.DISCARDED, settled_at=now, settled_by=who)
    if n:
        detail = {"messages": n, "asked": dict(asked)}
        audit.record(deed="discard_messages", subject="quarantine", detail=detail, who=who, now=now)
    return n


@transaction.atomic
def take_back(row: Quarantined, *, who: User | None, now: datetime) -> bool:
    """A discarded message waits again; False if it is not discarded."""
    status = Status.HELD if row.reason == "unknown_mote" else Status.QUARANTINED
    discarded = Quarantined.objects.filter(pk=row.pk, status=Status.DISCARDED)
    if not discarded.update(status=status, settled_at=None, settled_by=None):
        return False
    audit.record(deed="take_back_message", subject=_subject(row), who=who, now=now)
    return True
