"""What the engine remembers of each mote, as plain arrays by layer and name that grow with the fleet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.detection import events
from mlops.detection.compiled import NO_TIME, Array
from mlops.detection.rows import Field
from sensors.readings import Bools, Floats, Ints

SCHEMA = 2
MAGIC = b"SIEIS engine state\n"
LEAST_MOTES = 64  # room made at once
GROWTH = 1.25  # times the room there is: of a large fleet, twice would be hundreds of megabytes

Fields = Mapping[str, Mapping[str, Field]]
Memory = dict[str, dict[str, Array]]
SCALE = "scale"
UNKNOWN = -1
# A mote's channels lie in the memory as the engine that judged them saw them: bent (1), or as measured (see History).
OWN: Fields = {events.NAME: events.MEMORY, SCALE: {"is_bent": Field("channel", np.int8, UNKNOWN)}}


class EngineState:
    """Changed in place by `FittedEngine.step`."""

    def __init__(self, n_channels: int) -> None:
        self.n_channels = n_channels
        self.n_motes = 0
        self.memory: Memory = {}
        self._fields: Fields = {}
        self._capacity = 0
        self.ids: Ints = np.zeros(0, dtype=np.int64)
        self.rows_of_ids: Ints = np.zeros(0, dtype=np.int64)
        self.make_room(OWN, n_channels)

    @property
    def motes(self) -> Ints:
        """The motes remembered, in the order in which they came."""
        return self.memory[events.NAME]["ints"][: self.n_motes, events.MOTE].copy()

    def make_room(self, fields: Fields, n_channels: int) -> None:
        """Room for what these layers remember, and for channels that a newer profile has added at the end.

        A layer that is new, or remembers in another form than before, starts blank; one that is gone is forgotten.
        """
        fields = {**OWN, **fields}
        if n_channels <= self.n_channels and fields == self._fields:
            return
        n_channels = max(n_channels, self.n_channels)
        memory = {layer: _blank(own, self._capacity, n_channels) for layer, own in fields.items()}
        for layer, arrays in memory.items():
            old = self.memory.get(layer, {})
            if {name: _form(array) for name, array in old.items()} == {name: _form(a) for name, a in arrays.items()}:
                for name, array in arrays.items():
                    array[tuple(slice(size) for size in old[name].shape)] = old[name]
        if events.NAME not in self.memory:
            memory[events.NAME]["ints"][:, events.NEWEST_AT] = NO_TIME
        self.memory, self._fields, self.n_channels = memory, fields, n_channels

    def slots(self, mote: Ints, is_late: Bools) -> Ints:
        """The row of each reading's mote, −1 for a late reading; a mote that is new gets a row."""
        slots = self._find(mote)
        new = (slots < 0) & ~is_late
        if new.any():
            unknown = mote[new]
            ids, first = np.unique(unknown, return_index=True)
            self._grow(unknown[np.sort(first)] if len(ids) > 1 else ids)
            slots = self._find(mote)
        slots[is_late] = -1
        return slots

    def on_scale(self, slots: Ints, bends: Floats) -> None:
        """Forgets what these motes showed on another scale: another engine serves, and compares in its own."""
        slots, n, is_bent = slots[slots >= 0], len(bends), bends > 0
        kept = self.memory[SCALE]["is_bent"]
        is_other = (kept[slots, :n] != is_bent).any(axis=1)
        if not is_other.any():
            return
        slots = np.unique(slots[is_other])
        rows, channels = np.nonzero((kept[slots, :n] != is_bent) & (kept[slots, :n] != UNKNOWN))
        for layer, own in self._fields.items():
            if layer not in OWN:
                for name, field in own.items():
                    if field.per == "channel":
                        self.memory[layer][name][slots[rows], channels] = field.blank
        kept[slots, :n] = is_bent

    def _find(self, mote: Ints) -> Ints:
        if self.n_motes == 0:
            return np.full(len(mote), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.ids, mote), self.n_motes - 1)
        return np.where(self.ids[place] == mote, self.rows_of_ids[place], -1)

    def _grow(self, motes: Ints) -> None:
        wanted = self.n_motes + len(motes)
        if wanted > self._capacity:
            more = max(wanted, int(GROWTH * self._capacity), LEAST_MOTES) - self._capacity
            for layer, own in self._fields.items():
                blank = _blank(own, more, self.n_channels)
                if layer == events.NAME:
                    blank["ints"][:, events.NEWEST_AT] = NO_TIME
                arrays = self.memory[layer]
                arrays.update({name: np.concatenate([arrays[name], blank[name]]) for name in own})
            self._capacity += more
        self.memory[events.NAME]["ints"][self.n_motes : wanted, events.MOTE] = motes
        self.n_motes = wanted
        self._index()

    def _index(self) -> None:
        ids = self.motes
        self.rows_of_ids = np.argsort(ids, kind="stable").astype(np.int64)
        self.ids = ids[self.rows_of_ids]

    def to_bytes(self) -> bytes:
        """A header line of JSON, then the arrays as they lie in memory, little-endian."""
        described: list[tuple[str, str, str, tuple[int, ...]]] = []
        parts = []
        for layer, arrays in self.memory.items():
            for name, array in arrays.items():
                part = array[: self.n_motes].astype(array.dtype.newbyteorder("<"), copy=False)
                described.append((layer, name, part.dtype.str, part.shape))
                parts.append(part.reshape(-1).view(np.uint8).data)
        header = {"schema": SCHEMA, "n_channels": self.n_channels, "n_motes": self.n_motes, "arrays": described}
        return b"".join([MAGIC, json.dumps(header).encode(), b"\n", *parts])

    @classmethod
    def from_bytes(cls, data: bytes) -> EngineState:
        """The state that `to_bytes` made; refuses another schema and a torn file."""
        if not data.startswith(MAGIC):
            raise ValueError(f"not an engine state: it begins with {data[:20]!r}, expected {MAGIC!r}")
        end = data.index(b"\n", len(MAGIC)) + 1
        header: dict[str, Any] = json.loads(data[len(MAGIC) : end])
        if header["schema"] != SCHEMA:
            raise UnknownSchema(f"engine state of schema {header['schema']}, this version reads {SCHEMA}")
        state = cls(header["n_channels"])
        state.n_motes = state._capacity = header["n_motes"]
        state.memory = {}
        for layer, name, kind, shape in header["arrays"]:
            dtype, n_cells = np.dtype(kind), int(np.prod(shape))
            if end + n_cells * dtype.itemsize > len(data):
                wanted = end + n_cells * dtype.itemsize
                raise ValueError(f"engine state is torn: {len(data)} bytes, at least {wanted} expected")
            read = np.frombuffer(data, dtype=dtype, count=n_cells, offset=end)
            end += read.nbytes
            # A copy: what lies in bytes cannot be written.
            state.memory.setdefault(layer, {})[name] = read.astype(dtype.newbyteorder("=")).reshape(shape)
        state._fields = {}  # the engine that steps it next says which
        state._index()
        return state


class UnknownSchema(ValueError):
    """The state was saved by a release that remembered in another way: start afresh."""


def _blank(fields: Mapping[str, Field], n_motes: int, n_channels: int) -> dict[str, Array]:
    return {name: field.make(n_motes, n_channels) for name, field in fields.items()}


def _form(array: Array) -> tuple[Any, ...]:
    """What must be equal for an array to be taken over: all but the numbers of motes and channels."""
    return array.dtype, array.ndim, array.shape[2:]
