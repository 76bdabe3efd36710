"""What SIEIS and its servers take of a machine at a steady 100 readings a second: memory and processor of each.

    python -m bench.footprint [--minutes 10] [--rate 100]

On the real servers whose addresses are in the environment, found by the ports that they listen on; others may be using
them too. Web, consumer, worker and beat are started as docs/deployment.md does. Memory is each process's proportional
share (PSS), so that nothing shared is counted twice; processor is the share of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import _fleet, _servers
from tests.environment import ADDRESSES
from tests.stack import Stack

SERVERS = {
    "postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS", "influxdb": "INFLUXDB_V2_URL",
    "minio": "S3_ENDPOINT_URL",
}  # fmt: skip
MOTES = 42
IMAGE = {"MALLOC_ARENA_MAX": "2"}  # what the Dockerfile sets
TICK = os.sysconf("SC_CLK_TCK")
SETTLE_S = 10.0
WAIT_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name, _servers.sieis(Path(name), **IMAGE) as stack:
        print(json.dumps(measure(stack, options.minutes * 60, options.rate)))


def measure(stack: Stack, seconds: float, rate: float) -> dict[str, Any]:
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    _servers.fill(stack, 1, MOTES + 1, now)  # one of them is retired
    stack.manage("setup")
    stack.start("consumer", "consume")
    for name in ("worker", "beat"):
        stack.start(name, "-m", "celery", "-A", "sieis_site", name, "--loglevel", "WARNING")
    stack.serve()
    roots = {name: [process.pid] for name, process in stack.processes.items()} | listening()
    stop = threading.Event()
    flow = threading.Thread(target=_flow, args=(stack, rate, stop), daemon=True)
    flow.start()
    time.sleep(SETTLE_S)
    used, began, most = (
        {name: cpu_s(pids) for name, pids in roots.items()},
        time.monotonic(),
        dict.fromkeys(roots, 0.0),
    )
    while time.monotonic() - began < seconds:
        for name, pids in roots.items():
            most[name] = max(most[name], _memory_mb(pids))
        time.sleep(1.0)
    passed = time.monotonic() - began
    shares = {name: (cpu_s(pids) - used[name]) / passed for name, pids in roots.items()}
    stop.set()
    flow.join()
    sent = _servers.end(stack)
    stack.wait_until(lambda: _servers.saved(stack) >= sent, "consumer", wait_s=WAIT_S)
    row = _servers.ask(stack, "SELECT sum(received), sum(stored) FROM ingestion_ledgerhour")
    return {
        "minutes": round(passed / 60, 1), "rate": rate, "sent": sent, "lost": sent - int(row[1]),
        "memory_mb": {name: round(value) for name, value in most.items()}, "memory_sum_mb": round(sum(most.values())),
        "cpu_percent_of_a_core": {name: round(100 * value, 1) for name, value in shares.items()},
        "cpu_sum_percent_of_machine": round(100 * sum(shares.values()) / (os.cpu_count() or 1), 1),
    }  # fmt: skip


def _flow(stack: Stack, rate: float, stop: threading.Event) -> None:
    """As many readings a second as are asked for, measured now, the motes in turn."""
    site, stream = _fleet.codes(1)[0], _servers.stream(stack)
    codes = _fleet.simulator(site, MOTES).fleet.codes
    n, began = 0, datetime.now(UTC)
    while not stop.wait(0.1):
        due = int((datetime.now(UTC) - began).total_seconds() * rate)
        said = [
            {"site": site, "mote_id": codes[i % MOTES], "timestamp": (began + timedelta(seconds=i / rate)).timestamp(),
             "temperature": 21.5 + i % 7 / 10, "humidity": 40.0 + i % 5 / 10, "light": 120.0, "voltage": 2.7}
            for i in range(n, due)
        ]  # fmt: skip
        stream.append([json.dumps(one).encode() for one in said], [f"{site}/lab".encode()] * len(said))
        n = due


# ---- processes, from /proc ------------------------------------------------------------------------------------


def listening() -> dict[str, list[int]]:
    """The process behind each server's port."""
    ports = {name: _port(ADDRESSES[variable]) for name, variable in SERVERS.items()}
    sockets = {int(line[1].split(":")[1], 16): line[9] for line in _tcp() if line[3] == "0A"}
    owners = {f"socket:[{inode}]": port for port, inode in sockets.items()}
    found: dict[int, int] = {}
    for pid in _pids():
        for path in _each(partial(_open, pid)):
            for target in _each(partial(_behind, path)):
                if target in owners:
                    found.setdefault(owners[target], pid)
    return {name: [found[port]] for name, port in ports.items() if port in found}


def _port(address: str) -> int:
    return int(urlsplit(address if "//" in address else f"//{address}").port or 0)


def _tcp() -> list[list[str]]:
    return [line.split() for path in ("tcp", "tcp6") for line in Path(f"/proc/net/{path}").read_text().splitlines()[1:]]


def _pids() -> list[int]:
    return sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _open(pid: int) -> list[str]:
    return [str(path) for path in Path(f"/proc/{pid}/fd").iterdir()]


def _behind(path: str) -> list[str]:
    return [str(Path(path).readlink())]


def _each(deed: Callable[[], list[str]]) -> list[str]:
    try:
        return deed()
    except OSError:  # it ended, or is not ours to look at
        return []


def _family(roots: list[int]) -> list[int]:
    """The processes and all that they started."""
    parents = {pid: int(stat[1]) for pid in _pids() if (stat := _each(partial(_stat, pid)))}
    members = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return sorted(members)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def cpu_s(roots: list[int]) -> float:
    """Of those that live, and of their children that ended."""
    stats = [_each(partial(_stat, pid)) for pid in _family(roots)]
    return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / TICK


def _memory_mb(roots: list[int]) -> float:
    lines = [line for pid in _family(roots) for line in _each(partial(_shares, pid))]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _shares(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()


if __name__ == "__main__":
    main()
