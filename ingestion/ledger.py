"""The books: what became of every message. received = stored + quarantined + duplicate + held, always. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ingestion.records import Records
from ingestion.wire import Reject
from sensors.fleet import HOUR_US
from sensors.readings import Batch

FATES = ("stored", "quarantined", "duplicate", "held")
MOST_NAMES = 200  # of unknown motes in one line: what is no mote may be called anything


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the books: the hour of measurement (of arrival where that is unknown), profile and partition."""

    hour_us: int
    profile: str
    partition: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A message whose reading was stored before, in its line and at its place."""

    entry: Entry
    mote: int
    row: int


@dataclass(slots=True)
class Counts:
    """What a line holds, by fate and mote: its key as text, the code that a held message gave, or "" for unknown."""

    of: dict[str, Counter[str]] = field(default_factory=lambda: {fate: Counter() for fate in FATES})

    @property
    def stored(self) -> int:
        return self.of["stored"].total()

    @property
    def quarantined(self) -> int:
        return self.of["quarantined"].total()

    @property
    def duplicate(self) -> int:
        return self.of["duplicate"].total()

    @property
    def held(self) -> int:
        return self.of["held"].total()

    @property
    def received(self) -> int:
        return sum(motes.total() for motes in self.of.values())

    def add(self, fate: str, mote: str, n: int = 1) -> None:
        motes = self.of[fate]
        motes[mote if mote in motes or fate != "held" or len(motes) < MOST_NAMES else ""] += n


Books = dict[Entry, Counts]


def add(books: Books, more: Mapping[Entry, Counts]) -> None:
    """Adds the second books to the first."""
    for entry, counts in more.items():
        line = books.setdefault(entry, Counts())
        for fate, motes in counts.of.items():
            if fate != "held":
                line.of[fate].update(motes)
                continue
            for mote, n in motes.items():
                line.add(fate, mote, n)


def entry_of(at_us: int, profile: str, partition: int) -> Entry:
    return Entry(at_us // HOUR_US * HOUR_US, profile, partition)


def balance(
    records: Records,
    batches: Sequence[Batch],
    rejects: Iterable[Reject],
    duplicates: Iterable[Duplicate],
    booked: Mapping[int, int] | None = None,
) -> Books:
    """The books of one poll: every record is in exactly one column of exactly one line.

    Records below the offset that `booked` names for their partition stand in the books already, and are left out.
    """
    books: Books = {}
    until = booked or {}
    for batch in batches:
        _add_stored(books, batch, until)
    for reject in rejects:
        partition = int(records.partition[reject.row])
        if records.offset[reject.row] >= until.get(partition, 0):
            at = reject.at if reject.at is not None else int(records.received_at[reject.row])
            line = books.setdefault(entry_of(at, reject.profile, partition), Counts())
            if reject.is_held:
                line.add("held", reject.mote_code)
            else:
                line.add("quarantined", "" if reject.mote is None else str(reject.mote))
    for one in duplicates:
        if records.offset[one.row] >= until.get(one.entry.partition, 0):
            books.setdefault(one.entry, Counts()).add("duplicate", str(one.mote))
    return books


def _add_stored(books: Books, batch: Batch, until: Mapping[int, int]) -> None:
    rows = pl.DataFrame(
        {"hour": batch.at // HOUR_US * HOUR_US, "partition": batch.partition, "mote": batch.mote, "row": batch.offset}
    )
    for partition, first in until.items():
        rows = rows.filter((pl.col("partition") != partition) | (pl.col("row") >= first))
    by_mote = rows.group_by("hour", "partition", "mote").len().with_columns(pl.col("mote").cast(pl.String))
    for (hour, partition), line in by_mote.group_by("hour", "partition"):
        counts = books.setdefault(Entry(hour, batch.profile.code, partition), Counts())
        counts.of["stored"].update(dict(zip(line["mote"].to_list(), line["len"].to_list(), strict=True)))
