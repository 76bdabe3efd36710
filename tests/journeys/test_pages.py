"""What all pages have in common, and the pictures of the Live page and the login. test_every_page opens the others."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from playwright.sync_api import Page, expect

from tests.journeys.conftest import DESKTOP, PATIENCE_MS, PHONE, SCREENSHOTS
from tests.stack import ROOT

pytestmark = pytest.mark.journey

TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_the_live_page_tells_of_trouble_and_fits_every_screen(visit, request, send):
    alice = visit("engineer")
    send("45", temperature=44.0, humidity=41.0, light=300.0, voltage=2.7)
    send("21", temperature=20.0, humidity=88.0, light=300.0, voltage=2.7)
    page = alice.goto("/")
    expect(page.locator("#link")).to_have_text("Live")
    # A line of rates needs some seconds of readings.
    expect(page.locator("#rate-spark path")).to_have_attribute("d", re.compile("M.*L"), timeout=PATIENCE_MS)

    take_pictures(page, "live")

    assert alice.complaints == []
    if request.config.getoption("--screenshots", default=False):
        shutil.copy(SCREENSHOTS / "live-1440-light.png", ROOT / "docs" / "images" / "live.png")


def test_the_login_fits_every_screen(stranger):
    somebody = stranger()

    take_pictures(somebody.goto("/login/"), "login")

    assert somebody.complaints == []


def test_the_api_has_its_own_page(visit):
    alice = visit("engineer")

    page = alice.goto("/docs")

    expect(page.locator("#swagger-ui")).to_contain_text("/api/v1/alerts/{id}/acknowledge", timeout=60_000)
    assert alice.complaints == []


def test_a_wrong_address_and_a_closed_door_have_words(visit):
    charlie = visit("viewer")

    page = charlie.goto("/no/such/page")
    expect(page.locator("h1")).to_have_text("Not here")
    charlie.goto("/admin/")

    expect(page).not_to_have_title("Site administration | Django site admin")


def test_the_chosen_theme_stays(visit):
    alice = visit("engineer", color_scheme="light")
    page = alice.goto("/models/")
    light = background(page)

    while page.evaluate("document.documentElement.dataset.theme") != "dark":
        page.click("[data-theme-toggle]")

    assert background(page) != light
    dark = background(page)
    page.reload(wait_until="commit")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.wait_for_load_state()
    assert background(page) == dark
    with page.expect_response("**/api/v1/account"):
        page.click("[data-theme-toggle]")  # as the system again: the account keeps it, too


def test_the_navigation_opens_on_a_phone(visit):
    page = visit("viewer", viewport=PHONE).goto("/alerts/")
    expect(page.locator("#nav")).to_be_hidden()

    page.click("[data-opens=nav]")
    page.click("#nav >> text=Models")

    expect(page).to_have_title("Models · SIEIS")
    expect(page.locator("[data-retrain], [data-promote]")).to_have_count(0)


def test_a_download_of_history_holds_as_many_readings_as_the_page_counts(visit, tmp_path):
    charlie = visit("viewer")
    day = datetime.now(UTC).date() - timedelta(days=1)
    page = charlie.goto(f"/history/?mote=main/7&from={day}T12:00&to={day}T18:00")
    counted = int(re.sub(r"\D", "", page.locator("#n-readings").inner_text()))

    for label, read in (("CSV", pl.read_csv), ("Parquet", pl.read_parquet)):
        page.locator("summary", has_text="Download").click()
        with page.expect_download() as download:
            page.get_by_role("link", name=label, exact=True).click()
        download.value.save_as(tmp_path / label)
        assert len(read(tmp_path / label)) == counted > 0
        page.reload()


def take_pictures(page: Page, name: str) -> None:
    """At both widths in both themes; none may scroll sideways."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(TWO_FRAMES)  # charts follow the theme and the width
            page.screenshot(path=SCREENSHOTS / f"{name}-{size['width']}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], f"{name} scrolls sideways"


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))
