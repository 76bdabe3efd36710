"""How many readings a second the whole path takes on the real servers, beside only consuming the same messages.

    python -m bench.ingest [--readings 1000000] [--motes 42] [--batch 20000] [--linear]

Measured: Kafka → decode → judge → detect with a trained model → InfluxDB → lake on MinIO → checkpoint → announce by
Redis, on simulated indoor readings with their faults. The yardstick consumes the same messages with confluent-kafka and
touches each payload, before and after. Every mote is met first, in a round of its own whose cost is told by itself.
--linear asks the same of 42, 420, 4,200 and 42,000 motes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any

from bench import _fleet, _servers, footprint
from tests.stack import ROOT, last_json

SIZES = (42, 420, 4_200, 42_000)
SPAN_S = 30.0  # between two readings of a mote
PART = 20_000  # messages in one append
# A model of a single day takes the other days of a week for faults: alerts would be measured instead of the path.
LEARNS = timedelta(days=7)
# The others run beside these: "detect" in the engine's thread, "lake" and "snapshot" in that of saves.
OWN_THREAD = ("poll", "decode", "judge", "wait for the engine", "store", "alert", "gather", "checkpoint")

Message = tuple[bytes, bytes]  # and its key


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run took from its partitions on: by the clock, of the processor by process, by step."""

    start_s: float  # until then: the fleet read, the states restored
    seconds: float
    cpu_s: dict[str, float]
    steps: dict[str, float]

    def cpu_us(self, n: int) -> dict[str, float]:
        return {name: round(1e6 * value / n, 1) for name, value in self.cpu_s.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--batch", type=int, default=20_000, help="SIEIS_BATCH_MAX")
    parser.add_argument("--linear", action="store_true")
    options = parser.parse_args()
    if options.linear:
        print(json.dumps(linear(options)))
        return
    settings = {"SIEIS_BATCH_MAX": str(options.batch)}
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name, _servers.sieis(Path(name), **settings) as stack:
        _servers.become(stack)
        print(json.dumps(measure(options)))


def linear(options: argparse.Namespace) -> dict[str, Any]:
    """Each size in a process of its own."""
    told = {n: _of_size(n, options) for n in SIZES}
    rates = [one["readings_per_s"] for one in told.values()]
    ratios = [one["ratio_to_raw_consume"] for one in told.values()]
    cpu = [round(1e6 * one["cpu_s"] / one["readings"], 1) for one in told.values()]
    return {
        "readings_per_s": dict(zip(told, rates, strict=True)),
        "ratio_to_raw_consume": dict(zip(told, ratios, strict=True)),
        "slowest_to_fastest": round(min(rates) / max(rates), 2),
        # On a machine that others use, too, the processor's own time says more than the clock's.
        "cpu_us_per_reading": dict(zip(told, cpu, strict=True)),
        "least_to_most_cpu": round(min(cpu) / max(cpu), 2),
        "lost": sum(one["lost"] for one in told.values()),
        "duplicated": sum(one["duplicated"] for one in told.values()),
        "cpu_us_per_mote_first_seen": {n: one["cpu_us_per_mote_first_seen"] for n, one in told.items()},
        "start_s": {n: one["start_s"] for n, one in told.items()},
        "by_step": {n: one["by_step"] for n, one in told.items()},
    }


def _of_size(n_motes: int, options: argparse.Namespace) -> Any:
    asked = ["--readings", options.readings, "--motes", n_motes, "--batch", options.batch]
    command = [sys.executable, "-m", "bench.ingest", *map(str, asked)]
    told = subprocess.run(command, cwd=ROOT, env=_servers.given(), text=True, stdout=subprocess.PIPE, check=True)
    return last_json(told.stdout)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from django.core.management import call_command

    from ingestion.streams import stream
    from sensors import registry

    span = timedelta(seconds=(options.readings / options.motes + 1) * SPAN_S) * 1.2 + timedelta(hours=2)
    start = _servers.day_before(span)
    call_command("migrate", verbosity=0)
    sites = _fleet.codes(1)
    engine = _fleet.make(sites, options.motes, start, learns=LEARNS)
    source, said = stream(), _said(sites[0], options, start)
    warm = _send(source, said, options.motes)
    for batch in _fleet.decoded(warm, registry.current_fleet()):
        engine.step(engine.start(), batch)  # compiled kernels are loaded once a process; that is no part of a rate
    met = _run()
    _send(source, said, options.readings)
    raw = [_consuming(source, options.readings)]
    ran = _run()
    raw.append(_consuming(source, options.readings))
    rate, yardstick = options.readings / ran.seconds, statistics.median(raw)
    lost, duplicated = _accounts(options.motes + options.readings)
    return {
        "readings": options.readings,
        "motes": options.motes,
        "batch": options.batch,
        "readings_per_s": round(rate),
        "raw_consume_per_s": round(yardstick),
        "ratio_to_raw_consume": round(rate / yardstick, 3),
        "lost": lost,
        "duplicated": duplicated,
        "by_step": {name: round(value, 2) for name, value in sorted(ran.steps.items(), key=lambda step: -step[1])},
        "seconds": round(ran.seconds, 1),
        "start_s": round(ran.start_s, 1),
        "cpu_s": round(ran.cpu_s["sieis"], 1),
        # Others may use the servers, too; then this is more than what the path made them do.
        "cpu_us_per_reading": ran.cpu_us(options.readings),
        "cpu_us_per_mote_first_seen": met.cpu_us(options.motes),
    }


def _run() -> Ran:
    """Reads all there is, with a runner of its own."""
    from ingestion.running import build_runner

    servers = footprint.listening()
    runner = build_runner()
    marks: list[tuple[float, dict[str, float], dict[str, float]]] = []

    def mark() -> None:
        spent = {"sieis": time.process_time()} | {name: footprint.cpu_s(pids) for name, pids in servers.items()}
        marks.append((time.perf_counter(), spent, runner.seconds))

    def progress(n_readings: int) -> None:
        if runner.claims and not marks:
            mark()

    began = time.perf_counter()
    runner.run(threading.Event(), until_end=True, progress=progress)
    mark()
    (start, spent, steps), (end, spent_then, steps_then) = marks
    steps = {name: value - steps[name] for name, value in steps_then.items()}
    steps["the rest of the path's own thread"] = end - start - sum(steps[name] for name in OWN_THREAD)
    cpu = {name: value - spent[name] for name, value in spent_then.items()}
    return Ran(start - began, end - start, cpu, steps)


def _send(source: Any, said: Iterator[Message], n: int) -> list[bytes]:
    """Fills the topic with the next n messages; answers some of them."""
    some: list[bytes] = []
    left = n
    while left and (part := list(islice(said, min(left, PART)))):
        values, keys = map(list, zip(*part, strict=True))
        source.append(values, keys)
        left, some = left - len(part), some or values[:2_000]
    assert not left, f"{n - left} readings were simulated, {n} asked for"
    return some


def _said(site: str, options: argparse.Namespace, start: datetime) -> Iterator[Message]:
    from django.utils import timezone

    from ingestion.simulating.simulation import history_chunks

    chunks = history_chunks(_fleet.simulator(site, options.motes), start, timezone.now())
    return chain.from_iterable(zip(values, keys, strict=True) for values, keys in chunks)


def _consuming(source: Any, n: int) -> float:
    """Messages a second, only consumed and each touched."""
    import confluent_kafka

    from ingestion.streams.kafka import COMMON, CONSUMER

    client = confluent_kafka.Consumer(
        {
            **COMMON,
            **CONSUMER,
            "bootstrap.servers": source.servers,
            "group.id": f"raw-{uuid.uuid4().hex}",
            "queued.min.messages": 200_000,
            "max.partition.fetch.bytes": 8 << 20,  # the fastest for this and nothing else
        }
    )
    bounds = source.bounds()
    client.assign([confluent_kafka.TopicPartition(source.topic, each, first) for each, (first, _) in bounds.items()])
    taken, size = 0, 0
    messages = client.consume(1, 10.0)
    began = time.perf_counter()
    while taken < n:
        size += sum(len(message.value() or b"") for message in messages)
        taken += len(messages)
        messages = client.consume(20_000, 0.2)
    seconds = time.perf_counter() - began
    client.close()
    assert size > 0
    return n / seconds


def _accounts(sent: int) -> tuple[int, int]:
    """What is nowhere, and what is there twice: by the books, the lake and the hot store."""
    import polars as pl
    from django.db.models import Sum

    from bench._contents import FAR, LONG_AGO
    from ingestion.models import LedgerHour
    from sensors import registry
    from sensors.lake import lake
    from sensors.stores import hot

    booked = LedgerHour.objects.aggregate(received=Sum("received"), stored=Sum("stored"))
    counts = {
        name: lake().scan(name).select(pl.len(), of=pl.struct(key).n_unique()).collect().row(0)
        for name, key in (("bronze", ["partition", "offset"]), ("silver/indoor", ["mote", "at"]))
    }
    in_hot = hot().count(registry.profiles()["indoor"], LONG_AGO, FAR)
    lost = [sent - booked["received"], sent - counts["bronze"][1], booked["stored"] - counts["silver/indoor"][1]]
    lost.append(booked["stored"] - in_hot)
    return sum(map(abs, lost)), sum(rows - unique for rows, unique in counts.values())


if __name__ == "__main__":
    main()
