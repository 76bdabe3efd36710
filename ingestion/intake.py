"""Readings that come by HTTP: judged as the stream would judge them, then appended to it. Nothing takes a short cut."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from django.conf import settings
from django.db import IntegrityError, transaction

from ingestion.models import DeviceKey, IntakeReceipt
from ingestion.records import Records
from ingestion.streams import Stream
from ingestion.wire import Wire, names
from sensors.fleet import Fleet
from sensors.readings import micros

MOST_READINGS = 10_000
RECEIPTS_FOR = timedelta(days=2)
ANSWERED_WITHIN = timedelta(minutes=2)  # whoever has not answered by then was killed
AGAIN = "the same request is under way; ask again in a second"
NDJSON = ("application/x-ndjson", "application/jsonl", "application/ndjson")


class BadBody(Exception):
    """The request is no list of readings; says what it is."""


class AlreadyUnderWay(Exception):
    """The same request is being answered at this moment."""


class AnotherBody(Exception):
    """The idempotency key was used before, with other readings."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one reading of a request: accepted, held or refused, and why."""

    row: int
    status: str
    reason: str = ""
    detail: str = ""

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = {"row": self.row, "status": self.status}
        return told | ({"reason": self.reason, "detail": self.detail} if self.reason else {})


def split(body: bytes, content_type: str) -> list[bytes]:
    """The messages of a body, as they stand in it: one object, a list of them, or one a line."""
    if not body.strip():
        found: list[bytes] = []
    elif content_type.partition(";")[0].strip().lower() in NDJSON:
        found = [line.strip() for line in body.split(b"\n") if line.strip()]
    else:
        try:
            raw: Any = msgspec.json.decode(body, type=list[msgspec.Raw] if body.lstrip()[:1] == b"[" else msgspec.Raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadBody(f"the body is not JSON: {error}") from None
        found = [bytes(one) for one in raw] if isinstance(raw, list) else [bytes(raw)]
    if not found:
        raise BadBody("the body has no reading; send an object, a list of objects, or one object a line")
    if len(found) > MOST_READINGS:
        raise BadBody(f"the body has {len(found):,} readings; {MOST_READINGS:,} is the most in one request")
    return found


def take(messages: Sequence[bytes], *, key: DeviceKey, fleet: Fleet, stream: Stream, now: datetime) -> list[Verdict]:
    """Appends what the reading path would take, and says of the rest why not. Returns when all of it is durable."""
    verdicts: dict[int, Verdict] = {}
    named: dict[int, bytes] = {}
    for row, message in enumerate(messages):
        try:
            named[row] = _as_of(message, key, fleet)
        except _NotTheirs as wrong:
            verdicts[row] = Verdict(row, "refused", wrong.reason, wrong.detail)
    rows = list(named)
    decoded = Wire(fleet, future_s=settings.SIEIS_FUTURE_S).decode(_records([named[row] for row in rows], now))
    for reject in decoded.rejects:
        row = rows[reject.row]
        status = "held" if reject.is_held else "refused"
        verdicts[row] = Verdict(row, status, reject.reason, reject.detail)
    groups = {rows[place]: fleet.by_id[mote].group_key for place, mote in _motes(decoded.batches)}
    going = [row for row in rows if row not in verdicts or verdicts[row].status == "held"]
    if going:
        keys: list[bytes | None] = [groups.get(row, key.site.code).encode() for row in going]
        stream.append([named[row] for row in going], keys)
    return [verdicts.get(row, Verdict(row, "accepted")) for row in range(len(messages))]


def _motes(batches: Sequence[tuple[Any, Any]]) -> list[tuple[int, int]]:
    """(place in the records, mote) of every reading that was decoded."""
    return [
        (place, mote)
        for batch, taken in batches
        for place, mote in zip(taken.tolist(), batch.mote.tolist(), strict=True)
    ]


def _records(values: list[bytes], now: datetime) -> Records:
    n = len(values)
    nowhere = np.zeros(n, dtype=np.int64)
    return Records(values, nowhere, np.arange(n, dtype=np.int64), np.full(n, micros(now), dtype=np.int64))


class _NotTheirs(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def _as_of(message: bytes, key: DeviceKey, fleet: Fleet) -> bytes:
    """The message with site and mote filled in from the key where it names none, refused where it names others."""
    said = names(message)
    if said is None:
        return message  # the wire knows what is wrong with it, and says so
    missing: dict[str, str] = {}
    if said.site is None and key.site.code != fleet.default_site:
        missing["site"] = key.site.code
    elif said.site is not None and said.site != key.site.code:
        raise _NotTheirs("wrong_site", f"names site “{said.site[:60]}”; this key is for {key.site.code}")
    if key.mote is not None and said.code is None:
        missing["mote_id"] = key.mote.code
    elif key.mote is not None and said.code != key.mote.code:
        raise _NotTheirs("wrong_mote", f"names mote “{(said.code or '')[:60]}”; this key is for {key.mote.code}")
    if not missing:
        return message
    inner = message.strip()[:-1]
    comma = b"" if inner.strip() == b"{" else b","
    # Behind all that is said: of two fields with one name the last counts, also where the first is null.
    return inner + comma + msgspec.json.encode(missing)[1:]


# ---- once, however often it is sent -------------------------------------------------------------------------


def once(
    messages: Sequence[bytes], idempotency_key: str, *, key: DeviceKey, fleet: Fleet, stream: Stream, now: datetime
) -> dict[str, Any]:
    """The answer to a request; the same one when it comes again under its idempotency key."""
    if not idempotency_key:
        return answer(take(messages, key=key, fleet=fleet, stream=stream, now=now))
    body = hashlib.sha256(b"\n".join(messages)).hexdigest()
    receipt, is_new = _receipt(key, idempotency_key, body, now)
    if not is_new:
        return _answer_before(receipt, body)
    try:
        told = answer(take(messages, key=key, fleet=fleet, stream=stream, now=now))
    except BaseException:
        receipt.delete()  # nothing was promised: the retry shall try again
        raise
    IntakeReceipt.objects.filter(pk=receipt.pk).update(answer=told)
    return told


def answer(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    counts = {status: sum(one.status == status for one in verdicts) for status in ("accepted", "held", "refused")}
    return {**counts, "readings": [one.told() for one in verdicts]}


def _receipt(key: DeviceKey, idempotency_key: str, body: str, now: datetime) -> tuple[IntakeReceipt, bool]:
    fresh = IntakeReceipt(key=key, idempotency_key=idempotency_key, body_sha256=body, made_at=now)
    try:
        with transaction.atomic():
            fresh.save()
        return fresh, True
    except IntegrityError:
        there = IntakeReceipt.objects.filter(key=key, idempotency_key=idempotency_key).first()
    if there is None:  # its maker has just given up
        raise AlreadyUnderWay(AGAIN)
    # Of one whose maker was killed nobody knows what went in. It goes in once more: a repeat is known as such later.
    is_left = IntakeReceipt.objects.filter(
        pk=there.pk, body_sha256=body, answer__isnull=True, made_at__lt=now - ANSWERED_WITHIN, made_at=there.made_at
    )
    return there, bool(is_left.update(made_at=now))


def _answer_before(receipt: IntakeReceipt, body: str) -> dict[str, Any]:
    if receipt.body_sha256 != body:
        raise AnotherBody(
            f"the idempotency key “{receipt.idempotency_key}” was used at {receipt.made_at:%Y-%m-%d %H:%M:%S} UTC "
            "with other readings; use a new one for each request"
        )
    if receipt.answer is None:
        raise AlreadyUnderWay(AGAIN)
    return dict(receipt.answer)


def forget_receipts(now: datetime) -> int:
    """Deletes what no retry will ask for any more."""
    return IntakeReceipt.objects.filter(made_at__lt=now - RECEIPTS_FOR).delete()[0]
