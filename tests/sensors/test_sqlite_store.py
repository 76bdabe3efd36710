"""What the embedded hot store promises beyond the contract: a file that other processes share, and its faults."""

from __future__ import annotations

import resource
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import stores
from sensors.readings import micros
from sensors.stores import StoreUnavailable
from sensors.stores.sqlite import SqliteStore
from tests import builders
from tests.conftest import NOON

INDOOR = builders.profile()
LATER = NOON + timedelta(days=1)
STEP_US = 30_000_000


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "hot.sqlite3", busy_s=0.05)
    yield store
    store.close()


def readings(*values, mote=1, profile=INDOOR):
    return builders.batch(profile, values, mote=mote, start_us=micros(NOON)).to_table()


def everything(store, motes=range(1, 10), profile=INDOOR):
    return store.between(profile, motes, NOON, LATER)


keys = st.tuples(st.integers(1, 3), st.integers(0, 8))
batches = st.lists(st.dictionaries(keys, st.floats(-50, 150), min_size=1, max_size=12), max_size=8)


@given(batches)
@settings(max_examples=40, deadline=None)
def test_any_overlapping_batches_leave_what_a_dictionary_would_hold(written):
    model = {}
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "hot.sqlite3")
        for batch in written:
            model |= batch
            rows = [readings(value, mote=mote).with_columns(at=_at(step)) for (mote, step), value in batch.items()]
            store.write(INDOOR, pl.concat(rows))

        found = everything(store, [3, 1, 2])
        newest = store.latest(INDOOR, [1, 2, 3])
        store.close()

    steps = (found["at"].cast(pl.Int64) - micros(NOON)) // STEP_US
    assert list(zip(found["mote"], steps, found["temperature"], strict=True)) == [
        (*key, value) for key, value in sorted(model.items())
    ]
    assert newest["temperature"].to_list() == [
        model[max(key for key in model if key[0] == mote)] for mote in sorted({mote for mote, _ in model})
    ]


def _at(step):
    return pl.lit(micros(NOON) + step * STEP_US).cast(pl.Datetime("us", "UTC"))


def test_a_reader_meets_whole_batches_while_another_thread_writes(store):
    written = [readings(*range(50), mote=mote) for mote in range(1, 9)]

    with ThreadPoolExecutor(1) as pipeline:
        writing = pipeline.submit(lambda: [store.write(INDOOR, batch) for batch in written])
        seen = []
        while not writing.done():
            seen.append(len(everything(store)))
        writing.result()

    assert {n % 50 for n in seen} <= {0}
    assert len(everything(store)) == 400


def test_what_was_written_is_there_for_the_next_process(store):
    store.write(INDOOR, readings(21.5, 21.6))
    store.close()

    again = SqliteStore(store.path)

    assert again.between(INDOOR, [1], NOON, LATER).equals(readings(21.5, 21.6))
    again.close()


def test_two_writers_may_meet_the_same_new_channel(store):
    other = SqliteStore(store.path)
    newer = builders.profile(*INDOOR.channels, builders.channel("co2"), version=2)
    for one in (store, other):
        one.write(INDOOR, readings(21.5))

    for mote, one in enumerate((store, other), start=1):
        one.write(newer, readings((21.5, 400.0), mote=mote, profile=newer))

    assert everything(store, profile=newer)["co2"].to_list() == [400.0, 400.0]
    other.close()


def test_a_file_that_another_process_holds_is_unavailable_and_then_takes_the_same_batch(store):
    store.write(INDOOR, readings(21.5))
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="locked"):
        store.write(INDOOR, readings(21.5, 21.6))
    with pytest.raises(StoreUnavailable, match="locked"):
        store.ping()
    other.execute("ROLLBACK")
    store.write(INDOOR, readings(21.5, 21.6))

    assert len(everything(store)) == 2
    other.close()


def test_a_disk_that_takes_no_more_keeps_nothing_of_the_batch(store):
    store.write(INDOOR, readings(21.5))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    try:
        with pytest.raises(StoreUnavailable, match=r"hot\.sqlite3"):
            store.write(INDOOR, readings(*range(5000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    assert len(everything(store)) == 1
    store.write(INDOOR, readings(*range(2000)))
    assert len(everything(store)) == 2000


def test_a_first_batch_that_failed_can_be_written_again(store):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store.ping()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    try:
        with pytest.raises(StoreUnavailable):
            store.write(INDOOR, readings(*range(5000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.write(INDOOR, readings(21.5))

    assert len(everything(store)) == 1


def test_a_file_that_is_no_database_says_so(store):
    store.path.write_bytes(b"this is a shopping list, not a database\n" * 100)

    with pytest.raises(StoreUnavailable, match="not a database"):
        store.ping()


def test_a_closed_store_says_that_it_is_closed(store):
    store.write(INDOOR, readings(21.5))
    everything(store)
    store.close()

    for deed in (store.ping, lambda: everything(store), lambda: store.write(INDOOR, readings(21.5))):
        with pytest.raises(StoreUnavailable, match="is closed"):
            deed()


def test_the_hot_store_of_the_settings_is_built_once_and_forgotten_when_they_change(settings, tmp_path):
    first = stores.hot()
    first.write(INDOOR, readings(21.5))

    settings.SIEIS_HOT_STORE = {**settings.SIEIS_HOT_STORE, "OPTIONS": {"path": tmp_path / "other.sqlite3"}}

    assert stores.hot() is stores.hot()
    assert stores.hot() is not first
    assert stores.hot().count(INDOOR, NOON, LATER) == 0
