"""Doors beside Kafka's own, as processes on the real servers: an MQTT broker's topics, and what was put aside."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion.streams.kafka import KafkaStream
from tests import stack
from tests.environment import ADDRESSES
from tests.ingestion.test_bridges import mosquitto, send
from tests.stack import Stack

pytestmark = pytest.mark.service
__all__ = ["mosquitto"]
VALUES = {"temperature": 21.5, "humidity": 40.1, "light": 120.0, "voltage": 2.7}
N = 300


@pytest.fixture(scope="module")
def sieis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The first five motes of the lab (1, 2, 3, 4, 6) and a consumer."""
    with stack.on_servers(tmp_path_factory.mktemp("doors"), ADDRESSES, SIEIS_SLOW_CYCLE_S="0.5") as running:
        running.manage("migrate", "-v0")
        running.manage("load_pack", "indoor", "--motes", "5", "--yes")
        running.start("consumer", "consume")
        running.wait_until(lambda: '"assigned"' in running.tail("consumer"), "consumer")
        yield running


def ask(sieis: Stack, query: str) -> Any:
    with psycopg.connect(sieis.environment["DATABASE_URL"]) as asking:
        return asking.execute(query).fetchone()


def books(sieis: Stack) -> dict[str, int]:
    names = ("received", "stored", "quarantined", "held", "duplicate")
    row = ask(sieis, f"SELECT {', '.join(f'coalesce(sum({name}), 0)' for name in names)} FROM ingestion_ledgerhour")
    return dict(zip(names, map(int, row), strict=True))


def readings(n: int, first_s: float) -> list[dict[str, Any]]:
    return [{"timestamp": first_s + i / 10, **VALUES, "light": float(i)} for i in range(n)]


def test_what_an_mqtt_broker_has_is_stored_once_though_the_bridge_is_killed(sieis: Stack, mosquitto: int) -> None:
    before, begun = books(sieis)["stored"], time.time() - 120
    bridge = ("bridge_mqtt", "--broker", f"mqtt://127.0.0.1:{mosquitto}", "--topic", "sieis/{site}/{mote}")
    sieis.start("bridge", *bridge)
    sieis.wait_until(lambda: "Listening at" in sieis.tail("bridge"), "bridge")
    sent = readings(N, begun)

    send(mosquitto, *sent[: N // 2], topic="sieis/main/3")
    sieis.stop("bridge", signal.SIGKILL)
    send(mosquitto, *sent[N // 2 :], topic="sieis/main/3")
    sieis.start("bridge", *bridge)

    sieis.wait_until(lambda: books(sieis)["stored"] >= before + N, "consumer")
    told = books(sieis)
    assert told["stored"] == before + N
    assert told["received"] == told["stored"] + told["quarantined"] + told["held"] + told["duplicate"]
    sieis.stop("bridge")


def test_what_was_put_aside_goes_back_to_kafka_repaired_or_with_its_mote_and_is_stored_once(
    sieis: Stack, tmp_path: Path
) -> None:
    topic = KafkaStream(sieis.environment["KAFKA_TOPIC"], sieis.environment["KAFKA_BOOTSTRAP_SERVERS"])
    before, now = books(sieis), time.time() - 30
    stranger = [{"mote_id": "7", **one} for one in readings(20, now)]
    topic.append([b'{"mote_id": "4", "temp', *(json.dumps(one).encode() for one in stranger)], [b"main/lab"] * 21)
    sieis.wait_until(lambda: books(sieis)["received"] >= before["received"] + 21, "consumer")
    assert (books(sieis)["quarantined"], books(sieis)["held"]) == (before["quarantined"] + 1, before["held"] + 20)
    broken = ask(sieis, "SELECT id FROM ingestion_quarantined WHERE reason = 'malformed'")[0]
    better = tmp_path / "better.json"
    better.write_text(json.dumps({"mote_id": "4", "timestamp": now, **VALUES}))

    repaired = sieis.manage("quarantine", "replay", str(broken), "--payload", str(better)).stdout
    sieis.manage("load_pack", "indoor", "--motes", "6", "--yes")
    sieis.wait_until(lambda: '"reconfigured"' in sieis.tail("consumer", 400), "consumer")
    released = sieis.manage("quarantine", "replay", "--all", "--reason", "unknown_mote").stdout
    again = sieis.manage("quarantine", "replay", str(broken), check=False)

    assert "Sent again. Stored" in repaired
    assert "20 of 20 sent again" in released
    assert "1 sent again" not in again.stdout, "a message that is settled is not sent twice"
    sieis.wait_until(lambda: books(sieis)["stored"] >= before["stored"] + 21, "consumer")
    told = books(sieis)
    assert told["stored"] == before["stored"] + 21
    assert told["received"] == told["stored"] + told["quarantined"] + told["held"] + told["duplicate"]
    waiting = "SELECT count(*) FROM ingestion_quarantined WHERE status IN ('quarantined', 'held')"
    assert ask(sieis, waiting)[0] == 0
    topic.close()
