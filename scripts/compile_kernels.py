"""Compiles the engine's loops once, before several processes would each do it at the same moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
STEPS, MOTES = 1500, 3


def main() -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    from mlops.detection import Engine
    from sensors.packs import read_pack
    from sensors.readings import Batch

    profile = read_pack("indoor").profile
    low, high = profile.bounds("normal")
    n, rng = STEPS * MOTES, np.random.default_rng(1)
    step = np.repeat(np.arange(STEPS, dtype=np.int64), MOTES)
    nowhere = np.zeros(n, dtype=np.int64)
    readings = Batch(
        profile=profile,
        mote=np.tile(np.arange(1, MOTES + 1, dtype=np.int64), STEPS),
        at=1_772_452_800_000_000 + step * 30_000_000,
        values=(low + high) / 2 + (high - low) / 50 * rng.standard_normal((n, len(low))),
        utc_offset_s=nowhere, partition=nowhere, offset=np.arange(n, dtype=np.int64), received_at=nowhere,
    )  # fmt: skip
    engine = Engine().fit(readings)
    engine.step(engine.start(), readings)


if __name__ == "__main__":
    main()
