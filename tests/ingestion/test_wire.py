"""Messages as they arrive: what becomes a reading, what is put aside, and why."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.instants import instants
from ingestion.records import Records
from ingestion.wire import MAX_BYTES, REASONS, Wire
from sensors import quality
from sensors.fleet import Fleet, MoteRef
from tests.builders import channel, profile

NOON_US = 1_772_452_800_000_000
INDOOR = profile(
    channel(),
    channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%"),
    channel("light", physical=(0.0, 2000.0), normal=(0.0, 500.0), unit="lux"),
    channel("voltage", physical=(2.0, 3.0), normal=(2.3, 3.0), unit="V"),
)
MACHINE = profile(
    channel("temperature", physical=(0.0, 200.0)),
    channel("vibration", physical=(0.0, 50.0)),
    channel("pressure", physical=(0.0, 200.0), aliases=("Pressure[PSI]",)),
    channel("power", physical=(0.0, 2000.0)),
    code="machine",
    step_s=1.0,
)
FLEET = Fleet(
    revision=1,
    motes=(
        MoteRef(1, "7", "main", "lab", "indoor", "Europe/Berlin", "active"),
        MoteRef(2, "MACHINE_001", "main", "", "machine", "UTC", "active"),
        MoteRef(3, "7", "lab", "", "indoor", "America/Los_Angeles", "active"),
        MoteRef(4, "only-there", "lab", "", "indoor", "America/Los_Angeles", "active"),
    ),
    profiles={"indoor": INDOOR, "machine": MACHINE},
    default_site="main",
)
READING = {"mote_id": 7, "timestamp": 1772452800, "temperature": 21.5, "humidity": 40, "light": 120, "voltage": 2.7}


def records(*payloads: Any) -> Records:
    raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in payloads]
    n = len(raw)
    return Records(raw, np.zeros(n, np.int64), np.arange(n), np.full(n, NOON_US + 60_000_000))


def decode(*payloads: Any) -> Any:
    return Wire(FLEET).decode(records(*payloads))


def test_the_two_documented_messages_arrive_unchanged() -> None:
    machine = {"machine_id": "MACHINE_001", "timestamp": "2026-03-02T12:00:00Z", "temperature": 55.5, "vibration": 1.0,
               "pressure": 50, "power": 250}  # fmt: skip

    decoded = decode(READING, machine)

    assert not decoded.rejects
    (indoor, _), (machines, _) = decoded.batches
    assert indoor.values.tolist() == [[21.5, 40.0, 120.0, 2.7]]
    assert machines.values.tolist() == [[55.5, 1.0, 50.0, 250.0]]
    assert (indoor.mote.tolist(), machines.mote.tolist()) == ([1], [2])
    assert indoor.at.tolist() == machines.at.tolist() == [NOON_US]
    assert indoor.utc_offset_s.tolist() == [3600]


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (b"", "malformed", ""),
        (b'{"mote_id": 7,', "malformed", ""),
        (b"\xff\xfe\x00", "malformed", ""),
        (b"[" * 100_000, "malformed", "recursion"),
        (b'"text"', "not_an_object", "str"),
        (b"null", "not_an_object", "NoneType"),
        (b"x" * 10_000_000, "too_large", "10,000,000 bytes"),
        ({**READING, "mote_id": None}, "no_mote", "mote_id"),
        ({**READING, "mote_id": {"a": 1}}, "bad_mote", "expected text"),
        ({**READING, "mote_id": True}, "bad_mote", "True"),
        ({**READING, "mote_id": 99}, "unknown_mote", "“99”"),
        ({**READING, "mote_id": "7 "}, "unknown_mote", "“7 ”"),
        ({**READING, "site": "nowhere"}, "unknown_mote", "nowhere"),
        ({**READING, "timestamp": None}, "no_timestamp", "ISO 8601"),
        ({k: v for k, v in READING.items() if k != "timestamp"}, "no_timestamp", "ISO 8601"),
        ({**READING, "timestamp": "yesterday"}, "bad_timestamp", "yesterday"),
        ({**READING, "timestamp": -5}, "bad_timestamp", "-5"),
        ({**READING, "timestamp": 1e300}, "bad_timestamp", "1e+300"),
        ({**READING, "timestamp": float("nan")}, "bad_timestamp", "nan"),
        ({**READING, "timestamp": [1]}, "bad_timestamp", "[1]"),
        ({**READING, "timestamp": "2026-03-03T12:00:00Z"}, "future_timestamp", "86,340 s"),
        ({"mote_id": 7, "timestamp": 1772452800}, "no_values", "temperature, humidity"),
        ({"mote_id": 7, "timestamp": 1772452800, "temperature": "warm"}, "no_values", "temperature"),
    ],
)
def test_what_is_no_reading_is_put_aside_with_its_reason(payload: Any, reason: str, said: str) -> None:
    decoded = decode(READING, payload, READING)

    assert [len(batch) for batch, _ in decoded.batches] == [2], "its neighbours are not touched"
    (reject,) = decoded.rejects
    assert (reject.row, reject.reason) == (1, reason)
    assert said in reject.detail


@pytest.mark.parametrize("value", ["warm", float("nan"), float("inf"), True, [1], {"a": 1}, 10**400])
def test_a_value_that_is_no_number_becomes_null_with_a_flag_and_the_rest_is_kept(value: Any) -> None:
    decoded = decode({**READING, "humidity": value})

    ((batch, _),) = decoded.batches
    assert math.isnan(batch.values[0, 1])
    assert batch.values[0, [0, 2, 3]].tolist() == [21.5, 120.0, 2.7]
    flags = int(batch.flags[0])
    assert quality.names(flags) == ["unreadable"]
    assert quality.channels(flags, INDOOR) == ["humidity"]


def test_an_absent_channel_is_missing_and_never_a_default() -> None:
    decoded = decode({"mote_id": 7, "timestamp": 1772452800, "temperature": 21.5, "light": None})

    ((batch, _),) = decoded.batches
    assert np.isnan(batch.values[0, 1:]).all()
    assert quality.channels(int(batch.flags[0]), INDOOR) == ["humidity", "light", "voltage"]


def test_beyond_the_physical_range_is_flagged_and_kept() -> None:
    decoded = decode({**READING, "temperature": 122.153})

    ((batch, _),) = decoded.batches
    assert batch.values[0, 0] == 122.153
    assert quality.names(int(batch.flags[0])) == ["out_of_range"]


def test_channels_may_be_nested_or_go_by_an_alias() -> None:
    nested = {"sensor_id": "7", "timestamp": 1772452800, "values": {"temperature": 20.0, "humidity": "wet"}}
    alias = {"machine_id": "MACHINE_001", "timestamp": 1772452800, "Pressure[PSI]": 51.5}

    decoded = decode(nested, alias)

    (indoor, _), (machine, _) = decoded.batches
    assert indoor.values[0, 0] == 20.0
    assert quality.UNREADABLE & int(indoor.flags[0])
    assert machine.values[0, 2] == 51.5


def test_each_row_keeps_its_own_numbers_whatever_stands_between() -> None:
    said = [{**READING, "temperature": 20.0 + i} for i in range(6)]
    alias = {**said[2], "Pressure[PSI]": 50, "mote_id": "MACHINE_001"}
    no_number, nested = {**said[3], "humidity": "damp"}, {"mote_id": 7, "timestamp": 1772452800, "values": said[4]}
    large = json.dumps({**READING, "note": "x" * MAX_BYTES}).encode()

    decoded = decode(said[0], b"garbage", said[1], large, alias, b"[]", no_number, nested, large, said[5])

    (indoor, rows), (machine, place) = decoded.batches
    assert rows.tolist() == [0, 2, 6, 7, 9]
    assert place.tolist() == [4]
    assert indoor.values[:, 0].tolist() == [20.0, 21.0, 23.0, 24.0, 25.0]
    assert np.isnan(indoor.values[:, 1]).tolist() == [False, False, True, False, False]
    assert machine.values[0, [0, 2]].tolist() == [22.0, 50.0]
    reasons = {one.row: one.reason for one in decoded.rejects}
    assert reasons == {1: "malformed", 3: "too_large", 5: "not_an_object", 8: "too_large"}


def test_a_code_belongs_to_its_site_and_to_the_default_site_without_one() -> None:
    decoded = decode(READING, {**READING, "site": "lab"}, {**READING, "mote_id": "only-there"})

    ((batch, _),) = decoded.batches
    assert batch.mote.tolist() == [1, 3, 4]


@pytest.mark.parametrize(
    "stamp",
    [
        1772452800, 1772452800.0, 1772452800000, 1772452800000000, 1772452800000000000, "1772452800",
        "2026-03-02T12:00:00Z", "2026-03-02T12:00:00", "2026-03-02 12:00:00", "2026-03-02T13:00:00+01:00",
        "2026-03-02T12:00:00.000Z", "20260302T120000Z",
    ],
)  # fmt: skip
def test_the_same_instant_in_every_accepted_form(stamp: Any) -> None:
    assert instants([stamp]).tolist() == [NOON_US]
    assert instants([stamp, 1, "2026-03-02T12:00:00Z"]).tolist()[0] == NOON_US


def test_a_microsecond_is_kept() -> None:
    assert instants(["2026-03-02T12:00:00.123457Z", "2026-03-02T12:00:00Z"])[0] == NOON_US + 123457
    assert instants([1772452800.123457])[0] == NOON_US + 123457


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from([*READING, "machine_id", "site", "values", "extra"])


@given(st.lists(st.binary(max_size=60) | st.dictionaries(fields, json_values, max_size=8), max_size=8))
def test_whatever_arrives_is_a_reading_or_a_reject_and_never_both(payloads: list[Any]) -> None:
    given_records = records(*payloads)

    decoded = Wire(FLEET).decode(given_records)

    read = [row for _, rows in decoded.batches for row in rows.tolist()]
    put_aside = [reject.row for reject in decoded.rejects]
    assert sorted(read + put_aside) == list(range(len(payloads)))
    assert {reject.reason for reject in decoded.rejects} <= REASONS.keys()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (READING | {"timestamp": 10**400}, "bad_timestamp"),
        (READING | {"mote_id": 10**400, "light": "dark"}, "bad_mote"),
        (READING | {"mote_id": "\ud800"}, "bad_mote"),
        (READING | {"mote_id": "\ud800", "light": "dark"}, "bad_mote"),
        (READING | {"site": "\ud800"}, "bad_mote"),
        (READING | {"timestamp": "\ud800"}, "bad_timestamp"),
        (b'{"mote_id": 7, "extra": ' + b'{"a": ' * 100_000, "malformed"),
    ],
)
def test_a_message_made_to_break_a_decoder_is_put_aside_and_its_neighbours_are_read(payload: Any, reason: str) -> None:
    decoded = decode(READING, payload, READING)

    assert [reject.reason for reject in decoded.rejects] == [reason]
    assert decoded.rejects[0].detail.encode(), "it can be kept as text"
    assert [len(batch) for batch, _ in decoded.batches] == [2]
