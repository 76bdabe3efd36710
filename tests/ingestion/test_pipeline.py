"""Decode, judge, detect: late, repeated and conflicting readings, and a stream that may be cut anywhere."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.ledger import add, balance
from ingestion.pipeline import Outcome, PartitionState, Pipeline, bronze
from ingestion.records import Records
from ingestion.wire import Wire
from mlops.detection import fallback
from sensors import quality
from sensors.readings import INSTANT, Profile, concat, stored_schema
from tests.ingestion.test_wire import FLEET, INDOOR, NOON_US, READING

STEP_US = 30_000_000


class Memory:
    """Keeps what the pipeline made by key, as a hot store would, for the look-ups of late readings."""

    def __init__(self) -> None:
        self.tables: list[pl.DataFrame] = []

    def keep(self, outcome: Outcome) -> None:
        self.tables += [batch.to_table() for batch in outcome.batches]

    def existing(self, profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
        if not self.tables:
            return pl.DataFrame(schema=stored_schema(profile))
        stored = pl.concat(self.tables).unique(["mote", "at"], keep="last")
        return stored.join(keys.with_columns(pl.col("at").cast(INSTANT)), on=["mote", "at"], how="semi")


def reading(step: float, value: float = 21.5, code: str = "7") -> dict[str, Any]:
    return {**READING, "mote_id": code, "timestamp": NOON_US / 1e6 + 30 * step, "temperature": value}


def records(payloads: list[Any], first: int = 0) -> Records:
    raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in payloads]
    n = len(raw)
    received = np.full(n, NOON_US + 3_600_000_000)
    return Records(raw, np.zeros(n, np.int64), first + np.arange(n), received)


class Path_:
    """The pure path with what it needs around it."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.states = {0: PartitionState()}
        engines = {code: fallback(profile) for code, profile in FLEET.profiles.items()}
        self.pipeline = Pipeline(Wire(FLEET), engines, self.memory.existing, time.monotonic)
        self.n = 0

    def send(self, *payloads: Any) -> Outcome:
        batch = records(list(payloads), self.n)
        self.n += len(payloads)
        outcome = self.pipeline.process(batch, self.states)
        self.memory.keep(outcome)
        return outcome


@pytest.fixture
def path() -> Path_:
    return Path_()


def test_a_late_reading_is_kept_and_flagged_and_the_newest_stays_the_newest(path: Path_) -> None:
    path.send(reading(0), reading(2))

    outcome = path.send(reading(1))

    (batch,) = outcome.batches
    assert quality.names(int(batch.flags[0])) == ["late"]
    assert path.states[0].newest == {1: NOON_US + 2 * STEP_US}


def test_the_same_reading_again_is_a_duplicate_in_one_batch_and_across_batches(path: Path_) -> None:
    first = path.send(reading(0), reading(0))
    second = path.send(reading(0))

    assert [len(batch) for batch in first.batches] == [1]
    assert second.batches == []
    assert (len(first.duplicates), len(second.duplicates)) == (1, 1)


def test_other_values_for_a_stored_reading_are_a_conflict_and_the_first_wins(path: Path_) -> None:
    path.send(reading(0, 21.5))

    outcome = path.send(reading(0, 25.0))

    assert outcome.batches == []
    (reject,) = outcome.rejects
    assert (reject.reason, reject.mote_code) == ("conflict", "7")
    assert reject.detail == "temperature 21.5 stored, 25.0 sent"


def test_a_replayed_message_is_itself_and_no_duplicate(path: Path_) -> None:
    path.send(reading(0), reading(2), reading(1))
    path.n, path.states = 0, {0: PartitionState()}

    outcome = path.send(reading(0), reading(2), reading(1))

    assert outcome.duplicates == []
    assert sum(len(batch) for batch in outcome.batches) == 3


def test_every_message_is_in_exactly_one_column_of_the_books(path: Path_) -> None:
    payloads = [reading(0), reading(0), reading(0, 9.0), b"garbage", reading(1, code="99"), {"mote_id": 7}]

    outcome = path.send(*payloads)

    books = balance(records(payloads), outcome.batches, outcome.rejects, outcome.duplicates)
    totals = [
        sum(getattr(counts, column) for counts in books.values())
        for column in ("received", "stored", "duplicate", "quarantined", "held")
    ]
    assert totals == [6, 1, 1, 3, 1]


def test_bronze_keeps_every_message_as_it_arrived() -> None:
    table = bronze(records([b"garbage", b""]), "sensor-readings")

    assert table["payload"].to_list() == [b"garbage", b""]
    assert table["offset"].to_list() == [0, 1]


def test_what_the_pipeline_remembers_survives_being_written_down(path: Path_) -> None:
    path.send(*[reading(step, 20 + step / 10) for step in range(10)])

    restored = PartitionState.from_bytes(path.states[0].to_bytes())

    assert restored.newest == path.states[0].newest
    assert restored.engines["indoor"].to_bytes() == path.states[0].engines["indoor"].to_bytes()


messages = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([20.0, 21.0, 45.2, 80.0]), st.sampled_from(["7", "only-there"])),
    min_size=1,
    max_size=40,
)


@given(messages, st.lists(st.integers(1, 10), max_size=20))
def test_however_the_stream_is_cut_columns_events_and_books_are_the_same(
    sent: list[tuple[int, float, str]], cuts: list[int]
) -> None:
    payloads = [reading(step, value, code) for step, value, code in sent]
    whole, parts = Path_(), Path_()

    expected = [whole.send(*payloads)]
    outcomes, begin = [], 0
    for size in [*cuts, len(payloads)]:
        if begin < len(payloads):
            parts.states = {0: PartitionState.from_bytes(parts.states[0].to_bytes())}
            outcomes.append(parts.send(*payloads[begin : begin + size]))
            begin += size

    assert _columns(expected) == _columns(outcomes)
    assert _events(expected) == _events(outcomes)
    assert _books(payloads, expected) == _books(payloads, outcomes)


def _columns(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    batches = [batch for outcome in outcomes for batch in outcome.batches]
    return concat(batches).to_table().sort("offset").rows() if batches else []


def _events(outcomes: list[Outcome]) -> dict[tuple[int, int], Any]:
    return {(change.mote, change.noticed_at): change for outcome in outcomes for change in outcome.changes}


def _books(payloads: list[Any], outcomes: list[Outcome]) -> dict[Any, Any]:
    books: dict[Any, Any] = {}
    for outcome in outcomes:
        add(books, balance(records(payloads), outcome.batches, outcome.rejects, outcome.duplicates))
    return books


def test_two_profiles_in_one_poll_go_their_own_ways(path: Path_) -> None:
    machine = {"machine_id": "MACHINE_001", "timestamp": NOON_US / 1e6, "temperature": 55.0, "power": 250.0}

    outcome = path.send(reading(0), machine)

    assert [batch.profile.code for batch in outcome.batches] == ["indoor", "machine"]
    assert outcome.batches[0].profile == INDOOR
