"""How fast the API judges: one reading and 10,000 at once over HTTP, beside a view that answers nothing.

    python -m bench.serving [--singles 1000] [--batches 12]

Starts a web process of its own on embedded parts with a model of 42 simulated motes and asks it by one kept connection
with a session. The yardstick, in the same run and in turn with it, is `GET /health` without a login: what any answer
costs here. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench._place import ROOT, embedded_django

SINGLE, BATCH = "/api/v1/ml/predict/anomaly", "/api/v1/ml/predict/batch"
EMPTY = "/health"
LARGE = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--singles", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
    with embedded_django():
        session, motes = prepare()
        with Server() as port:
            figures = measure(port, session, motes, options.singles, options.batches)
    for name, value in figures.items():
        print(f"{name:34}{value:>10,.2f}")
    print(json.dumps(figures))


def prepare() -> tuple[str, list[str]]:
    """A fleet with a model in production: the session of somebody who may look, and its motes."""
    from bench._fleet import make
    from sensors.models import Mote

    now = datetime.now(UTC)
    make(["main"], 42, now.replace(hour=0, minute=0, second=0, microsecond=0))
    motes = list(Mote.objects.filter(profile__code="indoor").values_list("code", flat=True))
    return session_of_viewer(now), motes


def session_of_viewer(now: datetime) -> str:
    """The cookie of somebody who may look."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    from sensors import roles

    roles.install_roles()
    user = User.objects.create_user("bench")
    roles.give_role(user, roles.VIEWER, now=now)
    session = SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key}; csrftoken={'a' * 32}"


class Server:
    """The web process alone: `daphne`, without the embedded reading path beside it."""

    def __enter__(self) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        command = [sys.executable, "-m", "daphne", "-v", "0", "-p", str(port), "sieis_site.asgi:application"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=os.environ.copy())
        for _ in range(3000):
            try:
                with socket.create_connection(("127.0.0.1", port), 0.5):
                    return port
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the web process did not come up")

    def __exit__(self, *args: object) -> None:
        self._process.terminate()
        self._process.wait()


def measure(port: int, cookie: str, motes: list[str], n_singles: int, n_batches: int) -> dict[str, Any]:
    ask = Asker(port, cookie)
    rng = np.random.default_rng(1)
    drawn = zip(rng.normal(22, 0.3, LARGE).tolist(), rng.normal(45, 1, LARGE).tolist(), strict=True)
    rows = [
        {"temperature": t, "humidity": h, "light": 120.0, "voltage": 2.7, "mote_id": motes[i % len(motes)]}
        for i, (t, h) in enumerate(drawn)
    ]
    bodies, large = [json.dumps(row).encode() for row in rows[:n_singles]], json.dumps(rows).encode()
    for body in bodies[:20]:
        ask("POST", SINGLE, body)
    ask("POST", BATCH, large)
    empty, single, batch = [], [], []
    for body in bodies:
        empty.append(ask("GET", EMPTY, None))
        single.append(ask("POST", SINGLE, body))
    for _ in range(n_batches):
        batch.append(ask("POST", BATCH, large))
    told = {"empty": empty, "single": single, "batch_of_10000": batch}
    return {
        f"{name}_{part}_ms": round(float(np.quantile(took, q)) * 1000, 2)
        for name, took in told.items()
        for part, q in (("p50", 0.5), ("p99", 0.99))
    } | {"cores_in_use": round(os.getloadavg()[0], 2)}


class Asker:
    """One kept connection; answers the seconds that an answer took, and refuses anything but 200."""

    def __init__(self, port: int, cookie: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Cookie": cookie, "X-CSRFToken": "a" * 32, "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: bytes | None) -> float:
        headers = {} if path == EMPTY else self._headers
        began = time.perf_counter()
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        said = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {said[:300]!r}")
        return took


if __name__ == "__main__":
    main()
