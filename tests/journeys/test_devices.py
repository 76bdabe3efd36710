"""Alice makes a key for a gateway, sees it once, sends with it, and takes it back."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
import requests
from playwright.sync_api import expect

pytestmark = pytest.mark.journey


def test_alice_makes_a_key_sends_with_it_and_takes_it_back(visit, sieis):
    alice = visit("engineer")
    page = alice.goto("/devices/")
    page.get_by_role("button", name="Make a key").first.click()
    page.get_by_label("Whose key it is").fill("gateway of the attic")
    page.get_by_role("button", name="Make", exact=True).click()
    expect(page.get_by_label("Key", exact=True)).to_have_value(re.compile("^sieis_"))
    text = page.get_by_label("Key", exact=True).input_value()

    answer = requests.post(
        f"{sieis.url}/api/v1/ingest", timeout=10, headers={"Authorization": f"Bearer {text}"},
        json={"mote_id": "7", "timestamp": datetime.now(UTC).isoformat(), "temperature": 21.5},
    )  # fmt: skip
    assert answer.json()["accepted"] == 1

    page.get_by_role("button", name="I have kept it").click()
    row = page.get_by_role("row", name="gateway of the attic")
    expect(row).not_to_contain_text(text)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("heading", name="Revoked")).to_be_visible()
    assert alice.complaints == []
