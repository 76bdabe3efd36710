"""A steady load for minutes on the real servers: what is lost, how late readings are, what the consumer takes.

    python -m bench.steady [--minutes 10] [--rate 2000]

Web and consumer run as docs/deployment.md starts them, with a trained model, on the servers whose addresses are in the
environment. Late to a browser is each reading that /ws/live/ tells, since it was produced; late to InfluxDB is, asked
five times a second, how long ago the newest reading that it answers was produced, which is an upper bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
import websockets

from bench import _servers, footprint, latency
from tests.stack import Stack

TICK_S = 0.01
ASK_EVERY_S = 0.2
LOOK_EVERY_S = 1.0
SETTLE_S = 10.0
WAIT_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=2000.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name, _servers.sieis(Path(name)) as stack:
        latency.start(stack, servers=True)
        print(json.dumps(asyncio.run(measure(stack, options.minutes * 60, options.rate))))


async def measure(stack: Stack, seconds: float, rate: float) -> dict[str, Any]:
    session = await asyncio.to_thread(stack.session, "viewer", latency.PASSWORD)
    motes = [mote["mote"] for mote in stack.get(session, "/api/v1/motes")]
    before = _books(stack)
    cookie = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
    headers = {"Cookie": cookie, "Origin": stack.url}
    async with websockets.connect(f"ws://127.0.0.1:{stack.port}/ws/live/", additional_headers=headers) as socket:
        heard: dict[int, float] = {}
        listening = asyncio.create_task(latency.listen(socket, heard))
        load = Load(stack, motes, rate)
        load.start()
        await asyncio.to_thread(stack.wait_until, lambda: heard, "consumer", wait_s=latency.START_S)
        await asyncio.sleep(SETTLE_S)
        since_us = time.time_ns() // 1000
        consumer = await asyncio.to_thread(_watch, stack, seconds)
        load.stop.set()
        await asyncio.to_thread(load.join)
        sent = load.n
        await asyncio.to_thread(
            stack.wait_until, lambda: _books(stack)["received"] - before["received"] >= sent, "consumer", wait_s=WAIT_S
        )
        listening.cancel()
    booked = {name: n - before[name] for name, n in _books(stack).items()}
    to_browser = [(now - at) / 1000 for at, now in heard.items() if at >= since_us]
    return {
        "minutes": round(seconds / 60, 2), "rate": rate, "sent": sent, "lost": sent - booked["stored"],
        "duplicated": booked["received"] - sent, "heard": len(to_browser),
        "to_browser_ms": _percentiles(to_browser), **consumer,
    }  # fmt: skip


def _books(stack: Stack) -> dict[str, int]:
    row = _servers.ask(stack, "SELECT coalesce(sum(received), 0), coalesce(sum(stored), 0) FROM ingestion_ledgerhour")
    return {"received": int(row[0]), "stored": int(row[1])}


class Load(threading.Thread):
    """So many readings a second, the motes in turn, each measured at its own instant."""

    def __init__(self, stack: Stack, motes: list[str], rate: float) -> None:
        super().__init__(daemon=True)
        self.stream, self.motes, self.rate, self.stop = _servers.stream(stack), motes, rate, threading.Event()
        self.began_us, self.n = time.time_ns() // 1000, 0

    def run(self) -> None:
        while not self.stop.wait(TICK_S):
            due = int((time.time_ns() // 1000 - self.began_us) / 1e6 * self.rate)
            said = [self._message(i) for i in range(self.n, due)]
            self.stream.append(said, [b"main/lab"] * len(said))
            self.n = due
        self.stream.close()

    def _message(self, i: int) -> bytes:
        at = self.began_us + int(i / self.rate * 1e6)
        values = {"temperature": 21.5 + i % 7 / 10, "humidity": 40.0 + i % 5 / 10, "light": 120.0, "voltage": 2.7}
        return json.dumps({"mote_id": self.motes[i % len(self.motes)], "timestamp": at, **values}).encode()


def _watch(stack: Stack, seconds: float) -> dict[str, Any]:
    """The consumer's memory and processor, and how late readings are in InfluxDB, all the while."""
    pid, newest = stack.processes["consumer"].pid, Newest(stack.environment)
    memory: list[float] = []
    ages: list[float] = []
    used, began = footprint.cpu_s([pid]), time.monotonic()
    looked = 0.0
    while (passed := time.monotonic() - began) < seconds:
        at_us = newest.at_us()
        ages.append(time.time() * 1000 - at_us / 1000)
        if passed - looked >= LOOK_EVERY_S or not memory:
            looked = passed
            memory.append(_servers.resident_mb(pid))
        time.sleep(ASK_EVERY_S)
    fifth = max(len(memory) // 5, 1)
    first, last = (round(float(np.median(part))) for part in (memory[:fifth], memory[-fifth:]))
    return {
        "to_influxdb_ms": _percentiles(ages),
        "memory_mb": {"first_fifth": first, "last_fifth": last, "most": round(max(memory))},
        "cpu_percent_of_a_core": round(100 * (footprint.cpu_s([pid]) - used) / (time.monotonic() - began), 1),
    }  # fmt: skip


class Newest:
    """When the newest reading was measured that InfluxDB answers."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._url = f"{environment['INFLUXDB_V2_URL']}/query"
        self._fields = {"db": environment["INFLUXDB_V2_BUCKET"], "epoch": "u"}
        self._http = urllib3.PoolManager(headers={"Authorization": f"Token {environment['INFLUXDB_V2_TOKEN']}"})

    def at_us(self) -> int:
        asked = {**self._fields, "q": 'SELECT last("origin") FROM "indoor"'}
        answer = self._http.request("POST", self._url, fields=asked, encode_multipart=False)
        return int(json.loads(answer.data)["results"][0]["series"][0]["values"][0][0])


def _percentiles(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(float(np.percentile(values, 50)), 1), "p99": round(float(np.percentile(values, 99)), 1),
        "most": round(max(values), 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
