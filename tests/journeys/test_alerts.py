"""From a fault to a checked bundle: the alert appears, Bob has it in hand, Charlie may not, it ends, it verifies."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.alerts.receivers import http_receiver
from tests.stack import Stack

pytestmark = pytest.mark.journey
SLOW_MS = 60_000  # the path has the machine's other tests beside it


def alert_of(page: Page, code: str):
    return page.locator("#alerts .alert", has=page.get_by_role("link", name=f"Mote {code}", exact=True))


def test_a_fault_becomes_an_alert_that_bob_resolves_by_keys_and_whose_evidence_verifies(
    visit, calm_mote, heat, sieis, tmp_path
):
    bob, charlie = visit("operator"), visit("viewer")
    for one in (bob, charlie):
        expect(one.goto("/alerts/").locator("#link")).to_have_text("Live")
    alert, seen = alert_of(bob.page, calm_mote), alert_of(charlie.page, calm_mote)

    for _ in range(3):
        heat(calm_mote)
    expect(alert).to_contain_text("Temperature 93.0", timeout=SLOW_MS)
    expect(seen).to_contain_text("Temperature 93.0", timeout=SLOW_MS)
    expect(charlie.page.locator("[data-deed], .choose, #resolve")).to_have_count(0)

    alert.locator(".choose").check()
    bob.page.locator("h1").click()
    bob.page.keyboard.press("a")
    expect(alert.locator(".status")).to_have_text("Acknowledged by operator", timeout=SLOW_MS)
    expect(seen.locator(".status")).to_have_text(re.compile("Acknowledged"), timeout=SLOW_MS)

    alert.locator(".choose").check()
    bob.page.locator("h1").click()
    bob.page.keyboard.press("r")
    dialog = bob.page.get_by_role("dialog")
    dialog.get_by_label("a false alarm").check()
    dialog.get_by_label("Note").fill("somebody held a lighter to it")
    address = alert.locator(".words a").get_attribute("href")
    bob.page.keyboard.press("Enter")
    expect(alert).to_have_count(0, timeout=SLOW_MS)
    expect(seen).to_have_count(0, timeout=SLOW_MS)

    page = bob.goto(address)
    expect(page.locator(".story")).to_contain_text("somebody held a lighter to it")
    bundle = downloaded_evidence(page, tmp_path)
    expect(page.locator("#evidence-chart canvas")).to_be_visible()
    said = sieis.manage("verify_evidence", str(bundle))

    assert "Verified: largest difference" in said.stdout
    assert bob.complaints == charlie.complaints == []


@contextmanager
def a_fault(heat: Callable[[str], None], mote: str) -> Iterator[None]:
    """The mote is hot for as long as this lasts, however slow the machine is; then it says again what it measures."""
    over = threading.Event()

    def be_hot() -> None:
        while not over.is_set():
            heat(mote)
            over.wait(1.0)

    being_hot = threading.Thread(target=be_hot)
    being_hot.start()
    try:
        yield
    finally:
        over.set()
        being_hot.join()


@contextmanager
def told_to(sieis: Stack, **addresses: str) -> Iterator[None]:
    """While it lasts, severe alerts go to these addresses, by kind; Alice has set it so."""
    alice, api = ("engineer", "demo"), f"{sieis.url}/api/v1/notifications"
    made = []
    for kind, address in addresses.items():
        target = {"name": f"Journey {kind}", "kind": kind, "address": address}
        answer = requests.post(f"{api}/targets", json=target, auth=alice, timeout=60)
        made.append(answer.json()["id"])
        route = {"target": made[-1], "least_severity": "high"}
        assert requests.post(f"{api}/routes", json=route, auth=alice, timeout=60).status_code == 201
    try:
        yield
    finally:
        for target in made:
            requests.delete(f"{api}/targets/{target}", auth=alice, timeout=60)


def test_a_fault_is_told_by_mail_and_webhook_bob_has_it_charlie_may_not_and_it_ends_by_itself(
    visit, calm_mote, heat, sieis, mailbox, tmp_path
):
    bob, charlie = visit("operator"), visit("viewer")
    for one in (bob, charlie):
        expect(one.goto("/alerts/").locator("#link")).to_have_text("Live")
    alert = alert_of(bob.page, calm_mote)

    with (
        http_receiver() as receiver,
        told_to(sieis, webhook=receiver.url, email="bob@example.com"),
        a_fault(heat, calm_mote),
    ):
        expect(alert).to_contain_text("Temperature 93.0", timeout=SLOW_MS)
        address = alert.locator(".words a").get_attribute("href") or ""
        number = int(address.strip("/").rpartition("/")[2])

        def is_posted() -> bool:
            told = [one for post in receiver.posts for one in json.loads(post.body).get("alerts", ())]
            return any(one["id"] == number and one["mote"] == calm_mote for one in told)

        sieis.wait_until(is_posted, "the webhook", wait_s=120)
        sieis.wait_until(lambda: any(f"main/{calm_mote}" in text(one) for one in mailbox.mails), "the mail", wait_s=120)

        refused = requests.post(f"{sieis.url}/api/v1/alerts/{number}/acknowledge", auth=("viewer", "demo"), timeout=60)
        assert refused.status_code == 403
        expect(charlie.page.locator("[data-deed], .choose, #resolve")).to_have_count(0)
        alert.locator(".choose").check()
        bob.page.locator("h1").click()
        bob.page.keyboard.press("a")
        expect(alert_of(charlie.page, calm_mote).locator(".status")).to_have_text(
            "Acknowledged by operator", timeout=SLOW_MS
        )

    expect(alert_of(charlie.page, calm_mote)).to_have_count(0, timeout=4 * SLOW_MS)  # a minute, until it is believed
    page = bob.goto(address)
    expect(page.locator(".story")).to_contain_text("its last event ended")
    expect(page.locator(".story")).to_contain_text("operator")
    said = sieis.manage("verify_evidence", str(downloaded_evidence(page, tmp_path)))
    assert "Verified: largest difference" in said.stdout
    assert bob.complaints == charlie.complaints == []


def text(mail: Message) -> str:
    """Its parts as people read them; several alerts may share a mail, whose subject names none."""
    parts = [part.get_payload(decode=True) for part in mail.walk() if part.get_content_maintype() == "text"]
    return "\n".join(part.decode() for part in parts if isinstance(part, bytes))


def downloaded_evidence(page: Page, folder: Path) -> Path:
    take = page.locator("#take-evidence")
    if take.count():
        take.click()
    expect(page.locator("#verdict-badge")).to_have_text("looks like a sensor fault", timeout=SLOW_MS)
    with page.expect_download() as download:
        page.get_by_role("link", name="Bundle").click()
    bundle = folder / "evidence.zip"
    download.value.save_as(bundle)
    return bundle
