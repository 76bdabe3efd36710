"""How long the server takes for each page and endpoint, beside a page that asks nothing.

    python -m bench.pages [--motes 54] [--readings 2300000] [--runs 30]

Measured by Django's own client, all middleware included, over a lake and a hot store with so many readings.
`history_cold_ms` is the first History view of a process. The yardstick is the page that says that one is logged out.
Weights are those of the answer alone, compressed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from datetime import timedelta
from typing import Any

import numpy as np

from bench._place import embedded_django
from bench.validation import START, _fill, _fleet

WHOLE = {"from": "2026-02-25T00:00", "to": "2026-03-31T00:00"}
PAGES: dict[str, dict[str, Any]] = {
    "/": {}, "/motes/": {}, "/motes/{site}/{mote}/": {}, "/history/": WHOLE, "/insights/": {}, "/alerts/": {},
    "/system/": {}, "/quality/": {}, "/quarantine/": {}, "/models/": {}, "/profiles/": {}, "/devices/": {},
}  # fmt: skip
SPAN = {"start": "2026-02-25T00:00:00Z", "end": "2026-03-31T00:00:00Z"}
ENDPOINTS: dict[str, dict[str, Any]] = {
    "/api/v1/health": {}, "/api/v1/motes": {}, "/api/v1/sensors/latest": {}, "/api/v1/sensors/{mote}/latest": {},
    "/api/v1/sensors/readings": {"mote_id": "{mote}", **SPAN}, "/api/v1/sensors/{mote}/stats": SPAN,
    "/api/v1/analytics/daily-summary": {"date": "2026-03-05"},
    "/api/v1/analytics/heatmap": {"channel": "temperature", **SPAN},
    "/api/v1/analytics/histogram": {"channel": "temperature", **SPAN},
    "/api/v1/analytics/trend": {"every": "1d", **SPAN}, "/api/v1/alerts": {}, "/api/v1/models": {},
}  # fmt: skip
YARDSTICK = "/logged-out/"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--motes", type=int, default=54)
    parser.add_argument("--readings", type=int, default=2_300_000)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    with embedded_django():
        print(json.dumps(measure(options.motes, options.readings, options.runs)))


def measure(n_motes: int, n_readings: int, runs: int) -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    from sensors import gold
    from sensors.lake import lake
    from sensors.models import Mote
    from sieis_site import asgi  # loads every page's modules, as the web process does when it starts

    assert asgi.application
    call_command("collectstatic", verbosity=0, interactive=False)
    profile, keys = _fleet(n_motes)
    _fill(profile, keys, n_readings)
    gold.aggregate(lake(), profile, now=START + timedelta(days=20))
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create(username="reader", is_superuser=True))
    mote = Mote.objects.select_related("site").first()
    assert mote is not None
    names = {"site": mote.site.code, "mote": mote.code}
    cold_ms = _ms(client, "/history/", WHOLE)[0]
    yardstick = [_ms(client, YARDSTICK, {})[0] for _ in range(runs)]
    by_page = {}
    for path, query in (PAGES | ENDPOINTS).items():
        asked = {key: value.format(**names) for key, value in query.items()}
        taken = [_ms(client, path.format(**names), asked) for _ in range(runs)]
        ms = [one for one, _ in taken]
        by_page[path] = {
            "p50_ms": round(float(np.median(ms)), 1),
            "p99_ms": round(float(np.quantile(ms, 0.99)), 1),
            "kb": round(taken[-1][1] / 1024, 1),
        }
        print(f"{path:36} p50 {by_page[path]['p50_ms']:7.1f} ms   p99 {by_page[path]['p99_ms']:7.1f} ms", flush=True)
    slowest = max(by_page, key=lambda path: by_page[path]["p99_ms"])
    return {
        "readings": n_readings,
        "slowest": slowest,
        "slowest_p99_ms": by_page[slowest]["p99_ms"],
        "history_cold_ms": round(cold_ms, 1),
        "yardstick_p50_ms": round(float(np.median(yardstick)), 2),
        "by_page": by_page,
    }


def _ms(client: Any, path: str, query: dict[str, Any]) -> tuple[float, int]:
    began = time.perf_counter()
    answer = client.get(path, query)
    took = (time.perf_counter() - began) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}: {answer.content[:300]!r}")
    return took, len(gzip.compress(answer.content))


if __name__ == "__main__":
    main()
