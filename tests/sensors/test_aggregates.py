"""Hours up to this minute: gold for the past, the hot store for what came since, and words for what is missing."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from sensors import gold
from sensors.aggregates import FRESH_S, Aggregates
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import profiles
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.conftest import NOON

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Away:
    """A store whose server cannot be reached."""

    def between(self, *args: object, **kwargs: object) -> pl.DataFrame:
        raise StoreUnavailable("influxdb at 10.0.0.9 does not answer")


@pytest.fixture
def mote():
    builders.install_fleet(motes=("7",))
    return Mote.objects.get().pk


@pytest.fixture
def store_readings(mote):
    until = 0

    def put(start, temperature, *, only_hot=False):
        nonlocal until
        profile = profiles()["indoor"]
        n = len(temperature)
        values = np.column_stack([temperature, np.full(n, 40.0), np.full(n, 100.0), np.full(n, 2.7)])
        batch = builders.batch(profile, values, mote=mote, start_us=micros(start))
        batch.offset[:] = np.arange(until, until + n)
        until += n
        hot().write(profile, batch.to_table())
        if not only_hot:
            lake().append("silver/indoor", batch.to_table(), app_ids={0: "t/0"}, next_offsets={0: until})

    return put


def means(aggregates, mote, *, now=NOON, days=30):
    found = aggregates.between(profiles()["indoor"], [mote], now - timedelta(days=days), now + HOUR, now=now)
    rows = found.table.filter(pl.col("channel") == "temperature")
    return dict(zip(rows["hour"].to_list(), rows["mean"].to_list(), strict=True))


def test_what_gold_has_not_yet_comes_from_the_hot_store(mote, store_readings):
    store_readings(NOON - 10 * timedelta(days=1), [18.0] * 10)
    store_readings(NOON - HOUR, [20.0] * 60)
    gold.aggregate(lake(), profiles()["indoor"], now=NOON)
    store_readings(NOON - HOUR / 2, [22.0] * 60, only_hot=True)
    store_readings(NOON, [30.0], only_hot=True)

    found = means(Aggregates(lake=lake(), store=hot()), mote)

    assert found == {NOON - 10 * timedelta(days=1): 18.0, NOON - HOUR: 21.0, NOON: 30.0}


def test_before_gold_was_ever_made_the_last_days_are_there(mote, store_readings):
    store_readings(NOON - HOUR, [20.0] * 60)

    assert means(Aggregates(lake=lake(), store=hot()), mote) == {NOON - HOUR: 20.0}


def test_it_is_read_again_when_it_is_stale_and_not_before(mote, store_readings):
    clock = Clock()
    aggregates = Aggregates(lake=lake(), store=hot(), clock=clock)
    assert means(aggregates, mote) == {}
    store_readings(NOON - HOUR, [20.0])

    clock.now = FRESH_S / 2
    assert means(aggregates, mote) == {}
    clock.now = FRESH_S * 2
    assert means(aggregates, mote) == {NOON - HOUR: 20.0}


def test_without_the_hot_store_the_lake_answers_and_says_what_is_missing(mote, store_readings):
    store_readings(NOON - HOUR, [20.0] * 60)
    gold.aggregate(lake(), profiles()["indoor"], now=NOON)

    found = Aggregates(lake=lake(), store=Away()).between(  # type: ignore[arg-type]
        profiles()["indoor"], [mote], NOON - 5 * HOUR, NOON, now=NOON
    )

    assert found.table["n"].max() == 60
    (words,) = found.missing
    assert "influxdb at 10.0.0.9 does not answer" in words
