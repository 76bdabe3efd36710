"""SIEIS as its users run it: real processes, embedded or on real servers, in a place of their own."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 300.0  # a fresh clone compiles the engine while the tests run beside it

REDIS_NUMBERS = (3, 6, 9, 12)  # of 16 databases; a SIEIS takes three, the first three are the developer's own
REDIS_LOCKS = 0x51E15
REDIS_PATIENCE_S = 1200.0  # as long as the longest of the others


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stack:
    """The processes of one SIEIS and how to talk to it."""

    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, IO[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log_file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts `manage.py ARGUMENTS`, or another module with -m, as a process of that name."""
        command = arguments if arguments[0] == "-m" else (str(ROOT / "manage.py"), *arguments)
        self.logs[name] = self.log_file(name).open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=self.logs[name], stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self.processes[name]

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments], cwd=ROOT, env=self.environment, text=True,
            capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        said = f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert not check or done.returncode == 0, said
        return done

    def serve(self, *arguments: str) -> None:
        self.start("web", "serve", "--port", str(self.port), *arguments)
        self.wait_until(self.answers, "web")

    def answers(self) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False  # pytest changes the environment while we would look for a proxy in it
                return session.get(f"{self.url}/health", timeout=2).status_code < 600
        except requests.RequestException:
            return False

    def wait_until(self, condition: Any, name: str, *, wait_s: float = PATIENCE_S) -> Any:
        """Until the condition holds; fails with the process's log when it ends or takes too long."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if found := condition():
                return found
            if name in self.processes and self.processes[name].poll() is not None:
                raise AssertionError(f"{name} ended:\n{self.tail(name)}")
            time.sleep(0.1)
        raise AssertionError(f"{name}: nothing after {wait_s:.0f} s\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 40) -> str:
        path = self.log_file(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def stop(self, name: str, how: int = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(how)
        try:
            code = process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{name} did not stop within 40 s:\n{self.tail(name)}") from None
        finally:
            self.logs.pop(name).close()
        return code

    def close(self) -> None:
        for name in list(self.processes):
            process = self.processes.pop(name)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self.logs.pop(name).close()

    def session(self, username: str, password: str) -> requests.Session:
        """A logged-in browser, as far as HTTP goes."""
        session = requests.Session()
        page = session.get(f"{self.url}/login/", timeout=10).text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token, page[:500]
        answer = session.post(
            f"{self.url}/login/",
            {"username": username, "password": password, "csrfmiddlewaretoken": token[1]},
            timeout=10,
            allow_redirects=False,
        )
        assert answer.status_code == 302, answer.text[:500]
        return session

    def get(self, session: requests.Session, path: str) -> Any:
        answer = session.get(f"{self.url}{path}", timeout=20)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()


def _base(folder: Path) -> dict[str, str]:
    # COVERAGE_*: under `make check` the processes are measured like the tests themselves.
    names = ("PATH", "HOME", "LANG", "TMPDIR")
    kept = {name: value for name, value in os.environ.items() if name in names or name.startswith("COVERAGE_")}
    kernels = os.environ.get("NUMBA_CACHE_DIR") or str(ROOT / "var" / "numba")
    return {
        **kept, "SIEIS_DATA": str(folder), "PYTHONUNBUFFERED": "1", "NUMBA_CACHE_DIR": kernels,
        "SIEIS_LOG_FORMAT": "json",
    }  # fmt: skip


@contextmanager
def embedded(folder: Path, **settings: str) -> Iterator[Stack]:
    """One process, everything embedded, in this folder."""
    stack = Stack(folder, {**_base(folder), "SIEIS_EMBEDDED": "1", **settings})
    try:
        yield stack
    finally:
        stack.close()


@contextmanager
def on_servers(folder: Path, addresses: Mapping[str, str], **settings: str) -> Iterator[Stack]:
    """Processes on the real servers, each server used in a corner of its own that is cleared afterwards."""
    name = f"sieis-test-{secrets.token_hex(4)}"
    with (
        _redis(addresses) as redis, _database(addresses["DATABASE_URL"], name) as database,
        _bucket(addresses, name), _influx(addresses, name),
    ):  # fmt: skip
        stack = Stack(
            folder,
            {
                **_base(folder), **addresses, "DATABASE_URL": database, "REDIS_URL": redis, "S3_BUCKET": name,
                "INFLUXDB_V2_BUCKET": name, "KAFKA_TOPIC": f"{name}-readings", "KAFKA_HISTORY_TOPIC": f"{name}-history",
                "KAFKA_LABELS_TOPIC": f"{name}-labels", "KAFKA_GROUP": name,
                "SIEIS_SECRET_KEY": secrets.token_urlsafe(64), **settings,
            },
        )  # fmt: skip
        try:
            yield stack
        finally:
            stack.close()
            _forget_topics(addresses["KAFKA_BOOTSTRAP_SERVERS"], name)


@contextmanager
def _database(url: str, name: str) -> Iterator[str]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _redis(addresses: Mapping[str, str]) -> Iterator[str]:
    """Three databases in a row that no other stack has, emptied; whoever ends, however, gives them back."""
    import psycopg
    import redis

    with psycopg.connect(addresses["DATABASE_URL"], autocommit=True) as held:
        deadline = time.monotonic() + REDIS_PATIENCE_S
        while (number := _claimed(held)) is None:
            assert time.monotonic() < deadline, f"{len(REDIS_NUMBERS)} stacks run already: Redis has room for no more"
            time.sleep(1.0)
        for each in range(number, number + 3):
            redis.Redis.from_url(_numbered(addresses["REDIS_URL"], each)).flushdb()
        yield _numbered(addresses["REDIS_URL"], number)


def _claimed(held: Any) -> int | None:
    """The first number whose lock, which ends with the connection, nobody has."""
    locks = ((n, held.execute("SELECT pg_try_advisory_lock(%s, %s)", (REDIS_LOCKS, n))) for n in REDIS_NUMBERS)
    return next((n for n, lock in locks if lock.fetchone()[0]), None)


def _numbered(url: str, number: int) -> str:
    return urlsplit(url)._replace(path=f"/{number}").geturl()


@contextmanager
def _bucket(addresses: Mapping[str, str], name: str) -> Iterator[None]:
    import boto3

    bucket = boto3.resource(
        "s3", endpoint_url=addresses["S3_ENDPOINT_URL"], region_name=addresses.get("AWS_REGION", "us-east-1"),
        aws_access_key_id=addresses["AWS_ACCESS_KEY_ID"], aws_secret_access_key=addresses["AWS_SECRET_ACCESS_KEY"],
    ).Bucket(name)  # fmt: skip
    bucket.create()
    try:
        yield
    finally:
        bucket.objects.all().delete()
        bucket.delete()


@contextmanager
def _influx(addresses: Mapping[str, str], name: str) -> Iterator[None]:
    from influxdb_client import InfluxDBClient

    with InfluxDBClient(
        addresses["INFLUXDB_V2_URL"], addresses["INFLUXDB_V2_TOKEN"], org=addresses.get("INFLUXDB_V2_ORG", "sieis")
    ) as client:
        buckets = client.buckets_api()
        bucket = buckets.create_bucket(bucket_name=name, org=addresses.get("INFLUXDB_V2_ORG", "sieis"))
        try:
            yield
        finally:
            buckets.delete_bucket(bucket)


def _forget_topics(servers: str, name: str) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 2})
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(name)]
    if topics:
        for outcome in admin.delete_topics(topics).values():
            outcome.result(10)


def last_json(text: str) -> Any:
    return json.loads(text.strip().splitlines()[-1])
