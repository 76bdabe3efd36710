"""The Forecast page: who is likeliest to pass a limit stands first, with a fan and its warning; that is counted."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.journeys.conftest import PHONE

pytestmark = pytest.mark.journey

IS_DRAWN = """canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((one) => one > 0);
}"""


@pytest.fixture
def foretold(sieis, ask):
    """Three motes with a chance of .84, .35 and .05; the first is beyond that limit by now. Answers their codes."""
    latest = [one for one in ask("sensors/latest")["readings"] if one["values"].get("temperature") is not None][:3]
    codes, now = [one["mote"] for one in latest], [one["values"]["temperature"] for one in latest]
    limits = [now[0] - 1.0, now[1] + 9.0, now[2] + 9.0]
    run(sieis, f"issue({list(zip(codes, limits, (0.84, 0.35, 0.05), strict=True))!r})")
    yield codes
    run(sieis, "forget()")


def run(sieis, what: str) -> None:
    sieis.manage("shell", "-v", "0", "-c", f"from tests.journeys import foretold; foretold.{what}")


def test_a_warning_is_seen_with_its_chance_and_fan_comes_true_and_is_counted(visit, sieis, foretold):
    charlie = visit("viewer")
    page = charlie.goto("/forecast/")

    expect(page.locator(".fleet tbody tr:nth-child(-n+3) th a")).to_have_text(foretold)
    expect(page.locator(".fleet tbody tr").nth(0)).to_contain_text("high")
    expect(page.locator(".fleet tbody tr").nth(0)).to_contain_text("84 %")
    fan = page.locator("figure.fan").first
    expect(fan.locator(".says")).to_contain_text("probability 84 %")
    expect(fan.locator(".figures")).to_contain_text("too few to judge (0 of 20)")
    expect(page.locator("ul.legend li")).to_have_count(6)
    page.wait_for_function(f"canvas => ({IS_DRAWN})(canvas)", arg=fan.locator("canvas").element_handle())
    fan.locator("summary", has_text="Table of the forecast").click()
    assert fan.locator("details").first.locator("tbody tr").count() >= 20

    run(sieis, "settle()")
    page = charlie.goto("/forecast/")
    expect(page.locator("figure.fan").first.locator(".figures")).to_contain_text("too few to judge (1 of 20)")
    page = charlie.goto("/alerts/?status=all")
    page.locator("a", has_text="Temperature passes").first.click()
    expect(page.locator("main")).to_contain_text("came true")
    assert charlie.complaints == []


def test_on_a_phone_nothing_scrolls_sideways_and_another_mote_is_one_touch_away(visit, foretold):
    page = visit("viewer", viewport=PHONE).goto("/forecast/")

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator(".fleet tbody a", has_text=foretold[1]).first.click()
    expect(page.locator("#mote-title")).to_have_text(f"Mote {foretold[1]}")
    expect(page.locator("figure.fan .says").first).to_contain_text("probability 35 %")
