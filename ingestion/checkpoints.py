"""How far a partition is, with the state at that point; an epoch fences whoever lost the partition."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import F

from alerts.services import instant
from ingestion.ledger import Counts, Entry
from ingestion.models import Checkpoint, LedgerHour, StateSnapshot
from ingestion.pipeline import PartitionState
from ingestion.streams import StreamClosed


class Fenced(Exception):
    """Another consumer has taken the partition since; what this one still holds must not be saved."""


@dataclass(slots=True)
class Claim:
    """A partition that this process may move on, from next_offset."""

    topic: str
    partition: int
    epoch: int
    next_offset: int | None
    state: PartitionState
    configuration: dict[str, Any]

    @property
    def app_id(self) -> str:
        return f"{self.topic}/{self.partition}"


def claim(topic: str, partition: int, *, owner: str, identity: str, storage: Storage) -> Claim:
    """Takes the partition from whoever had it; a fresh one starts at the earliest message."""
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
    return Claim(
        topic=topic,
        partition=partition,
        epoch=row.epoch,
        next_offset=row.next_offset if row.snapshot_id else None,
        state=_restore(row.snapshot, storage) if row.snapshot else PartitionState(),
        configuration=row.configuration,
    )


def _restore(snapshot: StateSnapshot, storage: Storage) -> PartitionState:
    with storage.open(snapshot.blob) as file:
        blob = file.read()
    if hashlib.sha256(blob).hexdigest() != snapshot.sha256:
        raise StreamClosed(
            f"The state of {snapshot} in {snapshot.blob} is not what was saved (its sha256 differs). "
            f"Restore the file, or delete the checkpoint in admin to read the partition from its start."
        )
    return PartitionState.from_bytes(blob)


def save(
    claims: Mapping[int, Claim],
    next_offsets: Mapping[int, int],
    books: Mapping[Entry, Counts],
    *,
    configuration: Mapping[str, Any],
    storage: Storage,
    now: datetime,
) -> None:
    """Offsets, state and books in one transaction: they are true together or not at all."""
    snapshots = {
        partition: _write(claims[partition], next_offsets[partition], storage, now) for partition in next_offsets
    }
    with transaction.atomic():
        for partition, snapshot in snapshots.items():
            held = claims[partition]
            snapshot.save()
            moved = Checkpoint.objects.filter(topic=held.topic, partition=partition, epoch=held.epoch).update(
                next_offset=next_offsets[partition], snapshot=snapshot, saved_at=now, configuration=dict(configuration)
            )
            if not moved:
                raise Fenced(f"{held.app_id} has been taken over by another consumer")
        topic = next(iter(claims.values())).topic
        for entry, counts in books.items():
            _book(topic, entry, counts)
    for partition, snapshot in snapshots.items():
        _prune(claims[partition], snapshot, storage)
        claims[partition].next_offset = next_offsets[partition]


def _write(held: Claim, next_offset: int, storage: Storage, now: datetime) -> StateSnapshot:
    blob = held.state.to_bytes()
    # The epoch in the name: two consumers in dispute must not write over each other's state.
    name = storage.save(
        f"snapshots/{held.topic}/{held.partition}/{next_offset:020d}-{held.epoch}.npz", ContentFile(blob)
    )
    return StateSnapshot(
        topic=held.topic,
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
            storage.delete(blob)


def _book(topic: str, entry: Entry, counts: Counts) -> None:
    row, _ = LedgerHour.objects.select_for_update().get_or_create(
        hour=instant(entry.hour_us), profile=entry.profile, topic=topic, partition=entry.partition
    )
    row.received += counts.received
    row.stored += counts.stored
    row.quarantined += counts.quarantined
    row.duplicate += counts.duplicate
    row.held += counts.held
    for mote, n in counts.motes.items():
        row.motes[str(mote)] = row.motes.get(str(mote), 0) + n
    row.save()
