"""Grades as they are kept: by the lake's last days, corrections applied, shown to people and machines."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command

from sensors import tasks
from sensors.corrections import correct
from sensors.grading import grade_motes
from sensors.lake import lake
from sensors.models import Mote, SensorGrade
from sensors.readings import Batch, concat, micros
from sensors.registry import profiles
from sensors.stores import hot
from tests.builders import batch, channel, install_fleet, profile
from tests.conftest import NOON


def grades_of(motes):
    """The kept grades of these motes, by mote and channel."""
    kept = SensorGrade.objects.filter(mote__in=motes)
    return {mote: {one.channel: one for one in kept if one.mote_id == mote} for mote in {one.mote_id for one in kept}}


pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
KIND = profile(channel("temperature"), interval_s=300.0, step_s=300.0)


def keep(*batches: Batch) -> None:
    """In the lake and in the hot store, as the reading path would have it."""
    table = concat(batches).to_table().with_columns(offset=pl.int_range(pl.len(), dtype=pl.Int64))
    before = lake().recorded("silver/indoor", "test") or 0
    rows = table.with_columns(pl.col("offset") + before)
    lake().append("silver/indoor", rows, app_ids={0: "test"}, next_offsets={0: before + len(rows)})
    hot().write(profiles()["indoor"], table)


def days(mote: int, n: float, *, until=NOON, seed: int = 0) -> Batch:
    """A quiet room, every five minutes until an instant."""
    size = int(n * 288)
    values = np.round(21.0 + np.random.default_rng(mote + seed).normal(0.0, 0.1, size), 2)
    return batch(profiles()["indoor"], values[:, None], mote=mote, start_us=micros(until - n * DAY), step_s=300.0)


@pytest.fixture
def motes() -> list[int]:
    install_fleet(motes=("7", "8", "9"), profile=KIND)
    return list(Mote.objects.order_by("pk").values_list("pk", flat=True))


def grade(**chosen) -> list[SensorGrade]:
    return grade_motes(lake=lake(), store=hot(), now=NOON, **chosen)


def test_each_mote_and_channel_gets_one_grade_with_range_reasons_and_profile_version(motes):
    stuck = days(motes[2], 2)
    stuck.values[:] = 20.0
    keep(days(motes[0], 2), days(motes[1], 2), stuck)

    grade(days=2)
    grade(days=2)

    found = grades_of(motes)
    assert [found[mote]["temperature"].grade for mote in motes] == ["A", "A", "F"]
    bad = found[motes[2]]["temperature"]
    assert bad.reasons[0] == "flat line for 100 % of the time"
    assert bad.figures["flat"] == 1.0
    assert (bad.starts_at, bad.ends_at, bad.graded_at, bad.profile_version) == (NOON - 2 * DAY, NOON, NOON, 1)
    assert SensorGrade.objects.count() == 3


def test_grades_are_read_in_one_query(motes, django_assert_num_queries):
    keep(*(days(mote, 1) for mote in motes))
    grade(days=1)

    with django_assert_num_queries(1):
        assert set(grades_of(motes)) == set(motes)


def test_a_site_whose_data_ended_long_ago_is_graded_by_its_last_days(motes):
    ended = NOON - 8000 * DAY
    keep(*(days(mote, 3, until=ended) for mote in motes[:2]))

    grade(days=2)

    found = grades_of(motes)
    first = found[motes[0]]["temperature"]
    assert ended - first.ends_at < timedelta(minutes=6)
    assert first.ends_at - first.starts_at == 2 * DAY
    assert first.grade == "A"
    assert found[motes[2]]["temperature"].reasons == ["silent"]


def test_only_the_site_and_the_profile_that_are_named_are_graded(motes):
    install_fleet(motes=("1",), profile=KIND, site="lab")
    other = Mote.objects.get(site__code="lab").pk
    keep(*(days(mote, 1) for mote in (*motes, other)))

    assert {one.mote_id for one in grade(site="lab", days=1)} == {other}
    assert grade(profile="smoke", days=1) == []


def test_where_nobody_ever_spoke_there_is_nothing_to_grade(motes):
    assert grade() == []


def test_what_a_person_excluded_or_recalibrated_is_graded_as_it_is_to_be_read(motes):
    harmed = days(motes[2], 2)
    harmed.values[:288] += 100.0
    keep(days(motes[0], 2), days(motes[1], 2), harmed)
    grade(days=2)
    assert grades_of(motes)[motes[2]]["temperature"].grade == "F"

    correct(
        Mote.objects.get(pk=motes[2]), kind="exclude", channel="temperature", starts_at=NOON - 2 * DAY,
        ends_at=NOON - DAY, why="heat gun", who=None, now=NOON,
    )  # fmt: skip
    grade(days=2)

    assert grades_of(motes)[motes[2]]["temperature"].grade == "A"


def test_a_mote_that_is_not_graded_any_more_loses_its_old_grade(motes):
    keep(days(motes[0], 2), days(motes[1], 2), days(motes[2], 0.05))
    SensorGrade.objects.create(
        mote_id=motes[2], channel="temperature", grade="F", starts_at=NOON - 9 * DAY, ends_at=NOON - 8 * DAY,
        graded_at=NOON - 8 * DAY,
    )  # fmt: skip

    grade(days=2)

    assert set(grades_of(motes)) == set(motes[:2])


def test_the_nightly_task_grades_everything(motes):
    keep(*(days(mote, 7) for mote in motes))

    tasks.grade_sensors()

    assert {one["temperature"].grade for one in grades_of(motes).values()} == {"A"}


def test_the_command_prints_letters_and_reasons_and_json_for_machines(motes, capsys):
    bad = days(motes[2], 7)
    bad.values[:] = 99.0
    keep(days(motes[0], 7), days(motes[1], 7), bad)

    call_command("grade_sensors", site="main", profile="indoor", days=7)
    told = capsys.readouterr().out
    call_command("grade_sensors", "--json")
    spoken = json.loads(capsys.readouterr().out)

    assert "main/9" in told
    assert "100 % out of physical range" in told
    assert {one["mote"]: one["grade"] for one in spoken} == {"7": "A", "8": "A", "9": "F"}
    assert spoken[2]["figures"]["out_of_range"] == 1.0


def test_the_command_names_what_there_is_when_asked_for_what_there_is_not(motes):
    with pytest.raises(CommandError, match="There is no site “moon”; there are: main"):
        call_command("grade_sensors", site="moon")
    with pytest.raises(CommandError, match="--days is 0; expected a number above 0"):
        call_command("grade_sensors", days=0)
