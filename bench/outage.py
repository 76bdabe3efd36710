"""A server goes away under load and comes back: what the consumer's memory does meanwhile, and what is missing after.

    python -m bench.outage [--sinks influxdb minio postgres] [--minutes 10] [--rate 5000]

On the real servers whose addresses are in the environment, which stay as they are: the consumer reaches them through a
relay of this program, and the relay goes away. Readings flow all the time. Reported of each sink: the resident memory
of the consumer before, during and after, how long it took to catch up, and what was lost or stored twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import _fleet, _servers
from bench._mixture import Mixture
from bench.kill import accounts
from tests.stack import Stack, free_port

SINKS = {"influxdb": "INFLUXDB_V2_URL", "minio": "S3_ENDPOINT_URL", "postgres": "DATABASE_URL"}
LOOK_S = 1.0
QUIET_S = 15.0  # with everything there, before and after
CATCH_UP_S = 900.0


class Relay:
    """Passes connections on to a server, until it is told to refuse them."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.server_port, self.port = host, port, free_port()
        self.loop = asyncio.new_event_loop()
        self.writers: set[asyncio.StreamWriter] = set()
        self.listening: asyncio.Server | None = None
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def open(self) -> None:
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result(10)

    def close(self) -> None:
        """No new connection, and an end to those that stand."""
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(10)

    async def _open(self) -> None:
        self.listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self.listening is not None:
            self.listening.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.host, self.server_port)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with suppress(OSError):
            while some := await reader.read(1 << 16):
                writer.write(some)
                await writer.drain()
        self.writers.discard(writer)
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sinks", nargs="+", choices=SINKS, default=list(SINKS))
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each is away")
    parser.add_argument("--rate", type=float, default=5_000.0, help="readings a second, all the time")
    parser.add_argument("--motes", type=int, default=42, help="at each of the four sites")
    options = parser.parse_args()
    told = {}
    for sink in options.sinks:
        with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name:
            told[sink] = measure(sink, options, Path(name))
    print(json.dumps({"minutes": options.minutes, "rate": options.rate, "sinks": told}))


def measure(sink: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    away_s = options.minutes * 60
    n = int(options.rate * (away_s + 2 * QUIET_S))
    span = timedelta(seconds=30 * n / (4 * options.motes)) * 1.3 + timedelta(hours=2)
    mixture = Mixture(_fleet.codes(4), options.motes, _servers.day_before(span), n)
    with _servers.sieis(folder) as stack, _relayed(stack, SINKS[sink]) as (relay, inside):
        _servers.fill(stack, 4, options.motes, mixture.start)
        inside.start("consumer", "consume")
        stack.wait_until(lambda: '"assigned"' in stack.tail("consumer"), "consumer")
        flow = threading.Thread(target=_servers.flow, args=(stack, mixture, options.rate), daemon=True)
        flow.start()
        before = _watch(stack, QUIET_S)
        relay.close()
        during = _watch(stack, away_s)
        relay.open()
        back, behind = time.monotonic(), _servers.end(stack) - _servers.saved(stack)
        after = _watch(stack, CATCH_UP_S, lambda: not flow.is_alive() and _servers.saved(stack) >= _servers.end(stack))
        caught_up_s = time.monotonic() - back
        stack.stop("consumer")
        there = _servers.contents(stack, folder / "there")
        lost, twice = accounts(there, _servers.end(stack))
        return {
            "away_s": away_s, "messages": _servers.end(stack), "behind_at_return": behind, "lost": lost, "twice": twice,
            "told_as_alert": _told(stack), "caught_up_s": round(caught_up_s, 1),
            "memory_mb": {"before": _span(before), "during": _span(during), "after": _span(after)},
            "growth_mb_during": round(sum(during[-5:]) / len(during[-5:]) - sum(during[:5]) / len(during[:5]), 1),
        }  # fmt: skip


@contextmanager
def _relayed(stack: Stack, variable: str) -> Iterator[tuple[Relay, Stack]]:
    """The relay, and the same stack as its processes see it: with one server behind the relay."""
    address = urlsplit(stack.environment[variable])
    relay = Relay(address.hostname or "127.0.0.1", int(address.port or 0))
    relay.open()
    through = _servers.by_way_of(stack.environment[variable], relay.port)
    try:
        yield relay, replace(stack, environment={**stack.environment, variable: through})
    finally:
        stack.close()
        relay.close()


def _watch(stack: Stack, seconds: float, is_done: Any = lambda: False) -> list[float]:
    """The consumer's resident memory in MB, once a second."""
    seen, began = [], time.monotonic()
    process = stack.processes["consumer"]
    while time.monotonic() - began < seconds and not is_done():
        assert process.poll() is None, stack.tail("consumer")
        seen.append(_servers.resident_mb(process.pid))
        time.sleep(LOOK_S)
    return seen


def _span(seen: list[float]) -> list[float]:
    return [round(min(seen), 1), round(max(seen), 1)] if seen else []


def _told(stack: Stack) -> bool:
    row = _servers.ask(stack, "SELECT count(*) FROM alerts_alert WHERE kind = 'sink_down' AND status = 'resolved'")
    return int(row[0]) > 0


if __name__ == "__main__":
    main()
