"""Installing packs: what changes is shown before it does, twice changes nothing, versions and places stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from sensors.installation import CannotInstall, install_pack
from sensors.models import AuditEntry, FleetRevision, Mote, Profile, ProfileVersion, Site
from sensors.packs import Pack, parse_pack, read_pack, shipped
from sensors.packs.changes import CannotFollow, in_place
from sensors.packs.written import pack_text
from tests.builders import channel, profile
from tests.conftest import NOON
from tests.sensors.test_packs import DERIVED, OFFICE


def install(pack, **changes):
    return install_pack(
        pack, **{"site_code": "main", "time_zone": "Europe/Berlin", "who": None, "now": NOON, **changes}
    )


# ---- installing ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_installing_brings_profile_site_zone_and_motes():
    done = install(read_pack("indoor"))

    assert done.profile_version == 1
    version = ProfileVersion.objects.get(profile__code="indoor", is_current=True)
    assert version.as_profile().names == ("temperature", "humidity", "light", "voltage", "dew_point")
    assert Site.objects.get(code="main").time_zone == "Europe/Berlin"
    seven = Mote.objects.get(code="7")
    assert (seven.x, seven.y, seven.zone.code, seven.state) == (22.5, 8.0, "lab", "active")
    assert Mote.objects.count() == 42
    assert FleetRevision.objects.get().number == 1
    assert AuditEntry.objects.get().deed == "load_pack"


@pytest.mark.django_db
@pytest.mark.parametrize("name", shipped())
def test_what_is_stored_is_what_the_pack_said(name):
    pack = read_pack(name)

    install(pack)

    stored = ProfileVersion.objects.get()
    assert replace(stored.as_profile(), version=0) == pack.profile
    assert stored.content_hash == pack.content_hash
    assert (
        parse_pack(pack_text(Pack("stored", stored.as_profile(), **stored.settings))).content_hash == pack.content_hash
    )


@pytest.mark.django_db
def test_installing_twice_changes_nothing():
    install(read_pack("machine"))

    again = install(read_pack("machine"), time_zone="UTC")

    assert not again.is_changed
    assert again.profile_version == 1
    assert "it keeps its time zone Europe/Berlin" in "".join(again.lines())
    assert (ProfileVersion.objects.count(), Mote.objects.count(), AuditEntry.objects.count()) == (1, 5, 1)
    assert FleetRevision.objects.get().number == 1


@pytest.mark.django_db
def test_a_changed_file_makes_version_2_and_keeps_version_1():
    install(parse_pack(OFFICE))

    done = install(parse_pack(OFFICE.replace("[400, 1200]", "[400, 1000]")))

    assert done.profile_version == 2
    normal = {
        version.number: (version.is_current, version.as_profile().channels[0].normal)
        for version in ProfileVersion.objects.all()
    }
    assert normal == {1: (False, (400.0, 1200.0)), 2: (True, (400.0, 1000.0))}
    assert FleetRevision.objects.get().number == 2


@pytest.mark.django_db
def test_going_back_to_an_old_file_is_a_version_of_its_own():
    first, second = parse_pack(OFFICE), parse_pack(OFFICE.replace("[400, 1200]", "[400, 1000]"))
    for pack in (first, second):
        install(pack)

    assert install(first).profile_version == 3
    assert ProfileVersion.objects.filter(is_current=True).count() == 1


@pytest.mark.django_db
def test_what_people_changed_on_a_mote_stays_theirs():
    install(parse_pack(OFFICE))
    Mote.objects.filter(code="room-2").update(label="Alice's desk", x=9.0, state="maintenance")

    done = install(parse_pack(OFFICE.replace("x = 4,", "x = 5,") + '\n[schedule]\nretrain = "0 4 * * *"\n'))

    assert done.is_changed
    assert Mote.objects.filter(code="room-2", label="Alice's desk", x=9.0, state="maintenance").exists()


@pytest.mark.django_db
def test_what_changes_is_said_channel_by_channel():
    install(parse_pack(OFFICE))
    changed = OFFICE.replace("[400, 1200]", "[400, 1000]").replace("flat_after_s = 7200\n\n", "flat_after_s = 3600\n\n")

    done = install(parse_pack(changed + DERIVED), is_rehearsal=True)

    assert done.lines() == [
        "+ channel loudness_of_air: ratio of co2 and noise, normal 5–40 ppm/dB, physical 0–500 ppm/dB",
        "~ profile office: version 2 follows version 1",
        "~ channel co2: normal 400–1200 → 400–1000 ppm",
        "~ channel co2: flat line after 2 h → 1 h",
        "= site main",
        "= 2 motes at main",
    ]
    assert ProfileVersion.objects.count() == 1


@pytest.mark.django_db
def test_a_channel_keeps_its_place_wherever_a_later_file_has_it():
    """Measured channels that come later stand after the derived ones that were there first."""
    install(parse_pack(OFFICE + DERIVED))
    head, co2, noise = OFFICE.partition("[layout]")[0].split("[[channels]]")
    voc = co2.replace('"co2"', '"voc"').replace("ppm", "ppb")

    done = install(parse_pack("[[channels]]".join([head, voc, noise, co2]) + DERIVED))

    assert done.created == ["channel voc: normal 400–1200 ppb, physical 0–10000 ppb"]
    stored = ProfileVersion.objects.get(is_current=True)
    assert stored.as_profile().names == ("co2", "noise", "loudness_of_air", "voc")
    assert not install(parse_pack(pack_text(Pack("stored", stored.as_profile(), **stored.settings)))).is_changed


def test_several_channels_that_are_missing_are_told_as_several():
    before = profile(channel("co2"), channel("noise"), channel("light"))

    with pytest.raises(CannotFollow, match="channels co2, noise are missing, which profile"):
        in_place(replace(before, channels=before.channels[2:]), before)


@pytest.mark.django_db
def test_a_channel_that_is_stored_can_neither_go_nor_change_its_nature():
    install(parse_pack(OFFICE + DERIVED))
    without = OFFICE
    measured = OFFICE + DERIVED.replace("[[derived]]", "[[channels]]\nmax_rate_per_s = 1\nflat_after_s = 60").replace(
        'kind = "ratio"\nof = ["co2", "noise"]\n', ""
    )

    with pytest.raises(CannotInstall, match="channel loudness_of_air is missing, which profile office stores"):
        install(parse_pack(without))
    with pytest.raises(
        CannotInstall, match="loudness_of_air has been derived in profile office and would now be measur"
    ):
        install(parse_pack(measured))

    assert Profile.objects.get().versions.count() == 1


@pytest.mark.django_db
def test_what_judges_no_reading_changes_without_a_new_version():
    install(parse_pack(OFFICE))
    renamed = OFFICE.replace("Office air", "Air of the offices") + '[schedule]\nretrain = "0 4 * * *"\n'

    done = install(parse_pack(renamed))

    assert done.updated == [
        "schedule.retrain: – → 0 4 * * *", "profile office: label “Office air” → “Air of the offices”",
    ]  # fmt: skip
    version = ProfileVersion.objects.get()
    assert (version.number, version.settings["schedule"]) == (1, {"retrain": "0 4 * * *"})
    assert not install(parse_pack(renamed)).is_changed


@pytest.mark.django_db
def test_motes_of_another_profile_are_not_taken_over():
    install(parse_pack(OFFICE))
    other = OFFICE.replace('code = "office"', 'code = "workshop"')

    with pytest.raises(CannotInstall, match=r"codes \(room-1, room-2\); install this pack at another site with --site"):
        install(parse_pack(other))

    assert install(parse_pack(other), site_code="workshop").is_changed


# ---- the command --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_load_pack_shows_what_would_change_and_a_dry_run_changes_nothing(capsys):
    call_command("load_pack", "indoor", "--dry-run")

    words = capsys.readouterr().out
    assert "+ profile indoor, version 1\n+ channel temperature: normal 18–28 °C, physical −10 to 50 °C\n" in words
    assert "+ 42 motes at main: 1, 2, 3 … 54" in words
    assert "dry run" in words
    assert not Profile.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_load_pack_twice_says_that_nothing_changes(capsys):
    call_command("load_pack", "climate", "--yes", "--site", "depot", "--time-zone", "America/Los_Angeles")
    assert "climate, version 1, is installed" in capsys.readouterr().out

    call_command("load_pack", "climate", "--site", "depot")

    assert "Nothing changes: climate is installed as version 1." in capsys.readouterr().out
    assert Site.objects.get().time_zone == "America/Los_Angeles"


@pytest.mark.django_db
def test_load_pack_says_that_a_new_version_wants_a_training(tmp_path, capsys):
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)
    call_command("load_pack", str(path), "--yes")
    assert "train" not in capsys.readouterr().out
    path.write_text(OFFICE.replace("[400, 1200]", "[400, 1000]"))

    call_command("load_pack", str(path), "--yes")

    words = capsys.readouterr().out
    assert "~ channel co2: normal 400–1200 → 400–1000 ppm\n" in words
    assert "manage.py train --profile office" in words


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("indoor",), "nobody is there to ask: confirm with --yes"),
        (("outdoor",), "“outdoor” is neither a pack"),
        (("indoor", "--time-zone", "Mars/Olympus"), "“Mars/Olympus” is not an IANA time zone"),
        (("indoor", "--site", "my site"), "“my site” is no code of a site"),
        (("indoor", "--motes", "-1"), "--motes is -1"),
    ],
)
def test_load_pack_refuses_in_a_sentence(arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("load_pack", *arguments)


@pytest.mark.django_db
def test_what_an_engineer_changed_is_kept_by_a_start_that_loads_the_pack_again(tmp_path, capsys):
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)
    call_command("load_pack", str(path), "--yes", "--unless-installed")
    path.write_text(OFFICE.replace("400", "410", 1))

    call_command("load_pack", str(path), "--yes", "--unless-installed")

    assert "office is installed, and stays as it is." in capsys.readouterr().out
    assert ProfileVersion.objects.get(profile__code="office").number == 1


@pytest.mark.django_db
def test_load_pack_takes_a_file_and_as_many_motes_as_asked_for(tmp_path):
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)

    call_command("load_pack", str(path), "--yes", "--motes", "5")

    assert list(Mote.objects.values_list("code", flat=True)) == ["room-1", "room-2", "room-3", "room-4", "room-5"]
