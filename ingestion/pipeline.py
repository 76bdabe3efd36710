"""From messages to judged, scored batches: decode, judge, detect. Pure; what it must look up is handed in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from alerts.events import EventChange
from ingestion.ledger import Duplicate, entry_of
from ingestion.records import Records
from ingestion.steps import Steps
from ingestion.wire import Decoded, Reject, Wire
from mlops.detection import EngineState, FittedEngine, UnknownSchema
from sensors import quality
from sensors.derived import Before, derive
from sensors.readings import INSTANT, KEYS, Batch, Bools, Ints, Profile, concat

# The stored readings among these (mote, at); only late readings ask, and those that came by another stream before.
Existing = Callable[[Profile, pl.DataFrame], pl.DataFrame]
# Where a message stood and when it came: streams count alike, so that the place alone could be another stream's.
Origin = tuple[int, int, int]
UNKNOWN = np.iinfo(np.int64).min  # no reading of the mote came before
Parts = dict[str, Any]  # the arrays of a state, by name
MAGIC = b"SIEIS partition state\n"
PIECE = 4 << 20  # bytes that are compressed at once


@dataclass(slots=True)
class PartitionState:
    """All that scoring the next message of a partition depends on."""

    newest: dict[int, int] = field(default_factory=dict)
    engines: dict[str, EngineState] = field(default_factory=dict)
    before: dict[str, Before] = field(default_factory=dict)
    begun_anew: list[str] = field(default_factory=list)  # profiles whose engine state an older release had saved

    def to_bytes(self) -> bytes:
        return packed(self.parts())

    def parts(self) -> Parts:
        """A copy of it as it is now, to be packed at leisure while the state goes on."""
        arrays: Parts = {
            f"engine/{code}": np.frombuffer(state.to_bytes(), np.uint8) for code, state in self.engines.items()
        }
        arrays |= {
            f"before/{code}": np.frombuffer(before.to_bytes(), np.uint8)
            for code, before in self.before.items()
            if before.rows
        }
        newest = np.empty((len(self.newest), 2), dtype=np.int64)
        newest[:, 0] = np.fromiter(self.newest.keys(), np.int64, len(newest))
        newest[:, 1] = np.fromiter(self.newest.values(), np.int64, len(newest))
        return arrays | {"newest": newest}

    @classmethod
    def from_bytes(cls, blob: bytes) -> PartitionState:
        found = _unpacked(blob) if blob.startswith(MAGIC) else _of_zip(blob)
        newest = np.frombuffer(found["newest"], np.int64).reshape(-1, 2)
        state = cls(newest=dict(zip(*newest.T.tolist(), strict=True)))
        for name, part in found.items():
            kind, _, code = name.partition("/")
            if kind == "before":
                state.before[code] = Before.from_bytes(part)
            elif kind == "engine":
                try:
                    state.engines[code] = EngineState.from_bytes(part)
                except UnknownSchema:  # an upgrade must not stop the stream: motes are met anew
                    state.begun_anew.append(code)
        return state


def packed(parts: Parts) -> bytes:
    """A state's parts as a file, compressed piece by piece; `PartitionState.from_bytes` reads it.

    By Polars' Zstandard: deflate takes twice as long, for a file a quarter larger.
    """
    pieces = [(name, _compressed(piece)) for name, array in parts.items() for piece in _pieces(array)]
    header = json.dumps([(name, len(piece)) for name, piece in pieces]).encode()
    return b"".join([MAGIC, header, b"\n", *(piece for _, piece in pieces)])


def _pieces(array: Any) -> Iterator[Any]:
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return (flat[first : first + PIECE] for first in range(0, max(len(flat), 1), PIECE))


def _compressed(piece: Any) -> bytes:
    blob = io.BytesIO()
    pl.DataFrame({"bytes": piece}).write_ipc(blob, compression="zstd")
    return blob.getvalue()


def _unpacked(blob: bytes) -> dict[str, bytes]:
    end = blob.index(b"\n", len(MAGIC)) + 1
    parts: dict[str, list[bytes]] = {}
    for name, size in json.loads(blob[len(MAGIC) : end]):
        parts.setdefault(name, []).append(pl.read_ipc(blob[end : end + size])["bytes"].to_numpy().tobytes())
        end += size
    return {name: b"".join(pieces) for name, pieces in parts.items()}


def _of_zip(blob: bytes) -> dict[str, bytes]:
    """As SIEIS 0.1 wrote it."""
    with np.load(io.BytesIO(blob)) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


@dataclass(frozen=True, slots=True)
class Judged:
    """What a poll's messages are as data, before anything is said of what they measure."""

    batches: list[Batch]
    rejects: list[Reject]
    duplicates: list[Duplicate]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a poll's messages came to: each is in a batch, a reject or a duplicate."""

    batches: list[Batch]
    changes: list[EventChange]
    rejects: list[Reject]
    duplicates: list[Duplicate]


class Pipeline:
    """Decode → judge → detect for one configuration: a fleet and the engine that serves each profile."""

    def __init__(
        self,
        wire: Wire,
        engines: Mapping[str, FittedEngine],
        existing: Existing,
        clock: Callable[[], float],
        *,
        stored_until: Mapping[int, int] | None = None,
    ) -> None:
        """`stored_until` are motes' newest stored instants, where other streams may have brought readings too."""
        self.wire = wire
        self.engines = engines
        self.existing = existing
        self.steps = Steps(clock, "decode", "judge", "detect")
        self.stored_until = stored_until or {}

    @property
    def seconds(self) -> dict[str, float]:
        """By step."""
        return self.steps.seconds

    def process(self, records: Records, states: MutableMapping[int, PartitionState]) -> Outcome:
        """The three steps after each other."""
        return self.detect(self.judge(self.decode(records), states), states)

    def decode(self, records: Records) -> Decoded:
        """Needs no state, so that it may run while the batch before is still detected."""
        with self.steps.timed("decode"):
            return self.wire.decode(records)

    def judge(self, decoded: Decoded, states: MutableMapping[int, PartitionState]) -> Judged:
        """Changes no state, so that it may be asked again when what it must look up is away."""
        with self.steps.timed("judge"):
            rejects = list(decoded.rejects)
            duplicates: list[Duplicate] = []
            batches = [self._judge(batch, rows, states, rejects, duplicates) for batch, rows in decoded.batches]
            return Judged(batches, rejects, duplicates)

    def detect(self, judged: Judged, states: MutableMapping[int, PartitionState]) -> Outcome:
        """Moves the states on; asks nobody. The compiled loops let other threads run."""
        with self.steps.timed("detect"):
            batches, changes = [], []
            for batch in judged.batches:
                scored, changed = self._detect(batch, states)
                batches.append(scored)
                changes.extend(changed)
            return Outcome([batch for batch in batches if len(batch)], changes, judged.rejects, judged.duplicates)

    # ---- judge --------------------------------------------------------------------------------------------

    def _judge(
        self,
        batch: Batch,
        rows: Ints,
        states: MutableMapping[int, PartitionState],
        rejects: list[Reject],
        duplicates: list[Duplicate],
    ) -> Batch:
        """Marks late readings, takes out duplicates (the first wins) and sends conflicts to quarantine."""
        newest = self._newest_before(batch, states)
        late = batch.at <= newest
        batch = replace(batch, flags=batch.flags | _order_flags(batch, newest, late))
        may_be_known = late | self._may_be_stored(batch)
        if not may_be_known.any():
            return batch
        keep = np.ones(len(batch), dtype=bool)
        keys = pl.DataFrame({"mote": batch.mote, "at": batch.at})
        asked = keys.filter(may_be_known).unique()
        known = self._known(batch.profile, asked)
        for i in keys.with_row_index("row").join(asked, on=KEYS, how="semi", maintain_order="left")["row"].to_list():
            key = (int(batch.mote[i]), int(batch.at[i]))
            if may_be_known[i] and (first := known.get(key)) is not None and first[0] != _origin(batch, i):
                keep[i] = False
                self._repeat(batch, i, rows, first[1], rejects, duplicates)
            else:
                known.setdefault(key, (_origin(batch, i), _content(batch, i)))
        return batch.take(keep)

    def _may_be_stored(self, batch: Batch) -> Bools:
        if not self.stored_until:
            return np.zeros(len(batch), dtype=np.bool_)
        motes, place = np.unique(batch.mote, return_inverse=True)
        until = np.array([self.stored_until.get(mote, UNKNOWN) for mote in motes.tolist()], dtype=np.int64)
        may_be: Bools = batch.at <= until[place]
        return may_be

    def _newest_before(self, batch: Batch, states: MutableMapping[int, PartitionState]) -> Ints:
        """For each reading the newest instant of its mote among all that came before it."""
        newest = np.empty(len(batch), dtype=np.int64)
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            newest[rows] = _newest_of_others(batch.mote[rows], batch.at[rows], states[partition].newest)
        return newest

    def _known(self, profile: Profile, keys: pl.DataFrame) -> dict[tuple[int, int], tuple[Origin, tuple[Any, ...]]]:
        """Stored readings at these keys, by key: where each came from, and what it says."""
        found = self.existing(profile, keys.with_columns(pl.col("at").cast(INSTANT)))
        names = _measured(profile)
        instants = pl.col("at", "received_at").cast(pl.Int64)
        columns = found.with_columns(instants).select("mote", "at", "partition", "offset", "received_at", *names)
        return {(row[0], row[1]): (row[2:5], row[5:]) for row in columns.iter_rows()}

    def _repeat(
        self,
        batch: Batch,
        i: int,
        rows: Ints,
        first: tuple[Any, ...],
        rejects: list[Reject],
        duplicates: list[Duplicate],
    ) -> None:
        content = _content(batch, i)
        if content == first:
            entry = entry_of(int(batch.at[i]), batch.profile.code, int(batch.partition[i]))
            duplicates.append(Duplicate(entry, int(batch.mote[i]), int(rows[i])))
            return
        mote = self.wire.fleet.by_id[int(batch.mote[i])]
        different = [
            f"{name} {old} stored, {new} sent"
            for name, old, new in zip(_measured(batch.profile), first, content, strict=True)
            if old != new
        ]
        rejects.append(
            Reject(
                int(rows[i]),
                "conflict",
                "; ".join(different)[:300],
                mote.code,
                mote.profile,
                int(batch.at[i]),
                mote.id,
                mote.site,
            )
        )

    # ---- detect -------------------------------------------------------------------------------------------

    def _detect(self, batch: Batch, states: MutableMapping[int, PartitionState]) -> tuple[Batch, list[EventChange]]:
        if not len(batch):
            return batch, []
        engine = self.engines[batch.profile.code]
        scored, changes = [], []
        for partition in np.unique(batch.partition).tolist():
            state = states[partition]
            part = batch if (batch.partition == partition).all() else batch.take(batch.partition == partition)
            part = derive(part, state.before.setdefault(batch.profile.code, Before()))
            before = state.engines.get(batch.profile.code) or engine.start()
            state.engines[batch.profile.code], done, changed = engine.step(before, part)
            scored.append(done)
            changes.extend(changed)
            _remember(state, part)
        return concat(scored), changes


def _newest_of_others(mote: Ints, at: Ints, known: Mapping[int, int]) -> Ints:
    motes, first, group = np.unique(mote, return_index=True, return_inverse=True)
    order = np.argsort(group.astype(np.int32), kind="stable")  # each mote's readings, as they came
    before = np.empty(len(at), dtype=np.int64)
    before[order[1:]] = at[order[:-1]]
    before[first] = [known.get(one, UNKNOWN) for one in motes.tolist()]
    if (at > before).all():  # nothing is late, so that the reading before is the newest
        return before
    table = pl.DataFrame({"mote": mote, "before": before})
    return table.select(pl.col("before").cum_max().over("mote")).to_series().to_numpy()


def _origin(batch: Batch, i: int) -> Origin:
    return int(batch.partition[i]), int(batch.offset[i]), int(batch.received_at[i])


def _content(batch: Batch, i: int) -> tuple[float | None, ...]:
    """What the message said; what is derived from it does not make two messages differ."""
    measured = batch.values[i, batch.profile.is_measured].tolist()
    return tuple(None if value != value else value for value in measured)


def _measured(profile: Profile) -> list[str]:
    return [channel.code for channel in profile.channels if channel.formula is None]


def _order_flags(batch: Batch, newest: Ints, late: Bools) -> Ints:
    """LATE for what is no newer than its mote's newest, GAP for the first reading after a silence."""
    is_known = newest != UNKNOWN
    waited_us = np.where(is_known & ~late, batch.at - np.where(is_known, newest, 0), 0)
    after_gap = waited_us > batch.profile.silent_after_s * 1e6
    flags: Ints = np.where(late, np.int64(quality.LATE), np.int64(0))
    return flags | np.where(after_gap, np.int64(quality.GAP), np.int64(0))


def _remember(state: PartitionState, batch: Batch) -> None:
    newest = pl.DataFrame({"mote": batch.mote, "at": batch.at}).group_by("mote").agg(pl.col("at").max())
    raise_to(state.newest, newest["mote"].to_list(), newest["at"].to_list())


def raise_to(newest: dict[int, int], motes: Sequence[int], instants: Sequence[int]) -> None:
    """Each mote's instant, where it is later than the one known."""
    for mote, at in zip(motes, instants, strict=True):
        if at > newest.get(mote, UNKNOWN):
            newest[mote] = at


def bronze(records: Records, topic: str) -> pl.DataFrame:
    """Every message as it arrived, for the lake."""
    return pl.DataFrame(
        {
            "topic": pl.Series([topic], dtype=pl.String).new_from_index(0, len(records)),
            "partition": records.partition,
            "offset": records.offset,
            "received_at": records.received_at,
            "payload": pl.Series(records.values, dtype=pl.Binary),
        }
    ).with_columns(pl.col("received_at").cast(pl.Datetime("us", "UTC")))
