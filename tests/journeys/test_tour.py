"""Somebody new is shown round: a sensor fails, the alert comes, its cause is found, and it is in hand."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.journey
SLOW_MS = 60_000  # the path has the machine's other tests beside it


def test_the_tour_goes_from_a_fault_to_its_acknowledged_alert_by_keyboard_alone(visit):
    eve = visit("engineer")
    page = eve.goto("/")
    panel = page.locator("#tour")

    page.locator(".demo-banner [data-tour]").focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("heading")).to_have_text("There is the alert", timeout=SLOW_MS)
    expect(panel.get_by_role("button", name="Open it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel).to_contain_text("What an alert says", timeout=SLOW_MS)
    page.keyboard.press("Enter")
    go_on = panel.get_by_role("button", name=re.compile("Take it now|And the cause"))
    expect(go_on).to_be_focused(timeout=SLOW_MS)
    if go_on.inner_text() == "Take it now":
        page.keyboard.press("Enter")
    # Evidence that nobody asks for comes within a minute, and the tour goes on.
    expect(panel.get_by_role("button", name="And the cause?")).to_be_focused(timeout=2 * SLOW_MS)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(panel).to_contain_text("5 of 6")
    page.locator("[data-step=acknowledge]").focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("heading")).to_have_text("That was it", timeout=SLOW_MS)
    page.keyboard.press("Escape")

    expect(panel).to_have_count(0)
    expect(page.locator("#status")).to_have_text("Acknowledged")
    expect(eve.goto("/").locator("#tour-offer")).to_have_count(0)
    assert eve.complaints == []
