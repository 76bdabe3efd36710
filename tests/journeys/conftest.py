"""A browser, and one SIEIS as its users run it: everything embedded, the demo's people and sensors."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from ingestion.streams.segments import SegmentStream
from tests.alerts.receivers import Mailbox, smtp_server
from tests.stack import ROOT, Stack, embedded

SCREENSHOTS = ROOT / "var" / "screenshots"
HISTORY_DAYS = "1.1"  # a first model wants a day
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)  # five seconds are little where other work runs
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="Also write the picture of the Live page into docs/")


def chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Server:
    """Begins to start as soon as the journeys are known to run, so that the other tests meanwhile pass the time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sieis-journeys-"))
        self.parts = ExitStack()
        self.mailbox: Mailbox = self.parts.enter_context(smtp_server())
        settings = {"SIEIS_DEMO": "1", "SIEIS_SMTP_URL": f"smtp://127.0.0.1:{self.mailbox.port}"}
        self.stack: Stack = self.parts.enter_context(embedded(self.folder, **settings))
        self.trouble: BaseException | None = None
        self.starting = threading.Thread(target=self._start, daemon=True)
        self.starting.start()

    def _start(self) -> None:
        try:
            self.stack.serve("--history-days", HISTORY_DAYS)
        except BaseException as trouble:
            self.trouble = trouble

    def close(self) -> None:
        self.starting.join()
        self.parts.close()
        shutil.rmtree(self.folder, ignore_errors=True)


SERVER = pytest.StashKey[Server]()


def is_journey(item: pytest.Item) -> bool:
    return item.get_closest_marker("journey") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys come last: a running Playwright keeps an event loop in this thread."""
    items.sort(key=is_journey)


def pytest_collection_finish(session: pytest.Session) -> None:
    if chromium() and not session.config.option.collectonly and any(is_journey(item) for item in session.items):
        session.config.stash[SERVER] = Server()


def pytest_sessionfinish(session: pytest.Session) -> None:
    server = session.config.stash.get(SERVER, None)
    if server is not None:
        server.close()


@pytest.fixture(scope="session")
def sieis(request: pytest.FixtureRequest) -> Stack:
    """The demo, serving."""
    if chromium() is None:
        words = f"no browser: none of {', '.join(NAMES)} is on the PATH, so the journeys cannot be made"
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)
    server = request.config.stash[SERVER]
    server.starting.join()
    if server.trouble is not None:
        raise server.trouble
    return server.stack


@pytest.fixture
def mailbox(request: pytest.FixtureRequest, sieis: Stack) -> Mailbox:
    """What the demo sent by mail."""
    return request.config.stash[SERVER].mailbox


@pytest.fixture(scope="package")
def browser(sieis: Stack) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield launched
        launched.close()


class Visitor:
    """A person's browser: its own cookies, and everything that its console complained about."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.complaints: list[str] = []
        self.page = self.open()

    def open(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def goto(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def log_in(self, name: str, password: str = "demo") -> Page:
        page = self.goto("/login/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", password)
        page.click("form button[type=submit]")
        return page


Visit = Callable[..., Visitor]


@pytest.fixture
def stranger(browser: Browser, sieis: Stack) -> Iterator[Visit]:
    """Makes browsers that nobody has logged in with."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> Visitor:
        contexts.append(browser.new_context(**{"viewport": DESKTOP, **options}))
        return Visitor(contexts[-1], sieis.url)

    yield make
    for context in contexts:
        context.close()


SESSIONS: dict[str, str] = {}


@pytest.fixture
def visit(stranger: Visit, sieis: Stack) -> Visit:
    """Makes browsers in which that account of the demo is logged in; each logs in once for all journeys."""

    def make(name: str, **options: Any) -> Visitor:
        if name not in SESSIONS:
            SESSIONS[name] = sieis.session(name, "demo").cookies["sessionid"]
        visitor = stranger(**options)
        visitor.context.add_cookies([{"name": "sessionid", "value": SESSIONS[name], "url": sieis.url}])
        return visitor

    return make


@pytest.fixture
def send(sieis: Stack) -> Callable[..., None]:
    """Puts a reading into the stream, as a gateway beside the simulator would."""
    stream = SegmentStream(folder=sieis.folder / "stream", keep_days=3.0, topic="sensor-readings")

    def put(mote: str, **values: float) -> None:
        message = {"mote_id": mote, "timestamp": timezone.now().isoformat(), **values}
        stream.append([msgspec.json.encode(message)], [b"main"])

    return put


HOT, USUAL = 93.0, {"temperature": 21.0, "humidity": 40.0, "light": 100.0, "voltage": 2.7}
Ask = Callable[[str], Any]


@pytest.fixture(scope="session")
def ask(sieis: Stack) -> Ask:
    """What the API answers a viewer."""
    session = sieis.session("viewer", "demo")
    return lambda path: sieis.get(session, f"/api/v1/{path}")


@pytest.fixture
def calm_mote(sieis: Stack, ask: Ask) -> str:
    """A mote of which nothing is told now, and least was before: the demo injects faults, journeys leave traces."""

    def calm() -> list[tuple[int, float, str]]:
        alerts = ask("alerts?limit=1000")["results"]
        busy = {one["mote"] for one in alerts if one["status"] not in ("resolved", "closed")}
        told = Counter(one["mote"] for one in alerts)
        active = {one["mote"] for one in ask("motes?state=active")}
        quiet = [one for one in ask("sensors/latest")["readings"] if one["score"] is not None and not one["is_anomaly"]]
        return sorted((told[one["mote"]], one["score"], one["mote"]) for one in quiet if one["mote"] in active - busy)

    return str(sieis.wait_until(calm, "a calm mote")[0][-1])


@pytest.fixture
def heat(ask: Ask, send: Callable[..., None]) -> Callable[[str], None]:
    """Lets a mote say that it is hot, and all else as it is at this hour."""

    def say(mote: str) -> None:
        values = ask(f"sensors/{mote}/latest")["values"]
        send(mote, **{name: values[name] or usual for name, usual in USUAL.items()} | {"temperature": HOT})

    return say
