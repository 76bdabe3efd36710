"""Motes in a browser: correcting a stretch by dragging over it, taking it back, and moving motes between states."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.conftest import PHONE
from tests.journeys.test_pages import take_pictures

pytestmark = pytest.mark.journey


def charts(page: Page) -> None:
    expect(page.locator("figure.channel canvas").first).to_be_visible()


def left_out(page: Page, channel: str) -> str:
    return page.locator(f"figure[data-channel={channel}] .figures").inner_text()


def test_an_operator_drags_over_a_stretch_leaves_it_out_and_takes_it_back(visit):
    bob = visit("operator")
    page = bob.goto("/motes/main/7/")
    charts(page)
    assert "excluded" not in left_out(page, "temperature")

    box = page.locator("figure[data-channel=temperature] .plot").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=4)
    page.mouse.up()
    expect(page.locator("#c-touched")).to_have_text(re.compile(r"Touches \d+ readings\."))
    page.fill("#c-why", "the door stood open")
    page.click("#correct .primary")

    expect(page.locator("figure[data-channel=temperature] .left-out")).to_contain_text("excluded")
    assert "excluded" not in left_out(page, "humidity")
    page.click("[data-undo]")
    page.click("#ask-yes")
    expect(page.locator("tr.undone")).to_contain_text("taken back by operator")
    assert "excluded" not in left_out(page, "temperature")
    assert bob.complaints == []


def test_motes_go_into_maintenance_together_after_a_question(visit):
    bob = visit("operator")
    page = bob.goto("/motes/?q=4")
    page.check("#all")
    n = page.locator("[name=mote]").count()
    page.select_option("#state", "maintenance")
    page.click("#change")
    expect(page.locator("#ask .words")).to_contain_text("opens no new alert")
    page.click("#ask-yes")

    expect(page.locator(".toasts")).to_contain_text(f"{n} of {n} motes changed")
    expect(page.locator("td .badge.maintenance")).to_have_count(n)
    page.check("#all")
    page.select_option("#state", "active")
    page.click("#change")
    page.click("#ask-yes")
    expect(page.locator("td .badge.maintenance")).to_have_count(0)
    assert bob.complaints == []


def test_the_pages_of_motes_fit_every_screen_and_offer_a_viewer_no_deed(visit):
    charlie = visit("viewer")
    page = charlie.goto("/motes/")
    take_pictures(page, "motes")
    expect(page.locator("[name=mote], [data-dialog=register]")).to_have_count(0)

    page.click("tbody th a >> nth=0")
    charts(page)
    take_pictures(page, "mote")

    expect(page.locator("[data-state], #correct-open")).to_have_count(0)
    page.set_viewport_size(PHONE)
    page.click("figure.channel summary >> nth=0")
    expect(page.locator("figure.channel details table tbody tr").first).to_be_visible()
    following = page.locator("a[data-key=j]").get_attribute("href")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile(f"{following}$"))
    assert charlie.complaints == []
