"""From the admin into the pages."""

from __future__ import annotations

import re

import pytest

from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("listed", "page"),
    [("sensors/mote", "/motes/main/7/"), ("sensors/profile", "/profiles/indoor/")],
)
def test_a_line_of_the_admin_leads_to_the_page_that_shows_the_same(admin_client, listed, page):
    builders.install_fleet(motes=("7",))

    shown = admin_client.get(f"/admin/{listed}/").content.decode()

    address = re.search(rf'<a href="({page})">open</a>', shown)
    assert address
    assert admin_client.get(address[1]).status_code == 200
