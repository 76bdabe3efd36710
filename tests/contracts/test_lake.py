"""What the lake promises, in a folder and in a bucket."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import boto3
import polars as pl
import pytest

from sensors import lake as lakes
from sensors.lake import Lake, LakeFenced, NoSuchTable
from sensors.readings import micros
from sensors.stores import StoreRefused, StoreUnavailable
from tests.conftest import NOON

IDS = {0: "sensor-readings/0", 1: "sensor-readings/1"}
INSTANT = pl.Datetime("us", "UTC")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.service)])
def another(request, tmp_path):
    """Makes lakes at one place, as two processes would."""
    if request.param == "folder":
        yield lambda: Lake(str(tmp_path / "lake"))
        return
    addresses = request.getfixturevalue("addresses")
    s3 = s3_options(addresses)
    prefix = f"test-{random.randrange(16**12):012x}"
    yield lambda: Lake(f"s3://{addresses['S3_BUCKET']}/{prefix}", s3)
    empty(addresses["S3_BUCKET"], prefix, s3)


def s3_options(addresses):
    return {
        "endpoint_url": addresses["S3_ENDPOINT_URL"],
        "access_key": addresses["AWS_ACCESS_KEY_ID"],
        "secret_key": addresses["AWS_SECRET_ACCESS_KEY"],
        "region_name": addresses["AWS_REGION"],
    }


def empty(bucket, prefix, s3):
    keys = {"aws_access_key_id": s3["access_key"], "aws_secret_access_key": s3["secret_key"]}
    store = boto3.resource("s3", endpoint_url=s3["endpoint_url"], region_name=s3["region_name"], **keys)
    store.Bucket(bucket).objects.filter(Prefix=f"{prefix}/").delete()


@pytest.fixture
def lake(another):
    return another()


def rows(first, last, partition=0, **more):
    """Rows first … last - 1 of a partition, a minute apart, each saying its own offset in its payload."""
    offsets = range(first, last)
    received_at = pl.Series([micros(NOON) + offset * 60_000_000 for offset in offsets], dtype=pl.Int64).cast(INSTANT)
    table = pl.DataFrame(
        {
            "partition": [partition] * len(offsets),
            "offset": list(offsets),
            "payload": [str(n).encode() for n in offsets],
        },
        {"partition": pl.Int64, "offset": pl.Int64, "payload": pl.Binary},
    ).with_columns(received_at=received_at)
    return table.with_columns(**{name: pl.lit(value) for name, value in more.items()})


def append(lake, data, until, *, table="bronze", partition=0):
    lake.append(table, data, app_ids={partition: IDS[partition]}, next_offsets={partition: until})


def content(lake, table="bronze", version=None):
    return lake.scan(table, version).sort("partition", "offset").collect()


def offsets(lake, table="bronze", version=None):
    return content(lake, table, version)["offset"].to_list()


def test_the_first_append_makes_the_table_and_the_rows_come_back(lake):
    assert not lake.exists("silver/indoor")

    append(lake, rows(0, 3), 3, table="silver/indoor")

    assert content(lake, "silver/indoor").equals(rows(0, 3).with_columns(date=pl.lit(date(2026, 3, 2))))
    assert lake.exists("silver/indoor")
    assert lake.recorded("silver/indoor", IDS[0]) == 3


def test_a_table_that_nobody_wrote_is_named_in_the_error(lake):
    with pytest.raises(NoSuchTable, match="silver/indoor"):
        lake.scan("silver/indoor")

    assert lake.recorded("silver/indoor", IDS[0]) is None
    assert lake.tables() == []


def test_rows_below_the_recorded_offset_are_there_already_and_are_dropped(lake):
    append(lake, rows(0, 5), 5)

    append(lake, rows(2, 8), 8)
    append(lake, rows(0, 8), 8)

    assert offsets(lake) == list(range(8))


@pytest.mark.parametrize("cuts", [[2, 7, 10], [1, 2, 3, 4, 10], [10], [9, 10]])
def test_a_replay_cut_otherwise_leaves_the_same_content(lake, another, cuts):
    append(lake, rows(0, 4), 4)
    append(lake, rows(4, 6), 6)

    replay = another()
    for start, end in zip([0, *cuts], cuts, strict=False):
        append(replay, rows(start, end), end)

    assert content(lake).equals(rows(0, 10).with_columns(date=pl.lit(date(2026, 3, 2))))


def test_a_recorded_offset_never_moves_backwards(lake):
    append(lake, rows(0, 5), 5)
    version = lake.version("bronze")

    append(lake, rows(0, 3), 3)

    assert lake.recorded("bronze", IDS[0]) == 5
    assert lake.version("bronze") == version


def test_partitions_advance_on_their_own_in_one_commit(lake):
    both = pl.concat([rows(0, 3), rows(0, 5, partition=1)])
    lake.append("bronze", both, app_ids=IDS, next_offsets={0: 3, 1: 5})
    version = lake.version("bronze")

    more = pl.concat([rows(1, 4), rows(2, 5, partition=1)])
    lake.append("bronze", more, app_ids=IDS, next_offsets={0: 4, 1: 5})

    assert lake.version("bronze") == version + 1
    assert [lake.recorded("bronze", app_id) for app_id in IDS.values()] == [4, 5]
    assert content(lake).select("partition", "offset").rows() == [
        *((0, n) for n in range(4)),
        *((1, n) for n in range(5)),
    ]


def test_an_offset_may_advance_without_rows(lake):
    append(lake, rows(0, 3), 3)

    append(lake, rows(0, 0), 9)

    assert lake.recorded("bronze", IDS[0]) == 9
    assert offsets(lake) == [0, 1, 2]


def test_a_zombie_that_another_writer_has_replaced_is_refused(lake, another):
    append(lake, rows(0, 3), 3)
    append(another(), rows(3, 6), 6)

    with pytest.raises(LakeFenced, match=r"sensor-readings/0 from 3 to 6"):
        append(lake, rows(3, 5), 5)

    assert offsets(lake) == list(range(6))


def test_who_looks_again_before_writing_is_no_zombie(lake, another):
    append(lake, rows(0, 3), 3)
    append(another(), rows(3, 6), 6)

    assert lake.recorded("bronze", IDS[0]) == 6
    append(lake, rows(3, 9), 9)

    assert offsets(lake) == list(range(9))


def test_writers_of_different_partitions_do_not_fence_each_other(lake, another):
    other = another()
    for n in range(3):
        append(lake, rows(n, n + 1), n + 1)
        append(other, rows(n, n + 1, partition=1), n + 1, partition=1)

    assert len(content(lake)) == 6


def test_two_writers_at_the_same_time_lose_nothing(another):
    def write(partition):
        own = another()
        for n in range(12):
            append(own, rows(n, n + 1, partition=partition), n + 1, partition=partition)

    append(another(), rows(0, 1), 1)
    with ThreadPoolExecutor(2) as writers:
        list(writers.map(write, IDS))

    assert content(another()).select("partition", "offset").rows() == [(p, n) for p in IDS for n in range(12)]


def test_a_writer_stays_fenced_off_when_its_handle_is_opened_afresh(lake, another):
    for n in range(lakes.CHECKPOINT_EVERY):
        append(lake, rows(n, n + 1), n + 1)
    append(another(), rows(50, 60), 60)

    with pytest.raises(LakeFenced):
        append(lake, rows(50, 51), 51)

    assert offsets(lake) == list(range(60))


def test_mending_adds_rows_of_any_place_and_leaves_the_partitions_offsets_as_they_are(lake):
    append(lake, rows(0, 5), 5)

    lake.mend("bronze", rows(1, 3), app_id="reconcile/x", after=0)
    append(lake, rows(3, 8), 8)

    assert sorted(offsets(lake)) == [0, 1, 1, 2, 2, *range(3, 8)]
    assert lake.recorded("bronze", IDS[0]) == 8
    assert lake.recorded("bronze", "reconcile/x") == 1


def test_two_who_mend_the_same_loss_do_not_both_add_it(lake, another):
    append(lake, rows(0, 5), 5)
    other = another()
    seen = other.recorded("bronze", "reconcile/x") or 0

    lake.mend("bronze", rows(5, 7), app_id="reconcile/x", after=0)
    with pytest.raises(LakeFenced, match="look again"):
        other.mend("bronze", rows(5, 7), app_id="reconcile/x", after=seen)

    assert offsets(lake) == list(range(7))


def test_a_new_channel_is_null_in_the_rows_before_it(lake):
    append(lake, rows(0, 2), 2)

    append(lake, rows(2, 4, co2=400.0), 4)
    append(lake, rows(4, 5), 5)

    assert content(lake)["co2"].to_list() == [None, None, 400.0, 400.0, None]


def test_compaction_changes_no_content_and_no_recorded_offset(lake):
    for n in range(6):
        append(lake, rows(n, n + 1), n + 1)
    before = content(lake)

    lake.compact("bronze", keep=timedelta(0))
    append(lake, rows(5, 7), 7)

    assert content(lake).head(6).equals(before)
    assert offsets(lake) == list(range(7))


def test_an_older_version_is_read_as_it_was(lake):
    append(lake, rows(0, 2), 2)
    version = lake.version("bronze")

    append(lake, rows(2, 4), 4)
    lake.compact("bronze")

    assert offsets(lake, version=version) == [0, 1]
    assert offsets(lake) == [0, 1, 2, 3]


def test_a_reader_sees_what_another_process_has_just_written(lake, another):
    append(lake, rows(0, 1), 1)
    reader = another()
    seen = [offsets(reader)]

    append(lake, rows(1, 2), 2)

    assert [*seen, offsets(reader)] == [[0], [0, 1]]


def test_the_date_is_that_of_measurement_where_there_is_one(lake):
    measured = rows(0, 2).with_columns(at=pl.Series([micros(NOON - timedelta(days=9)), None]).cast(INSTANT))

    append(lake, measured, 2)

    assert content(lake)["date"].to_list() == [date(2026, 2, 21), date(2026, 3, 2)]


def test_tables_are_listed_by_their_names(lake):
    for table in ("silver/machine", "bronze", "silver/indoor"):
        append(lake, rows(0, 1), 1, table=table)

    assert lake.tables() == ["bronze", "silver/indoor", "silver/machine"]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"payload": "text"}, "payload of bronze holds Binary, and was given String"),
        ({"offset": 1.5}, "offset"),
        ({"colour": None}, "colour"),
        ({"extra": 2**64 - 1}, "fit"),
    ],
)
def test_rows_of_another_type_are_refused_and_nothing_of_them_is_kept(lake, bad, named):
    append(lake, rows(0, 1), 1)
    column, value = next(iter(bad.items()))
    literal = pl.lit(value, pl.UInt64) if column == "extra" else pl.lit(value)

    with pytest.raises(StoreRefused, match=named):
        append(lake, rows(1, 3).with_columns(literal.alias(column)), 3)

    assert offsets(lake) == [0]
    assert lake.recorded("bronze", IDS[0]) == 1


@pytest.mark.parametrize(
    ("data", "until", "named"),
    [
        (rows(0, 4), 3, "offset 3"),
        (rows(0, 1, partition=1), 3, "partition 1"),
        (rows(0, 1).with_columns(offset=pl.lit(None, pl.Int64)), 3, "offset None"),
    ],
)
def test_a_row_whose_offset_is_not_accounted_for_is_never_dropped_in_silence(lake, data, until, named):
    with pytest.raises(ValueError, match=named):
        append(lake, data, until)

    assert not lake.exists("bronze")


def test_a_name_that_leaves_the_lake_is_refused(lake):
    with pytest.raises(ValueError, match="bronze or silver/indoor"):
        append(lake, rows(0, 1), 1, table="../elsewhere")


def test_a_reachable_lake_answers_a_ping(lake):
    lake.ping()


def test_an_append_costs_the_same_however_many_came_before(lake):
    took = []
    for n in range(120):
        started = time.process_time()
        append(lake, rows(n, n + 1), n + 1)
        took.append(time.process_time() - started)

    assert offsets(lake) == list(range(120))
    assert median(took[-30:]) < 3 * median(took[5:35])


WRITER = """
import sys
from tests.contracts.test_lake import IDS, append, rows
from sensors.lake import Lake
lake = Lake(sys.argv[1])
for n in range(0, 100_000, 500):
    append(lake, rows(n, n + 500), n + 500)
    print(n + 500, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_appends_only(tmp_path):
    root = str(tmp_path / "lake")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, root], stdout=subprocess.PIPE, cwd=Path.cwd(), text=True)
    for _ in range(5):
        done = int(writer.stdout.readline())
    time.sleep(random.random() / 100)

    writer.kill()
    writer.wait()

    lake = Lake(root)
    recorded = lake.recorded("bronze", IDS[0])
    assert recorded >= done
    assert offsets(lake) == list(range(recorded))
    append(lake, rows(0, recorded + 500), recorded + 500)
    assert offsets(lake) == list(range(recorded + 500))


@pytest.fixture
def hung():
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def unreachable(endpoint):
    keys = {"access_key": "key", "secret_key": "hidden", "region_name": "us-east-1"}
    return Lake("s3://sieis/lake", {"endpoint_url": endpoint, **keys})


@pytest.mark.parametrize(
    "deed",
    [
        lambda lake: append(lake, rows(0, 1), 1),
        lambda lake: lake.scan("bronze"),
        lambda lake: lake.version("bronze"),
        lambda lake: lake.recorded("bronze", IDS[0]),
        lambda lake: lake.compact("bronze"),
        lambda lake: lake.tables(),
        lambda lake: lake.ping(),
    ],
)
def test_a_bucket_that_is_not_there_says_so_quickly_with_its_address(deed):
    started = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1:9") as failure:
        deed(unreachable("http://127.0.0.1:9"))

    assert "hidden" not in str(failure.value)
    assert "\n" not in str(failure.value)
    assert time.monotonic() - started < 3


@pytest.mark.service
def test_a_bucket_that_never_answers_is_given_up_within_some_ten_seconds(hung):
    started = time.monotonic()

    with pytest.raises(StoreUnavailable):
        append(unreachable(hung), rows(0, 1), 1)

    assert time.monotonic() - started < 13


@pytest.mark.service
@pytest.mark.parametrize(
    ("bucket", "changes", "setting"),
    [("no-such-bucket", {}, "S3_BUCKET"), (None, {"secret_key": "wrong"}, "AWS_SECRET_ACCESS_KEY")],
)
def test_a_lake_set_up_wrongly_names_the_setting_to_mend(addresses, bucket, changes, setting):
    lake = Lake(f"s3://{bucket or addresses['S3_BUCKET']}/test", {**s3_options(addresses), **changes})

    for deed in (lake.ping, lake.tables, lambda: append(lake, rows(0, 1), 1)):
        with pytest.raises(StoreUnavailable, match=setting):
            deed()


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "lake").write_text("no folder")
    lake = Lake(str(tmp_path / "lake"))

    for deed in (lake.ping, lambda: append(lake, rows(0, 1), 1)):
        with pytest.raises(StoreUnavailable, match=str(tmp_path / "lake")):
            deed()


def test_the_lake_of_the_settings_is_built_once_and_forgotten_when_they_change(settings, tmp_path):
    first = lakes.lake()
    append(first, rows(0, 1), 1)

    settings.SIEIS_LAKE = {"root": str(tmp_path / "other"), "s3": None}

    assert lakes.lake() is lakes.lake()
    assert lakes.lake() is not first
    assert not lakes.lake().exists("bronze")
