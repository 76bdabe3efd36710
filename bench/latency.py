"""A reading's way from produce to a browser's websocket, at 42 readings a second.

    python -m bench.latency [--servers] [--seconds 60] [--rate 42]

Starts SIEIS as its users do (embedded; with --servers web, consumer and the real servers whose addresses are
in the environment), with a trained model, sends one reading every 1/rate s and hears them on /ws/live/. Where the path
has fallen behind, a mote's newest reading is told in place of those before it; they count as heard then ("merged" says
how many). Both clocks are this machine's. The yardstick is a bare websocket message and its echo on the same machine
in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import websockets

from sensors.readings import Floats
from tests import stack
from tests.environment import ADDRESSES

START_S = 300.0  # of processes, on a busy machine
WARM_UP_S = 5.0
END_S = 30.0  # for the last ones to be heard
PASSWORD = "latency-bench-password"  # pragma: allowlist secret


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--servers", action="store_true", help="on the servers whose addresses are in the environment")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=42.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name, _stack(Path(name), options.servers) as sieis:
        start(sieis, servers=options.servers)
        print(json.dumps(asyncio.run(measure(sieis, options))))


def _stack(folder: Path, servers: bool) -> contextlib.AbstractContextManager[stack.Stack]:
    if not servers:
        return stack.embedded(folder)
    if "KAFKA_BOOTSTRAP_SERVERS" not in ADDRESSES:
        raise SystemExit(
            '--servers needs the servers\' addresses in the environment: eval "$(deploy/native-services env)"'
        )
    return stack.on_servers(folder, ADDRESSES)


def start(sieis: stack.Stack, *, servers: bool) -> None:
    environment = sieis.environment
    sieis.environment = {**environment, "SIEIS_DEMO": "1", "SIEIS_DEMO_PASSWORD": PASSWORD}
    sieis.manage("migrate", "-v0")
    sieis.manage("setup", "--history-days", "1")
    sieis.environment = environment  # from here on without the demo's own simulator
    if servers:
        sieis.start("consumer", "consume")
    sieis.serve()


async def measure(sieis: stack.Stack, options: argparse.Namespace) -> dict[str, Any]:
    session = await asyncio.to_thread(sieis.session, "viewer", PASSWORD)
    cookie = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
    headers = {"Cookie": cookie, "Origin": sieis.url}
    echo = await _echo_ms()
    async with websockets.connect(f"ws://127.0.0.1:{sieis.port}/ws/live/", additional_headers=headers) as socket:
        heard: dict[int, float] = {}
        listener = asyncio.create_task(listen(socket, heard))
        await asyncio.to_thread(_send, sieis, options.rate, START_S, until=lambda: bool(heard))
        assert heard, f"no reading was heard for {START_S:.0f} s; the consumer says:\n{sieis.tail('consumer')}"
        sent = await asyncio.to_thread(_send, sieis, options.rate, WARM_UP_S + options.seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                while not np.isfinite(told_at(sent, heard)).all():
                    await asyncio.sleep(0.2)
        listener.cancel()
    at = np.array([instant for instant, _ in sent], dtype=float)
    counts = at >= at[0] + WARM_UP_S * 1e6
    delays = ((told_at(sent, heard) - at) / 1000)[counts]
    n_sent, delays = len(delays), delays[np.isfinite(delays)]
    return {
        "mode": "servers" if options.servers else "embedded",
        "rate": options.rate,
        "sent": n_sent,
        "heard": len(delays),
        "merged": sum(instant not in heard for (instant, _), it_counts in zip(sent, counts, strict=True) if it_counts),
        "p50_ms": round(float(np.percentile(delays, 50)), 1),
        "p99_ms": round(float(np.percentile(delays, 99)), 1),
        "max_ms": round(float(delays.max()), 1),
        "echo_p50_ms": round(echo, 2),
        "p50_to_echo": round(float(np.percentile(delays, 50)) / echo, 1),
    }


def told_at(sent: Sequence[tuple[int, str]], heard: Mapping[int, float]) -> Floats:
    """When a page knew of each reading or of a newer one of its mote; infinite where it never did."""
    soonest: dict[str, float] = {}
    told = []
    for instant, mote in reversed(sent):
        soonest[mote] = min(heard.get(instant, np.inf), soonest.get(mote, np.inf))
        told.append(soonest[mote])
    return np.array(told[::-1])


async def listen(socket: Any, heard: dict[int, float]) -> None:
    from datetime import datetime

    async for text in socket:
        now = time.time() * 1e6
        message = json.loads(text)
        for reading in message.get("readings", []):
            at = datetime.fromisoformat(reading["at"])
            heard.setdefault(int(at.timestamp()) * 1_000_000 + at.microsecond, now)


def _send(
    sieis: stack.Stack, rate: float, seconds: float, *, until: Callable[[], bool] = lambda: False
) -> list[tuple[int, str]]:
    """One reading at a time, the motes in turn; answers instants, which also identify the readings, and motes."""
    from ingestion.streams.kafka import KafkaStream
    from ingestion.streams.segments import SegmentStream

    environment = sieis.environment
    stream: Any = (
        KafkaStream(environment["KAFKA_TOPIC"], environment["KAFKA_BOOTSTRAP_SERVERS"])
        if "KAFKA_BOOTSTRAP_SERVERS" in environment
        else SegmentStream("sensor-readings", sieis.folder / "stream")
    )
    session = sieis.session("viewer", PASSWORD)
    motes = [mote["mote"] for mote in sieis.get(session, "/api/v1/motes")]
    sent: list[tuple[int, str]] = []
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds and not until():
        at = time.time_ns() // 1000
        values = {"temperature": 21.5, "humidity": 40.0, "light": 120.0, "voltage": 2.7}
        mote = motes[len(sent) % len(motes)]
        message = {"mote_id": mote, "timestamp": at, **values}
        stream.append([json.dumps(message).encode()], [b"main/lab"])
        sent.append((at, mote))
        time.sleep(max(len(sent) / rate - (time.perf_counter() - began), 0.0) if passed else 0.0)
    return sent


async def _echo_ms(n: int = 200) -> float:
    async def echo(socket: Any) -> None:
        async for text in socket:
            await socket.send(text)

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}") as socket:
            times = []
            for _ in range(n):
                began = time.perf_counter()
                await socket.send("x" * 300)
                await socket.recv()
                times.append((time.perf_counter() - began) * 1000)
    return float(np.median(times))


if __name__ == "__main__":
    main()
