"""The API of profiles: what is there, what changed, and packs that engineers send."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from sensors.models import Mote, Profile, ProfileVersion
from tests.people import *  # noqa: F403
from tests.sensors.test_packs import DERIVED, FULL, OFFICE

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/profiles"


def send(client, text: str, address: str = ADDRESS):
    return client.post(address, text.encode(), content_type="application/toml")


def test_a_pack_that_an_engineer_sends_is_there_at_once(alice_client, charlie_client):
    answer = send(alice_client, FULL)

    assert answer.status_code == 201
    assert answer.json()["created"][:2] == [
        "profile office, version 1", "channel co2: normal 400–1200 ppm, physical 0–10000 ppm",
    ]  # fmt: skip
    told = charlie_client.get(f"{ADDRESS}/office").json()
    assert told["battery"] == {"channel": "noise", "low": 30.0, "empty": 20.0}
    assert told["channels"][2]["formula"] == {"kind": "ratio", "of": ["co2", "noise"], "scale": 0.5}
    assert [channel["is_detected"] for channel in told["channels"]] == [True, True, False]
    assert told["n_motes"] == 2


def test_a_dry_run_says_the_same_and_changes_nothing(alice_client):
    planned = send(alice_client, OFFICE, f"{ADDRESS}?dry_run=1")

    assert planned.status_code == 200
    assert not Profile.objects.exists()
    made = send(alice_client, OFFICE).json()
    assert {**planned.json(), "is_dry_run": False} == made


def test_the_same_pack_again_is_nothing_new(alice_client):
    send(alice_client, OFFICE)

    again = send(alice_client, OFFICE)

    assert (again.status_code, again.json()["is_changed"], again.json()["version"]) == (200, False, 1)


def test_each_version_says_what_it_changed_and_who_brought_it(alice_client, charlie_client):
    send(alice_client, OFFICE)
    send(alice_client, OFFICE.replace("[400, 1200]", "[400, 1000]") + DERIVED)

    newest, first = charlie_client.get(f"{ADDRESS}/office").json()["versions"]

    assert (newest["version"], newest["is_current"], newest["by"]) == (2, True, "alice")
    assert newest["changes"] == [
        "~ channel co2: normal 400–1200 → 400–1000 ppm",
        "+ channel loudness_of_air: ratio of co2 and noise, normal 5–40 ppm/dB, physical 0–500 ppm/dB",
    ]
    assert (first["version"], first["is_current"], first["changes"]) == (1, False, [])
    assert first["content_hash"] != newest["content_hash"]


def test_a_file_of_a_form_is_taken_as_well_and_its_name_stands_in_errors(alice_client):
    file = SimpleUploadedFile("office.toml", OFFICE.replace("resolution = 1\n", "resolution = 0\n").encode())

    answer = alice_client.post(ADDRESS, {"pack": file})

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == "office.toml:12: channels.1: resolution is 0; expected a number above 0"


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("", 400, "No file came; send the TOML as the body"),
        ("x" * 300_000, 400, "a pack has 262,144 at most"),
        (OFFICE + "[scheduel]\n", 400, "did you mean “schedule”?"),
        (OFFICE.replace('"office"', '"workshop"'), 409, "install this pack at another site with --site"),
        (OFFICE.partition('[[channels]]\ncode = "noise"')[0], 409, "channel noise is missing"),
    ],
)
def test_what_cannot_be_installed_is_refused_in_a_sentence(alice_client, text, status, words):
    send(alice_client, OFFICE)

    answer = send(alice_client, text)

    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert ProfileVersion.objects.count() == 1


def test_the_motes_of_a_pack_may_stand_at_another_site(alice_client):
    send(alice_client, OFFICE, f"{ADDRESS}?site=annex")

    assert set(Mote.objects.values_list("site__code", flat=True)) == {"annex"}
    assert send(alice_client, OFFICE, f"{ADDRESS}?site=a b").status_code == 400


def test_only_engineers_and_administrators_may_send_packs(admin_client, bob_client, charlie_client, mallory):
    assert [send(client, OFFICE).status_code for client in (bob_client, charlie_client)] == [403, 403]
    assert "role engineer" in send(bob_client, OFFICE).json()["detail"]
    assert send(mallory, OFFICE).status_code == 401
    assert not Profile.objects.exists()
    assert send(admin_client, OFFICE).status_code == 201


def test_an_unknown_profile_says_where_the_known_ones_are(charlie_client):
    answer = charlie_client.get(f"{ADDRESS}/office")

    assert (answer.status_code, answer.json()["detail"]) == (
        404, "There is no profile “office”; /api/v1/profiles lists them.",
    )  # fmt: skip
