"""What the detection engine finds of the simulator's faults, whose truth is known, and how often it cries for nothing.

    python -m bench.detection [--days 28] [--live-hours 6] [--seed 1]

Learns from seven simulated indoor days without a fault, then judges later days that it has never seen: readings every
30 s with the pack's faults of history (10 min to 4 h), and every second with the demo's (20 to 120 s). A fault is found
if an event of its mote is noticed while it lasts. An event is false if no fault of its mote touches it nor ended in the
hour before it: a mote may take that long to settle.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from bench._place import ROOT

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
LEARN = timedelta(days=7)
HOUR_US = 3_600_000_000
CHUNK_US = HOUR_US
WEEK_S = 7 * 86_400


def main() -> None:
    import os

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--days", type=float, default=28.0, help="judged at 30 s")
    parser.add_argument("--live-hours", type=float, default=6.0, help="judged at 1 s")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    print(json.dumps(measure(timedelta(days=options.days), timedelta(hours=options.live_hours), options.seed)))


def measure(days: timedelta, live: timedelta, seed: int) -> dict[str, Any]:
    from mlops.detection import Engine
    from sensors.packs import read_pack
    from sensors.readings import concat, micros

    pack = read_pack("indoor")
    begin, middle = micros(START), micros(START + LEARN)
    clean = _simulator(pack, seed, anomaly_rate=0.0)
    engine = Engine().fit(concat(list(_batches(clean, begin, middle, pack.profile.interval_s))))
    spans = {
        "history": (
            _simulator(pack, seed, is_history=True),
            middle,
            micros(START + LEARN + days),
            pack.profile.interval_s,
        ),
        "live": (_simulator(pack, seed), middle, micros(START + LEARN + live), 1.0),
    }
    return {"seed": seed} | {name: _judged(engine, *span) for name, span in spans.items()}


def micros_of(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _simulator(pack: Any, seed: int, **options: Any) -> Any:
    from ingestion.simulator import Simulator

    return Simulator.of(pack, site="main", time_zone="UTC", seed=seed, **options)


def _batches(simulator: Any, begin: int, end: int, interval_s: float) -> Iterable[Any]:
    """What the motes report, as batches: a mote's key is its place in the pack."""
    from sensors import quality
    from sensors.readings import Batch

    for start in range(begin, end, CHUNK_US):
        said = simulator.produce(start, min(start + CHUNK_US, end), interval_s).once()  # as the path takes them
        if len(said):
            n = len(said)
            yield Batch(
                profile=simulator.profile, mote=said.mote, at=said.at, values=said.values,
                utc_offset_s=np.zeros(n, np.int64), partition=np.zeros(n, np.int64), offset=np.arange(n),
                received_at=said.at, flags=quality.range_flags(simulator.profile, said.values),
            )  # fmt: skip


def _judged(engine: Any, simulator: Any, begin: int, end: int, interval_s: float) -> dict[str, Any]:
    state, events = engine.start(), {}
    for batch in _batches(simulator, begin, end, interval_s):
        state, _, changes = engine.step(state, batch)
        events.update({(change.mote, change.noticed_at): change for change in changes})
    codes = simulator.places.codes
    faults = [fault for fault in simulator.faults(begin, end) if fault.starts_us >= begin]
    noticed: dict[str, list[int]] = defaultdict(list)
    for mote, at in events:
        noticed[codes[mote]].append(at)
    false = [change for change in events.values() if not _has_cause(change, codes[change.mote], faults)]
    weeks = len(codes) * (end - begin) / 1e6 / WEEK_S
    return {
        "interval_s": interval_s,
        "mote_weeks": round(weeks, 2),
        "faults": len(faults),
        "found": _found(faults, noticed, "kind"),
        "found_by_channel": _found([fault for fault in faults if fault.channel], noticed, "channel"),
        "median_delay_s": {kind: _delay_s(some, noticed) for kind, some in sorted(_by(faults, "kind").items())},
        "events": len(events),
        "false_events_per_mote_week": round(len(false) / weeks, 2),
    }


def _has_cause(change: Any, code: str, faults: Sequence[Any]) -> bool:
    return any(
        fault.mote == code and fault.starts_us <= change.last_at and change.started_at <= fault.ends_us + HOUR_US
        for fault in faults
    )


def _by(faults: Sequence[Any], what: str) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for fault in faults:
        groups[getattr(fault, what)].append(fault)
    return groups


def _delays(faults: Sequence[Any], noticed: dict[str, list[int]]) -> list[float]:
    """Of each fault that was found: seconds from its beginning until it was noticed."""
    times = ([at for at in noticed[fault.mote] if fault.starts_us <= at <= fault.ends_us] for fault in faults)
    return [(min(at) - fault.starts_us) / 1e6 for fault, at in zip(faults, times, strict=True) if at]


def _found(faults: Sequence[Any], noticed: dict[str, list[int]], what: str) -> dict[str, str]:
    return {name: f"{len(_delays(some, noticed))} of {len(some)}" for name, some in sorted(_by(faults, what).items())}


def _delay_s(faults: Sequence[Any], noticed: dict[str, list[int]]) -> float | None:
    delays = _delays(faults, noticed)
    return round(float(np.median(delays)), 1) if delays else None


if __name__ == "__main__":
    main()
