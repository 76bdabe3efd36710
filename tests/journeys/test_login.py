"""Who gets in, and what they see first."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.journey

ROLES = {"viewer": "viewer", "operator": "operator", "engineer": "engineer", "admin": "administrator"}


@pytest.mark.parametrize("name", ROLES)
def test_each_role_logs_in_by_one_click_on_its_name(stranger, name):
    somebody = stranger()
    page = somebody.goto("/")

    page.click(f"[data-fills={name}]")
    page.click("form button[type=submit]")

    expect(page.locator(".nav [aria-current=page]")).to_have_text("Live")
    page.click(".menu summary")
    expect(page.locator(".menu-panel .who")).to_contain_text(ROLES[name])
    expect(page.locator(".menu-panel a", has_text="Administration")).to_have_count(1 if name == "admin" else 0)
    assert somebody.complaints == []


def test_a_wrong_password_is_told_and_lets_nobody_in(stranger):
    mallory = stranger()

    page = mallory.log_in("viewer", "guess")

    expect(page.locator(".error[role=alert]")).to_be_visible()
    mallory.goto("/alerts/")
    expect(page).to_have_title("Log in · SIEIS")


def test_logging_out_ends_the_session(stranger):
    charlie = stranger()
    page = charlie.log_in("viewer")

    page.click(".menu summary")
    page.click("text=Log out")

    expect(page.locator("h1")).to_have_text("You are logged out")
    charlie.goto("/")
    expect(page).to_have_title("Log in · SIEIS")
