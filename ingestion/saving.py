"""Saving what was gathered: lake, then one transaction (books, offsets, states), behind the batches that follow.

The rows go to the lake and the states to the storage in a thread of their own, while the path goes on; the transaction
is the path's own. What fails in the thread because something is away is done again, patiently, by the path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from django.core.files.storage import Storage
from django.db import connection, transaction

from alerts.services import instant
from ingestion import checkpoints
from ingestion.assignment import Claims
from ingestion.gathering import Gathered
from ingestion.models import StateSnapshot
from ingestion.patience import AWAY, Patience
from ingestion.pipeline import Parts
from ingestion.steps import Steps
from sensors.lake import Lake

SEEN = (
    "UPDATE sensors_mote SET last_seen_at = {at} FROM (VALUES {rows}) AS told "
    "WHERE id = told.column1 AND (last_seen_at IS NULL OR last_seen_at < {at})"
)
# Microseconds since 1970, and as Django writes an instant into SQLite.
SEEN_AT = {"postgresql": "to_timestamp(0) + told.column2 * interval '1 microsecond'", "sqlite": "told.column2"}
SEEN_AT_ONCE = 5_000  # motes in one statement
Snapshots = Mapping[int, StateSnapshot]


@dataclass(frozen=True, slots=True)
class Saving:
    """What is being saved: the claims and their states are those of its offsets, whatever came since."""

    gathered: Gathered
    claims: Claims
    states: Mapping[int, Parts]
    generation: int
    snapshots: Future[Snapshots]


class Saver:
    """Writes one gathering after the other; each is complete before the next one begins."""

    def __init__(self, lake: Lake, storage: Storage, steps: Steps) -> None:
        """Adds to the steps "lake" and "snapshot"."""
        self.lake, self.storage, self.steps = lake, storage, steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")

    def shutdown(self) -> None:
        self._thread.shutdown()

    def begin(
        self, gathered: Gathered, claims: Claims, states: Mapping[int, Parts], *, generation: int, now: Any
    ) -> Saving:
        deed = partial(self._written, gathered, claims, states, now)
        return Saving(gathered, claims, states, generation, self._thread.submit(deed))

    def _written(self, gathered: Gathered, claims: Claims, states: Mapping[int, Parts], now: Any) -> Snapshots:
        for append in self._appends(gathered, claims):
            append()
        return self._snapshots(gathered, claims, states, now)

    def finished(self, saving: Saving, patiently: Patience, now: Any) -> Snapshots:
        """The snapshots of what is in the lake by now; waits, and does again what failed because a sink was away."""
        error = saving.snapshots.exception()
        if error is None:
            for sink in ("lake", "artefacts"):
                patiently.is_well(sink)
            return saving.snapshots.result()
        if not isinstance(error, AWAY):
            raise error
        for append in self._appends(saving.gathered, saving.claims):
            patiently("lake", append)
        deed = partial(self._snapshots, saving.gathered, saving.claims, saving.states, now)
        return patiently("artefacts", deed)

    def _appends(self, gathered: Gathered, claims: Claims) -> list[Callable[[], None]]:
        apps = {partition: claims[partition].app_id for partition in gathered.next_offsets}
        tables = {"bronze": gathered.bronze, **{f"silver/{code}": rows for code, rows in gathered.silver.items()}}
        return [partial(self._append, name, rows, gathered, apps) for name, rows in tables.items()]

    def _append(self, name: str, rows: list[pl.DataFrame], gathered: Gathered, apps: Mapping[int, str]) -> None:
        with self.steps.timed("lake"):
            data = pl.concat(rows, how="diagonal")
            self.lake.append(name, data, app_ids=apps, next_offsets=gathered.next_offsets)

    def _snapshots(self, gathered: Gathered, claims: Claims, states: Mapping[int, Parts], now: Any) -> Snapshots:
        told = {partition: (offset, states[partition]) for partition, offset in gathered.next_offsets.items()}
        with self.steps.timed("snapshot"):
            return checkpoints.write_snapshots(claims, told, storage=self.storage, now=now)


def note_seen(last_seen: Mapping[int, int]) -> None:
    """Before the checkpoint, or a crash would leave it undone; never back, for what is saved may be all late.

    Written out, since 84,000 parameters of a large fleet take as long again to be put in.
    """
    rows = [f"({mote:d}, {_told(at)})" for mote, at in sorted(last_seen.items())]
    with transaction.atomic(), connection.cursor() as cursor:
        for first in range(0, len(rows), SEEN_AT_ONCE):
            some = ", ".join(rows[first : first + SEEN_AT_ONCE])
            cursor.execute(SEEN.format(at=SEEN_AT[connection.vendor], rows=some))


def _told(at_us: int) -> str:
    if connection.vendor == "postgresql":
        return f"{at_us:d}"
    return f"'{connection.ops.adapt_datetimefield_value(instant(at_us))}'"
