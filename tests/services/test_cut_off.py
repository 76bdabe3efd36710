"""Each server goes away while people look: pages answer and say so, and all goes on without a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect, sync_playwright

from bench._servers import by_way_of
from bench.outage import Relay
from tests import stack
from tests.environment import ADDRESSES
from tests.journeys.conftest import ARGUMENTS, chromium
from tests.journeys.test_live import MOVED, values
from tests.services import life
from tests.stack import Stack

pytestmark = pytest.mark.service
PATIENCE_MS = 90_000
ALL_IN_SIGHT = {"width": 1440, "height": 1400}  # a row of motes that nobody sees is not written anew
PAGES = (
    "/", "/motes/", "/machines/", "/history/", "/insights/", "/alerts/", "/system/", "/quality/", "/models/", "/docs",
    "/forecast/", "/account/",
)  # fmt: skip
ENDPOINTS = (
    "/api/v1/motes", "/api/v1/sensors/latest", "/api/v1/alerts", "/api/v1/models", "/api/v1/analytics/trend?every=1d",
    "/api/v1/health",
)  # fmt: skip
NAMES = {
    "postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "influxdb": "INFLUXDB_V2_URL", "minio": "S3_ENDPOINT_URL",
}  # fmt: skip


class BrokerRelay(Relay):
    """A broker tells its clients where it is; they are told this relay's port instead."""

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = (b"127.0.0.1" + port.to_bytes(4, "big") for port in (self.server_port, self.port))
        self.writers.add(writer)
        with suppress(OSError):
            while some := await reader.read(1 << 16):
                writer.write(some.replace(there, here))
                await writer.drain()
        self.writers.discard(writer)
        writer.close()


def relay_to(name: str) -> Relay:
    url = ADDRESSES[NAMES[name]]
    address = urlsplit(url if "//" in url else f"//{url}")
    kind = BrokerRelay if name == "kafka" else Relay
    return kind(address.hostname or "127.0.0.1", int(address.port or 0))


@pytest.fixture(scope="module")
def relays() -> Iterator[dict[str, Relay]]:
    made = {name: relay_to(name) for name in NAMES}
    for relay in made.values():
        relay.open()
    yield made
    for relay in made.values():
        relay.close()


@pytest.fixture(scope="module")
def sieis(tmp_path_factory: pytest.TempPathFactory, relays: dict[str, Relay]) -> Iterator[Stack]:
    """Six motes that report each second, a past in the lake, a first model; web and consumer reach all by relays."""
    settings = {"SIEIS_SLOW_CYCLE_S": "1", "SIEIS_CANARY": "0"}
    with stack.on_servers(tmp_path_factory.mktemp("cut-off"), ADDRESSES, **settings) as running:
        life.prepare(running)
        direct = replace(running, environment=dict(running.environment))
        running.environment |= by_relays(running.environment, relays)
        running.start("consumer", "consume")
        running.serve()
        life.has_read(direct, life.simulate_past(direct))
        life.train(direct)
        direct.start("sensors", "simulate", "--motes", str(life.MOTES), "--interval", "1", "--anomaly-rate", "0")
        yield running


def by_relays(environment: dict[str, str], relays: dict[str, Relay]) -> dict[str, str]:
    urls = {variable: by_way_of(environment[variable], relays[name].port) for name, variable in NAMES.items()}
    return urls | {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{relays['kafka'].port}"}


@pytest.fixture(scope="module")
def bob(sieis: Stack) -> requests.Session:
    return sieis.session("bob", life.PASSWORD)


@pytest.fixture(scope="module")
def live(sieis: Stack, bob: requests.Session) -> Iterator[Page]:
    """Bob's Live page, which is opened once and never loaded again."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        context = browser.new_context(viewport=ALL_IN_SIGHT)
        context.add_cookies([{"name": "sessionid", "value": bob.cookies["sessionid"], "url": sieis.url}])
        page = context.new_page()
        page.goto(sieis.url)
        moves(page)
        yield page
        browser.close()


def moves(page: Page) -> None:
    """Within a minute, new values come in by the live channel."""
    expect(page.locator("#link")).to_have_text("Live", timeout=PATIENCE_MS)
    page.wait_for_function(MOVED, arg=values(page), timeout=PATIENCE_MS)


@contextmanager
def away(relay: Relay) -> Iterator[None]:
    relay.close()
    try:
        yield
    finally:
        relay.open()


def answered(sieis: Stack, bob: requests.Session) -> dict[str, int]:
    """What each page of the navigation, and each endpoint that programs ask most, answers."""
    found = {}
    for path in (*PAGES, *ENDPOINTS):
        found[path] = bob.get(sieis.url + path, timeout=60, allow_redirects=False).status_code
    return found


def all_well(sieis: Stack, bob: requests.Session) -> None:
    assert {path: status for path, status in answered(sieis, bob).items() if status != 200} == {}


def is_told(sieis: Stack, bob: requests.Session, part: str) -> bool:
    """Health names the part as one that does not answer."""
    told = bob.get(f"{sieis.url}/api/v1/health", timeout=60).json()
    return any(one["name"] == part and one["state"] != "up" for one in told["dependencies"])


def test_without_influxdb_live_shows_the_last_known_values_and_history_names_the_lake(sieis, relays, bob, live):
    with away(relays["influxdb"]):
        all_well(sieis, bob)
        sieis.wait_until(lambda: is_told(sieis, bob, "hot_store"), "web", wait_s=60)
        page = bob.get(f"{sieis.url}/", timeout=60).text
        assert "The hot store does not answer" in page
        assert 'id="n-speaking">' in page
        assert len(bob.get(f"{sieis.url}/api/v1/sensors/latest", timeout=60).json()["readings"]) == life.MOTES

        def names_the_lake() -> bool:
            return "from the lake" in bob.get(f"{sieis.url}/history/", timeout=60).text

        sieis.wait_until(names_the_lake, "web", wait_s=60)
        expect(live.locator("#alerts")).to_contain_text("Hot store is away", timeout=PATIENCE_MS)
        expect(live.locator("#link")).to_have_text("Live")
    moves(live)


def test_without_minio_the_serving_model_stays(sieis, relays, bob, live):
    version = serving(sieis, bob)

    with away(relays["minio"]):
        sieis.wait_until(lambda: is_told(sieis, bob, "lake"), "web", wait_s=60)
        all_well(sieis, bob)
        assert serving(sieis, bob) == version
    moves(live)
    assert serving(sieis, bob) == version


def test_without_redis_pages_answer_and_the_live_channel_comes_back(sieis, relays, bob, live):
    with away(relays["redis"]):
        sieis.wait_until(lambda: is_told(sieis, bob, "redis"), "web", wait_s=60)
        all_well(sieis, bob)
    moves(live)


def test_without_kafka_health_says_so_and_readings_come_when_it_is_back(sieis, relays, bob, live):
    with away(relays["kafka"]):
        sieis.wait_until(lambda: is_told(sieis, bob, "stream"), "web", wait_s=60)
        all_well(sieis, bob)
    moves(live)


def test_without_postgres_every_page_says_so_in_words_and_comes_back(sieis, relays, bob, live):
    with away(relays["postgres"]):
        assert set(answered(sieis, bob).values()) == {503}
        assert "database does not answer" in bob.get(f"{sieis.url}/alerts/", timeout=60).text
    sieis.wait_until(lambda: bob.get(f"{sieis.url}/alerts/", timeout=60).status_code == 200, "web", wait_s=60)
    moves(live)


def serving(sieis: Stack, bob: requests.Session) -> int:
    """The version of the model that answers a prediction."""
    headers = {"X-CSRFToken": bob.cookies["csrftoken"] or "", "Referer": sieis.url}
    asked = {"temperature": 21.5, "humidity": 40.0, "light": 120.0, "voltage": 2.7}
    answer = bob.post(f"{sieis.url}/api/v1/ml/predict/anomaly", json=asked, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"]
