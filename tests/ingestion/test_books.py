"""The books: every message in exactly one column, once, whatever dies, is read again or is made anew."""

# ruff: noqa: F811  (the fixtures come from test_runner by import)
from __future__ import annotations

import shutil
from typing import Any

import pytest

from ingestion.models import Booked, Checkpoint, LedgerHour, Quarantined
from ingestion.streams import stream
from sensors.models import Mote
from tests.ingestion.test_runner import (  # noqa: F401
    drain,
    fleet,
    heard,
    in_hot,
    make,
    reading,
    send,
    start_us,
    stored,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
STEP_US = 30_000_000


def totals() -> dict[str, int]:
    names = ("received", "stored", "quarantined", "duplicate", "held")
    return {name: sum(getattr(line, name) for line in LedgerHour.objects.all()) for name in names}


def test_each_fate_is_counted_by_mote_where_the_mote_is_known(make: Any) -> None:
    at = start_us()
    send(reading(at), reading(at), reading(at, temperature=30.0), reading(at, code="99"), b"garbage")

    drain(make())

    seven = str(Mote.objects.get(code="7").pk)
    lines = {line.profile: line for line in LedgerHour.objects.filter(hour__lt=Checkpoint.objects.get().saved_at)}
    assert lines["indoor"].motes == {seven: 1}
    assert lines["indoor"].others == {"duplicate": {seven: 1}, "quarantined": {seven: 1}}
    assert lines[""].others["held"] == {"99": 1}
    assert totals() == {"received": 5, "stored": 1, "quarantined": 2, "duplicate": 1, "held": 1}


def test_reading_again_after_the_checkpoint_was_deleted_books_nothing_twice_and_goes_on(make: Any) -> None:
    at = start_us()
    send(*[reading(at + i * STEP_US) for i in range(4)], reading(at), b"garbage", reading(at, code="99"))
    drain(make())
    before = totals()

    Checkpoint.objects.all().delete()
    drain(make())
    assert totals() == before

    send(reading(at + 4 * STEP_US), b"more garbage")
    drain(make())
    assert totals() == {**before, "received": 9, "stored": 5, "quarantined": 2}
    assert len(stored()) == len(in_hot()) == 5


def test_a_topic_made_anew_is_booked_from_its_own_beginning_and_quarantines_at_the_same_offsets(make: Any) -> None:
    at = start_us()
    send(reading(at), b"garbage", reading(at + STEP_US))
    drain(make())
    shutil.rmtree(stream().folder)
    Checkpoint.objects.all().delete()
    stream().ensure()

    send(reading(at + 2 * STEP_US), b"other garbage")
    drain(make())

    assert totals() == {"received": 5, "stored": 3, "quarantined": 2, "duplicate": 0, "held": 0}
    assert sorted(bytes(one.payload) for one in Quarantined.objects.filter(offset=1)) == [b"garbage", b"other garbage"]
    assert sorted(Booked.objects.values_list("next_offset", flat=True)) == [2, 3]


def test_garbage_that_names_ever_new_motes_does_not_swell_a_line_of_the_books(make: Any) -> None:
    at = start_us()
    send(*[reading(at, code=f"nobody-{i}") for i in range(500)])

    drain(make())

    line = LedgerHour.objects.get()
    assert line.held == 500
    assert len(line.others["held"]) <= 201
