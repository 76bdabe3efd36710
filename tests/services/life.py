"""A small fleet on the real servers with thirty simulated days behind it, and the people who look after its model."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psycopg
import requests
from kafka import KafkaProducer

from tests import stack
from tests.environment import ADDRESSES
from tests.stack import Stack

PASSWORD = "servers-have-long-passwords"  # pragma: allowlist secret
MOTES, INTERVAL_S = 6, 300
OURS = "test_life"  # the sessions of these tests themselves
PAST, LIVE = timedelta(days=30), timedelta(hours=6)
SET_UP = f"""
from django.contrib.auth.models import User
from django.utils import timezone
from sensors import roles
from sensors.installation import install_pack
from sensors.packs import read_pack
now = timezone.now()
for name, role in (("alice", roles.ENGINEER), ("bob", roles.OPERATOR)):
    roles.give_role(User.objects.create_user(name, password="{PASSWORD}"), role, now=now)
install_pack(read_pack("indoor").with_motes({MOTES}), site_code="main", time_zone="UTC", who=None, now=now)
"""


@contextmanager
def small_fleet(folder: Path) -> Iterator[Stack]:
    """Web and consumer, six motes, thirty days of them in the lake, and nothing that has been learnt from these."""
    settings = {"SIEIS_SLOW_CYCLE_S": "1", "SIEIS_CANARY": "0"}
    with stack.on_servers(folder, ADDRESSES, **settings) as running:
        prepare(running)
        running.start("consumer", "consume")
        running.serve()
        has_read(running, simulate_past(running))
        yield running


def prepare(running: Stack) -> None:
    """Tables, files, Alice, Bob and their motes."""
    running.manage("migrate", "-v0")
    running.manage("collectstatic", "-v0", "--noinput")
    running.manage("setup")
    running.manage("shell", "-c", SET_UP)


def simulate_past(sieis: Stack) -> int:
    """Thirty days that end where the live part begins; how many readings that are."""
    n = int(PAST.total_seconds() / INTERVAL_S) * MOTES
    span_h = (PAST + LIVE) / timedelta(hours=1)
    said = sieis.manage(
        "simulate", "--motes", str(MOTES), "--interval", str(INTERVAL_S), "--speed", "0",
        "--duration", f"{span_h:g}h", "--stop-after", str(n),
    ).stdout  # fmt: skip
    assert f"{n:,} readings" in said, said
    return n


def train(sieis: Stack) -> str:
    """A model of what the lake has by now serves, whatever the gate thinks of it; its name."""
    sieis.manage("train", "--no-promote")
    ((name,),) = rows(sieis, "SELECT name FROM mlops_modelversion ORDER BY id DESC LIMIT 1")
    sieis.manage("promote", name)
    return str(name)


def live_readings(begin: datetime, end: datetime) -> list[dict[str, Any]]:
    """What the same simulated sensors report next, none of them faulty."""
    from ingestion.simulating.simulator import Simulator, messages
    from sensors.packs import read_pack
    from sensors.readings import micros

    world = Simulator.of(
        read_pack("indoor"), site="main", time_zone="UTC", seed=1, n_motes=MOTES, anomaly_rate=0.0, is_history=True
    )
    values, _ = messages(world.produce(micros(begin), micros(end), float(INTERVAL_S)))
    return [json.loads(value) for value in values]


def send(sieis: Stack, readings: list[dict[str, Any]]) -> None:
    """Sends them and waits until they are stored."""
    before = n_read(sieis)
    producer = KafkaProducer(bootstrap_servers=sieis.environment["KAFKA_BOOTSTRAP_SERVERS"])
    for reading in readings:
        producer.send(sieis.environment["KAFKA_TOPIC"], json.dumps(reading).encode(), key=b"main/lab")
    producer.close()
    has_read(sieis, before + len(readings))


def broken_days(path: Path, begin: datetime, end: datetime) -> None:
    """Days of sensors that say anything, as a file."""
    dice = random.Random(1)
    lines = ["time,mote_id,temperature,humidity,light,voltage"]
    for i in range(int((end - begin).total_seconds() / INTERVAL_S)):
        at = begin + timedelta(seconds=i * INTERVAL_S)
        for code in codes():
            values = dice.uniform(5, 45), dice.uniform(5, 95), dice.uniform(0, 1500), dice.uniform(2.4, 3.0)
            lines.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{code}," + ",".join(f"{value:.2f}" for value in values))
    path.write_text("\n".join(lines) + "\n")


def codes() -> list[str]:
    from sensors.packs import read_pack

    return [mote.code for mote in read_pack("indoor").with_motes(MOTES).motes]


class Person:
    """Somebody at a browser: pages and forms as they are sent, and the API that the pages' modules call."""

    def __init__(self, sieis: Stack, name: str) -> None:
        self.sieis, self.session = sieis, sieis.session(name, PASSWORD)

    @property
    def _headers(self) -> dict[str, str]:
        return {"X-CSRFToken": self.session.cookies["csrftoken"] or "", "Referer": self.sieis.url}

    def page(self, path: str) -> str:
        answer = self.session.get(self.sieis.url + path, timeout=60)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def submit(self, path: str, **fields: Any) -> requests.Response:
        return self.session.post(self.sieis.url + path, fields, headers=self._headers, timeout=60)

    def ask(self, path: str) -> Any:
        answer = self.session.get(f"{self.sieis.url}/api/v1{path}", timeout=60)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def act(self, path: str, *, method: str = "POST", **given: Any) -> requests.Response:
        address = f"{self.sieis.url}/api/v1{path}"
        return self.session.request(method, address, json=given, headers=self._headers, timeout=60)

    def done(self, job: int) -> Any:
        """The job, once it is over."""

        def ended() -> Any:
            told = self.ask(f"/ml/jobs/{job}")
            return told if told["status"] in ("succeeded", "failed", "cancelled") else None

        return self.sieis.wait_until(ended, "worker")

    def made(self, job: int) -> Any:
        """The version that the job made, as the API tells it."""
        told = self.done(job)
        assert told["status"] == "succeeded", told["message"]
        return next(one for one in self.ask("/models") if one["name"] == told["result"])

    def retrain(self, **parameters: Any) -> int:
        answer = self.act("/ml/retrain", profile="indoor", parameters=parameters)
        assert answer.status_code == 202, answer.text
        return int(answer.json()["job_id"])


def rows(sieis: Stack, query: str, *values: Any) -> list[Any]:
    with psycopg.connect(sieis.environment["DATABASE_URL"], autocommit=True, application_name=OURS) as asking:
        return asking.execute(query, values).fetchall()


def n_read(sieis: Stack) -> int:
    """How many messages the consumer's checkpoints are past."""
    topic = sieis.environment["KAFKA_TOPIC"]
    query = "SELECT coalesce(sum(next_offset), 0) FROM ingestion_checkpoint WHERE topic = %s"
    return int(rows(sieis, query, topic)[0][0])


def has_read(sieis: Stack, n: int) -> None:
    sieis.wait_until(lambda: n_read(sieis) >= n, "consumer")


def consumer_serves(sieis: Stack, version: str) -> None:
    # The newest: an import has been a consumer, too.
    query = (
        "SELECT detail->'serving'->>'indoor' FROM sensors_processheartbeat WHERE kind = 'consumer' "
        "ORDER BY beat_at DESC LIMIT 1"
    )
    sieis.wait_until(lambda: rows(sieis, query) == [(version,)], "consumer", wait_s=60)


def job_reaches(sieis: Stack, job: int, holds: Callable[[str, float], bool]) -> None:
    """Until the job's status and progress are so."""

    def seen() -> bool:
        ((status, progress),) = rows(sieis, "SELECT status, progress FROM mlops_trainingjob WHERE id = %s", job)
        return holds(status, progress)

    sieis.wait_until(seen, "worker")


def whole_versions(sieis: Stack) -> list[str]:
    """The names of all versions, each of which has its artefact, to the byte, and the one job that made it."""
    environment = sieis.environment
    bucket = boto3.resource(
        "s3", endpoint_url=environment["S3_ENDPOINT_URL"], region_name=environment.get("AWS_REGION", "us-east-1"),
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"], aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    ).Bucket(environment["S3_BUCKET"])  # fmt: skip
    known = rows(
        sieis, "SELECT v.name, v.artefact, v.sha256, count(j.id) FROM mlops_modelversion v "
               "LEFT JOIN mlops_trainingjob j ON j.result_id = v.id GROUP BY v.id ORDER BY 1",
    )  # fmt: skip
    for name, artefact, checksum, n_jobs in known:
        (found,) = [one for one in bucket.objects.all() if one.key.endswith(artefact)]
        assert hashlib.sha256(found.get()["Body"].read()).hexdigest() == checksum, name
        assert n_jobs == 1, name
    return [name for name, *_ in known]
