"""The Devices page shows who may send, and never a secret."""

from __future__ import annotations

import pytest
from django.utils import timezone

from ingestion import devices
from sensors.models import Mote, Site
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db


@pytest.fixture
def made():
    builders.install_fleet(motes=("7",))
    mote = Mote.objects.get(code="7")
    return devices.make_key(
        name="gateway of the attic", site=Site.objects.get(), mote=mote, who=None, now=timezone.now()
    )


def test_alice_sees_whose_keys_there_are_and_no_secret(alice_client, made):
    page = alice_client.get("/devices/").text

    assert "gateway of the attic" in page
    assert made.key.public_id in page
    assert made.text not in page


def test_a_revoked_key_is_told_as_such(alice_client, made, alice):
    devices.revoke_key(made.key, who=alice, now=timezone.now())

    page = alice_client.get("/devices/").text

    assert "Revoked" in page
    assert "No keys yet" in page
    assert "by alice" in page


def test_without_a_key_the_page_says_what_one_is_for(alice_client):
    assert "sends its readings by HTTP" in alice_client.get("/devices/").text


def test_bob_and_charlie_may_not_look(bob_client, charlie_client):
    assert [client.get("/devices/").status_code for client in (bob_client, charlie_client)] == [403, 403]
