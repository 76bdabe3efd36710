"""The Machines page: a pack is brought by page, its machines speak, who needs somebody first stands first, and why."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from tests.journeys.test_every_page import AXE, judged
from tests.journeys.test_pages import take_pictures
from tests.stack import ROOT

pytestmark = pytest.mark.journey

SLOW_MS = 60_000  # a pack takes effect within seconds, and the page draws its history each ten
CODES = [f"MACHINE_00{n}" for n in range(1, 6)]
HEALTHY = {"temperature": 55.0, "vibration": 1.0, "pressure": 50.0, "power": 250.0}
DEGRADING = HEALTHY | {"temperature": 76.0}
FAILING = HEALTHY | {"temperature": 95.0, "vibration": 3.2}


@pytest.fixture
def machines(visit, sieis):
    """The pack's machines, brought by an engineer; retired afterwards, so that other journeys meet the lab alone."""
    page = visit("engineer").goto("/profiles/")
    page.set_input_files("#file", ROOT / "sensors" / "packs" / "machine.toml")
    page.click("#bring button[type=submit]")
    page.click("[data-install]")
    expect(page.locator("main")).to_contain_text("Machine")
    yield CODES
    for code in CODES:
        path = f"{sieis.url}/api/v1/motes/main/{code}"
        requests.patch(path, json={"state": "retired"}, auth=("engineer", "demo"), timeout=30).raise_for_status()


def machine(page: Page, code: str) -> Locator:
    return page.locator(f".machine[data-key='main/{code}']")


def test_the_machine_that_needs_somebody_stands_first_with_its_reasons_and_moves_by_itself(visit, machines, send):
    charlie = visit("viewer")
    page = charlie.goto("/machines/")
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator(".machine .stage")).to_have_text(["never heard"] * len(machines))

    for code, values in zip(machines, (HEALTHY, DEGRADING, FAILING, HEALTHY, HEALTHY), strict=True):
        send(code, **values)
    third, second = machine(page, machines[2]), machine(page, machines[1])
    expect(third.locator(".stage")).to_have_text("failing", timeout=SLOW_MS)
    expect(second.locator(".stage")).to_have_text("degrading", timeout=SLOW_MS)
    expect(page.locator("#n-healthy")).to_have_text("3", timeout=SLOW_MS)

    expect(page.locator(".machine h2").nth(0)).to_have_text(machines[2])
    expect(page.locator(".machine h2").nth(1)).to_have_text(machines[1])
    expect(third.locator(".gauge.bad")).to_have_count(2)
    expect(third.locator(".gauge.ok")).to_have_count(2)
    expect(second.locator(".gauge.warn .word")).to_have_text(["degrading"])
    expect(third.locator(".history path")).to_have_attribute("d", re.compile("M"), timeout=SLOW_MS)
    third.locator("summary").click()
    expect(third.locator("[data-part=stage] .why")).to_be_visible()
    lost = [float(one) for one in third.locator(".lost").all_inner_texts()]
    assert float(third.locator(".score .value").inner_text()) == pytest.approx(100 - sum(lost), abs=0.8)
    take_pictures(page, "machines-heard")
    page.evaluate(AXE)
    assert judged(page) == []

    for _ in range(2):  # the first is a jump, which nobody believes
        send(machines[1], **HEALTHY)

    expect(second.locator(".stage")).to_have_text("healthy", timeout=SLOW_MS)
    expect(page.locator("#n-degrading")).to_have_text("0")
    assert charlie.complaints == []
