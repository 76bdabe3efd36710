"""With nothing there yet each page says what to do next, and leads there."""

from __future__ import annotations

import re

import pytest

from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
PAGES = (
    "/", "/motes/", "/machines/", "/devices/", "/forecast/", "/history/", "/history/readings/", "/insights/",
    "/alerts/", "/alerts/incidents/", "/alerts/rules/", "/alerts/silences/", "/alerts/notifications/", "/system/",
    "/quality/", "/quality/books/", "/quality/reports/", "/quality/retention/", "/imports/", "/quarantine/", "/detect/",
    "/models/", "/models/training/", "/models/watch/", "/models/drift/", "/models/review/", "/models/budget/",
    "/models/scored/", "/profiles/", "/audit/", "/account/", "/account/tokens/",
)  # fmt: skip
# Emptiness that is as it should be: nothing is to be done about it.
FINE = ("Nothing waits", "No messages", "Nothing to look at", "All quiet", "No forecast is over yet")
EMPTY = re.compile(r'<div class="empty"(?P<more>[^>]*)>(?P<inside>.*?)</div>', re.DOTALL)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_without_data_says_what_to_do_and_leads_there(alice_client, path):
    page = alice_client.get(path)

    assert page.status_code == 200
    main = page.content.decode().partition("<main")[2]
    empty = [one["inside"] for one in EMPTY.finditer(main) if "hidden" not in one["more"]]
    leads = re.compile(r"<a |<button|<pre")
    assert [one for one in empty if not leads.search(one) and not any(words in one for words in FINE)] == []
