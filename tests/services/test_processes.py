"""SIEIS in server mode: web, consumer, worker and beat as processes of their own, on the real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
import websockets
from deltalake.exceptions import TableNotFoundError
from kafka import KafkaProducer

from tests import stack
from tests.environment import ADDRESSES
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.service
PASSWORD = "servers-have-long-passwords"  # pragma: allowlist secret
VALUES = {"temperature": 21.5, "humidity": 40.1, "light": 120.0, "voltage": 2.7}
MACHINE = {"temperature": 55.5, "vibration": 1.1, "pressure": 50.2, "power": 251.0}


@pytest.fixture(scope="module")
def sieis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole of server mode as docs/deployment.md starts it, with a day of history and a first model."""
    folder = tmp_path_factory.mktemp("servers")
    with stack.on_servers(folder, ADDRESSES, SIEIS_SLOW_CYCLE_S="1", SIEIS_DEMO_PASSWORD=PASSWORD) as running:
        plain, running.environment = running.environment, {**running.environment, "SIEIS_DEMO": "1"}
        running.manage("migrate", "-v0")
        running.manage("collectstatic", "-v0", "--noinput")
        running.manage("setup", "--history-days", "1")
        running.environment = plain
        running.manage("load_pack", "machine", "--yes")
        running.start("consumer", "consume")
        running.start("worker", "-m", "celery", "-A", "sieis_site", "worker", "--loglevel", "WARNING")
        running.start("beat", "-m", "celery", "-A", "sieis_site", "beat", "--loglevel", "WARNING")
        running.serve()
        yield running


@pytest.fixture(scope="module")
def alice(sieis: Stack) -> Any:
    return sieis.session("engineer", PASSWORD)


@pytest.fixture
def produce(sieis: Stack) -> Iterator[Callable[..., None]]:
    """A plain kafka-python producer, as an integrator has one."""
    producer = KafkaProducer(
        bootstrap_servers=sieis.environment["KAFKA_BOOTSTRAP_SERVERS"],
        value_serializer=lambda value: json.dumps(value).encode(),
    )

    def send(*messages: dict[str, Any], key: str = "main/lab") -> None:
        for message in messages:
            producer.send(sieis.environment["KAFKA_TOPIC"], message, key=key.encode())
        producer.flush()

    yield send
    producer.close()


def silver(sieis: Stack, code: str = "indoor") -> pl.DataFrame:
    """The lake, read by an engine that is not ours."""
    environment = sieis.environment
    return pl.read_delta(
        f"s3://{environment['S3_BUCKET']}/lake/silver/{code}",
        storage_options={
            "AWS_ENDPOINT_URL": environment["S3_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": environment["AWS_ACCESS_KEY_ID"], "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": environment["AWS_SECRET_ACCESS_KEY"],
        },
    )  # fmt: skip


def series(mote: int, n: int, first_us: int) -> list[dict[str, Any]]:
    return [
        {"mote_id": mote, "timestamp": (first_us + i * 1000) / 1e6, **VALUES, "light": float(i % 500)} for i in range(n)
    ]


def now_us() -> int:
    return time.time_ns() // 1_000_000 * 1000


def count_silver(sieis: Stack, since_us: int) -> list[int]:
    """How often each instant since then is in the lake; one each is what is wanted."""
    table = silver(sieis).filter(pl.col("at") >= datetime.fromtimestamp(since_us / 1e6, UTC))
    return table.group_by("mote", "at").len()["len"].to_list()


def in_hot(sieis: Stack, session: Any, mote: int, since_us: int) -> int:
    """How many readings of a mote the API finds in InfluxDB since then."""
    start = datetime.fromtimestamp(since_us / 1e6, UTC).isoformat().replace("+00:00", "Z")
    end = datetime.fromtimestamp(time.time() + 60, UTC).isoformat().replace("+00:00", "Z")
    answer = sieis.get(session, f"/api/v1/sensors/readings?mote_id={mote}&start={start}&end={end}&limit=10000")
    return len(answer["readings"])


def open_connections(sieis: Stack) -> int:
    with psycopg.connect(sieis.environment["DATABASE_URL"]) as asking:
        found = asking.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone()
    return int(found[0]) if found else 0


def test_a_hundred_requests_leave_no_connection_behind_in_the_database(sieis: Stack, alice: Any) -> None:
    before = open_connections(sieis)

    most = 0
    for _ in range(100):
        sieis.get(alice, "/api/v1/motes")
        most = max(most, open_connections(sieis))

    assert most <= before + 5


def services(*arguments: str) -> None:
    subprocess.run([str(ROOT / "deploy" / "native-services"), *arguments], check=True, timeout=120, capture_output=True)


def test_the_documented_messages_of_a_plain_producer_reach_hot_store_lake_api_and_websocket(
    sieis: Stack, alice: Any, produce: Any
) -> None:
    heard = asyncio.run(_hear(sieis, alice, lambda: produce(
        {"mote_id": 7, "timestamp": datetime.now(UTC).isoformat(), **VALUES},
        {"machine_id": "MACHINE_001", "timestamp": time.time(), **MACHINE},
    )))  # fmt: skip

    assert heard["7"]["values"] == VALUES | {"dew_point": 7.4}
    assert heard["MACHINE_001"]["values"] == MACHINE
    assert 0.0 <= heard["7"]["score"] <= 1.0
    latest = sieis.get(alice, "/api/v1/sensors/MACHINE_001/latest")
    assert latest["values"] == MACHINE
    sieis.wait_until(lambda: _lake_rows(sieis, "machine") is not None, "consumer", wait_s=20)
    rows = silver(sieis, "machine")
    assert rows.select(list(MACHINE)).rows() == [tuple(MACHINE.values())]


async def _hear(sieis: Stack, session: Any, act: Callable[[], None]) -> dict[str, Any]:
    cookie = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
    url = f"ws://127.0.0.1:{sieis.port}/ws/live/"
    heard: dict[str, Any] = {}
    async with websockets.connect(url, additional_headers={"Cookie": cookie, "Origin": sieis.url}) as socket:
        json.loads(await socket.recv())  # hello
        await asyncio.to_thread(act)
        async with asyncio.timeout(20):
            while not heard.keys() >= {"7", "MACHINE_001"}:  # the canary may sing between them
                message = json.loads(await socket.recv())
                heard |= {reading["mote"]: reading for reading in message.get("readings", [])}
    return heard


def _lake_rows(sieis: Stack, code: str) -> pl.DataFrame | None:
    """The table is there a moment before its first rows are."""
    try:
        rows = silver(sieis, code)
    except TableNotFoundError:
        return None
    return rows if len(rows) else None


def test_a_socket_without_a_session_is_refused(sieis: Stack) -> None:
    async def knock() -> None:
        async with websockets.connect(f"ws://127.0.0.1:{sieis.port}/ws/live/", origin=sieis.url) as socket:
            await socket.recv()

    with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
        asyncio.run(knock())


def test_a_consumer_killed_in_the_middle_loses_nothing_and_stores_nothing_twice(
    sieis: Stack, alice: Any, produce: Any
) -> None:
    since = now_us()
    for round_no in range(3):
        produce(*series(1, 500, since + round_no * 500_000))
        time.sleep(0.4)
        sieis.stop("consumer", signal.SIGKILL)
        sieis.start("consumer", "consume")

    sieis.wait_until(lambda: len(count_silver(sieis, since)) >= 1500, "consumer")
    assert set(count_silver(sieis, since)) == {1}
    assert in_hot(sieis, alice, 1, since) == 1500


def test_influxdb_going_away_and_coming_back_loses_nothing_and_health_says_so_meanwhile(
    sieis: Stack, alice: Any, produce: Any
) -> None:
    since = now_us()
    services("kill", "influxdb")
    try:
        produce(*series(3, 300, since))
        health = sieis.wait_until(lambda: _degraded(sieis, alice), "web", wait_s=30)
    finally:
        services("up", "influxdb")

    assert "hot_store" in json.dumps(health)
    sieis.wait_until(lambda: in_hot(sieis, alice, 3, since) == 300, "consumer")
    sieis.wait_until(lambda: _lake_has(sieis, since, 300), "consumer", wait_s=20)
    assert set(count_silver(sieis, since)) == {1}


def _degraded(sieis: Stack, session: Any) -> Any:
    answer = session.get(f"{sieis.url}/api/v1/health", timeout=20).json()
    return answer if answer["status"] != "healthy" else None


def _lake_has(sieis: Stack, since: int, n: int) -> bool:
    return len(count_silver(sieis, since)) >= n


def test_a_second_consumer_takes_over_when_the_first_is_told_to_stop(sieis: Stack, alice: Any, produce: Any) -> None:
    since = now_us()
    sieis.start("second", "consume")
    produce(*series(4, 300, since))
    assert sieis.stop("consumer") == 0
    produce(*series(4, 300, since + 300_000))

    sieis.wait_until(lambda: in_hot(sieis, alice, 4, since) == 600, "second")
    sieis.start("consumer", "consume")
    assert sieis.stop("second") == 0
    sieis.wait_until(lambda: _lake_has(sieis, since, 600), "consumer")
    assert set(count_silver(sieis, since)) == {1}


def test_a_retrain_runs_in_the_worker_and_is_swapped_in_without_a_restart(sieis: Stack, alice: Any) -> None:
    token = alice.cookies["csrftoken"]
    asked = alice.post(
        f"{sieis.url}/api/v1/ml/retrain", json={"profile": "indoor", "parameters": {"promote": "always"}},
        headers={"X-CSRFToken": token, "Referer": sieis.url}, timeout=20,
    )  # fmt: skip
    assert asked.status_code in (200, 201, 202), asked.text

    job = asked.json()["job_id"]
    done = sieis.wait_until(lambda: _finished(sieis, alice, job), "worker", wait_s=120)

    assert done["status"] == "succeeded", done
    sieis.wait_until(lambda: _serving(sieis, alice, "v2"), "consumer", wait_s=30)


def _finished(sieis: Stack, session: Any, job: int) -> Any:
    answer = sieis.get(session, f"/api/v1/ml/jobs/{job}")
    return answer if answer["status"] in ("succeeded", "failed", "cancelled") else None


def _serving(sieis: Stack, session: Any, version: str) -> bool:
    return version in json.dumps(sieis.get(session, "/api/v1/health")["pipeline"]["serving"])


def test_verify_follows_a_reading_through_everything(sieis: Stack) -> None:
    told = sieis.manage("verify", "--url", sieis.url, "--timeout", "60", check=False)

    assert told.returncode == 0, told.stdout + told.stderr


def labels(sieis: Stack, profile: str) -> int:
    with psycopg.connect(sieis.environment["DATABASE_URL"]) as asking:
        found = asking.execute(
            "SELECT count(*) FROM mlops_label JOIN sensors_mote ON mote_id = sensors_mote.id "
            "JOIN sensors_profile ON profile_id = sensors_profile.id WHERE sensors_profile.code = %s",
            [profile],
        ).fetchone()
    return int(found[0]) if found else 0


def test_every_injected_fault_lies_in_the_table_of_labels(sieis: Stack) -> None:
    assert labels(sieis, "indoor") > 0  # the demo's day of history

    asked = ("--pack", "machine", "--interval", "30", "--anomaly-rate", "0.3", "--speed", "0", "--duration", "4h")
    said = sieis.manage("simulate", *asked).stdout

    n = int(said.partition(" readings and ")[2].partition(" injected")[0])
    assert n > 0
    sieis.wait_until(lambda: labels(sieis, "machine") == n, "consumer", wait_s=30)


def test_a_server_that_is_down_at_start_is_told_in_a_sentence_and_waited_for(sieis: Stack, tmp_path: Path) -> None:
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{stack.free_port()}"}
    lonely = Stack(tmp_path, {**sieis.environment, **nowhere, "SIEIS_DATA": str(tmp_path)})
    lonely.start("consumer", "consume")

    lonely.wait_until(lambda: "sink_away" in lonely.tail("consumer"), "consumer", wait_s=30)
    log = lonely.tail("consumer")

    assert lonely.stop("consumer") == 0
    assert nowhere["KAFKA_BOOTSTRAP_SERVERS"] in log
    assert "Traceback" not in log
