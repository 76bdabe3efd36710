"""From a fault to a checked bundle: the alert appears, Bob has it in hand, Charlie may not, it ends, it verifies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.journey
SLOW_MS = 30_000  # the path has the machine's other tests beside it
MOTES = ("11", "13", "17", "19", "21", "24", "26", "28")


def alert_of(page: Page, code: str):
    return page.locator("#alerts .alert", has=page.get_by_role("link", name=f"Mote {code}", exact=True))


def test_a_fault_becomes_an_alert_that_bob_resolves_by_keys_and_whose_evidence_verifies(visit, send, sieis, tmp_path):
    bob, charlie = visit("operator"), visit("viewer")
    for one in (bob, charlie):
        expect(one.goto("/alerts/").locator("#link")).to_have_text("Live")
    mote = next(code for code in MOTES if alert_of(bob.page, code).count() == 0)
    alert = alert_of(bob.page, mote)

    for _ in range(3):
        send(mote, temperature=93.0, humidity=40.0, light=100.0, voltage=2.7)
    expect(alert).to_contain_text("Temperature 93.0", timeout=SLOW_MS)
    expect(alert_of(charlie.page, mote)).to_contain_text("Temperature 93.0", timeout=SLOW_MS)
    expect(charlie.page.locator("[data-deed], .choose, #resolve")).to_have_count(0)

    alert.locator(".choose").check()
    bob.page.locator("h1").click()
    bob.page.keyboard.press("a")
    expect(alert.locator(".status")).to_have_text("Acknowledged by operator", timeout=SLOW_MS)
    expect(alert_of(charlie.page, mote).locator(".status")).to_have_text(re.compile("Acknowledged"), timeout=SLOW_MS)

    alert.locator(".choose").check()
    bob.page.locator("h1").click()
    bob.page.keyboard.press("r")
    dialog = bob.page.get_by_role("dialog")
    dialog.get_by_label("a false alarm").check()
    dialog.get_by_label("Note").fill("somebody held a lighter to it")
    address = alert.locator(".words a").get_attribute("href")
    bob.page.keyboard.press("Enter")
    expect(alert).to_have_count(0, timeout=SLOW_MS)
    expect(alert_of(charlie.page, mote)).to_have_count(0, timeout=SLOW_MS)

    page = bob.goto(address)
    expect(page.locator(".story")).to_contain_text("somebody held a lighter to it")
    take = page.locator("#take-evidence")
    if take.count():
        take.click()
    expect(page.locator("#verdict-badge")).to_have_text("looks like a sensor fault", timeout=SLOW_MS)
    expect(page.locator("#evidence-chart canvas")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Bundle").click()
    bundle = Path(tmp_path) / "evidence.zip"
    download.value.save_as(bundle)
    said = sieis.manage("verify_evidence", str(bundle))

    assert "Verified: largest difference" in said.stdout
    assert bob.complaints == charlie.complaints == []
