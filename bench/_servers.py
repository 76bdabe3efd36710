"""SIEIS on the real servers, with a corner of its own there, for a benchmark."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import boto3
import polars as pl
import psycopg

from bench._mixture import Mixture
from ingestion.simulating.simulation import tell_truth
from ingestion.streams.kafka import KafkaStream
from sensors.readings import micros
from tests.environment import ADDRESSES
from tests.stack import ROOT, Stack, on_servers

PART = 500  # messages in one append of a flow


@contextmanager
def sieis(folder: Path, **settings: str) -> Iterator[Stack]:
    """Its database, bucket, topics: made, and deleted afterwards."""
    if "KAFKA_BOOTSTRAP_SERVERS" not in ADDRESSES:
        raise SystemExit('needs the servers\' addresses in the environment: eval "$(deploy/native-services env)"')
    folder.mkdir(parents=True, exist_ok=True)
    with on_servers(folder, ADDRESSES, **settings) as stack:
        yield stack


def become(stack: Stack) -> None:
    """This process has the stack's settings from here on."""
    import django

    from tests.environment import NAMES

    for name in NAMES & os.environ.keys():
        del os.environ[name]
    os.environ |= {"DJANGO_SETTINGS_MODULE": "sieis_site.settings", "SIEIS_LOG_LEVEL": "WARNING", **stack.environment}
    django.setup()


def given() -> dict[str, str]:
    """The environment that this process was started in, as far as a benchmark needs it."""
    return {**os.environ, **ADDRESSES}


def day_before(span: timedelta) -> datetime:
    """The last midnight from which so long a time has passed."""
    at = datetime.now(UTC) - span
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def module(stack: Stack, name: str, *arguments: object) -> None:
    """Runs a module in the stack's environment."""
    told = subprocess.run(
        [sys.executable, "-m", name, *map(str, arguments)], cwd=ROOT, text=True, capture_output=True, check=False,
        env={**stack.environment, "DJANGO_SETTINGS_MODULE": "sieis_site.settings"},
    )  # fmt: skip
    if told.returncode:
        raise SystemExit(f"{name} failed:\n{told.stderr[-3000:]}")


def fill(stack: Stack, sites: int, motes: int, day: datetime) -> None:
    stack.manage("migrate", "-v0")
    module(stack, "bench._fleet", "--sites", sites, "--motes", motes, "--day", day.date())


def copy(filled: Stack, other: Stack) -> None:
    """Gives another stack the same rows and artefacts, before either has read a message."""
    name, template = (urlsplit(each.environment["DATABASE_URL"]).path[1:] for each in (other, filled))
    with psycopg.connect(ADDRESSES["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}"')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    environment = other.environment
    storage = boto3.resource(
        "s3", endpoint_url=environment["S3_ENDPOINT_URL"], region_name=environment.get("AWS_REGION", "us-east-1"),
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"], aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    source = filled.environment["S3_BUCKET"]
    for one in storage.Bucket(source).objects.all():
        storage.Bucket(environment["S3_BUCKET"]).copy({"Bucket": source, "Key": one.key}, one.key)


def contents(stack: Stack, folder: Path) -> dict[str, pl.DataFrame]:
    from bench import _contents

    module(stack, "bench._contents", folder)
    return _contents.read(folder)


def ask(stack: Stack, query: str, *values: Any) -> Any:
    """One row of the stack's database."""
    with psycopg.connect(stack.environment["DATABASE_URL"]) as asking:
        return asking.execute(query, values).fetchone()


def saved(stack: Stack) -> int:
    """How many messages its checkpoints are past."""
    topic = stack.environment["KAFKA_TOPIC"]
    row = ask(stack, "SELECT coalesce(sum(next_offset), 0) FROM ingestion_checkpoint WHERE topic = %s", topic)
    return int(row[0])


def stream(stack: Stack) -> KafkaStream:
    return KafkaStream(stack.environment["KAFKA_TOPIC"], stack.environment["KAFKA_BOOTSTRAP_SERVERS"])


def end(stack: Stack) -> int:
    """How many messages have been sent."""
    return sum(end for _, end in stream(stack).bounds().values())


def flow(stack: Stack, mixture: Mixture, rate: float, stop: threading.Event | None = None) -> None:
    """Sends it at a rate, all of it or until it is told to stop, the truth about its faults first."""
    labels = KafkaStream(stack.environment["KAFKA_LABELS_TOPIC"], stack.environment["KAFKA_BOOTSTRAP_SERVERS"])
    for site in mixture.sites:
        told = mixture.simulator(site), micros(mixture.start), micros(mixture.start + timedelta(days=1))
        tell_truth(*told, labels=labels, site=site)
    labels.close()
    readings, began, n = stream(stack), time.monotonic(), 0
    for part in (chunk[i : i + PART] for chunk in mixture.chunks() for i in range(0, len(chunk), PART)):
        if stop is not None and stop.is_set():
            break
        readings.append([value for value, _ in part], [key for _, key in part])
        n += len(part)
        time.sleep(max(n / rate - (time.monotonic() - began), 0.0))
    readings.close()


def resident_mb(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def by_way_of(url: str, port: int) -> str:
    """The same address, reached through a port of this machine."""
    parts = urlsplit(url)
    who, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{who}{at}127.0.0.1:{port}"))
