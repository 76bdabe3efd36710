"""What the reading path would make of a message now, told before it is sent: by the path's own decoder and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from ingestion import labels
from ingestion.records import Records
from ingestion.wire import REASONS, Reject, Wire
from sensors import quality
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Batch, micros
from sensors.stores import HotStore, StoreUnavailable

STORED, LATE, DUPLICATE, LABEL = "stored", "late", "duplicate", "label"
TAKEN = (STORED, LATE, DUPLICATE, LABEL)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fate:
    """What would become of a message: stored, late, duplicate, label, or the reason why it would be put aside."""

    name: str
    words: str
    key: bytes | None = None

    @property
    def is_taken(self) -> bool:
        return self.name in TAKEN


def foretell(
    messages: Sequence[bytes], *, fleet: Fleet, hot: HotStore, now: datetime, future_s: float, are_labels: bool = False
) -> list[Fate]:
    """One fate a message, in their order; changes nothing."""
    if are_labels:
        return _of_labels(messages, fleet)
    nowhere, n = np.zeros(len(messages), dtype=np.int64), len(messages)
    arrived = np.full(n, micros(now), dtype=np.int64)
    decoded = Wire(fleet, future_s=future_s).decode(Records(list(messages), nowhere, np.arange(n), arrived))
    found = {reject.row: _refused(reject, fleet) for reject in decoded.rejects}
    for batch, rows in decoded.batches:
        found |= dict(zip(rows.tolist(), _of_readings(batch, fleet, hot), strict=True))
    return [found[row] for row in range(n)]


def _refused(reject: Reject, fleet: Fleet) -> Fate:
    key = fleet.by_id[reject.mote].group_key.encode() if reject.mote is not None else None
    return Fate(reject.reason, f"The message {REASONS[reject.reason]}: {reject.detail}.", key)


def _of_labels(messages: Sequence[bytes], fleet: Fleet) -> list[Fate]:
    kept, rejects = labels.sort(messages, fleet)
    refused = {reject.row: _refused(reject, fleet) for reject in rejects}
    rest = iter(kept)
    return [refused[row] if row in refused else _of_label(next(rest), fleet) for row in range(len(messages))]


def _of_label(label: Any, fleet: Fleet) -> Fate:
    mote = fleet.by_id[label.mote_id]
    stretch = f"{label.starts_at:%Y-%m-%d %H:%M:%S} to {label.ends_at:%H:%M:%S} UTC"
    return Fate(LABEL, f"Kept as a label: {label.kind} of {mote.site}/{mote.code}, {stretch}.", mote.group_key.encode())


def _of_readings(batch: Batch, fleet: Fleet, hot: HotStore) -> list[Fate]:
    keys = pl.DataFrame({"mote": batch.mote, "at": batch.at}).unique()
    keys = keys.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    try:
        stored = _by_key(batch, hot.existing(batch.profile, keys))
        newest = _newest(batch, hot)
    except StoreUnavailable as away:
        unknown = f" Whether it is stored already cannot be said, for the hot store does not answer: {away}."
        return [_reading(batch, i, fleet, {}, {}, unknown) for i in range(len(batch))]
    return [_reading(batch, i, fleet, stored, newest) for i in range(len(batch))]


def _by_key(batch: Batch, stored: pl.DataFrame) -> dict[Key, tuple[Any, ...]]:
    table = stored.with_columns(pl.col("at").cast(pl.Int64)).select("mote", "at", *_measured(batch))
    return {(row[0], row[1]): row[2:] for row in table.iter_rows()}


def _newest(batch: Batch, hot: HotStore) -> dict[int, int]:
    latest = hot.latest(batch.profile, np.unique(batch.mote).tolist())
    return dict(latest.select("mote", pl.col("at").cast(pl.Int64)).iter_rows())


def _measured(batch: Batch) -> list[str]:
    return [channel.code for channel in batch.profile.channels if channel.formula is None]


def _reading(
    batch: Batch,
    i: int,
    fleet: Fleet,
    stored: Mapping[Key, tuple[Any, ...]],
    newest: Mapping[int, int],
    unknown: str = "",
) -> Fate:
    mote, at = fleet.by_id[int(batch.mote[i])], int(batch.at[i])
    said = tuple(None if value != value else value for value in batch.values[i, batch.profile.is_measured].tolist())
    key, what = mote.group_key.encode(), _told(batch, i, mote)
    first = stored.get((mote.id, at))
    if first == said:
        return Fate(DUPLICATE, f"Nothing new: {what} is stored already, and would be counted as a duplicate.", key)
    if first is not None:
        words = f"The message {REASONS['conflict']}. Stored values are mended by a correction on the mote's page."
        return Fate("conflict", words, key)
    flags = [name for name in quality.names(int(batch.flags[i])) if name != quality.NAMES[quality.LATE]]
    with_flags = f", flagged {', '.join(flags)}" if flags else ""
    if at <= newest.get(mote.id, at - 1):
        return Fate(LATE, f"Stored as late: {what}{with_flags}. It raises no alert.{unknown}", key)
    return Fate(STORED, f"Stored: {what}{with_flags}.{unknown}", key)


def _told(batch: Batch, i: int, mote: MoteRef) -> str:
    at = EPOCH + timedelta(microseconds=int(batch.at[i]))
    values = [
        f"{channel.label} {value:g}{' ' + channel.unit if channel.unit else ''}"
        for channel, value in zip(batch.profile.channels, batch.values[i].tolist(), strict=True)
        if value == value and channel.formula is None
    ]
    return f"{mote.site}/{mote.code} at {at:%Y-%m-%d %H:%M:%S} UTC, {', '.join(values)}"
