"""Readings of any age: from the hot store, from the lake what it has no longer, from the lake alone if it is away."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from sensors import corrections
from sensors.lake import Lake, lake
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import profiles
from sensors.stores import StoreUnavailable, hot
from sensors.tiers import Tiers
from tests import builders
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
KEEP = 30 * DAY


class Away:
    """A store whose server cannot be reached."""

    def between(self, *args: object, **kwargs: object) -> pl.DataFrame:
        raise StoreUnavailable("influxdb at 10.0.0.9 does not answer")

    latest = between


@pytest.fixture
def motes():
    builders.install_fleet(motes=("7", "8"))
    return {mote.code: mote.pk for mote in Mote.objects.all()}


@pytest.fixture
def write(motes):
    until = 0

    def put(code, start, n, *, in_hot=True, in_lake=True):
        nonlocal until
        profile = profiles()["indoor"]
        values = np.column_stack([np.full(n, 20.0), np.full(n, 40.0), np.full(n, 100.0), np.full(n, 2.7)])
        batch = builders.batch(profile, values, mote=motes[code], start_us=micros(start))
        batch.offset[:] = np.arange(until, until + n)
        until += n
        if in_hot:
            hot().write(profile, batch.to_table())
        if in_lake:
            lake().append("silver/indoor", batch.to_table(), app_ids={0: "t/0"}, next_offsets={0: until})

    return put


def between(motes, start, end, **more):
    found = Tiers(more.pop("store", hot()), more.pop("of", lake()), KEEP)
    return found.between(profiles()["indoor"], list(motes), start, end, now=NOON, **more)


def test_what_the_hot_store_forgot_comes_from_the_lake_once(motes, write):
    write("7", NOON - 60 * DAY, 5, in_hot=False)
    write("7", NOON - DAY, 5)

    found = between([motes["7"]], NOON - 90 * DAY, NOON)

    assert found.table["at"].to_list() == sorted(set(found.table["at"].to_list()))
    assert (len(found.table), found.tier) == (10, "hot and lake")
    assert between([motes["7"]], NOON - 2 * DAY, NOON).tier == "hot"
    assert between([motes["7"]], NOON - 90 * DAY, NOON - 50 * DAY).tier == "lake"


def test_a_mote_with_a_long_past_hides_nothing_of_one_whose_past_was_forgotten(motes, write):
    write("7", NOON - 80 * DAY, 3)
    write("8", NOON - 60 * DAY, 3, in_hot=False)

    assert len(between(motes.values(), NOON - 90 * DAY, NOON).table) == 6


def test_a_limit_gives_the_first_of_them_all(motes, write):
    write("7", NOON - 60 * DAY, 3, in_hot=False)
    write("7", NOON - DAY, 5)

    found = between([motes["7"]], NOON - 90 * DAY, NOON, limit=4)

    assert found.table["at"].to_list()[:1] == [NOON - 60 * DAY]
    assert found.table["at"].to_list()[3:] == [NOON - DAY]


def test_with_the_hot_store_away_the_lake_answers_with_corrections_and_says_so(motes, write):
    write("7", NOON - DAY, 5)
    corrections.correct(
        Mote.objects.get(code="7"), kind="offset", channel="temperature", offset=1.5, why="calibrated", who=None,
        starts_at=NOON - 2 * DAY, ends_at=NOON, now=NOON,
    )  # fmt: skip

    found = between([motes["7"]], NOON - 2 * DAY, NOON, store=Away())

    assert found.table["temperature"].to_list() == [21.5] * 5
    assert found.tier == "lake"
    assert "10.0.0.9" in found.fault


def test_each_motes_newest_reading_comes_from_the_lake_while_the_hot_store_is_away(motes, write):
    write("7", NOON - DAY / 24, 5)
    write("8", NOON - DAY / 12, 3)

    found = Tiers(Away(), lake(), KEEP).latest(profiles()["indoor"], list(motes.values()), now=NOON)

    newest = hot().latest(profiles()["indoor"], list(motes.values()))
    assert found.table.select(newest.columns).sort("mote").rows() == newest.sort("mote").rows()
    assert found.tier == "lake"
    assert "10.0.0.9" in found.fault


def test_with_a_lake_that_cannot_be_read_the_hot_store_answers_and_what_is_missing_is_said(motes, write, tmp_path):
    write("7", NOON - 60 * DAY, 5, in_hot=False)
    write("7", NOON - DAY, 5)
    for file in (tmp_path / "lake" / "silver" / "indoor").rglob("*.parquet"):
        file.unlink()

    found = between([motes["7"]], NOON - 90 * DAY, NOON)

    assert (len(found.table), found.tier) == (5, "hot")
    assert "cannot be read" in found.fault
    with pytest.raises(StoreUnavailable):
        between([motes["7"]], NOON - 90 * DAY, NOON, store=Away(), of=Lake(str(tmp_path / "lake"), None))


def test_before_anything_was_stored_there_is_nothing(motes):
    assert between(motes.values(), NOON - 90 * DAY, NOON).table.is_empty()
