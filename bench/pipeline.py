"""How many readings a second the embedded reading path takes, beside only decoding the same bytes.

    python -m bench.pipeline [--readings 400000] [--batch 20000] [--shadow]

Measured: decode → judge → detect with a trained model → hot store → lake → checkpoint → announce, on simulated indoor
readings of 42 motes at 30 s. The yardstick, only decoding, runs before and after on the same messages. With --shadow a
second model follows in a thread of the same process, every second instead of every minute.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from bench._place import embedded_django

START = datetime(2026, 3, 1, tzinfo=UTC)
TRAIN = timedelta(days=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readings", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=20_000)
    parser.add_argument("--shadow", action="store_true", help="Let a candidate judge the same readings meanwhile")
    options = parser.parse_args()
    with embedded_django():
        print(json.dumps(measure(options.readings, options.batch, has_shadow=options.shadow)))


def measure(n_readings: int, batch: int, *, has_shadow: bool = False) -> dict[str, Any]:
    from django.core.files.storage import default_storage
    from django.utils import timezone

    from ingestion.runner import Pace, Runner
    from ingestion.streams import stream
    from sensors import live, registry
    from sensors.installation import install_pack
    from sensors.lake import lake
    from sensors.packs import read_pack
    from sensors.stores import hot

    pack = read_pack("indoor")
    install_pack(pack, site_code="main", time_zone="UTC", who=None, now=START)
    fleet = registry.current_fleet()
    engine = _trained(pack, fleet)
    messages, keys = _messages(pack, n_readings)
    stream().ensure()
    for begin in range(0, len(messages), 20_000):
        stream().append(messages[begin : begin + 20_000], list(keys[begin : begin + 20_000]))
    decode = [_decoding(messages, fleet, batch)]
    runner = Runner(
        stream=stream(), hot=hot(), lake=lake(), storage=default_storage, serving=Serves(engine),
        fleet=registry.current_fleet, fleet_revision=registry.revision, announce=live, group="bench", owner="bench",
        now=timezone.now, pace=Pace(batch_max=batch),
    )  # fmt: skip
    _warm_up(engine, fleet, messages)
    with _shadow(engine, fleet) if has_shadow else nullcontext() as shadow:
        began = time.perf_counter()
        runner.run(threading.Event(), until_end=True)
        seconds = time.perf_counter() - began
    decode.append(_decoding(messages, fleet, batch))
    yardstick = statistics.median(decode)
    return {
        "readings": len(messages),
        "batch": batch,
        "readings_per_s": round(len(messages) / seconds),
        "decode_per_s": round(yardstick),
        "ratio_to_decode": round(len(messages) / seconds / yardstick, 3),
        "by_step_s": {name: round(value, 2) for name, value in runner.seconds.items()},
        "seconds": round(seconds, 2),
        **({} if shadow is None else {"followed_meanwhile": shadow.n}),
    }


class Shadow(threading.Thread):
    """Follows a run in shadow again and again until it is told to stop."""

    def __init__(self, fleet: Any) -> None:
        super().__init__(daemon=True)
        self.fleet, self.n, self.stop = fleet, 0, threading.Event()

    def run(self) -> None:
        from django.core.files.storage import default_storage

        from mlops import shadowing
        from sensors.lake import lake

        while not self.stop.wait(1.0):
            self.n += shadowing.follow_all(
                START + timedelta(days=1), lake=lake(), fleet=self.fleet, storage=default_storage
            )


@contextmanager
def _shadow(engine: Any, fleet: Any) -> Iterator[Shadow]:
    from mlops import registry, shadowing
    from sensors.models import Profile

    version = registry.register(
        engine, profile=Profile.objects.get(code="indoor"), data={}, metrics={"n_readings": 1}, job=None, now=START
    )
    shadowing.start(version, who=None, now=START)
    thread = Shadow(fleet)
    thread.start()
    yield thread
    thread.stop.set()
    thread.join()


class Serves:
    """Serves one engine that is in no registry."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def engine_for(self, profile: Any) -> Any:
        return self.engine

    def version_for(self, profile: Any) -> None:
        return None

    def versions_for(self, profile: Any) -> list[Any]:
        return []

    def go_back_to(self, profile: Any, number: int, own: Any = None) -> None:
        """There is one engine only."""

    def refresh(self, now: datetime) -> list[object]:
        return []


def _trained(pack: Any, fleet: Any) -> Any:
    """An engine fitted on the three days before the messages, decoded as the path does it."""
    from ingestion.simulating.simulation import history_chunks
    from mlops.detection import Engine
    from sensors.readings import concat

    simulator = _simulator(pack)
    batches = [_decode(values, fleet) for values, _ in history_chunks(simulator, START - TRAIN, START)]
    return Engine().fit(concat([batch for batch in batches if batch is not None])).numbered(1)


def _simulator(pack: Any) -> Any:
    from ingestion.simulating.simulator import Simulator

    return Simulator.of(pack, site="main", time_zone="UTC", seed=1, is_history=True)


def _messages(pack: Any, n: int) -> tuple[list[bytes], list[bytes]]:
    from ingestion.simulating.simulation import history_chunks

    values: list[bytes] = []
    keys: list[bytes] = []
    simulator = _simulator(pack)
    span = timedelta(seconds=(n / len(pack.motes) + 1) * simulator.profile.interval_s * 1.05)
    for some, their in history_chunks(simulator, START, START + span):
        values += some
        keys += their
        if len(values) >= n:
            break
    return values[:n], keys[:n]


def _records(messages: list[bytes]) -> Any:
    import numpy as np

    from ingestion.records import Records

    n = len(messages)
    received = np.full(n, int((START + timedelta(days=400)).timestamp() * 1e6))
    return Records(messages, np.zeros(n, np.int64), np.arange(n), received)


def _decode(messages: list[bytes], fleet: Any) -> Any:
    from ingestion.wire import Wire

    decoded = Wire(fleet).decode(_records(messages))
    return decoded.batches[0][0] if decoded.batches else None


def _decoding(messages: list[bytes], fleet: Any, batch: int) -> float:
    """Messages decoded a second, in batches, and nothing else."""
    from ingestion.wire import Wire

    wire = Wire(fleet)
    began = time.perf_counter()
    for begin in range(0, len(messages), batch):
        wire.decode(_records(messages[begin : begin + batch]))
    return len(messages) / (time.perf_counter() - began)


def _warm_up(engine: Any, fleet: Any, messages: list[bytes]) -> None:
    """Compiled kernels are loaded once a process; that is no part of a rate."""
    engine.step(engine.start(), _decode(messages[:500], fleet))


if __name__ == "__main__":
    main()
