"""The Live page of a large fleet in Chromium: how long its frames take while each mote reports once a second.

    python -m bench.frames [--motes 500] [--seconds 20]
    python -m bench.frames --history [--motes 54] [--readings 200000]

A web process as `manage.py serve` builds it announces 500 updates a second, ten messages a second, as the reading path
does. Reported of the page: time between frames, frames dropped (those that came a whole frame late), long tasks (over
50 ms, after the first two seconds), and from an input to the next paint while somebody chooses motes, sorts and
filters. `cpu_ms_per_s` is the processor time that the page's thread takes of a second. Without a graphics card
Chromium paints by the processor, so frames say as much of the machine as of the page.

With `--history` the same of the History page over a lake of so many readings, while somebody moves the pointer over its
charts, begins to drag, opens pickers and tables and ticks motes; `loads_ms` is from a click that asks for another view
(earlier, wider, compared, zoomed in) until that page is complete.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import numpy as np
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from bench import live, validation
from bench._place import embedded_django

MESSAGES_PER_S = 10
SPENT = {
    "script": "ScriptDuration", "style": "RecalcStyleDuration", "layout": "LayoutDuration", "all": "TaskDuration",
}  # fmt: skip
SIZE: ViewportSize = {"width": 1440, "height": 900}
WATCH = """() => {
  window.seen = { frames: [], long: [], inputs: [] };
  let last = performance.now();
  const next = (now) => { seen.frames.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
  const watch = (type, keep, more) => new PerformanceObserver((list) => list.getEntries().forEach(keep))
    .observe({ type, ...more });
  watch("longtask", ({ duration }) => seen.long.push(duration));
  const felt = ["click", "keydown", "pointerdown", "pointerup"];
  watch("event", ({ name, duration }) => felt.includes(name) && seen.inputs.push(duration), { durationThreshold: 16 });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--motes", type=int, help="each reports once a second; 500 by default, of History 54")
    parser.add_argument("--history", action="store_true", help="the History page instead of Live")
    parser.add_argument("--readings", type=int, default=200_000, help="that History sums up")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--serve", nargs=2, type=int, metavar=("PORT", "MOTES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        live.serve(options.serve[0], lambda: announce(options.serve[1]))
        return
    with embedded_django():
        if options.history:
            print(json.dumps(measure_history(options.motes or 54, options.readings, options.seconds)))
        else:
            print(json.dumps(measure(options.motes or 500, options.seconds)))


def announce(n_motes: int) -> None:
    """Every mote in turn, until this process is ended."""
    from django.db import connection

    from sensors import live as channel
    from sensors.models import Mote

    codes = list(Mote.objects.order_by("pk").values_list("code", flat=True)[:n_motes])
    connection.close()
    part = max(1, len(codes) // MESSAGES_PER_S)
    dice, due = random.Random(1), time.monotonic()
    print("ready", flush=True)
    while True:
        for begin in range(0, len(codes), part):
            time.sleep(max(due - time.monotonic(), 0.0))
            channel.announce({"type": "readings", "readings": [_reading(code, dice) for code in codes[begin:][:part]]})
            due += part / len(codes)


def _reading(code: str, dice: random.Random) -> dict[str, Any]:
    score = dice.random() ** 8
    return {
        "mote": code, "site": "main", "at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "values": {
            "temperature": dice.gauss(22, 1), "humidity": dice.gauss(40, 3), "light": dice.uniform(50, 400),
            "voltage": dice.gauss(2.7, 0.01), "dew_point": dice.gauss(8, 1),
        },
        "quality": 1.0, "flags": [], "suspect": [], "score": score, "surprise": 8 * score, "is_anomaly": score > 0.3,
    }  # fmt: skip


def measure(n_motes: int, seconds: float) -> dict[str, Any]:
    _fleet(n_motes)
    told = _in_chromium(lambda page: _watched(_live(page), seconds), n_motes)
    return {"motes": n_motes, "updates_per_s": n_motes, **told}


def measure_history(n_motes: int, n_readings: int, seconds: float) -> dict[str, Any]:
    from django.core.management import call_command

    from sensors import gold
    from sensors.lake import lake

    profile, keys = validation._fleet(n_motes)
    validation._fill(profile, keys, n_readings)
    gold.aggregate(lake(), profile, now=validation.START + timedelta(days=20))
    call_command("collectstatic", verbosity=0, interactive=False)
    told = _in_chromium(lambda page: {**_watched(_history(page), seconds, use=_look_back), "loads_ms": _loads(page)}, 1)
    return {"motes": n_motes, "readings": n_readings, **told}


def _in_chromium(measure: Callable[[Page], dict[str, Any]], n_motes: int) -> dict[str, Any]:
    from tests.journeys.conftest import ARGUMENTS, NAMES, chromium

    if chromium() is None:
        raise SystemExit(f"needs a browser: none of {', '.join(NAMES)} is on the PATH")
    name, _, value = live.session().partition("=")
    with live.Server("bench.frames", n_motes) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        url = f"http://127.0.0.1:{server.port}"
        told = measure(_page(browser, url, {"name": name, "value": value, "url": url}))
        browser.close()
    return told


def _fleet(n_motes: int) -> None:
    """Motes on a floor, as a large laboratory has them."""
    from django.core.management import call_command

    from sensors.models import Mote

    validation._fleet(n_motes)
    dice = random.Random(1)
    motes = list(Mote.objects.filter(x=None))
    for mote in motes:
        mote.x, mote.y = dice.uniform(0, 40), dice.uniform(0, 30)
    Mote.objects.bulk_update(motes, ["x", "y"], batch_size=200)
    call_command("collectstatic", verbosity=0, interactive=False)


def _page(browser: Browser, url: str, cookie: Any) -> Page:
    context = browser.new_context(viewport=SIZE, base_url=url)
    context.add_cookies([cookie])
    page = context.new_page()
    page.on("pageerror", lambda error: print(f"the page failed: {error}", file=sys.stderr))
    return page


def _live(page: Page) -> Page:
    page.goto("/")
    page.wait_for_selector("#link.live", timeout=60_000)
    page.wait_for_timeout(2000)
    return page


def _history(page: Page, **changes: str) -> Page:
    asked = {"from": "2026-03-01T00:00", "to": "2026-03-08T00:00", **changes}
    page.goto(f"/history/?{urlencode(asked)}")
    page.wait_for_selector("figure.trend canvas")
    page.wait_for_timeout(500)
    return page


def _loads(page: Page) -> dict[str, float]:
    """From a click to the complete page that it asks for, of views that the server has not yet been asked for."""
    return {
        "earlier": _clicked(_history(page), "[rel=prev]"),
        "wider": _clicked(_history(page), "text=wider"),
        "compared": _submitted(_history(page), "before"),
        "zoomed": _dragged(_history(page)),
    }


def _clicked(page: Page, selector: str) -> float:
    return _loaded(page, lambda: page.locator(selector).first.click(no_wait_after=True))


def _submitted(page: Page, compare: str) -> float:
    page.select_option("[name=compare]", compare)
    return _clicked(page, ".button.primary")


def _dragged(page: Page) -> float:
    x, y = _along(page)
    page.mouse.move(x(0.3), y)
    page.mouse.down()
    page.mouse.move(x(0.6), y, steps=5)
    return _loaded(page, page.mouse.up)


def _loaded(page: Page, deed: Callable[[], None]) -> float:
    began = time.time()
    with page.expect_navigation(wait_until="load"):
        deed()
    ended = page.evaluate("performance.timeOrigin + performance.getEntriesByType('navigation')[0].loadEventEnd")
    return round(float(ended) - began * 1000, 1)


def _along(page: Page) -> tuple[Callable[[float], float], float]:
    """Where a share of the first chart's width lies, and the middle of its height."""
    page.locator(".trend .plot").first.scroll_into_view_if_needed()
    box = page.locator(".trend .plot").first.bounding_box()
    assert box is not None
    return lambda share: box["x"] + 60 + share * (box["width"] - 80), box["y"] + box["height"] / 2


def _look_back(page: Page, seconds: float) -> None:
    """Somebody reads the charts with the pointer, begins to drag, opens pickers and tables, and ticks motes."""
    began, i = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        x, y = _along(page)
        page.mouse.move(x(0.1), y)
        page.mouse.move(x(0.9), y, steps=30)
        page.mouse.down()
        page.mouse.move(x(0.9) + 6, y)
        page.mouse.up()
        page.locator(".pick summary").first.click()
        page.locator("[name=mote]").nth(i % 40).click()
        page.keyboard.press("Space")
        page.locator(".pick summary").first.click()
        page.locator(".trend details summary").nth(i % 4).click()
        i += 1


def _watched(page: Page, seconds: float, *, use: Callable[[Page, float], None] | None = None) -> dict[str, Any]:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(WATCH)
    before, began = _spent_s(devtools), time.monotonic()
    page.wait_for_timeout(seconds * 500)
    calm_s, spent = time.monotonic() - began, _spent_s(devtools)
    calm = page.evaluate("seen.long.length")
    (use or _use)(page, seconds / 2)
    seen = page.evaluate("seen")
    frames = np.array(seen["frames"])
    usual = 1000 / 60
    return {
        "frame_p50_ms": _at(frames, 0.5), "frame_p95_ms": _at(frames, 0.95),
        "dropped": int(np.sum(np.maximum(np.round(frames / usual) - 1, 0))), "frames": len(frames),
        "long_tasks": len(seen["long"]), "long_tasks_untouched": calm, "longest_task_ms": max(seen["long"], default=0),
        "cpu_ms_per_s": {name: round((spent[name] - before[name]) * 1000 / calm_s, 1) for name in SPENT},
        "inputs": len(seen["inputs"]), "input_p95_ms": _at(np.array(seen["inputs"]), 0.95),
        "input_most_ms": max(seen["inputs"], default=0),
    }  # fmt: skip


def _spent_s(devtools: Any) -> dict[str, float]:
    """The processor time of the page's main thread by what it was spent for."""
    told = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    return {name: told[metric] for name, metric in SPENT.items()}


def _use(page: Page, seconds: float) -> None:
    """Somebody chooses motes on the map, sorts the table and looks for a mote."""
    began, i = time.monotonic(), 0
    signs = page.locator(".floor .mote")
    while time.monotonic() - began < seconds:
        signs.nth(7 * i % 40).click(force=True)
        page.locator("[data-sort=score]").first.click()
        page.locator("#q").press_sequentially("x1")
        page.locator("#q").fill("")
        i += 1


def _at(values: Any, q: float) -> float:
    return round(float(np.quantile(values, q)), 1) if len(values) else 0.0


if __name__ == "__main__":
    main()
