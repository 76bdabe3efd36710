"""What is put aside: kept once by its place in the stream, with the reason and the bytes, as far as the cap allows.

Beyond the cap a message is only counted, by reason and hour: the books know it like any other, and it lies in bronze.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.db import transaction
from django.db.models import F, Max, QuerySet

from alerts.services import instant
from ingestion.models import NotKept, Quarantined
from ingestion.records import Records
from ingestion.wire import KEPT_BYTES, Reject

MARK = "sieis_replay_of"  # the field by which a message that is sent again says where it came from
MARKED = re.compile(rb'\s*\{\s*"' + MARK.encode() + rb'"\s*:\s*"([^"#\\]{1,300})#(\d{1,18})"\s*,?')
COUNTED_FOR_S = 30.0
AT_ONCE = 5_000
ROOM = 0.9  # of the cap, to which a night makes room by forgetting what is settled
HOUR = timedelta(hours=1)


class _Room:
    """How many messages may still be kept; all of them are counted every half minute, not for every batch."""

    def __init__(self) -> None:
        self.n, self.until = 0, -1.0

    def left(self) -> int:
        if time.monotonic() > self.until:
            self.n, self.until = Quarantined.objects.count(), time.monotonic() + COUNTED_FOR_S
        return max(settings.SIEIS_QUARANTINE_MAX - self.n, 0)

    def forget(self) -> None:
        self.until = -1.0


_room = _Room()


def _forget_room(*, setting: str, **kwargs: object) -> None:
    if setting == "SIEIS_QUARANTINE_MAX":
        _room.forget()


setting_changed.connect(_forget_room)


# ---- keeping ------------------------------------------------------------------------------------------------


@transaction.atomic
def keep(rejects: Sequence[Reject], records: Records, topic: str, identity: str) -> None:
    """Puts the messages aside, as far as there is room; the same message twice changes nothing."""
    counted = _counted_until(topic, identity)
    rows = [_row(reject, records, topic, identity) for reject in rejects]
    rows = [row for row in rows if row.offset >= counted.get(row.partition, 0)]
    if len(rows) > (room := _room.left()):
        rows = _within_the_cap(rows, room)
    _trace(rows)
    Quarantined.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)
    _room.n += len(rows)


def _row(reject: Reject, records: Records, topic: str, identity: str) -> Quarantined:
    raw = records.values[reject.row]
    return Quarantined(
        topic=topic,
        topic_id=identity,
        partition=int(records.partition[reject.row]),
        offset=int(records.offset[reject.row]),
        received_at=instant(int(records.received_at[reject.row])),
        reason=reject.reason,
        detail=_text(reject.detail, 300),
        mote_code=_text(reject.mote_code, 64),
        site=_text(reject.site, 64),
        payload=raw[:KEPT_BYTES],
        size=len(raw),
        status=Quarantined.Status.HELD if reject.is_held else Quarantined.Status.QUARANTINED,
    )


def _text(said: str, longest: int) -> str:
    return said[:longest].replace("\x00", "␀")  # PostgreSQL's text holds no NUL


def _within_the_cap(rows: list[Quarantined], room: int) -> list[Quarantined]:
    """Those for which there is room, the first ones first; the rest is counted, once."""
    fresh = []
    for partition in {row.partition for row in rows}:
        there = [row for row in rows if row.partition == partition]
        low, high = min(row.offset for row in there), max(row.offset for row in there)
        place = {"topic": there[0].topic, "topic_id": there[0].topic_id, "partition": partition}
        known = Quarantined.objects.filter(**place, offset__gte=low, offset__lte=high)
        offsets = set(known.values_list("offset", flat=True))
        fresh += [row for row in there if row.offset not in offsets]
    fresh.sort(key=lambda row: (row.received_at, row.partition, row.offset))
    _count(fresh[room:])
    return fresh[:room]


def _count(rows: Iterable[Quarantined]) -> None:
    counts: Counter[tuple[str, str, int, datetime, str]] = Counter()
    until: dict[tuple[str, str, int, datetime, str], int] = {}
    for row in rows:
        hour = row.received_at.replace(minute=0, second=0, microsecond=0)
        key = (row.topic, row.topic_id, row.partition, hour, row.reason)
        counts[key] += 1
        until[key] = max(until.get(key, 0), row.offset + 1)
    for key, n in counts.items():
        names = ("topic", "topic_id", "partition", "hour", "reason")
        place: dict[str, Any] = dict(zip(names, key, strict=True))
        line, _ = NotKept.objects.get_or_create(**place)
        NotKept.objects.filter(pk=line.pk).update(n=F("n") + n, next_offset=until[key])


def _counted_until(topic: str, identity: str) -> dict[int, int]:
    """By partition the offset below which everything is kept or counted: after a crash nothing is counted twice."""
    lines = NotKept.objects.filter(topic=topic, topic_id=identity).order_by().values_list("partition")
    return dict(lines.annotate(Max("next_offset")))


# ---- where a message came from ------------------------------------------------------------------------------


def unmarked(raw: bytes) -> bytes:
    """The message without the mark of having been sent again.

    >>> unmarked(b'{"sieis_replay_of":"readings/0@7#12","mote_id":1}')
    b'{"mote_id":1}'
    """
    found = MARKED.match(raw)
    return b"{" + raw[found.end() :] if found else raw


def marked(raw: bytes, row: Quarantined) -> bytes:
    """The JSON object with the mark in front; nothing else of it is touched, no number read and written anew."""
    plain = unmarked(raw).lstrip()
    if plain[:1] != b"{":  # JSON in another encoding than UTF-8, which the decoder reads, too
        plain = json.dumps(json.loads(plain)).encode()
    inner = plain[1:]
    comma = b"" if inner.lstrip()[:1] == b"}" else b","
    return b'{"%s":"%s#%d"%s%s' % (MARK.encode(), row.place.encode(), row.pk, comma, inner)


def _trace(rows: Sequence[Quarantined]) -> None:
    """Says of what was sent again and came back which message it is; a mark that leads nowhere says nothing."""
    marks = {id(row): found for row in rows if (found := MARKED.match(row.payload))}
    origins = Quarantined.objects.defer("payload").in_bulk({int(found[2]) for found in marks.values()})
    for row in rows:
        found = marks.get(id(row))
        origin = origins.get(int(found[2])) if found else None
        if origin is not None and found is not None and origin.place.encode() == found[1]:
            row.came_from = origin


# ---- forgetting ---------------------------------------------------------------------------------------------


def forget_old(now: datetime) -> int:
    """Deletes what is older than SIEIS_QUARANTINE_DAYS, and what is settled where it is nearly full; says how much."""
    before = now - timedelta(days=settings.SIEIS_QUARANTINE_DAYS)
    n = _delete(Quarantined.objects.filter(received_at__lt=before))
    NotKept.objects.filter(hour__lt=before - HOUR).delete()
    excess = Quarantined.objects.count() - int(settings.SIEIS_QUARANTINE_MAX * ROOM)
    if excess > 0:
        n += _delete(Quarantined.objects.exclude(status__in=Quarantined.WAITING), most=excess)
    _room.forget()
    return n


def _delete(rows: QuerySet[Quarantined], most: int | None = None) -> int:
    """The oldest first, in short transactions that let others write between them."""
    n = 0
    while most is None or n < most:
        keys = list(rows.order_by("pk").values_list("pk", flat=True)[: min(AT_ONCE, (most or AT_ONCE + n) - n)])
        if not keys:
            break
        n += Quarantined.objects.filter(pk__in=keys).delete()[0]
    return n
