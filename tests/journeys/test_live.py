"""The Live page: it moves, tells of alerts, lets operators act, and comes back after a loss."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.journey

SLOW_MS = 60_000  # the path has the machine's other tests beside it
MOVED = """before => [...document.querySelectorAll("table.motes .channel .value")]
    .some((value, i) => value.innerText !== before[i])"""


def values(page: Page) -> list[str]:
    return page.locator("table.motes .channel .value").all_inner_texts()


def wait_live(page: Page) -> None:
    expect(page.locator("#link")).to_have_text("Live")


def tells_how_many_are_heard(page: Page, ask) -> None:
    """Page and API come to the same: a mote that has just fallen silent is so for one of them a moment sooner."""

    def told() -> tuple[str, str]:
        n_heard = sum(mote["status"] == "live" for mote in ask("motes"))
        return page.locator("#n-speaking").inner_text(), str(n_heard)

    for _ in range(SLOW_MS // 1000):
        by_page, by_api = told()
        if by_page == by_api:
            return
        page.wait_for_timeout(1000)
    by_page, by_api = told()
    assert by_page == by_api


def test_all_motes_are_there_at_first_paint_and_move_by_themselves(visit, ask):
    charlie = visit("viewer")
    page = charlie.goto("/")
    expect(page.locator("table.motes tbody tr")).to_have_count(len(ask("motes")))
    assert page.locator(".floor .mote").count() >= 42

    wait_live(page)
    before = values(page)
    page.wait_for_function(MOVED, arg=before, timeout=5000)

    assert before.count("–") <= 0.05 * len(before)  # a mote that the demo gives a fault may send no number
    tells_how_many_are_heard(page, ask)
    assert charlie.complaints == []


def alert_of(page, code):
    return page.locator(".alert", has=page.get_by_role("link", name=f"Mote {code}", exact=True))


def test_an_alert_appears_without_a_reload_and_an_operator_takes_it_in_hand(visit, calm_mote, heat):
    bob, charlie = visit("operator"), visit("viewer")
    for one in (bob, charlie):
        wait_live(one.goto("/"))
    alert = alert_of(bob.page, calm_mote)

    for _ in range(3):
        heat(calm_mote)

    expect(alert).to_contain_text("Temperature 93.0", timeout=SLOW_MS)
    expect(alert).to_contain_text("High", ignore_case=True)
    alert.get_by_role("button", name="Acknowledge").click()
    expect(alert.locator(".status")).to_have_text(re.compile("Acknowledged"))
    seen = alert_of(charlie.page, calm_mote)
    expect(seen.locator(".status")).to_have_text(re.compile("Acknowledged"))
    expect(charlie.page.locator("[data-deed]")).to_have_count(0)
    alert.get_by_role("button", name="Resolve").click()
    bob.page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
    expect(alert).to_have_count(0)
    expect(seen).to_have_count(0)
    assert bob.complaints == charlie.complaints == []


def test_a_lost_connection_is_said_with_its_time_and_heals_by_itself(visit, ask):
    charlie = visit("viewer")
    page = charlie.goto("/")
    wait_live(page)

    charlie.context.set_offline(True)
    expect(page.locator("#link")).to_have_text(re.compile(r"^Stale since \d\d:\d\d:\d\d$"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    charlie.context.set_offline(False)

    wait_live(page)
    page.wait_for_function("before => document.querySelector('#rate').innerText !== before", arg="")
    tells_how_many_are_heard(page, ask)
    assert sum(url.endswith("/api/v1/sensors/latest") for url in asked) == 1


def test_what_is_shown_stands_in_the_address(visit):
    charlie = visit("viewer")
    page = charlie.goto("/?q=12&sort=-temperature&mote=main/12&window=300&colour=indoor:humidity")

    expect(page.locator("table.motes tbody tr:visible")).to_have_count(1)
    expect(page.locator("#mote-title")).to_have_text("Mote 12")
    expect(page.locator("[data-window='300']")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#colour")).to_have_value("indoor:humidity")
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Temperature")

    page.fill("#q", "")
    page.locator(".floor .mote[data-key='main/33']").click()

    expect(page).to_have_url(re.compile(r"mote=main/33"))
    page.reload()
    expect(page.locator("#mote-title")).to_have_text("Mote 33")
    assert charlie.complaints == []


def test_the_map_can_be_walked_by_keyboard(visit):
    page = visit("viewer").goto("/?mote=main/1")
    wait_live(page)

    page.locator(".floor .mote[data-key='main/1']").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")

    expect(page.locator(".floor .mote[aria-pressed=true]")).to_be_focused()
    expect(page.locator("#mote-title")).not_to_have_text("Mote 1")


def test_the_map_goes_back_in_time_says_so_and_returns(visit):
    charlie = visit("viewer")
    page = charlie.goto("/")
    wait_live(page)

    page.locator("#past-at").fill("40")

    told = page.locator("#past output")
    expect(told).to_have_text(re.compile(r"^\d\d:\d\d, .* ago, \d+ anomalous$"))
    expect(page).to_have_url(re.compile("at=20"))
    page.locator("#past-at").fill("72")
    expect(told).to_have_text("now")
    expect(page).not_to_have_url(re.compile("at=20"))
    assert charlie.complaints == []


def test_the_readings_behind_the_charts_are_a_table_away(visit):
    page = visit("viewer").goto("/?mote=main/9")
    expect(page.locator("#charts canvas")).to_have_count(5)

    page.click("#as-table")

    expect(page.locator("#readings thead th")).to_have_count(8)
    expect(page.locator("#readings tbody tr").first).to_be_visible()
