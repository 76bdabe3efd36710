"""What the path says of a reading as data: a silence before it, a battery that is low."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ingestion.pipeline import PartitionState, Pipeline
from ingestion.records import Records
from ingestion.wire import Wire
from mlops.detection import fallback
from sensors import quality
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Batch, Battery, Formula
from tests.builders import channel, profile

NOON_S = 1_772_452_800.0
CELL = profile(
    channel(),
    channel("light", physical=(0.0, 2000.0), normal=(0.0, 500.0), unit="lux"),
    channel("voltage", physical=(1.5, 3.5), normal=(2.3, 3.0), unit="V"),
    channel("change", formula=Formula("rate", ("temperature",)), is_detected=False),
    battery=Battery("voltage", low=2.3, empty=2.0),
)
MOTES = (
    MoteRef(1, "7", "main", "lab", "indoor", "UTC", "active"),
    MoteRef(2, "8", "main", "lab", "indoor", "UTC", "active"),
    MoteRef(3, "9", "main", "lab", "indoor", "UTC", "retired"),
)
FLEET = Fleet(1, MOTES[:2], {"indoor": CELL}, "main", retired=MOTES[2:])


class Judge:
    """The pure path with a memory of what it has seen."""

    def __init__(self) -> None:
        self.states = {0: PartitionState()}
        self.pipeline = Pipeline(Wire(FLEET), {"indoor": fallback(CELL)}, self.existing, lambda: 0.0)
        self.tables: list[Any] = []
        self.n = 0

    def existing(self, profile: Any, keys: Any) -> Any:
        return self.tables[0].join(keys, on=["mote", "at"], how="semi")

    def outcome(self, *messages: dict[str, Any]) -> Any:
        n = len(messages)
        raw = [json.dumps(one).encode() for one in messages]
        received = np.full(n, int((NOON_S + 90_000) * 1e6))
        records = Records(raw, np.zeros(n, np.int64), self.n + np.arange(n), received)
        self.n += n
        found = self.pipeline.process(records, self.states)
        self.tables += [batch.to_table() for batch in found.batches]
        return found

    def __call__(self, *messages: dict[str, Any]) -> Batch:
        [made] = self.outcome(*messages).batches
        return made


def at(second: float, *, code: str = "7", **values: Any) -> dict[str, Any]:
    usual = {"temperature": 21.0 + second / 1000, "light": 100.0, "voltage": 2.7}
    return {"mote_id": code, "timestamp": NOON_S + second, **usual, **values}


@pytest.fixture
def judge() -> Judge:
    return Judge()


def kinds(batch: Batch) -> list[list[str]]:
    return [quality.names(int(flags)) for flags in batch.flags]


# ---- silences -----------------------------------------------------------------------------------------------


def test_the_first_reading_after_a_silence_says_so_and_the_next_does_not(judge):
    found = judge(at(0), at(30), at(30 + 301), at(30 + 331))

    assert kinds(found) == [[], [], ["gap"], []]


def test_a_pause_that_is_just_not_a_silence_is_none(judge):
    assert kinds(judge(at(0), at(300))) == [[], []]


def test_a_silence_is_seen_across_polls_and_per_mote(judge):
    judge(at(0), at(0, code="8"))

    assert kinds(judge(at(30), at(400, code="8"))) == [[], ["gap"]]


def test_a_reading_of_a_silence_that_comes_late_ends_none(judge):
    judge(at(0), at(1000))

    assert kinds(judge(at(500), at(1030))) == [["late"], []]


def test_a_gap_casts_no_doubt_on_any_channel(judge):
    found = judge(at(0), at(1000))

    assert not quality.suspects(found.flags, len(CELL.channels)).any()


# ---- batteries ----------------------------------------------------------------------------------------------


def test_a_low_battery_makes_all_other_channels_suspect_but_not_itself(judge):
    found = judge(at(0), at(30, voltage=2.29))

    assert kinds(found) == [[], ["low_battery"]]
    assert quality.channels(int(found.flags[1]), CELL) == ["temperature", "light", "change"]


def test_a_battery_that_is_just_not_low_is_not_low(judge):
    assert kinds(judge(at(0, voltage=2.3))) == [[]]


def test_without_a_voltage_nothing_is_said_of_the_battery(judge):
    found = judge(at(0, voltage=None))

    assert kinds(found) == [["missing"]]
    assert quality.channels(int(found.flags[0]), CELL) == ["voltage"]


def test_a_low_battery_makes_no_value_suspect_that_was_not_there(judge):
    found = judge(at(0, voltage=2.1, light=None))

    assert quality.channels(int(found.flags[0]), CELL) == ["temperature", "light"]  # light for it is missing
    assert kinds(found) == [["missing", "low_battery"]]


# ---- retired motes ------------------------------------------------------------------------------------------


def test_a_retired_motes_messages_are_put_aside_and_say_why(judge):
    outcome = judge.outcome(at(0, code="9"), at(0))

    [reject] = outcome.rejects
    assert (reject.reason, reject.is_held, reject.mote_code, reject.profile) == ("retired_mote", False, "9", "indoor")
    assert "main/9 is retired" in reject.detail
    assert sum(len(batch) for batch in outcome.batches) == 1


def test_a_retired_motes_messages_do_not_land_on_a_namesake_elsewhere():
    namesake = MoteRef(4, "9", "hall", "", "indoor", "UTC", "active")
    fleet = Fleet(1, (namesake,), {"indoor": CELL}, "main", retired=MOTES[2:])

    assert fleet.find("9") == MOTES[2]
    assert fleet.find("9", "hall") == namesake
