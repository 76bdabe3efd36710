"""How far a partition is, with the state at that point; an epoch fences whoever lost the partition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import F

from alerts.services import instant
from ingestion.ledger import MOST_NAMES, Counts, Entry
from ingestion.models import Booked, Checkpoint, LedgerHour, StateSnapshot
from ingestion.pipeline import PartitionState, Parts, packed
from ingestion.streams import Stream, StreamClosed
from sensors.stores import StoreUnavailable

log = structlog.get_logger(__name__)


class Fenced(Exception):
    """Another consumer has taken the partition since; what this one still holds must not be saved."""


@dataclass(slots=True)
class Claim:
    """A partition that this process may move on, from next_offset."""

    topic: str
    partition: int
    identity: str
    epoch: int
    next_offset: int | None
    snapshot: StateSnapshot | None
    configuration: dict[str, Any]
    booked_until: int = 0
    state: PartitionState = field(default_factory=PartitionState)

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}"

    @property
    def app_id(self) -> str:
        """What the lake counts offsets under: a topic made anew counts its own from 0 again."""
        return f"{self.place}#{self.identity}"


def claim(topic: str, partition: int, *, owner: str, identity: str) -> Claim:
    """Takes the partition from whoever had it, still without its state; a fresh one starts at the earliest message."""
    with transaction.atomic():
        row, _ = Checkpoint.objects.select_for_update().get_or_create(
            topic=topic, partition=partition, defaults={"topic_id": identity}
        )
        if row.topic_id and row.topic_id != identity:
            raise StreamClosed(
                f"The topic {topic} is not the one that was read until offset {row.next_offset}: it was deleted and "
                f"created again. Nothing is read, because its offsets count anew. If that is meant, delete the "
                f"checkpoint of {topic}/{partition} in admin and start again."
            )
        Checkpoint.objects.filter(pk=row.pk).update(epoch=F("epoch") + 1, owner=owner, topic_id=identity)
        row.refresh_from_db()
        booked = Booked.objects.filter(topic=topic, topic_id=identity, partition=partition).first()
    return Claim(
        topic=topic,
        partition=partition,
        identity=identity,
        epoch=row.epoch,
        next_offset=row.next_offset if row.snapshot_id else None,
        snapshot=row.snapshot,
        configuration=row.configuration,
        booked_until=booked.next_offset if booked else 0,
    )


def restore(held: Claim, storage: Storage) -> None:
    """Gives the claim the state that was saved with its offset."""
    if held.snapshot is None:
        return
    blob = _blob(held.snapshot, storage)
    try:
        held.state = PartitionState.from_bytes(blob)
    except (ValueError, KeyError) as error:
        raise StreamClosed(_unusable(held.snapshot, f"was written by another release ({error})")) from error
    if held.state.begun_anew:
        log.warning(
            "engine_state_begun_anew",
            place=held.place,
            profiles=held.state.begun_anew,
            snapshot=held.snapshot.blob,
            reason="it was saved by an older release; motes are met anew, readings and offsets are kept",
        )


def _blob(snapshot: StateSnapshot, storage: Storage) -> bytes:
    with _translated(snapshot.blob):
        try:
            with storage.open(snapshot.blob) as file:
                blob: bytes = file.read()
        except FileNotFoundError:  # it answers: waiting will not bring the file
            raise StreamClosed(_unusable(snapshot, "is not there any more")) from None
    if hashlib.sha256(blob).hexdigest() != snapshot.sha256:
        raise StreamClosed(_unusable(snapshot, "is not what was saved (its sha256 differs)"))
    return blob


def _unusable(snapshot: StateSnapshot, why: str) -> str:
    return (
        f"The state of {snapshot} in {snapshot.blob} {why}. "
        f"Restore the file, or delete the checkpoint in admin to read the partition from its start."
    )


def write_snapshots(
    claims: Mapping[int, Claim], states: Mapping[int, tuple[int, Parts]], *, storage: Storage, now: datetime
) -> dict[int, StateSnapshot]:
    """Each partition's state at its next offset, in the storage; the rows are `save`'s."""
    return {
        partition: _write(claims[partition], next_offset, parts, storage, now)
        for partition, (next_offset, parts) in states.items()
    }


def save(
    claims: Mapping[int, Claim],
    snapshots: Mapping[int, StateSnapshot],
    books: Mapping[Entry, Counts],
    received: Mapping[int, int],
    *,
    configuration: Mapping[str, Any],
    now: datetime,
) -> None:
    """Offsets, state and books in one transaction: they are true together or not at all, and never twice.

    `received` is when each partition's newest message of these books came.
    """
    with transaction.atomic():
        if all(_is_saved(claims[partition], snapshot) for partition, snapshot in snapshots.items()):
            log.info("checkpoint_was_saved", reason="the answer to the last attempt was lost, not the attempt")
        else:
            for partition, snapshot in snapshots.items():
                _move(claims[partition], snapshot, configuration, now)
                if partition in received:
                    _note_booked(claims[partition], snapshot.next_offset, received[partition])
            for entry, counts in books.items():
                _book(next(iter(claims.values())).topic, entry, counts)
    for partition, snapshot in snapshots.items():
        claims[partition].next_offset = snapshot.next_offset
        claims[partition].booked_until = max(claims[partition].booked_until, snapshot.next_offset)


def _is_saved(held: Claim, snapshot: StateSnapshot) -> bool:
    return Checkpoint.objects.filter(
        topic=held.topic, partition=held.partition, epoch=held.epoch, snapshot__blob=snapshot.blob
    ).exists()


def _move(held: Claim, snapshot: StateSnapshot, configuration: Mapping[str, Any], now: datetime) -> None:
    snapshot.pk = None  # a second attempt writes the row anew: the first one was rolled back
    snapshot.save()
    moved = Checkpoint.objects.filter(topic=held.topic, partition=held.partition, epoch=held.epoch).update(
        next_offset=snapshot.next_offset, snapshot=snapshot, saved_at=now, configuration=dict(configuration)
    )
    if not moved:
        raise Fenced(f"{held.place} has been taken over by another consumer")


def retire_snapshots(stream: Stream, storage: Storage) -> int:
    """Drops the states whose next message the stream has no longer, row and blob, but none that a checkpoint needs."""
    first = {partition: start for partition, (start, _) in stream.bounds().items()}
    needed = Checkpoint.objects.exclude(snapshot=None).values("snapshot")
    n = 0
    for old in StateSnapshot.objects.filter(topic=stream.topic).exclude(pk__in=needed):
        if old.topic_id == stream.identity() and old.next_offset >= first.get(old.partition, 0):
            continue
        old.delete()
        if not StateSnapshot.objects.filter(blob=old.blob).exists():
            with _translated(old.blob):
                storage.delete(old.blob)
        n += 1
    return n


def _note_booked(held: Claim, next_offset: int, received_us: int) -> None:
    """Until where the books know this topic, which outlives a checkpoint that somebody deletes to read it again."""
    place = {"topic": held.topic, "topic_id": held.identity, "partition": held.partition}
    until = {"next_offset": next_offset, "received_at": instant(received_us)}
    Booked.objects.get_or_create(**place, defaults=until)
    Booked.objects.filter(**place, next_offset__lt=next_offset).update(**until)


def prune(claims: Mapping[int, Claim], snapshots: Mapping[int, StateSnapshot], storage: Storage) -> None:
    """Drops older snapshots, best effort: one that stays is only a file too many."""
    for partition, snapshot in snapshots.items():
        try:
            _prune(claims[partition], snapshot, storage)
        except StoreUnavailable as error:
            log.warning("snapshot_not_pruned", partition=partition, error=str(error))


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """A storage that is away is waited for like any other sink."""
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise StoreUnavailable(f"the artefact storage cannot be used for {name} now: {error}") from error


def _write(held: Claim, next_offset: int, parts: Parts, storage: Storage, now: datetime) -> StateSnapshot:
    blob = packed(parts)
    # The epoch in the name: two consumers in dispute must not write over each other's state.
    name = f"snapshots/{held.topic}/{held.partition}/{next_offset:020d}-{held.epoch}.npz"
    with _translated(name):
        name = storage.save(name, ContentFile(blob))
    return StateSnapshot(
        topic=held.topic,
        topic_id=held.identity,
        partition=held.partition,
        next_offset=next_offset,
        blob=name,
        sha256=hashlib.sha256(blob).hexdigest(),
        size=len(blob),
        taken_at=now,
    )


def _prune(held: Claim, newest: StateSnapshot, storage: Storage) -> None:
    """Keeps the first snapshot of each hour beside the newest: replay of any day starts from one near by."""
    hour = newest.taken_at.replace(minute=0, second=0, microsecond=0)
    this_hour = StateSnapshot.objects.filter(
        topic=held.topic, partition=held.partition, taken_at__gte=hour, taken_at__lte=newest.taken_at
    ).order_by("taken_at", "pk")
    for old in list(this_hour.exclude(pk=newest.pk))[1:]:
        blob = old.blob
        old.delete()
        if blob != newest.blob:
            with _translated(blob):
                storage.delete(blob)


def _book(topic: str, entry: Entry, counts: Counts) -> None:
    row, _ = LedgerHour.objects.select_for_update().get_or_create(
        hour=instant(entry.hour_us), profile=entry.profile, topic=topic, partition=entry.partition
    )
    for fate, motes in ((fate, motes) for fate, motes in counts.of.items() if motes):
        setattr(row, fate, getattr(row, fate) + motes.total())
        named = row.motes if fate == "stored" else row.others.setdefault(fate, {})
        for mote, n in motes.items():
            if mote in named or fate != "held" or len(named) < MOST_NAMES:
                named[mote] = named.get(mote, 0) + n
    row.received += counts.received
    row.save()
