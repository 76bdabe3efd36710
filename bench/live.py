"""The live channel with many pages open: how long from announcing to the client, at what cost, and is any message lost.

    python -m bench.live [--clients 1000] [--rates 1 10] [--seconds 20] [--many 5000]

One web process as `manage.py serve` builds it, without a reading path beside it, and websocket clients with a session
of their own in another process. Messages of 4 KB are announced in the web process as the reading path does. `--many`
clients hear one a second; 0 leaves that out. `overtaken` counts messages whose motes a client heard by a newer one
instead, since it was slower than they came; `lost` those that it heard neither way, though it was waited for until
nothing came for a while. The processor time is the web process's own, from the first announcement to the last delivery.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from bench._place import ROOT, embedded_django
from tests.stack import free_port

MESSAGE = 4096  # bytes
AT_ONCE = 50  # handshakes
SETTLE_S = 15.0  # without any message
STAMP = re.compile(rb'"n":(\d+),"sent":(\d+)')
SKIPPED = re.compile(rb'"skipped":(\d+)')
PING = 0x9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 10.0], help="messages a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--many", type=int, default=5000, help="clients that hear one message a second")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, _announce)
        return
    rounds = [(options.clients, rate) for rate in options.rates] + ([(options.many, 1.0)] if options.many else [])
    _allow_files(2 * max(clients for clients, _ in rounds) + 200)
    with embedded_django():
        cookie = session()
        figures = [measure(cookie, clients, rate, options.seconds) for clients, rate in rounds]
    for one in figures:
        print("  ".join(f"{name} {value:,}" for name, value in one.items()))
    print(json.dumps(figures[-1] | {"rounds": figures}))


def _allow_files(n: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(n, hard), hard))


def session() -> str:
    """The cookie of somebody who may look."""
    from datetime import UTC, datetime

    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    from sensors import roles

    roles.install_roles()
    user = User.objects.create_user("bench")
    roles.give_role(user, roles.VIEWER, now=datetime.now(UTC))
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={client.cookies[name].value}"


# ---- the web process ----------------------------------------------------------------------------------------


def serve(port: int, announce: Callable[[], None]) -> None:
    """Serves, and announces in a thread of its own; that says `ready` first."""
    import django

    django.setup()
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import twisted_loop

    from sensors import live
    from sieis_site.asgi import application
    from sieis_site.web_server import PatientServer

    live.bind_loop(twisted_loop)
    PatientServer(
        application,
        build_endpoint_description_strings(host="127.0.0.1", port=port),
        ready_callable=lambda: threading.Thread(target=announce, daemon=True).start(),
    ).run()


def _announce() -> None:
    """Each line on standard input is a rate and how many messages, answered when they are announced."""
    from sensors import live

    print("ready", flush=True)
    for line in sys.stdin:
        rate, n = line.split()
        if not float(rate):  # the processor time so far
            print(time.process_time(), flush=True)
            continue
        due = time.monotonic()
        for i in range(int(n)):
            time.sleep(max(due - time.monotonic(), 0.0))
            live.announce({"type": "readings", "n": i, "sent": time.monotonic_ns(), "readings": _readings()})
            due += 1 / float(rate)
        print("done", flush=True)


def _readings() -> list[dict[str, Any]]:
    """As many as a message of 4 KB holds, each as the reading path tells it."""
    one = {
        "site": "main", "at": "2026-03-02T12:00:00Z",
        "values": {"temperature": 21.53, "humidity": 40.12, "light": 120.4, "voltage": 2.713}, "quality": 1.0,
        "flags": [], "suspect": [], "score": 0.0412, "surprise": 0.5521, "is_anomaly": False,
    }  # fmt: skip
    return [{"mote": str(mote), **one} for mote in range(MESSAGE // (len(json.dumps(one, separators=(",", ":"))) + 12))]


class Server:
    """A module of this folder that serves, as a process of its own."""

    def __init__(self, module: str = "bench.live", *more: object) -> None:
        self.module, self.more = module, more

    def __enter__(self) -> Server:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, "--serve", str(self.port), *map(str, self.more)],
            cwd=ROOT, env=os.environ.copy(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[str] = self._process.stdin
        self._out: IO[str] = self._process.stdout
        self._told()
        return self

    def cpu_s(self) -> float:
        return float(self.tell(0, 0))

    def tell(self, rate: float, n: int) -> str:
        self._in.write(f"{rate} {n}\n")
        self._in.flush()
        return self._told()

    def _told(self) -> str:
        if line := self._out.readline():
            return line.strip()
        raise SystemExit("the web process ended")

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)


# ---- the clients --------------------------------------------------------------------------------------------


class Heard:
    """What all clients of this process got: seconds from announcing to here."""

    def __init__(self) -> None:
        self.waits = array("d")
        self.n_merged = 0  # messages that tell the newest of several; they have no stamp
        self.n_skipped = 0  # readings
        self.n_closed = 0

    @property
    def n(self) -> int:
        return len(self.waits) + self.n_merged + self.n_overtaken

    @property
    def n_overtaken(self) -> int:
        return self.n_skipped // len(_readings())


class Page(asyncio.Protocol):
    """A websocket client that costs next to nothing: unmasked frames in, pongs out."""

    def __init__(self, request: bytes, heard: Heard) -> None:
        self.request, self.heard = request, heard
        self.buffer = bytearray()
        self.is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def connection_lost(self, error: Exception | None) -> None:
        self.heard.n_closed += 1

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.buffer += data
        if not self.is_open.done():
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise SystemExit(f"refused: {head[:200]!r}")
            self.buffer = rest
            self.is_open.set_result(None)
        while (end := _end(self.buffer)) is not None:
            if self.buffer[0] & 0xF == PING:
                self.transport.write(_pong(self.buffer[2:end]))
            elif stamp := STAMP.search(self.buffer, 0, 160):
                self.heard.waits.append((now - int(stamp[2])) / 1e9)
            elif skipped := SKIPPED.search(self.buffer, 0, 160):
                self.heard.n_merged += 1
                self.heard.n_skipped += int(skipped[1])
            del self.buffer[:end]


def _pong(payload: bytearray) -> bytes:
    """The server hangs up on whoever does not repeat what it sent; the mask is of zeros."""
    return b"".join([b"\x8a", bytes([0x80 | len(payload)]), bytes(4), payload])


def _end(buffer: bytearray) -> int | None:
    """Where the first frame ends; None while it is not whole."""
    if len(buffer) < 4:
        return 2 if len(buffer) >= 2 and not buffer[1] else None
    length, at = buffer[1], 2
    if length == 126:
        length, at = int.from_bytes(buffer[2:4], "big"), 4
    elif length == 127:
        length, at = int.from_bytes(buffer[2:10], "big"), 10
    return at + length if len(buffer) >= at + length else None


async def connect(port: int, cookie: str, n: int, heard: Heard) -> list[Page]:
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)
    request = (
        f"GET /ws/live/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()

    async def one() -> Page:
        async with gate:
            _, page = await loop.create_connection(lambda: Page(request, heard), "127.0.0.1", port)
            await page.is_open
            return page

    return await asyncio.gather(*(one() for _ in range(n)))


def measure(cookie: str, clients: int, rate: float, seconds: float) -> dict[str, Any]:
    with Server() as server:
        heard = asyncio.run(_round(server, cookie, clients, rate, max(int(rate * seconds), 1)))
    return {"clients": clients, "messages_per_s": rate, **heard}


async def _round(server: Server, cookie: str, clients: int, rate: float, n: int) -> dict[str, Any]:
    heard = Heard()
    pages = await connect(server.port, cookie, clients, heard)
    await asyncio.to_thread(server.tell, rate, 1)  # the hub and each client are warm
    await _until(heard, clients)
    heard.waits = array("d")
    before = await asyncio.to_thread(server.cpu_s)
    await asyncio.to_thread(server.tell, rate, n)
    await _until(heard, n * clients)
    cpu_s = await asyncio.to_thread(server.cpu_s) - before
    lost = n * clients - heard.n
    p50, p99 = (round(float(np.quantile(heard.waits, q)) * 1000, 1) for q in (0.5, 0.99))
    if heard.n_closed:
        print(f"{heard.n_closed} clients were closed", file=sys.stderr)
    for page in pages:
        page.transport.abort()
    return {
        "p50_ms": p50, "p99_ms": p99, "cpu_us_per_delivery": round(cpu_s / (n * clients) * 1e6, 1),
        "overtaken": heard.n_overtaken, "lost": lost,
    }  # fmt: skip


async def _until(heard: Heard, n: int) -> None:
    before, since = heard.n, time.monotonic()
    while heard.n < n and time.monotonic() - since < SETTLE_S:
        await asyncio.sleep(0.02)
        if heard.n > before:
            before, since = heard.n, time.monotonic()


if __name__ == "__main__":
    main()
