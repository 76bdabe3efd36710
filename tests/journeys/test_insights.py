"""Insights in a browser: a slider is judged as it moves; a dropped file shows its events."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.journey
LONG_MS = 90_000  # a process of its own begins, on a machine that has other work


def test_charlie_moves_a_slider_by_keyboard_and_reads_verdict_and_reason(visit):
    charlie = visit("viewer")
    page = charlie.goto("/insights/")
    temperature = page.get_by_role("slider", name="Temperature")
    expect(page.locator("[data-badge]").first).not_to_have_text("–", timeout=LONG_MS)

    temperature.focus()
    page.keyboard.press("End")

    expect(page.locator("[data-badge]").first).to_have_text(
        re.compile("medium severity|high severity"), timeout=LONG_MS
    )
    expect(page.locator("[data-words]").first).to_contain_text("Temperature")
    expect(page.locator("[data-channel=temperature] [data-band]").first).to_contain_text("beyond what is expected")
    assert charlie.complaints == []


def test_bob_drops_a_file_and_sees_its_event(visit):
    bob = visit("operator")
    page = bob.goto("/detect/")
    values = [20.0 + k % 5 * 0.1 + (9.0 if 950 <= k < 970 else 0.0) for k in range(1000)]
    rows = [f"2026-03-02T12:{k // 60:02}:{k % 60:02}Z,{value:.1f}" for k, value in enumerate(values)]
    page.set_input_files(
        "#id_file", {"name": "pump.csv", "mimeType": "text/csv", "buffer": "\n".join(["time,level", *rows]).encode()}
    )

    page.get_by_role("button", name="Look at it", exact=True).click()
    expect(page.locator(".seen")).to_contain_text("channels: level")
    page.get_by_role("button", name="Judge it", exact=True).click()

    expect(page.locator("#charts-title")).to_contain_text("1 event", timeout=LONG_MS)
    expect(page.locator(".events tbody tr").first).to_contain_text("level")
    assert bob.complaints == []
