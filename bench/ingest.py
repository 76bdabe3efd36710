"""How many readings a second the whole path takes on the real servers, beside only consuming the same messages.

    python -m bench.ingest [--readings 1000000] [--motes 42] [--batch 20000] [--linear]

Measured: Kafka → decode → judge → detect with a trained model → InfluxDB → lake on MinIO → checkpoint → announce by
Redis, on simulated indoor readings with their faults. The yardstick consumes the same messages with confluent-kafka and
touches each payload, before and after. --linear asks the same of 42, 420, 4,200 and 42,000 motes.
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
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench import _fleet, _servers, footprint
from tests.stack import ROOT, last_json

SIZES = (42, 420, 4_200, 42_000)
SPAN_S = 30.0  # between two readings of a mote
# A model of a single day takes the other days of a week for faults: alerts would be measured instead of the path.
LEARNS = timedelta(days=7)
# The others run beside these: "detect" in the engine's thread, "lake" and "snapshot" in that of saves.
OWN_THREAD = ("poll", "decode", "judge", "wait for the engine", "store", "alert", "gather", "checkpoint")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--motes", type=int, default=42)
    parser.add_argument("--batch", type=int, default=20_000)
    parser.add_argument("--linear", action="store_true")
    options = parser.parse_args()
    if options.linear:
        print(json.dumps(linear(options)))
        return
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name, _servers.sieis(Path(name)) as stack:
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
        "by_step": {n: one["by_step"] for n, one in told.items()},
    }


def _of_size(n_motes: int, options: argparse.Namespace) -> Any:
    asked = ["--readings", options.readings, "--motes", n_motes, "--batch", options.batch]
    command = [sys.executable, "-m", "bench.ingest", *map(str, asked)]
    told = subprocess.run(command, cwd=ROOT, env=_servers.given(), text=True, stdout=subprocess.PIPE, check=True)
    return last_json(told.stdout)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from django.core.management import call_command

    from ingestion.running import build_runner
    from ingestion.streams import stream
    from sensors import registry

    span = timedelta(seconds=options.readings / options.motes * SPAN_S) * 1.2 + timedelta(hours=2)
    start = _servers.day_before(span)
    call_command("migrate", verbosity=0)
    sites = _fleet.codes(1)
    engine = _fleet.make(sites, options.motes, start, learns=LEARNS)
    source = stream()
    warm = _send(source, sites[0], options, start)
    raw = [_consuming(source, options.readings)]
    for batch in _fleet.decoded(warm, registry.current_fleet()):
        engine.step(engine.start(), batch)  # compiled kernels are loaded once a process; that is no part of a rate
    runner = build_runner()
    servers = footprint.listening()
    served = {name: footprint.cpu_s(pids) for name, pids in servers.items()}
    began, worked = time.perf_counter(), time.process_time()
    runner.run(threading.Event(), until_end=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    served = {name: footprint.cpu_s(pids) - served[name] for name, pids in servers.items()}
    raw.append(_consuming(source, options.readings))
    steps: dict[str, float] = runner.seconds | runner.pipeline.seconds
    steps["the rest of the path's own thread"] = seconds - sum(steps[name] for name in OWN_THREAD)
    rate, yardstick = options.readings / seconds, statistics.median(raw)
    lost, duplicated = _accounts(options.readings)
    return {
        "readings": options.readings,
        "motes": options.motes,
        "batch": options.batch,
        "readings_per_s": round(rate),
        "raw_consume_per_s": round(yardstick),
        "ratio_to_raw_consume": round(rate / yardstick, 3),
        "lost": lost,
        "duplicated": duplicated,
        "by_step": {name: round(value, 2) for name, value in sorted(steps.items(), key=lambda step: -step[1])},
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu, 1),
        # Others may use the servers, too; then this is more than what the path made them do.
        "cpu_us_per_reading": {
            name: round(1e6 * value / options.readings, 1) for name, value in ({"sieis": cpu} | served).items()
        },
    }


def _send(source: Any, site: str, options: argparse.Namespace, start: datetime) -> list[bytes]:
    """Fills the topic; answers some of the messages."""
    n = 0
    some: list[bytes] = []
    for values, keys in _said(site, options, start):
        values, keys = values[: options.readings - n], keys[: options.readings - n]
        source.append(values, keys)
        n, some = n + len(values), some or values[:2_000]
        if n == options.readings:
            break
    assert n == options.readings, f"{n} readings were simulated, {options.readings} asked for"
    return some


def _said(site: str, options: argparse.Namespace, start: datetime) -> Iterator[tuple[list[bytes], list[bytes]]]:
    from django.utils import timezone

    from ingestion.simulating.simulation import history_chunks

    return history_chunks(_fleet.simulator(site, options.motes), start, timezone.now())


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
