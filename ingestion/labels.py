"""The truth about faults: from the labels topic into the table that training and every measurement read.

The same label told twice is kept once. A message that is no label is put aside like a reading's; one whose mote is
unknown is held, and kept as soon as the mote is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import structlog
from django.db import transaction

from alerts.services import instant
from ingestion import metrics, quarantine
from ingestion.instants import instants
from ingestion.models import Checkpoint, Quarantined
from ingestion.patience import Patience, Stopped
from ingestion.records import Records
from ingestion.streams import Consumer, Stream
from ingestion.wire import LAST_INSTANT_US, MAX_BYTES, MOTE_FIELDS, BadMessage, Reject
from mlops.models import Label
from sensors.fleet import Fleet

log = structlog.get_logger(__name__)
POLL_S = 1.0
LOOK_S = 5.0  # how often it is asked whether the fleet has changed
MOST_AT_ONCE = 5_000


def _text(longest: int, shortest: int = 1) -> msgspec.Meta:
    return msgspec.Meta(min_length=shortest, max_length=longest, pattern=r"^[^\x00]*$")  # PostgreSQL's text has no NUL


class Message(msgspec.Struct):
    """A label as it is told; docs/wire.md is its contract."""

    kind: Annotated[str, _text(32)]
    starts_at: str | int | float
    ends_at: str | int | float
    source: Annotated[str, _text(32)]
    mote_id: str | int | None = None
    machine_id: str | int | None = None
    sensor_id: str | int | None = None
    site: str | None = None
    channel: Annotated[str, _text(64, shortest=0)] = ""
    note: Annotated[str, _text(200, shortest=0)] = ""

    @property
    def code(self) -> str:
        named = [value for name in MOTE_FIELDS if (value := getattr(self, name)) is not None]
        return str(named[0]) if named else ""


def _parsed(raw: bytes) -> Message:
    if len(raw) > MAX_BYTES:
        raise BadMessage("too_large", f"{len(raw):,} bytes, at most {MAX_BYTES:,} are taken")
    try:
        return msgspec.json.decode(raw, type=Message)
    except msgspec.ValidationError as error:
        raise BadMessage("bad_label", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage("malformed", str(error)) from None


def _label(message: Message, fleet: Fleet) -> Label:
    """What is told, not yet kept. Raises BadMessage."""
    if not message.code:
        raise BadMessage("no_mote", f"expected one of {', '.join(MOTE_FIELDS)}")
    starts_us, ends_us = instants([message.starts_at, message.ends_at]).tolist()
    if not 0 <= starts_us < ends_us <= LAST_INSTANT_US:
        stretch = f"from {message.starts_at} to {message.ends_at}"
        raise BadMessage("bad_timestamp", f"{stretch[:200]}: expected two instants, the second after the first")
    mote = fleet.find(message.code, message.site or None)
    if mote is None:
        where = f" at site “{message.site[:40]}”" if message.site else ""
        raise BadMessage("unknown_mote", f"no mote “{message.code[:60]}”{where} is registered")
    names = fleet.profiles[mote.profile].names
    if message.channel and message.channel not in names:
        raise BadMessage("bad_label", f"channel is “{message.channel}”, expected one of {', '.join(names)}, or none")
    return Label(
        mote_id=mote.id, channel=message.channel, kind=message.kind, source=message.source, note=message.note,
        starts_at=instant(starts_us), ends_at=instant(ends_us),
    )  # fmt: skip


def sort(values: Iterable[bytes], fleet: Fleet) -> tuple[list[Label], list[Reject]]:
    """Each message becomes a label, not yet kept, or a reject that says why not."""
    labels, rejects = [], []
    for row, raw in enumerate(values):
        code, site = "", ""
        try:
            message = _parsed(raw)
            code, site = message.code, message.site or ""
            labels.append(_label(message, fleet))
        except BadMessage as bad:
            rejects.append(Reject(row, bad.reason, bad.detail, code[:64], site=site[:64]))
    return labels, rejects


class LabelReader:
    """Reads the labels topic in a group of its own, from where its checkpoint is."""

    identity: str
    fleet: Fleet
    patiently: Patience

    def __init__(
        self,
        *,
        stream: Stream,
        group: str,
        owner: str,
        fleet: Callable[[], Fleet],
        fleet_revision: Callable[[], int],
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream, self.group, self.owner = stream, group, owner
        self.read_fleet, self.fleet_revision, self.now, self.clock = fleet, fleet_revision, now, clock
        self._looked_at = -LOOK_S
        self._adopted = -1  # the fleet's revision at which it was last asked who has come

    def run(self, stop: threading.Event, *, until_end: bool = False) -> None:
        """Until `stop` is set, or (with until_end) until all that is there now has been kept by whoever reads it."""
        self.patiently = Patience(
            stop=stop, now=self.now, announce=None, meanwhile=lambda: None, retry_s=0.5, retry_max_s=10.0
        )
        try:
            self.patiently("stream", self.stream.ensure)
            self.identity = self.patiently("stream", self.stream.identity)
            self.fleet = self.patiently("database", self.read_fleet)
            bounds = self.patiently("stream", self.stream.bounds)
            ends = {number: end for number, (first, end) in bounds.items() if end > first}
            consumer = self.stream.consumer(self.group, on_assign=self._starts, on_revoke=lambda _: None)
            try:
                while not (stop.is_set() or (until_end and self._is_done(ends))):
                    self._turn(consumer)
            finally:
                consumer.close()
        except Stopped:
            log.info("labels_stopped_while_waiting", sink=self.patiently.stuck.get("sink"))

    def _turn(self, consumer: Consumer) -> None:
        records = self.patiently("stream", lambda: consumer.poll(MOST_AT_ONCE, POLL_S))
        if self.clock() - self._looked_at >= LOOK_S:
            self._looked_at = self.clock()
            self.patiently("database", self._adopt)
        if len(records):
            consumer.acknowledge(self.patiently("database", lambda: self._keep(records)))

    def _starts(self, partitions: Sequence[int]) -> Mapping[int, int | None]:
        """Where each was left; a topic made anew is read from its start, since what is told again changes nothing."""
        saved = self.patiently("database", self._saved)
        return {partition: saved.get(partition) for partition in partitions}

    def _saved(self) -> dict[int, int]:
        rows = Checkpoint.objects.filter(topic=self.stream.topic, topic_id=self.identity)
        return dict(rows.values_list("partition", "next_offset"))

    def _is_done(self, ends: Mapping[int, int]) -> bool:
        saved = self.patiently("database", self._saved)
        return all(saved.get(partition, 0) >= end for partition, end in ends.items())

    @transaction.atomic
    def _keep(self, records: Records) -> dict[int, int]:
        """Labels, what is put aside and how far it is, together or not at all; answers the next offsets."""
        labels, rejects = sort(records.values, self.fleet)
        Label.objects.bulk_create(labels, ignore_conflicts=True, batch_size=500)
        quarantine.keep(rejects, records, self.stream.topic, self.identity)
        offsets = dict(zip(records.partition.tolist(), (records.offset + 1).tolist(), strict=True))
        for partition, offset in offsets.items():
            Checkpoint.objects.update_or_create(
                topic=self.stream.topic, partition=partition,
                defaults={
                    "next_offset": offset, "topic_id": self.identity, "owner": self.owner, "saved_at": self.now()
                },
            )  # fmt: skip
        for reject in rejects:
            metrics.QUARANTINED.labels(reject.reason).inc()
            log.warning("label_put_aside", reason=reject.reason, detail=reject.detail, mote=reject.mote_code)
        return offsets

    @transaction.atomic
    def _adopt(self) -> None:
        """A mote that has been added may be the one that labels wait for."""
        if self.fleet_revision() != self.fleet.revision:
            self.fleet = self.read_fleet()
        if self._adopted == self.fleet.revision:
            return
        self._adopted = self.fleet.revision
        held = Quarantined.objects.filter(topic=self.stream.topic, status=Quarantined.Status.HELD)
        for row in held:
            labels, _ = sort([bytes(row.payload)], self.fleet)
            if labels:
                Label.objects.bulk_create(labels, ignore_conflicts=True)
                held.filter(pk=row.pk).update(status=Quarantined.Status.REPLAYED)
                log.info("held_label_kept", mote=row.mote_code, kind=labels[0].kind)
