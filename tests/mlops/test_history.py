"""What a model learns from: clean readings only, counted, in order of time, the same bytes for the same data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from alerts.models import MaintenanceWindow
from mlops import history
from mlops.models import Label
from sensors import quality
from sensors.models import Mote, Zone
from sensors.readings import Batch, concat
from sensors.registry import current_fleet
from tests import builders
from tests.conftest import NOON
from tests.mlops.conftest import indoor_days

START = NOON  # builders.batch begins here
END = NOON + timedelta(days=3)
KIND = builders._default_profile()


@dataclass
class TableLake:
    """A lake of one table that lies in memory."""

    table: pl.DataFrame

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        assert (name, version) == ("silver/indoor", 17)
        return self.table.lazy()

    def version(self, name: str) -> int:
        return 17


def lake_of(*batches: Batch) -> TableLake:
    return TableLake(concat(batches).to_table().with_columns(pl.col("at").dt.date().alias("date")))


@pytest.fixture
def motes(indoor) -> tuple[int, ...]:
    return tuple(Mote.objects.values_list("pk", flat=True).order_by("pk"))


def read(lake: TableLake, start=START, end=END) -> history.History:
    fleet = current_fleet()
    return history.read(KIND, start, end, lake=lake, fleet=fleet, leave_out=history.to_leave_out(fleet, start, end))


def test_the_parts_follow_each_other_in_time_and_share_no_instant(motes):
    past = read(lake_of(indoor_days(3, motes)))

    assert past.n_found == past.n_used == 2 * 864
    assert past.train.at.max() < past.calibrate.at.min()
    assert past.calibrate.at.max() < past.held_out.at.min()
    assert len(past.train) == pytest.approx(0.6 * past.n_used, abs=2)
    assert past.left_out == {}
    card = past.card()
    assert card["lake_version"] == 17
    assert card["parts"]["train"]["first_at"] == "2026-03-02T12:00:00+00:00"


def test_flagged_readings_are_left_out_and_counted_by_what_is_wrong(motes):
    rows = indoor_days(3, motes)
    flags = np.zeros(len(rows), dtype=np.int64)
    flags[:30] = quality.OUT_OF_RANGE
    flags[30:50] = quality.STUCK | quality.GAP
    flags[50:60] = quality.LATE

    past = read(lake_of(replace(rows, flags=flags)))

    assert past.left_out == {"out_of_range": 30, "stuck": 20}
    assert past.n_used == len(rows) - 50


def test_labelled_faults_and_maintenance_are_left_out_for_the_motes_they_concern(motes):
    hour = timedelta(hours=1)
    for begin in (START, START + hour / 2):  # two labels that overlap count each reading once
        Label.objects.create(mote_id=motes[0], kind="drift", starts_at=begin, ends_at=begin + hour, source="simulator")
    MaintenanceWindow.objects.create(
        zone=Zone.objects.get(), starts_at=START + 10 * hour, ends_at=START + 11 * hour, reason="cleaning"
    )

    past = read(lake_of(indoor_days(3, motes)))

    assert past.left_out == {"maintenance": 2 * 13, "labelled": 19}


def test_motes_that_are_not_active_and_strangers_are_left_out(motes):
    Mote.objects.filter(pk=motes[0]).update(state=Mote.State.COMMISSIONING)
    rows = indoor_days(8, (motes[1],), seed=1)

    past = read(lake_of(indoor_days(3, (motes[0], 999)), rows), end=START + timedelta(days=8))

    assert past.left_out == {"mote_not_active": 2 * 864}
    assert set(past.train.mote.tolist()) == {motes[1]}


def test_of_readings_within_a_step_the_first_is_learnt_and_of_twins_the_first_that_came(motes):
    rows = indoor_days(3, motes)
    twins = replace(rows.take(slice(0, 40)), offset=np.arange(40) + 10_000, values=rows.values[:40] + 5)
    between = replace(rows.take(slice(0, 25)), at=rows.at[:25] + 7_000_000)

    past = read(lake_of(twins, between, rows))

    assert past.left_out == {"duplicate": 40, "between_steps": 25}
    assert past.content_hash == read(lake_of(rows)).content_hash


def test_the_content_hash_follows_what_is_learnt_and_not_how_it_lay(motes):
    rows = indoor_days(3, motes)
    shuffled = rows.take(np.random.default_rng(3).permutation(len(rows)))
    changed = replace(rows, values=rows.values + np.where(np.arange(len(rows)) == 700, 0.01, 0.0)[:, None])

    hashes = [read(lake_of(one)).content_hash for one in (rows, shuffled, changed)]

    assert hashes[0] == hashes[1] != hashes[2]


def test_local_time_comes_with_each_reading(motes):
    Mote.objects.get(pk=motes[0]).site.__class__.objects.update(time_zone="Asia/Kolkata")

    past = read(lake_of(indoor_days(3, motes)))

    assert set(past.train.utc_offset_s.tolist()) == {19800}


def test_an_empty_range_is_refused_with_the_range(motes):
    with pytest.raises(history.NoData, match="no readings of profile indoor between 2026-02-02 12:00 and"):
        read(lake_of(indoor_days(3, motes)), start=START - timedelta(days=28), end=START)


def test_nothing_clean_is_refused_with_where_to_look(motes):
    Mote.objects.update(state=Mote.State.MAINTENANCE)

    with pytest.raises(history.NoData, match=r"None of the 1,728 readings.*Data quality"):
        read(lake_of(indoor_days(3, motes)))


def test_too_little_says_when_it_will_be_enough(motes):
    with pytest.raises(history.TooLittleData) as refused:
        read(lake_of(indoor_days(0.5, motes)))

    assert "has 288 clean readings over 11.9 hours" in str(refused.value)
    assert "needs 500 over 24 hours" in str(refused.value)
    assert "enough on 2026-03-03 at 12:00 UTC" in str(refused.value)


def test_readings_of_a_few_instants_cannot_be_cut(motes):
    rows = indoor_days(3, motes)
    crowd = replace(rows, at=np.where(np.arange(len(rows)) < 600, rows.at[0], rows.at[500]), mote=np.arange(len(rows)))
    one = Mote.objects.get(pk=motes[0])
    Mote.objects.bulk_create(
        Mote(pk=key, site_id=one.site_id, profile_id=one.profile_id, code=f"m{key}")
        for key in set(range(len(rows))) - set(motes)
    )

    with pytest.raises(history.TooLittleData, match="come from 2 instants only"):
        read(lake_of(crowd))


def test_sensors_that_always_say_the_same_teach_nothing(motes):
    rows = indoor_days(3, motes)

    with pytest.raises(history.ConstantData, match=r"temperature 21\.0, humidity 40\.0, light 0\.0, voltage 2\.7"):
        read(lake_of(replace(rows, values=np.tile([21.0, 40.0, 0.0, 2.7], (len(rows), 1)))))


def test_a_fleet_too_large_for_memory_is_learnt_from_motes_spread_over_it(motes, monkeypatch):
    monkeypatch.setattr(history, "MOST_READINGS", 1_000)

    past = read(lake_of(indoor_days(3, motes)))

    assert past.left_out == {"more_than_fits": 864}
    assert past.n_used == 864
