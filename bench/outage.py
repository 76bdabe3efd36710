"""Servers go away under load and come back: what the consumer's memory does meanwhile, and what is missing after.

    python -m bench.outage [--sinks influxdb minio postgres] [--minutes 10] [--rate 5000]

On the real servers whose addresses are in the environment, which stay as they are: the consumer reaches them through
relays of this program, and one relay after the other goes away. Readings flow all the time. Reported of each sink: the
resident memory of the consumer before, during and after, and how long until what had waited was stored; of all of them
together what was lost or stored twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    parser.add_argument("--quiet", type=float, default=15.0, help="seconds with everything there before and after")
    parser.add_argument("--rate", type=float, default=5_000.0, help="readings a second, all the time")
    parser.add_argument("--motes", type=int, default=42, help="at each of the four sites")
    parser.add_argument("--save", type=float, default=15.0, help="seconds between two saves, for which a return waits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name:
        told = measure(options, Path(name))
    print(json.dumps(told))
    raise SystemExit(bool(told["lost"] or told["twice"]))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    most_s = (2 * options.minutes * 60 + 2 * options.quiet + CATCH_UP_S / 10) * len(options.sinks)
    n = int(options.rate * most_s)
    span = timedelta(seconds=30 * n / (4 * options.motes)) * 1.3 + timedelta(hours=2)
    mixture = Mixture(_fleet.codes(4), options.motes, _servers.day_before(span), n)
    with _servers.sieis(folder, SIEIS_SLOW_CYCLE_S=f"{options.save:g}") as stack, ExitStack() as relays:
        _servers.fill(stack, 4, options.motes, mixture.start)
        inside = replace(stack, environment=dict(stack.environment))
        relay_of = {sink: relays.enter_context(_relayed(inside, SINKS[sink])) for sink in options.sinks}
        relays.callback(stack.close)
        inside.start("consumer", "consume")
        stack.wait_until(lambda: '"assigned"' in stack.tail("consumer"), "consumer")
        stop = threading.Event()
        flow = threading.Thread(target=_servers.flow, args=(stack, mixture, options.rate, stop), daemon=True)
        flow.start()
        last = options.sinks[-1]
        told = {
            sink: _take_away(stack, relay, options, flow, stop if sink == last else threading.Event())
            for sink, relay in relay_of.items()
        }
        flow.join()
        sent = _servers.end(stack)
        stack.wait_until(lambda: _servers.saved(stack) >= sent, "consumer", wait_s=CATCH_UP_S)
        stack.stop("consumer")
        lost, twice = accounts(_servers.contents(stack, folder / "there"), sent)
        return {
            "minutes": options.minutes, "rate": options.rate, "messages": sent, "lost": lost, "twice": twice,
            "told_as_alerts": _told(stack), "sinks": told,
        }  # fmt: skip


def _take_away(
    stack: Stack, relay: Relay, options: argparse.Namespace, flow: threading.Thread, stop: threading.Event
) -> dict[str, Any]:
    """One outage: memory before, during and after it, and how long until what had waited was stored.

    `stop` is set when things were quiet again for a while: a machine that is busy otherwise must catch up, too.
    """
    away_s = options.minutes * 60
    before = _watch(stack, options.quiet)
    relay.close()
    during = _watch(stack, away_s)
    is_flowing = flow.is_alive()
    relay.open()
    back, end = time.monotonic(), _servers.end(stack)
    behind = end - _servers.saved(stack)
    after = _watch(stack, options.quiet)
    stop.set()
    after += _watch(stack, CATCH_UP_S, lambda: _servers.saved(stack) >= end)
    caught_up_s = time.monotonic() - back
    return {
        "away_s": away_s, "flowed_all_the_time": is_flowing, "behind_at_return": behind,
        "caught_up_s": round(caught_up_s, 1),
        "memory_mb": {"before": _span(before), "during": _span(during), "after": _span(after)},
        "memory_mb_by_minute": [round(sum(part) / len(part)) for part in _minutes(during)],
        "growth_mb_during": round(sum(during[-5:]) / len(during[-5:]) - sum(during[:5]) / len(during[:5]), 1),
    }  # fmt: skip


@contextmanager
def _relayed(inside: Stack, variable: str) -> Iterator[Relay]:
    """A relay, behind which the stack's processes see one server from now on."""
    address = urlsplit(inside.environment[variable])
    relay = Relay(address.hostname or "127.0.0.1", int(address.port or 0))
    relay.open()
    inside.environment[variable] = _servers.by_way_of(inside.environment[variable], relay.port)
    try:
        yield relay
    finally:
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


def _minutes(seen: list[float]) -> list[list[float]]:
    n = int(60 / LOOK_S)
    return [seen[i : i + n] for i in range(0, len(seen), n)]


def _span(seen: list[float]) -> list[float]:
    return [round(min(seen), 1), round(max(seen), 1)] if seen else []


def _told(stack: Stack) -> int:
    """How many outages stand in the list of alerts, each resolved by its end."""
    row = _servers.ask(stack, "SELECT count(*) FROM alerts_alert WHERE kind = 'sink_down' AND status = 'resolved'")
    return int(row[0])


if __name__ == "__main__":
    main()
