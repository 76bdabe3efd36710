"""Packs: what is wrong is named with its line; installing twice changes nothing; versions stay."""

from __future__ import annotations

import tomllib

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from sensors.installation import CannotInstall, install_pack
from sensors.models import AuditEntry, FleetRevision, Mote, Profile, ProfileVersion, Site
from sensors.packs import BadPack, lines, parse_pack, read_pack, shipped
from sensors.packs.tables import is_number
from sensors.quality import MAX_CHANNELS
from tests.conftest import NOON

OFFICE = """\
# A user's own: CO₂ and noise.
[profile]
code = "office"
label = "Office air"
interval_s = 60

[[channels]]
code = "co2"
unit = "ppm"
physical = [0, 10000]
normal = [400, 1200]
resolution = 1
max_rate_per_s = 50
flat_after_s = 7200

[[channels]]
code = "noise"
unit = "dB"
physical = [20, 130]
normal = [30, 70]
resolution = 0.5
max_rate_per_s = 60
flat_after_s = 7200
aliases = ["sound", "Noise[dB]"]

[layout]
motes = [
  { code = "room-1" },
  { code = "room-2", x = 4, y = 2.5, label = "Corner room" },
]
"""


def install(pack, **changes):
    return install_pack(
        pack, **{"site_code": "main", "time_zone": "Europe/Berlin", "who": None, "now": NOON, **changes}
    )


# ---- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_pack_can_be_read_and_has_motes(name):
    pack = read_pack(name)

    assert pack.profile.code == name
    assert pack.profile.version == 0
    assert pack.motes


def test_the_indoor_pack_has_42_motes_where_the_lab_had_them():
    motes = {mote.code: (mote.x, mote.y) for mote in read_pack("indoor").motes}

    assert len(motes) == 42
    assert motes["7"] == (22.5, 8.0)
    assert motes["54"] == (26.5, 2.0)


def test_the_smoke_pack_takes_the_names_of_the_public_set():
    names = {alias for channel in read_pack("smoke").profile.channels for alias in channel.aliases}

    assert names >= {
        "Temperature[C]", "Humidity[%]", "TVOC[ppb]", "eCO2[ppm]", "Raw H2", "Raw Ethanol", "Pressure[hPa]",
        "PM1.0", "PM2.5", "NC0.5", "NC1.0", "NC2.5",
    }  # fmt: skip


def test_a_profile_of_ones_own_needs_a_toml_file_and_nothing_else(tmp_path):
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)

    pack = read_pack(path)

    assert pack.profile.names == ("co2", "noise")
    assert pack.profile.step_s == pack.profile.interval_s == 60.0
    assert pack.profile.channels[1].aliases == ("sound", "Noise[dB]")
    assert [mote.code for mote in pack.motes] == ["room-1", "room-2"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("interval_s = 60", "intervall_s = 60", "office.toml:2: profile has no “interval_s”"),
        (
            "resolution = 1\n",
            'resolution = "fine"\n',
            'office.toml:12: channels.1: resolution is "fine"; expected a number',
        ),
        (
            "resolution = 1\n",
            "resolution = true\n",
            "office.toml:12: channels.1: resolution is true; expected a number",
        ),
        ("[400, 1200]", "[1200, 400]", "office.toml:11: channels.1: normal is [1200, 400]; expected [low, high]"),
        ("[400, 1200]", "[400, 12000]", "office.toml:11: channels.1: normal [400, 12000] reaches beyond [0, 10000]"),
        ('code = "noise"', 'code = "co2"', "office.toml:17: channels.2: “co2” already names channel co2"),
        ('"sound"', '"co2"', "office.toml:24: channels.2: “co2” already names channel co2"),
        ('code = "noise"', 'code = "mote"', "office.toml:17: channels.2: code is “mote”, which every reading uses"),
        (
            'code = "noise"',
            'code = "Noise"',
            'office.toml:17: channels.2: code is "Noise"; expected a lower-case letter',
        ),
        (
            'code = "room-2"',
            'code = "room-1"',
            "office.toml:29: layout.motes.2: code “room-1” is already that of number 1",
        ),
        ("y = 2.5", "z = 2.5", "office.toml:29: layout.motes.2 has an unknown key “z”"),
        (
            "flat_after_s = 7200\naliases",
            "flat_afer_s = 7200\naliases",
            "office.toml:16: channels.2 has no “flat_after_s”",
        ),
        ("aliases", "alias", "office.toml:24: channels.2 has an unknown key “alias”; did you mean “aliases”?"),
        ("[layout]", "[lay out]", "office.toml:26: "),
        ("[400, 1200]", "[400, nan]", "office.toml:11: channels.1: normal is [400, NaN]"),
    ],
)
def test_an_error_names_file_line_and_value(old, new, words):
    assert old in OFFICE

    with pytest.raises(BadPack) as error:
        parse_pack(OFFICE.replace(old, new, 1), source="office.toml")

    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    ("simulator", "words"),
    [
        ("[simulator]\nanomaly_rate = 5\n", "pack:32: simulator: anomaly_rate is 5; expected a share from 0 to 0.5"),
        ("[simulator]\nfaults = { spyke = 1 }\n", "pack:32: simulator.faults has an unknown key “spyke”; did you mean"),
        (
            "[simulator.channels]\nco3 = {}\n",
            "pack:32: simulator.channels has an unknown key “co3”; did you mean “co2”?",
        ),
        ('[simulator]\nworld = "moon"\n', 'pack:32: simulator: world is "moon"; expected one of bands, indoor'),
    ],
)
def test_the_simulator_table_is_checked_as_strictly(simulator, words):
    with pytest.raises(BadPack) as error:
        parse_pack(f"{OFFICE}{simulator}")

    assert str(error.value).startswith(words)


def test_a_profile_has_no_more_channels_than_flags_can_name():
    head, channel, *_ = OFFICE.split("[[channels]]")
    many = "".join(f"[[channels]]{channel.replace('co2', f'co2_{i}')}" for i in range(MAX_CHANNELS + 1))

    with pytest.raises(BadPack, match=f"{MAX_CHANNELS + 1} channels; a profile has 1 to {MAX_CHANNELS}"):
        parse_pack(head + many)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(
        BadPack, match=r"“outdoor” is neither a pack that comes with SIEIS \(climate, indoor, machine, smoke\)"
    ):
        read_pack("outdoor")


def test_comments_and_order_of_keys_do_not_change_a_packs_content():
    swapped = OFFICE.replace('unit = "ppm"\nphysical = [0, 10000]', 'physical = [0.0, 10_000] # all\nunit = "ppm"')

    assert parse_pack(swapped).content_hash == parse_pack(OFFICE).content_hash
    assert parse_pack(OFFICE.replace("1200", "1300")).content_hash != parse_pack(OFFICE).content_hash


def test_further_motes_are_numbered_on():
    assert [mote.code for mote in read_pack("machine").with_motes(7).motes][-2:] == ["MACHINE_006", "MACHINE_007"]
    assert len({mote.code for mote in read_pack("indoor").with_motes(100).motes}) == 100


KEYS = st.text("abcxyz09-_", min_size=1, max_size=4).filter(lambda key: not key.isdigit())
VALUES = st.sampled_from(
    [
        "1",
        '"a # b"',
        "'[x]'",
        "[1,\n 2]",
        "{ p = 1, q = [\n{ r = 2 }] }",
        '"""two\nlines"""',
        "1979-05-27 07:32:00",
        "'''\n]'''",
    ]
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_every_key_of_any_text_has_its_own_line(tables):
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items()) for name, pairs in tables.items()
    )
    tomllib.loads(text)

    found = lines.line_numbers(text)

    for name, pairs in tables.items():
        assert text.splitlines()[found[(name,)] - 1] == f"[{name}]"
        for key in pairs:
            assert text.splitlines()[found[(name, key)] - 1].startswith(f"{key} =")


def test_infinity_and_truth_are_no_numbers():
    assert [is_number(value) for value in (1, 0.5, True, float("inf"), float("nan"), "1")] == [True, True] + [False] * 4


# ---- installing ---------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_installing_brings_profile_site_zone_and_motes():
    done = install(read_pack("indoor"))

    assert done.profile_version == 1
    version = ProfileVersion.objects.get(profile__code="indoor", is_current=True)
    assert version.as_profile().names == ("temperature", "humidity", "light", "voltage")
    assert Site.objects.get(code="main").time_zone == "Europe/Berlin"
    seven = Mote.objects.get(code="7")
    assert (seven.x, seven.y, seven.zone.code, seven.state) == (22.5, 8.0, "lab", "active")
    assert Mote.objects.count() == 42
    assert FleetRevision.objects.get().number == 1
    assert AuditEntry.objects.get().deed == "load_pack"


@pytest.mark.django_db
def test_what_is_stored_is_what_the_pack_said():
    pack = read_pack("smoke")

    install(pack)

    stored = ProfileVersion.objects.get().as_profile()
    assert stored.channels == pack.profile.channels
    assert (stored.step_s, stored.interval_s, stored.label) == (1.0, 1.0, "Smoke detector")


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

    done = install(parse_pack(OFFICE.replace("x = 4,", "x = 5,") + '\n[schedule]\nretrain = "daily"\n'))

    assert done.is_changed
    assert Mote.objects.filter(code="room-2", label="Alice's desk", x=9.0, state="maintenance").exists()


@pytest.mark.django_db
def test_channels_that_change_places_are_refused():
    install(parse_pack(OFFICE))
    swapped = OFFICE.replace("co2", "x").replace('"noise"', '"co2"').replace('"x"', '"noise"')

    with pytest.raises(CannotInstall, match="channels are noise, co2, but profile office has had co2, noise"):
        install(parse_pack(swapped))

    assert Profile.objects.get().versions.count() == 1


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
    assert "+ profile indoor, version 1: temperature, humidity, light, voltage" in words
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
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("indoor",), "nobody is there to ask: confirm with --yes"),
        (("outdoor",), "“outdoor” is neither a pack"),
        (("indoor", "--time-zone", "Mars/Olympus"), "“Mars/Olympus” is not an IANA time zone"),
        (("indoor", "--site", "my site"), "valid"),
        (("indoor", "--motes", "-1"), "--motes is -1"),
    ],
)
def test_load_pack_refuses_in_a_sentence(arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("load_pack", *arguments)


@pytest.mark.django_db
def test_load_pack_takes_a_file_and_as_many_motes_as_asked_for(tmp_path):
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)

    call_command("load_pack", str(path), "--yes", "--motes", "5")

    assert list(Mote.objects.values_list("code", flat=True)) == ["room-1", "room-2", "room-3", "room-4", "room-5"]
