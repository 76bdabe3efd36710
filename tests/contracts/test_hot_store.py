"""What every hot store promises, shown on each of them."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from sensors.readings import from_table, micros, stored_schema
from sensors.stores import StoreRefused, StoreUnavailable
from sensors.stores.influx import InfluxStore, lines
from sensors.stores.sqlite import SqliteStore
from tests import builders
from tests.conftest import NOON

STEP = timedelta(seconds=30)
LATER = NOON + timedelta(days=1)


@pytest.fixture
def indoor():
    """A profile that no other test run has, so that a shared server is no shared table."""
    name = f"test-{random.randrange(16**8):08x}"
    return builders.profile(builders.channel("temperature"), builders.channel("humidity"), code=name)


@pytest.fixture(params=["sqlite", pytest.param("influx", marks=pytest.mark.service)])
def store(request, tmp_path, indoor):
    if request.param == "sqlite":
        store = SqliteStore(tmp_path / "hot.sqlite3")
    else:
        store = influx(request.getfixturevalue("addresses"))
    yield store
    store.forget(indoor, range(1, 10), datetime(2100, 1, 1, tzinfo=UTC))
    store.close()


def influx(addresses, **changes):
    options = {name: addresses[f"INFLUXDB_V2_{name.upper()}"] for name in ("url", "org", "bucket", "token")}
    return InfluxStore(**{**options, **changes})


def readings(profile, *values, mote=1, start=NOON):
    """A stored table of one mote's readings, a step apart, each with a value for every channel."""
    rows = [(value,) * len(profile.channels) if np.isscalar(value) else value for value in values]
    return builders.batch(profile, rows, mote=mote, start_us=micros(start)).to_table()


def test_what_was_written_is_read_back_as_it_was(store, indoor):
    table = readings(indoor, 21.5, 21.6, 21.7)

    store.write(indoor, table)

    assert store.between(indoor, [1], NOON, LATER).equals(table)


def test_writing_the_same_readings_twice_changes_nothing(store, indoor):
    table = readings(indoor, 21.5, 21.6, 21.7)

    store.write(indoor, table)
    store.write(indoor, table[1:])

    assert store.between(indoor, [1], NOON, LATER).equals(table)
    assert store.count(indoor, NOON, LATER) == 3


def test_a_later_writing_of_the_same_mote_and_time_replaces_the_first(store, indoor):
    store.write(indoor, readings(indoor, 21.5, 21.6))

    store.write(indoor, readings(indoor, 30.0))

    assert store.between(indoor, [1], NOON, LATER)["temperature"].to_list() == [30.0, 21.6]


def test_of_two_readings_of_one_mote_and_time_in_one_table_the_last_stays(store, indoor):
    store.write(indoor, pl.concat([readings(indoor, 1.0), readings(indoor, 2.0)]))

    assert store.between(indoor, [1], NOON, LATER)["temperature"].to_list() == [2.0]


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-300, -1.7976931348623157e308, 5e-324, 122.153, -40.0, 0.0, 1e16])
def test_floats_come_back_to_the_last_bit(store, indoor, value):
    store.write(indoor, readings(indoor, value))

    assert store.latest(indoor, [1])["humidity"].to_list() == [value]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1, -1, 0, 1 << 62])
def test_integers_come_back_to_the_last_bit(store, indoor, value):
    table = readings(indoor, 21.5).with_columns(votes=pl.lit(value, pl.Int64), flags=pl.lit(value, pl.Int64))

    store.write(indoor, table)

    assert store.latest(indoor, [1]).equals(table)


def test_a_verdict_is_kept_whole(store, indoor):
    table = readings(indoor, 60.0).with_columns(
        surprise=pl.lit(7.25), is_anomaly=pl.lit(True), event_id=pl.lit(micros(NOON)), model_version=pl.lit(12)
    )

    store.write(indoor, table)

    assert store.between(indoor, [1], NOON, LATER).equals(table)


def test_what_was_not_measured_comes_back_as_null(store, indoor):
    table = readings(indoor, (21.5, float("nan")), (float("nan"), 40.0))

    store.write(indoor, table.with_columns(pl.col("humidity").fill_null(float("nan"))))

    assert store.between(indoor, [1], NOON, LATER).select("temperature", "humidity").rows() == [
        (21.5, None),
        (None, 40.0),
    ]


def test_a_stored_table_becomes_the_batch_again(store, indoor):
    batch = builders.batch(indoor, [(21.5, float("nan")), (21.6, 40.0)])

    store.write(indoor, batch.to_table())

    back = from_table(indoor, store.between(indoor, [1], NOON, LATER), batch.utc_offset_s)
    np.testing.assert_array_equal(back.values, batch.values)
    np.testing.assert_array_equal(back.at, batch.at)


def test_latest_is_the_newest_measured_reading_not_the_newest_written(store, indoor):
    store.write(indoor, readings(indoor, 21.5, start=LATER))
    store.write(indoor, readings(indoor, 99.0, start=NOON))

    assert store.latest(indoor, [1])["temperature"].to_list() == [21.5]


def test_latest_is_one_whole_reading_even_where_a_channel_is_silent(store, indoor):
    store.write(indoor, readings(indoor, (21.5, 40.0), (21.6, float("nan"))))

    latest = store.latest(indoor, [1])

    assert latest.select("at", "temperature", "humidity").rows() == [(NOON + STEP, 21.6, None)]


def test_latest_of_many_motes_is_sorted_and_leaves_out_those_that_never_spoke(store, indoor):
    store.write(indoor, readings(indoor, 3.0, mote=3, start=NOON - timedelta(days=300)))
    store.write(indoor, readings(indoor, 1.0, mote=1))
    store.write(indoor, readings(indoor, 2.0, mote=2, start=LATER))

    latest = store.latest(indoor, [7, 3, 2, 1, 1])

    assert latest.select("mote", "temperature").rows() == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_between_takes_its_start_and_leaves_its_end(store, indoor):
    store.write(indoor, readings(indoor, 0.0, 1.0, 2.0, 3.0))

    found = store.between(indoor, [1], NOON + STEP, NOON + 3 * STEP)

    assert found["temperature"].to_list() == [1.0, 2.0]


def test_between_sorts_by_mote_then_time_and_limits_in_that_order(store, indoor):
    store.write(indoor, readings(indoor, 20.0, 21.0, mote=2))
    store.write(indoor, readings(indoor, 11.0, mote=1, start=NOON + STEP))
    store.write(indoor, readings(indoor, 10.0, mote=1))

    everything = store.between(indoor, [2, 1], NOON, LATER)
    first = store.between(indoor, [2, 1], NOON, LATER, limit=3)

    assert everything["temperature"].to_list() == [10.0, 11.0, 20.0, 21.0]
    assert first.equals(everything.head(3))
    assert store.between(indoor, [2, 1], NOON, LATER, limit=0).is_empty()


def test_an_empty_answer_has_the_columns_of_a_full_one(store, indoor):
    expected = stored_schema(indoor)

    unwritten = [store.latest(indoor, [1]), store.between(indoor, [1], NOON, LATER)]
    store.write(indoor, readings(indoor, 21.5))
    nobody = [store.latest(indoor, []), store.between(indoor, [], NOON, LATER), store.latest(indoor, [5])]

    assert [table.schema for table in (*unwritten, *nobody)] == [expected] * 5
    assert [len(table) for table in (*unwritten, *nobody)] == [0] * 5
    assert store.existing(indoor, readings(indoor, 1.0, mote=5).select("mote", "at")).schema == expected


def test_existing_answers_the_stored_readings_at_the_keys(store, indoor):
    store.write(indoor, readings(indoor, 0.0, 1.0, 2.0))
    store.write(indoor, readings(indoor, 5.0, mote=2, start=NOON - timedelta(days=40)))
    asked = [
        (1, NOON + STEP),
        (1, NOON),
        (1, LATER),
        (1, NOON + STEP / 2),
        (2, NOON - timedelta(days=40)),
        (2, NOON),
        (3, NOON),
    ]

    found = store.existing(
        indoor, pl.DataFrame(asked, {"mote": pl.Int64, "at": pl.Datetime("us", "UTC")}, orient="row")
    )

    stored = [(1, NOON, 0.0), (1, NOON + STEP, 1.0), (2, NOON - timedelta(days=40), 5.0)]
    assert found.select("mote", "at", "temperature").rows() == stored


def test_existing_before_anything_is_stored_is_empty(store, indoor):
    assert store.existing(indoor, readings(indoor, 1.0).select("mote", "at")).is_empty()


def test_latest_of_thousands_of_motes_answers_only_for_those_asked_for(store, indoor):
    for mote in (1, 2, 9):
        store.write(indoor, readings(indoor, 0.0, 1.0, mote=mote))

    newest = store.latest(indoor, range(2, 2_000))

    assert newest.select("mote", "temperature").rows() == [(2, 1.0), (9, 1.0)]


def test_existing_finds_late_readings_of_motes_close_together_and_far_apart_in_time(store, indoor):
    for mote in range(1, 8):
        store.write(indoor, readings(indoor, *range(40), mote=mote, start=NOON + mote * STEP))
    keys = [(mote, NOON + mote * STEP + n * STEP) for mote in range(1, 8) for n in (0, 3, 39)]

    found = store.existing(indoor, pl.DataFrame(keys, {"mote": pl.Int64, "at": pl.Datetime("us", "UTC")}, orient="row"))

    assert found.select("mote", "at").rows() == keys
    assert found["temperature"].to_list() == [0.0, 3.0, 39.0] * 7


def test_count_counts_the_readings_of_all_motes_in_the_interval(store, indoor):
    before_anything = store.count(indoor, NOON, LATER)
    for mote in (1, 2, 9):
        store.write(indoor, readings(indoor, 0.0, 1.0, 2.0, mote=mote))

    assert before_anything == 0
    assert store.count(indoor, NOON, NOON + 2 * STEP) == 6
    assert store.count(indoor, LATER, LATER + STEP) == 0


def test_count_of_some_motes_counts_theirs_once_and_nobody_elses(store, indoor):
    before_anything = store.count(indoor, NOON, LATER, motes=[1])
    for mote in (1, 2, 9):
        store.write(indoor, readings(indoor, 0.0, 1.0, 2.0, mote=mote))

    assert before_anything == 0
    assert store.count(indoor, NOON, NOON + 2 * STEP, motes=[1, 9, 1, 5]) == 4
    assert store.count(indoor, NOON, LATER, motes=range(1, 400)) == 9
    assert store.count(indoor, NOON, LATER, motes=[]) == 0


def test_counts_are_those_of_each_hour_and_mote_in_the_interval(store, indoor):
    before_anything = store.counts(indoor, [1, 2], NOON, LATER)
    for mote in (1, 2, 9):
        store.write(indoor, readings(indoor, *range(200), mote=mote, start=NOON - 10 * STEP))

    counts = store.counts(indoor, [1, 2, 1, 5], NOON - 4 * STEP, NOON + 121 * STEP)

    hours = [NOON - timedelta(hours=1), NOON, NOON + timedelta(hours=1)]
    assert counts.schema == before_anything.schema
    assert before_anything.is_empty()
    assert counts.rows() == [(hour, mote, n) for hour, n in zip(hours, (4, 120, 1), strict=True) for mote in (1, 2)]
    assert store.counts(indoor, [], NOON, LATER).is_empty()
    assert store.counts(indoor, [1], LATER, NOON).is_empty()
    assert store.counts(indoor, range(1, 400), NOON, LATER)["n"].sum() == 3 * 190


def test_forget_deletes_what_these_motes_measured_before_an_instant_and_nothing_else(store, indoor):
    for mote in (1, 2):
        store.write(indoor, readings(indoor, 0.0, 1.0, 2.0, mote=mote))

    store.forget(indoor, [1, 3], NOON + STEP)

    left = store.between(indoor, [1, 2], NOON - STEP, LATER)
    assert left.select("mote", "temperature").rows() == [(1, 1.0), (1, 2.0), (2, 0.0), (2, 1.0), (2, 2.0)]


def test_two_profiles_do_not_see_each_other(store, indoor):
    machine = builders.profile(builders.channel("vibration"), code=f"{indoor.code}-machine")
    store.write(indoor, readings(indoor, 21.5))
    store.write(machine, readings(machine, 7.0))

    store.forget(machine, [1], LATER)

    assert store.latest(indoor, [1])["temperature"].to_list() == [21.5]
    assert store.latest(machine, [1]).is_empty()


def test_a_channel_of_a_newer_profile_version_is_null_in_older_readings(store, indoor):
    newer = builders.profile(*indoor.channels, builders.channel("co2"), code=indoor.code, version=2)
    store.write(indoor, readings(indoor, 21.5))

    unwritten = store.latest(newer, [1])
    store.write(newer, readings(newer, 400.0, start=NOON + STEP))

    assert unwritten["co2"].to_list() == [None]
    assert store.between(newer, [1], NOON, LATER).select("co2", "profile_version").rows() == [(None, 1), (400.0, 2)]
    assert store.between(indoor, [1], NOON, LATER).schema == stored_schema(indoor)


def test_a_hostile_profile_code_is_only_a_name(store, indoor):
    code = indoor.code + "\" WHERE 1=1; DROP TABLE x; -- ',mote=9 "
    hostile = builders.profile(builders.channel("a b,c=d"), code=code)
    store.write(indoor, readings(indoor, 21.5))

    store.write(hostile, readings(hostile, 1.0))

    assert store.latest(hostile, [1])["a b,c=d"].to_list() == [1.0]
    store.forget(hostile, [1], LATER)
    assert store.count(hostile, NOON, LATER) == 0
    assert store.count(indoor, NOON, LATER) == 1


def test_a_line_break_in_a_name_makes_no_second_line(indoor):
    profile = builders.profile(builders.channel("a\nb"), code=f"{indoor.code}\nother,mote=1 flags=1i 1")

    assert "\n" not in lines(profile, readings(profile, 1.0))


def test_readers_are_answered_while_another_thread_writes(store, indoor):
    batches = [readings(indoor, *range(50), mote=mote) for mote in range(1, 9)]

    with ThreadPoolExecutor(1) as pipeline:
        writing = pipeline.submit(lambda: [store.write(indoor, batch) for batch in batches])
        seen = [0]
        while not writing.done():
            seen.append(len(store.between(indoor, range(1, 9), NOON, LATER)))
        writing.result()

    assert seen == sorted(seen)
    assert len(store.between(indoor, range(1, 9), NOON, LATER)) == 400


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("temperature", pl.lit(float("inf")), "infinite"),
        ("mote", pl.lit(None, pl.Int64), "without mote"),
        ("votes", pl.lit("many"), "many"),
        ("colour", pl.lit(1), "colour"),
    ],
)
def test_what_can_never_be_stored_is_refused_with_the_value(store, indoor, column, value, named):
    with pytest.raises(StoreRefused, match=named):
        store.write(indoor, readings(indoor, 21.5).with_columns(value.alias(column)))

    assert store.count(indoor, NOON, LATER) == 0


def test_a_reachable_store_answers_a_ping(store):
    store.ping()


@pytest.fixture(params=["sqlite", "influx"])
def unreachable(request, tmp_path):
    """A store that is not there, and the address that its error should name."""
    if request.param == "influx":
        return InfluxStore("http://127.0.0.1:9", "sieis", "sensors", "secret"), "http://127.0.0.1:9"
    (tmp_path / "file").write_text("no folder")
    return SqliteStore(tmp_path / "file" / "hot.sqlite3"), str(tmp_path / "file")


@pytest.mark.parametrize(
    "deed",
    [
        lambda store, indoor: store.write(indoor, readings(indoor, 21.5)),
        lambda store, indoor: store.latest(indoor, [1]),
        lambda store, indoor: store.between(indoor, [1], NOON, LATER),
        lambda store, indoor: store.existing(indoor, readings(indoor, 21.5).select("mote", "at")),
        lambda store, indoor: store.count(indoor, NOON, LATER),
        lambda store, indoor: store.forget(indoor, [1], LATER),
        lambda store, indoor: store.ping(),
    ],
)
def test_a_store_that_is_not_there_says_so_quickly_with_its_address(unreachable, indoor, deed):
    store, address = unreachable
    started = time.monotonic()

    with pytest.raises(StoreUnavailable) as failure:
        deed(store, indoor)

    assert address in str(failure.value)
    assert "secret" not in str(failure.value)
    assert time.monotonic() - started < 3


@pytest.mark.service
@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"token": "wrong"}, "INFLUXDB_V2_TOKEN"),
        ({"bucket": "no-such-bucket"}, "INFLUXDB_V2_BUCKET"),
        ({"org": "nobody"}, "INFLUXDB_V2_ORG"),
    ],
)
def test_influx_set_up_wrongly_names_the_setting_to_mend(addresses, indoor, changes, setting):
    store = influx(addresses, **changes)

    for deed in (store.ping, lambda: store.write(indoor, readings(indoor, 21.5))):
        with pytest.raises(StoreUnavailable, match=setting):
            deed()


@pytest.mark.service
def test_influx_refuses_a_field_of_another_type_in_its_own_words(addresses, indoor):
    store = influx(addresses)
    store._post(f"{indoor.code},mote=1 temperature=5i {micros(NOON)}")

    with pytest.raises(StoreRefused, match=r"field type conflict.*temperature"):
        store.write(indoor, readings(indoor, 21.5, 21.6))

    store.forget(indoor, [1], LATER)


@pytest.mark.service
def test_influx_answers_readings_that_an_older_version_wrote_beside_new_ones(addresses, indoor):
    store, table = influx(addresses), readings(indoor, 21.5, 21.6, 21.7)
    verdict = 'flags=8i,surprise=4.5,is_anomaly=true,origin="7 5 3 1 0 17 9000000"'
    store._post("\n".join(f"{indoor.code},mote=1 temperature=20.5,{verdict} {at}" for at in table["at"].cast(pl.Int64)))

    store.write(indoor, table[1:])

    found = store.between(indoor, [1], NOON, LATER)
    assert found[1:].equals(table[1:])
    assert found.select("flags", "surprise", "is_anomaly", "votes", "offset").row(0) == (8, 4.5, True, 7, 17)
    assert store.count(indoor, NOON, LATER) == 3
    assert store.latest(indoor, [1])["temperature"].to_list() == [21.7]
    store.forget(indoor, [1], LATER)
