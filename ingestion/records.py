"""What one poll of a stream brings, as columns. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensors.readings import Ints


@dataclass(frozen=True, slots=True)
class Records:
    """Messages as they came, in offset order within a partition; `received_at` is the append time, UTC microseconds."""

    values: list[bytes]
    partition: Ints
    offset: Ints
    received_at: Ints

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def empty(cls) -> Records:
        nothing = np.zeros(0, dtype=np.int64)
        return cls([], nothing, nothing, nothing)
