"""The books: what became of every message. received = stored + quarantined + duplicate + held, always. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ingestion.records import Records
from ingestion.wire import Reject
from sensors.fleet import HOUR_US
from sensors.readings import Batch


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the books: the hour of measurement (of arrival where that is unknown), profile and partition."""

    hour_us: int
    profile: str
    partition: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What a line holds; `motes` counts the stored readings by mote key."""

    stored: int = 0
    quarantined: int = 0
    duplicate: int = 0
    held: int = 0
    motes: Counter[int] = field(default_factory=Counter)

    @property
    def received(self) -> int:
        return self.stored + self.quarantined + self.duplicate + self.held

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.stored + other.stored,
            self.quarantined + other.quarantined,
            self.duplicate + other.duplicate,
            self.held + other.held,
            self.motes + other.motes,
        )


Books = dict[Entry, Counts]


def add(books: Books, more: Mapping[Entry, Counts]) -> None:
    """Adds the second books to the first."""
    for entry, counts in more.items():
        books[entry] = books[entry] + counts if entry in books else counts


def entry_of(at_us: int, profile: str, partition: int) -> Entry:
    return Entry(at_us // HOUR_US * HOUR_US, profile, partition)


def balance(
    records: Records, batches: Sequence[Batch], rejects: Sequence[Reject], duplicates: Sequence[Entry]
) -> Books:
    """The books of one poll: every record is in exactly one column of exactly one line."""
    books: Books = {}
    for batch in batches:
        add(books, _stored(batch))
    for reject in rejects:
        at = reject.at if reject.at is not None else int(records.received_at[reject.row])
        entry = entry_of(at, reject.profile, int(records.partition[reject.row]))
        add(books, {entry: Counts(held=1) if reject.is_held else Counts(quarantined=1)})
    for entry in duplicates:
        add(books, {entry: Counts(duplicate=1)})
    return books


def _stored(batch: Batch) -> Books:
    books: Books = {}
    keys = np.column_stack([batch.at // HOUR_US * HOUR_US, batch.partition, batch.mote])
    unique, n = np.unique(keys, axis=0, return_counts=True)
    for (hour, partition, mote), count in zip(unique.tolist(), n.tolist(), strict=True):
        line = Counts(stored=count, motes=Counter({mote: count}))
        add(books, {Entry(hour, batch.profile.code, partition): line})
    return books
