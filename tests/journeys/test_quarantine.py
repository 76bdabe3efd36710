"""An unknown mote is adopted, and a broken message repaired, as an operator does it."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from ingestion.streams.segments import SegmentStream
from tests.journeys.test_pages import take_pictures

pytestmark = pytest.mark.journey


def test_an_operator_adopts_a_mote_and_repairs_a_message(visit, send, sieis):
    code = f"attic-{uuid.uuid4().hex[:6]}"
    send(code, temperature=21.5, humidity=40.0, light=120.0, voltage=2.7)
    stream = SegmentStream(folder=sieis.folder / "stream", keep_days=3.0, topic="sensor-readings")
    told = {"mote_id": code, "timestamp": timezone.now().isoformat(), "temperature": 22.0}
    stream.append([json.dumps(told).encode()[:-1]], [b"main"])
    bob = visit("operator")

    page = bob.goto("/quarantine/")
    expect(page.locator("tr", has_text=code).first).to_be_visible()
    take_pictures(page, "quarantine")
    page.locator("tr", has_text=code).get_by_role("link", name="Adopt…").click()
    expect(page.locator("#a-profile")).to_have_value("indoor")
    page.fill("#a-label", "Under the roof")
    page.get_by_role("button", name="Adopt, with 1 held message").click()
    expect(page.locator("h1")).to_contain_text(code)

    page = bob.goto(f"/quarantine/?view=messages&reason=malformed&q={code}")
    page.locator(".aside a.mono").click()
    expect(page.locator("#fate")).to_contain_text("put aside again")
    take_pictures(page, "quarantined")
    page.fill("#payload", page.input_value("#payload") + "}")
    expect(page.locator("#fate")).to_contain_text(re.compile("would be taken.*Temperature 22 °C"))
    page.click("#send")
    expect(page.locator(".toast.success")).to_contain_text("Sent again.")
    expect(page.locator(".badge.ok")).to_have_text("replayed")

    bob.goto(f"/quarantine/?view=messages&status=replayed&mote={code}")
    for _ in range(15):
        if page.locator(".aside tbody tr").count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    expect(page.locator(".aside tbody tr")).to_have_count(1)
    assert bob.complaints == []
