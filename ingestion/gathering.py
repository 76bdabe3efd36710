"""What the reading path has stored and not yet saved: rows for the lake, books, offsets, who was last seen when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ingestion.ledger import Books, add, balance
from ingestion.pipeline import Outcome, bronze, raise_to
from ingestion.records import Records


@dataclass(slots=True)
class Gathered:
    """What waits for the next save."""

    bronze: list[pl.DataFrame] = field(default_factory=list)
    silver: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    books: Books = field(default_factory=dict)
    next_offsets: dict[int, int] = field(default_factory=dict)
    received: dict[int, int] = field(default_factory=dict)  # when each partition's newest message came
    last_seen: dict[int, int] = field(default_factory=dict)
    n_messages: int = 0

    def add(
        self,
        records: Records,
        outcome: Outcome,
        tables: Sequence[pl.DataFrame],
        *,
        topic: str,
        booked: Mapping[int, int],
    ) -> None:
        """One poll's messages; `tables` are its batches as they are stored, `booked` is until where the books know
        each partition."""
        self.bronze.append(bronze(records, topic))
        for batch, table in zip(outcome.batches, tables, strict=True):
            self.silver.setdefault(batch.profile.code, []).append(table)
            newest = table.group_by("mote").agg(pl.col("at").max().cast(pl.Int64))
            raise_to(self.last_seen, newest["mote"].to_list(), newest["at"].to_list())
        add(self.books, balance(records, outcome.batches, outcome.rejects, outcome.duplicates, booked))
        for partition in np.unique(records.partition).tolist():
            rows = records.partition == partition
            self.next_offsets[partition] = int(records.offset[rows][-1]) + 1
            self.received[partition] = int(records.received_at[rows].max())
        self.n_messages += len(records)
