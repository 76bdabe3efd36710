"""The pages of profiles: what each kind of mote measures, and a pack that an engineer brings."""

from __future__ import annotations

import html
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from mlops.models import ModelVersion
from sensors.installation import install_pack
from sensors.models import AuditEntry, Mote, Profile, ProfileVersion
from sensors.packs import parse_pack, read_pack
from tests.conftest import NOON
from tests.people import *  # noqa: F403
from tests.sensors.test_packs import DERIVED, FULL, OFFICE

pytestmark = pytest.mark.django_db
STRICTER = OFFICE.replace("[400, 1200]", "[400, 1000]")


def install(text: str) -> None:
    install_pack(parse_pack(text), site_code="main", time_zone="UTC", who=None, now=NOON)


def words(answer) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())))


def bring(client, text: str, **more):
    return client.post("/profiles/", {"file": SimpleUploadedFile("office.toml", text.encode()), **more})


def confirmed(client, shown, **changes):
    """What the browser sends when the button of the shown page is pressed."""
    page = shown.content.decode()
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    text = html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)[1])
    digest = re.search(r'name="confirmed" value="(\w+)"', page)[1]
    site = re.search(r'name="site"[^>]* value="([^"]*)"', page)[1]
    # A browser sends the lines of a text area with CR LF.
    given = {**fields, "text": text.replace("\n", "\r\n"), "confirmed": digest, "site": site, **changes}
    return client.post("/profiles/", given)


# ---- looking ------------------------------------------------------------------------------------------------


def test_each_profile_is_there_with_its_motes_version_and_channels(charlie_client):
    for name in ("indoor", "smoke"):
        install_pack(read_pack(name), site_code=name, time_zone="UTC", who=None, now=NOON)
    Mote.objects.filter(code="7").update(state="retired")

    shown = words(charlie_client.get("/profiles/"))

    assert "Indoor climate version 1 41 motes · every 30 s Temperature °C 18–28" in shown
    assert "Smoke detector version 1 3 motes · every 1 s" in shown
    assert "Dew point °C derived −6 to 22" in shown


def test_alice_loads_a_pack_that_comes_with_sieis_without_a_file(alice_client):
    shown = alice_client.post("/profiles/", {"shipped": "machine"})
    confirmed(alice_client, shown)

    assert Mote.objects.filter(profile__code="machine").count() == 5
    assert "<option>machine</option>" not in alice_client.get("/profiles/").content.decode()


def test_without_a_profile_the_page_says_what_to_do(charlie_client):
    assert "load_pack indoor" in words(charlie_client.get("/profiles/"))


def test_a_profile_shows_everything_that_its_pack_says(charlie_client):
    install(FULL)

    shown = words(charlie_client.get("/profiles/office/"))

    assert "Co2 ppm co2 0 10000 normal 400–1200 ppm 1 ppm 50 ppm 2 h never yes" in shown
    assert "Noise dB noise also sound , Noise[dB] 20 130 normal 30–70 dB" in shown
    assert "loudness_of_air ratio of co2 and noise × 0.5" in shown
    assert "low below 30 dB noise; empty at 20 dB" in shown
    assert "a gap after 10 min, judged in steps of 1 min" in shown
    assert charlie_client.get("/profiles/nothing/").status_code == 404


def test_each_version_stands_with_its_day_and_what_it_changed(alice_client, charlie_client):
    install(OFFICE)
    confirmed(alice_client, bring(alice_client, STRICTER))

    shown = words(charlie_client.get("/profiles/office/"))

    assert re.search(
        r"Version 2 current [\d: -]+ · by alice · \w{10} ~ Changed: channel co2: normal 400–1200 → ", shown
    )
    assert "Version 1 2026-03-02 12:00 · " in shown
    assert "The first version: co2, noise." in shown


def test_the_current_version_comes_as_a_pack_that_changes_nothing(alice_client, charlie_client):
    install(OFFICE)
    install(FULL.replace("1200", "1000"))

    answer = charlie_client.get("/profiles/office/pack.toml")

    assert answer["Content-Disposition"] == 'attachment; filename="office.toml"'
    assert parse_pack(answer.content.decode()).content_hash == ProfileVersion.objects.get(number=2).content_hash
    assert "office is installed as version 2" in words(bring(alice_client, answer.content.decode()))


def test_a_model_of_an_older_version_is_said_to_need_a_training(charlie_client):
    install(OFFICE)
    ModelVersion.objects.create(
        name="office/v1", number=1, profile=Profile.objects.get(), stage="production", profile_version=1,
        created_at=timezone.now(), seed=1,
    )  # fmt: skip
    assert "learnt version" not in words(charlie_client.get("/profiles/office/"))

    install(STRICTER)

    assert "Model office/v1 learnt version 1 of this profile." in words(charlie_client.get("/profiles/office/"))


# ---- bringing -----------------------------------------------------------------------------------------------


def test_an_engineer_sees_what_would_change_before_it_does(alice_client):
    install(OFFICE)

    shown = bring(alice_client, STRICTER + DERIVED)

    assert "~ Changed: channel co2: normal 400–1200 → 400–1000 ppm" in words(shown)
    assert "+ New: channel loudness_of_air: ratio of co2 and noise" in words(shown)
    assert ProfileVersion.objects.count() == 1
    answer = confirmed(alice_client, shown)
    assert (answer.status_code, answer["Location"]) == (302, "/profiles/office/")
    assert ProfileVersion.objects.get(is_current=True).number == 2
    assert AuditEntry.objects.order_by("id").last().who.username == "alice"


def test_what_was_edited_after_it_was_shown_is_shown_again(alice_client):
    shown = bring(alice_client, OFFICE)

    again = confirmed(alice_client, shown, text=STRICTER)
    elsewhere = confirmed(alice_client, shown, site="annex")

    assert "channel co2: normal 400–1000 ppm" in words(again)
    assert "+ New: site annex" in words(elsewhere)
    assert not Profile.objects.exists()


def test_of_two_engineers_who_looked_at_the_same_version_the_second_looks_again(alice_client, admin_client):
    install(OFFICE)
    shown = bring(alice_client, STRICTER)
    confirmed(admin_client, bring(admin_client, OFFICE.replace("[400, 1200]", "[400, 900]")))

    answer = confirmed(alice_client, shown)

    assert answer.status_code == 409
    assert "Profile office is at version 2 by now; the changes were shown against version 1." in words(answer)


def test_a_wrong_line_is_named_and_marked_and_the_text_stays(alice_client):
    answer = bring(alice_client, OFFICE.replace("resolution = 1\n", "resolution = 0 # <b>\n"))

    assert answer.status_code == 400
    assert "office.toml:12: channels.1: resolution is 0; expected a number above 0" in words(answer)
    assert 'data-line="12"' in answer.content.decode()
    assert "resolution = 0 # &lt;b&gt;" in answer.content.decode()


@pytest.mark.parametrize(
    ("text", "site", "told"),
    [
        (b"label = '\xff'", "", "office.toml:1: this is not UTF-8 text; save the file as UTF-8"),
        (b"#" * 300_000, "", "a pack has 262,144 at most"),
        (OFFICE.encode(), "my site", "“my site” is no code of a site"),
        (OFFICE.replace('"office"', '"workshop"').encode(), "", "motes of another profile with the same codes"),
    ],
)
def test_what_cannot_be_installed_is_refused_in_a_sentence(alice_client, text, site, told):
    install(OFFICE)

    answer = alice_client.post("/profiles/", {"file": SimpleUploadedFile("office.toml", text), "site": site})

    assert answer.status_code in (400, 409)
    assert told in words(answer)
    assert ProfileVersion.objects.count() == 1


def test_who_only_looks_or_operates_finds_no_button_and_no_way(bob_client, charlie_client, alice_client, mallory):
    install(OFFICE)

    for client in (bob_client, charlie_client):
        assert "Show what would change" not in words(client.get("/profiles/"))
        assert "Bring a new version" not in words(client.get("/profiles/office/"))
        assert bring(client, STRICTER).status_code == 403
    assert "Bring a new version" in words(alice_client.get("/profiles/office/"))
    assert bring(mallory, STRICTER)["Location"].startswith("/login/")
    assert ProfileVersion.objects.count() == 1
