"""Whatever arrives: never a crash, never a silent drop, and the books balance afterwards."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.instants import instants
from ingestion.ledger import balance
from ingestion.models import LedgerHour, Quarantined
from ingestion.pipeline import Outcome
from ingestion.runner import Pace
from ingestion.streams import stream
from ingestion.wire import REASONS
from sensors import registry
from sensors.stores import hot
from tests.ingestion.hostile.make import STAMPS, N, read
from tests.ingestion.path import drain, stored
from tests.ingestion.test_pipeline import Path_, records
from tests.ingestion.test_wire import NOON_US

CORPUS = read()


def _text_of(stamp: str) -> str | None:
    """The text that a hostile stamp is, if it is one that UTF-8 can hold."""
    try:
        return str(json.loads(stamp).encode().decode())
    except (ValueError, AttributeError):
        return None


READING = {
    "mote_id": "7", "timestamp": NOON_US / 1e6, "temperature": 21.5, "humidity": 40.0, "light": 120.0, "voltage": 2.7,
    "site": "main", "values": {"temperature": 21.0},
}  # fmt: skip
TEXTS = [text for text in map(_text_of, STAMPS) if text is not None]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(NOON_US // 10**6 - 90, NOON_US // 10**6) | st.floats()
    | st.text(max_size=30) | st.text(alphabet="0123456789-:TZ+. ", max_size=30) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*READING, ""]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
fields = st.sampled_from([*READING, "machine_id", "sensor_id", "Pressure[PSI]", "sieis_replay_of"])
messages = st.dictionaries(fields, anything, max_size=3).map(lambda odd: json.dumps({**READING, **odd}).encode())


def fates(outcome: Outcome) -> list[int]:
    """The offsets of all messages, wherever they ended."""
    kept = [offset for batch in outcome.batches for offset in batch.offset.tolist()]
    return sorted(kept + [one.row for one in outcome.rejects] + [one.row for one in outcome.duplicates])


def assert_balanced(outcome: Outcome, n: int) -> None:
    lines = balance(records([b""] * n), outcome.batches, outcome.rejects, outcome.duplicates).values()
    assert sum(line.received for line in lines) == n
    assert sum(line.stored for line in lines) == sum(map(len, outcome.batches))


def test_the_corpus_is_a_thousand_different_payloads() -> None:
    assert len(CORPUS) == len(set(CORPUS)) == N


def test_every_hostile_payload_ends_in_one_place_with_a_reason() -> None:
    outcome = Path_().send(*CORPUS)

    assert fates(outcome) == list(range(N))
    assert_balanced(outcome, N)
    reasons = Counter(reject.reason for reject in outcome.rejects)
    assert reasons.keys() <= REASONS.keys()
    assert len(reasons) >= 9, reasons
    assert all(reject.detail for reject in outcome.rejects)


def test_no_hostile_payload_changes_what_becomes_of_another() -> None:
    together = Path_().send(*CORPUS)

    path = Path_()
    alone = [path.send(payload) for payload in CORPUS]

    reason = {reject.row: reject.reason for reject in together.rejects}
    assert reason == {i: one.rejects[0].reason for i, one in enumerate(alone) if one.rejects}
    assert [one.row for one in together.duplicates] == [i for i, one in enumerate(alone) if one.duplicates]


@given(st.lists(st.integers() | st.floats() | st.none() | st.sampled_from(TEXTS), min_size=2, max_size=6))
def test_what_a_timestamp_means_does_not_depend_on_its_neighbours(stamps: list[Any]) -> None:
    assert instants(stamps).tolist() == [instants([stamp])[0] for stamp in stamps]


@settings(max_examples=60)
@given(st.lists(messages | st.binary(max_size=80), min_size=1, max_size=12))
def test_any_field_may_hold_anything(payloads: list[bytes]) -> None:
    outcome = Path_().send(*payloads)

    assert fates(outcome) == list(range(len(payloads)))
    assert_balanced(outcome, len(payloads))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("at_once", [N, 300], ids=["in one batch", "in batches of 300"])
def test_the_hostile_corpus_passes_the_whole_path_and_the_books_balance(fleet: None, make: Any, at_once: int) -> None:
    stream().append(CORPUS, [b"main/lab"] * N)

    drain(make(pace=Pace(batch_max=at_once, batch_wait_s=0.0, slow_cycle_s=0.0)))

    lines = list(LedgerHour.objects.all())
    told = {name: sum(getattr(line, name) for line in lines) for name in ("stored", "quarantined", "duplicate", "held")}
    assert sum(told.values()) == sum(line.received for line in lines) == N
    assert stored("bronze").sort("offset")["payload"].to_list() == CORPUS
    assert ever_in_hot() == len(stored()) == told["stored"]
    assert Quarantined.objects.filter(status="quarantined").count() == told["quarantined"]
    assert Quarantined.objects.filter(status="held").count() == told["held"]
    assert min(told.values()) > 0, told


def ever_in_hot() -> int:
    began, ends = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 2, tzinfo=UTC)
    return hot().count(registry.profiles()["indoor"], began, ends)
