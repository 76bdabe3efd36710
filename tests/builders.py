"""Small fleets and batches for tests, in a few plain words each."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensors.readings import Batch, Channel, Profile


def channel(code: str = "temperature", **changes: Any) -> Channel:
    values: dict[str, Any] = {
        "code": code,
        "label": code.capitalize(),
        "unit": "°C",
        "physical": (-10.0, 50.0),
        "normal": (18.0, 28.0),
        "resolution": 0.01,
        "max_rate_per_s": 0.5,
        "flat_after_s": 3600.0,
    }
    return Channel(**{**values, **changes})


def profile(*channels: Channel, **changes: Any) -> Profile:
    values: dict[str, Any] = {
        "code": "indoor", "version": 1, "label": "Indoor", "step_s": 30.0, "interval_s": 30.0,
        "channels": channels or (channel(),),
    }  # fmt: skip
    return Profile(**{**values, **changes})


def batch(
    profile: Profile,
    values: Any,
    *,
    mote: Any = 1,
    start_us: int = 1_772_452_800_000_000,
    step_s: float = 30.0,
) -> Batch:
    """Readings of one mote (or of `mote`, an array) a step apart, as from partition 0."""
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.shape[1] != len(profile.channels):
        table = table.reshape(-1, len(profile.channels))
    n = len(table)
    at = start_us + (np.arange(n) * step_s * 1e6).astype(np.int64)
    return Batch(
        profile=profile,
        mote=np.broadcast_to(np.asarray(mote, dtype=np.int64), (n,)).copy(),
        at=at,
        values=table,
        utc_offset_s=np.zeros(n, dtype=np.int64),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(n, dtype=np.int64),
        received_at=at + 50_000,
    )
