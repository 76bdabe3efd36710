"""How long the server takes for each page and endpoint, beside a page that asks nothing.

    python -m bench.pages [--motes 54] [--readings 2300000] [--runs 30]

Measured by Django's own client, all middleware included, over a lake and a hot store with so many readings.
`history_cold_ms` is the first History view of a process. The yardstick is the page that says that one is logged out.
`kb` is the answer alone, compressed. Where Chromium is installed each page is opened once more in it, by an empty
cache: `whole_kb` with all that it loads, compressed; `paint_ms` to the first contentful paint; `shift` how much of the
layout moved meanwhile and in the two seconds after (below 0.1 is called good).
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import numpy as np
from playwright.sync_api import Browser, Request, sync_playwright

from bench import live
from bench._place import embedded_django
from bench.validation import START, _fill, _fleet

WHOLE = {"from": "2026-02-25T00:00", "to": "2026-03-31T00:00"}
PAGES: dict[str, dict[str, Any]] = {
    "/": {}, "/motes/": {}, "/motes/{site}/{mote}/": {}, "/history/": WHOLE, "/insights/": {}, "/alerts/": {},
    "/system/": {}, "/quality/": {}, "/quarantine/": {}, "/models/": {}, "/profiles/": {}, "/devices/": {},
    "/machines/": {}, "/forecast/": {}, "/models/training/": {}, "/account/": {},
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
SETTLE_MS = 2000
PAINTED = """() => new Promise((done) => {
  let shift = 0;
  const watch = new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => { shift += value; }));
  watch.observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done({ shift, paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime }), 50);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--motes", type=int, default=54)
    parser.add_argument("--readings", type=int, default=2_300_000)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    with embedded_django():
        print(json.dumps(measure(options.motes, options.readings, options.runs)))


def measure(n_motes: int, n_readings: int, runs: int) -> dict[str, Any]:
    from django.conf import settings
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
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    for path, told in _opened(names, session).items():
        by_page[path] |= told
        print(f"{path:36} {told}", flush=True)
    slowest = max(by_page, key=lambda path: by_page[path]["p99_ms"])
    return {
        "readings": n_readings,
        "slowest": slowest,
        "slowest_p99_ms": by_page[slowest]["p99_ms"],
        "history_cold_ms": round(cold_ms, 1),
        "heaviest_kb": max(told.get("whole_kb", 0.0) for told in by_page.values()),
        "most_shift": max(told.get("shift", 0.0) for told in by_page.values()),
        "yardstick_p50_ms": round(float(np.median(yardstick)), 2),
        "by_page": by_page,
    }


def _opened(names: dict[str, str], session: str) -> dict[str, dict[str, float]]:
    """What Chromium tells of each page."""
    from django.conf import settings

    from tests.journeys.conftest import ARGUMENTS, chromium

    if chromium() is None:
        return {}
    with live.Server() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        url = f"http://127.0.0.1:{server.port}"
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": url}
        return {path: _loaded(browser, url, path.format(**names), PAGES[path], cookie) for path in PAGES}


def _loaded(browser: Browser, url: str, path: str, query: dict[str, str], cookie: Any) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([cookie])
    page = context.new_page()
    done: list[Request] = []
    page.on("requestfinished", lambda request: done.append(request))
    answer = page.goto(f"{url}{path}?{urlencode(query)}")
    if answer is None or answer.status != 200:
        raise SystemExit(f"{path} answered {answer and answer.status} to the browser")
    page.wait_for_timeout(SETTLE_MS)
    told = page.evaluate(PAINTED)
    weight = sum(one.sizes()["responseBodySize"] for one in done)
    context.close()
    return {
        "whole_kb": round(weight / 1024, 1),
        "paint_ms": round(told["paint_ms"] or 0.0),
        "shift": round(told["shift"], 3),
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
