"""Quality reports in a browser: asked for, watched, read."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.journeys.test_pages import take_pictures

pytestmark = pytest.mark.journey


def test_bob_asks_for_a_report_and_reads_it_without_touching_the_page_again(visit):
    bob = visit("operator")
    page = bob.goto("/quality/")
    page.click("text=All reports, and new ones")
    take_pictures(page, "reports")

    page.click("text=Make the report")

    expect(page).to_have_url(re.compile(r"/quality/reports/\d+/$"))
    expect(page.locator(".check h3").first).to_have_text("Total records")
    expect(page.locator("#check-battery")).to_be_visible()
    expect(page.locator("#check-motes .verdict")).to_contain_text("pass")
    assert page.locator(".by-mote tbody tr").count() >= 42
    take_pictures(page, "report")
    assert bob.complaints == []


def test_the_readings_behind_a_check_open_narrowed_to_a_mote(visit):
    charlie = visit("viewer")
    page = charlie.goto("/quality/reports/")
    page.locator(".reports a").first.click()

    report = page.url
    page.goto(f"{report}readings?check=nulls&mote=7")

    expect(page.locator("[name=check]")).to_have_value("nulls")
    page.select_option("[name=flag]", "missing")  # submits by itself
    expect(page).to_have_url(re.compile(r"check=nulls&mote=7&flag=missing"))
    expect(page.locator(".empty, .table")).to_be_visible()
    take_pictures(page, "report-readings")
    assert charlie.complaints == []
