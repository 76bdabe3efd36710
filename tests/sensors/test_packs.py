"""Packs: what is wrong is named with its line, and a pack that is written down reads back as it was."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.records import Records
from ingestion.wire import Wire
from sensors.fleet import Fleet, MoteRef
from sensors.packs import BadPack, Pack, lines, parse_pack, read_pack, shipped
from sensors.packs.channels import TAKEN
from sensors.packs.tables import is_number
from sensors.packs.written import pack_text
from sensors.quality import MAX_CHANNELS
from sensors.readings import Battery, Formula

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


def test_a_message_with_the_names_of_the_public_smoke_set_is_read_whole():
    pack = read_pack("smoke")
    fleet = Fleet(1, (MoteRef(1, "SMOKE_001", "main", "", "smoke", "UTC", "active"),), {"smoke": pack.profile}, "main")
    message = {
        "sensor_id": "SMOKE_001", "timestamp": "2022-06-09T00:08:51Z", "Temperature[C]": 20.0, "Humidity[%]": 57.36,
        "TVOC[ppb]": 0, "eCO2[ppm]": 400, "Raw H2": 12306, "Raw Ethanol": 18520, "Pressure[hPa]": 939.735,
        "PM1.0": 0.0, "PM2.5": 0.0, "NC0.5": 0.0, "NC1.0": 0.0, "NC2.5": 0.0, "CNT": 0,
    }  # fmt: skip
    sent = Records(
        [json.dumps(message).encode()], np.zeros(1, int), np.zeros(1, int), np.full(1, 1_772_452_860_000_000)
    )

    [(batch, _)] = Wire(fleet).decode(sent).batches

    assert batch.values.tolist() == [[20.0, 57.36, 0, 400, 12306, 18520, 939.735, 0, 0, 0, 0, 0]]
    assert batch.flags.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "channel", "physical", "normal"),
    [
        ("indoor", "temperature", (-10, 50), (18, 28)),
        ("indoor", "humidity", (0, 100), (20, 70)),
        ("indoor", "light", (0, 2000), (0, 500)),
        ("indoor", "voltage", (2.0, 3.0), (2.4, 3.0)),
        ("machine", "temperature", (-20, 200), (40, 70)),
        ("machine", "vibration", (0, 50), (0.5, 1.5)),
        ("machine", "pressure", (0, 150), (40, 60)),
        ("machine", "power", (0, 2000), (200, 300)),
        ("climate", "temperature", (-40, 125), (15, 35)),
    ],
)
def test_the_shipped_ranges_are_those_that_were_agreed(name, channel, physical, normal):
    found = {one.code: one for one in read_pack(name).profile.channels}[channel]

    assert (found.physical, found.normal) == (physical, normal)


def test_the_indoor_pack_knows_its_battery_and_derives_the_dew_point_without_judging_it():
    profile = read_pack("indoor").profile

    assert profile.battery == Battery("voltage", low=2.4, empty=2.0)
    assert profile.channels[-1].formula == Formula("dew_point", ("temperature", "humidity"))
    assert profile.is_detected.tolist() == [True, True, True, True, False]


def test_a_profile_of_ones_own_needs_a_toml_file_and_nothing_else(tmp_path):
    path = tmp_path / "office.toml"
    path.write_text(OFFICE)

    pack = read_pack(path)

    assert pack.profile.names == ("co2", "noise")
    assert pack.profile.step_s == pack.profile.interval_s == 60.0
    assert pack.profile.channels[1].aliases == ("sound", "Noise[dB]")
    assert [mote.code for mote in pack.motes] == ["room-1", "room-2"]


def test_a_byte_order_mark_is_no_part_of_a_pack(tmp_path):
    (tmp_path / "office.toml").write_text(OFFICE, encoding="utf-8-sig")

    assert read_pack(tmp_path / "office.toml").profile.code == "office"


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
        (
            "flat_after_s = 7200\naliases",
            "flat_afer_s = 7200\naliases",
            "office.toml:16: channels.2 has no “flat_after_s”; expected a number above 0; “flat_afer_s” in",
        ),
        (
            "flat_after_s = 7200\naliases",
            'flat_after_s = 7200\nimputation = "guess"\naliases',
            'office.toml:24: channels.2: imputation is "guess"; expected one of none, hold, interpolate, ',
        ),
        (
            "flat_after_s = 7200\naliases",
            'flat_after_s = 7200\nimputation = "hold"\naliases',
            "office.toml:24: channels.2: imputation is “hold”; expected imputation_limit_s beside it",
        ),
        (
            "flat_after_s = 7200\naliases",
            "flat_after_s = 7200\nimputation_limit_s = 60\naliases",
            "office.toml:24: channels.2: imputation_limit_s has no meaning without imputation",
        ),
    ],
)
def test_an_error_names_file_line_and_value(old, new, words):
    assert old in OFFICE

    with pytest.raises(BadPack) as error:
        parse_pack(OFFICE.replace(old, new, 1), source="office.toml")

    assert str(error.value).startswith(words)


DERIVED = """
[[derived]]
code = "loudness_of_air"
unit = "ppm/dB"
kind = "ratio"
of = ["co2", "noise"]
physical = [0, 500]
normal = [5, 40]
resolution = 0.1
"""


def test_a_derived_channel_stands_after_the_measured_ones_and_is_not_judged_unless_asked():
    kept, judged = (parse_pack(f"{OFFICE}{text}").profile for text in (DERIVED, f"{DERIVED}detect = true\n"))

    assert kept.names == ("co2", "noise", "loudness_of_air")
    assert kept.is_measured.tolist() == [True, True, False]
    assert kept.channels[2].formula == Formula("ratio", ("co2", "noise"), 1.0)
    assert (kept.is_detected.tolist(), judged.is_detected.tolist()) == ([True, True, False], [True, True, True])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"ratio"',
            '"product"',
            'pack:35: derived.1: kind is "product"; expected one of ratio, difference, dew_point, rat',
        ),
        (
            '["co2", "noise"]',
            '["co2"]',
            "pack:36: derived.1: ratio is made of 2 channels, not of 1; expected 2 of the m",
        ),
        (
            '["co2", "noise"]',
            '["co2", "sound"]',
            "pack:36: derived.1: “sound” is no measured channel; expected 2 of the measured channels co2, noise",
        ),
        (
            '["co2", "noise"]',
            '["co2", "loudness_of_air"]',
            "pack:36: derived.1: “loudness_of_air” is no measured channel",
        ),
        ("loudness_of_air", "noise", "pack:33: derived.1: “noise” already names channel noise"),
        ("of =", "off =", "pack:32: derived.1 has no “of”; expected a list of texts; “off” in line 36 looks like it"),
        ("resolution = 0.1", "resolution = 0.1\nscale = 0", "pack:40: derived.1: scale is 0"),
        ("resolution = 0.1", "resolution = 0.1\ndetect = 1", "pack:40: derived.1: detect is 1; expected true or false"),
    ],
)
def test_a_wrong_formula_is_named_with_its_line(old, new, words):
    with pytest.raises(BadPack) as error:
        parse_pack(OFFICE + DERIVED.replace(old, new, 1))

    assert str(error.value).startswith(words)
    assert error.value.line == int(words.split(":")[1])


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (
            '[battery]\nchannel = "volts"\nlow = 2\nempty = 1\n',
            'pack:32: battery: channel is "volts"; expected one of co2',
        ),
        ('[battery]\nchannel = "co2"\nlow = 1\nempty = 2\n', "pack:33: battery: low is 1; expected a number above 2"),
        (
            '[battery]\nchannel = "co2"\nlow = 2\nempty = -2\n',
            "pack:34: battery: empty is -2; expected a number from 0",
        ),
        ("[detector]\nday = 3\n", "pack:32: detector has an unknown key “day”; did you mean “days”?"),
        (
            '[detector]\npromote = "perhaps"\n',
            'pack:32: detector: promote is "perhaps"; expected one of gate, never, al',
        ),
        ('[schedule]\nretrain = "daily"\n', 'pack:32: schedule: retrain is "daily"; expected minute, hour, day, month'),
        ('[schedule]\nretrain = "0 24 * * *"\n', 'pack:32: schedule: retrain is "0 24 * * *"; expected minute'),
        ("[scheduel]\n", "pack:31: the file has an unknown key “scheduel”; did you mean “schedule”?"),
    ],
)
def test_battery_detector_and_schedule_are_checked_as_strictly(tail, words):
    with pytest.raises(BadPack) as error:
        parse_pack(f"{OFFICE}{tail}")

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


FULL = f"""{OFFICE}{DERIVED}scale = 0.5

[battery]
channel = "noise"
low = 30
empty = 20

[detector]
days = 14
promote = "never"

[schedule]
retrain = "30 4 * * 0"
"""


@pytest.mark.parametrize("name", [*shipped(), "full"])
def test_a_pack_that_is_written_down_reads_back_as_it_was(name):
    pack = parse_pack(FULL) if name == "full" else read_pack(name)

    again = parse_pack(pack_text(pack))

    assert again.profile == pack.profile
    assert again.content_hash == pack.content_hash
    assert again.settings == pack.settings


@given(st.text(min_size=1), st.floats(1e-9, 1e300), st.lists(st.text(min_size=1), max_size=3, unique=True))
def test_whatever_a_pack_is_called_it_reads_back(label, resolution, aliases):
    profile = parse_pack(OFFICE).profile
    channel = replace(profile.channels[0], label=label, resolution=resolution, aliases=tuple(aliases))
    pack = Pack("pack", replace(profile, label=label, channels=(channel,)))

    assert tomllib.loads(pack_text(pack))["channels"][0]["label"] == label
    if not {*aliases} & {*TAKEN, channel.code}:
        assert parse_pack(pack_text(pack)).profile == pack.profile


def test_comments_and_order_of_keys_do_not_change_a_packs_content():
    swapped = OFFICE.replace('unit = "ppm"\nphysical = [0, 10000]', 'physical = [0.0, 10_000] # all\nunit = "ppm"')

    assert parse_pack(swapped).content_hash == parse_pack(OFFICE).content_hash
    assert parse_pack(OFFICE.replace("1200", "1300")).content_hash != parse_pack(OFFICE).content_hash


def test_neither_the_order_of_channels_nor_what_is_said_as_by_default_nor_the_schedule_changes_the_content():
    first, second = (part for part in OFFICE.partition("[layout]")[0].split("[[channels]]")[1:])
    head = OFFICE.partition("[[channels]]")[0]
    swapped = f'{head}[[channels]]{second}imputation = "none"\n[[channels]]{first}[schedule]\nretrain = "0 4 * * *"\n'

    assert parse_pack(swapped).content_hash == parse_pack(OFFICE).content_hash


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
