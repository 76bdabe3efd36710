"""What the engine remembers of each mote, as plain arrays that grow with the fleet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.detection import kernels
from mlops.detection.kernels import State
from sensors.readings import Bools, Ints

SCHEMA = 1
MAGIC = b"SIEIS engine state\n"


class EngineState:
    """Changed in place by `FittedEngine.step`; about 100 bytes a mote and 90 a channel."""

    def __init__(self, n_channels: int) -> None:
        self.n_channels = n_channels
        self.n_motes = 0
        self.arrays = _blank(0, n_channels)
        self._ids: Ints = np.zeros(0, dtype=np.int64)
        self._slots: Ints = np.zeros(0, dtype=np.int64)

    @property
    def motes(self) -> Ints:
        """The motes remembered, in the order in which they came."""
        return self.arrays.mote_ints[: self.n_motes, kernels.MOTE].copy()

    def widen(self, n_channels: int) -> None:
        """Makes room for the channels that a newer version of the profile has added at the end."""
        if n_channels <= self.n_channels:
            return
        wider = _blank(len(self.arrays.mote_ints), n_channels)
        for new, old in zip(wider, self.arrays, strict=True):
            new[:, : old.shape[1]] = old
        self.arrays, self.n_channels = wider, n_channels

    def slots(self, mote: Ints, is_late: Bools) -> Ints:
        """The row of each reading's mote; a new mote gets one, unless it has only late readings: those have -1."""
        slots = self._find(mote)
        new = (slots < 0) & ~is_late
        if new.any():
            unknown = mote[new]
            ids, first = np.unique(unknown, return_index=True)
            self._grow(unknown[np.sort(first)] if len(ids) > 1 else ids)
            slots = self._find(mote)
        return slots

    def _find(self, mote: Ints) -> Ints:
        if self.n_motes == 0:
            return np.full(len(mote), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._ids, mote), self.n_motes - 1)
        return np.where(self._ids[place] == mote, self._slots[place], -1)

    def _grow(self, motes: Ints) -> None:
        wanted, capacity = self.n_motes + len(motes), len(self.arrays.mote_ints)
        if wanted > capacity:
            more = _blank(max(wanted, 2 * capacity, 64) - capacity, self.n_channels)
            self.arrays = State(*(np.concatenate(pair) for pair in zip(self.arrays, more, strict=True)))
        self.arrays.mote_ints[self.n_motes : wanted, kernels.MOTE] = motes
        self.n_motes = wanted
        self._index()

    def _index(self) -> None:
        ids = self.arrays.mote_ints[: self.n_motes, kernels.MOTE]
        self._slots = np.argsort(ids, kind="stable").astype(np.int64)
        self._ids = ids[self._slots]

    def to_bytes(self) -> bytes:
        """A header line of JSON, then the arrays as they lie in memory, little-endian."""
        kept = [array[: self.n_motes] for array in self.arrays]
        header = {
            "schema": SCHEMA,
            "n_channels": self.n_channels,
            "n_motes": self.n_motes,
            "shapes": [array.shape for array in kept],
        }
        parts = [np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False) for array in kept]
        return b"".join([MAGIC, json.dumps(header).encode(), b"\n", *(part.tobytes() for part in parts)])

    @classmethod
    def from_bytes(cls, data: bytes) -> EngineState:
        """The state that `to_bytes` made; refuses another schema and a torn file."""
        if not data.startswith(MAGIC):
            raise ValueError(f"not an engine state: it begins with {data[:20]!r}, expected {MAGIC!r}")
        end = data.index(b"\n", len(MAGIC)) + 1
        header: dict[str, Any] = json.loads(data[len(MAGIC) : end])
        if header["schema"] != SCHEMA:
            raise ValueError(
                f"engine state of schema {header['schema']}, this version reads {SCHEMA}: replay the stream"
            )
        state = cls(header["n_channels"])
        state.n_motes = header["n_motes"]
        arrays: list[NDArray[Any]] = []
        for array, shape in zip(state.arrays, header["shapes"], strict=True):
            size = int(np.prod(shape)) * 8
            if end + size > len(data):
                raise ValueError(f"engine state is torn: {len(data)} bytes, at least {end + size} expected")
            read = np.frombuffer(data, dtype=array.dtype.newbyteorder("<"), count=size // 8, offset=end)
            arrays.append(read.astype(array.dtype).reshape(shape))  # a copy: what lies in bytes cannot be written
            end += size
        state.arrays = State(*arrays)
        state._index()
        return state


def _blank(n: int, n_channels: int) -> State:
    mote_ints = np.zeros((n, kernels.N_MOTE_INTS), dtype=np.int64)
    mote_ints[:, kernels.NEWEST_AT] = kernels.NO_TIME
    channel_ints = np.zeros((n, n_channels, kernels.N_CHANNEL_INTS), dtype=np.int64)
    channel_ints[:, :, [kernels.ACCEPTED_AT, kernels.STEP_AT, kernels.SEEN_AT]] = kernels.NO_TIME
    return State(
        mote_ints,
        np.zeros((n, kernels.N_MOTE_FLOATS + n_channels)),
        channel_ints,
        np.full((n, n_channels, kernels.N_CHANNEL_FLOATS), np.nan),
    )
