"""Who left its norm in a stretch, how far, and who first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops import root_cause
from sensors import gold
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import current_fleet
from sensors.stores import hot
from tests import builders
from tests.people import *  # noqa: F403

PROFILE = builders.profile(
    builders.channel(), builders.channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%")
)
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
STEP_S = 300.0
DAY = int(86_400 / STEP_S)


def days(mote: int, n_days: int, *, seed: int = 0) -> np.ndarray:
    """Two channels that go up and down with the day."""
    rng = np.random.default_rng(seed + mote)
    phase = 2 * np.pi * np.arange(n_days * DAY) / DAY
    return np.column_stack([
        21 + 3 * np.sin(phase) + 0.1 * rng.standard_normal(len(phase)),
        45 - 8 * np.sin(phase) + 0.3 * rng.standard_normal(len(phase)),
    ])  # fmt: skip


def ranked(values: dict[int, np.ndarray], begin: int, end: int) -> list[dict]:
    """The rows of a stretch, given in rows, against all that came before it."""
    tables = [builders.batch(PROFILE, rows, mote=mote, start_us=micros(BEGIN), step_s=STEP_S).to_table()
              for mote, rows in values.items()]  # fmt: skip
    table = pl.concat(tables).sort("mote", "at")
    first, last = (BEGIN + timedelta(seconds=STEP_S * row) for row in (begin, end))
    norm = root_cause.norms(gold.aggregated(PROFILE, table.filter(pl.col("at") < first)))
    inside = table.filter((pl.col("at") >= first) & (pl.col("at") < last))
    bins = inside.unpivot(index=["mote", "at"], on=PROFILE.names, variable_name="channel", value_name="value")
    rows = root_cause.rank(bins.select("mote", "channel", "at", "value"), norm, PROFILE)
    return root_cause._ordered(rows.to_dicts())


def test_the_one_that_left_first_is_number_one_even_if_another_went_further():
    values = {mote: days(mote, 8) for mote in range(1, 5)}
    noon = 7 * DAY + DAY // 2
    values[1][noon + 2 :, 0] += 4.0
    values[2][noon + 6 :, 0] += 9.0

    rows = ranked(values, noon, noon + 24)

    assert [(row["mote"], row["channel"], row["order"]) for row in rows[:2]] == [
        (2, "temperature", 2), (1, "temperature", 1),
    ]  # fmt: skip
    assert rows[1]["onset_at"] == BEGIN + timedelta(seconds=STEP_S * (noon + 2))
    assert rows[2]["order"] is None
    assert rows[2]["deviations"] < root_cause.LEFT


def test_what_a_channel_does_each_day_at_that_hour_is_no_departure():
    values = {1: days(1, 8)}
    peak_of_the_day = 7 * DAY + DAY // 4

    assert all(row["order"] is None for row in ranked(values, peak_of_the_day, peak_of_the_day + 12))


def test_a_single_odd_reading_is_ranked_by_its_peak_and_has_no_onset_unless_it_stays():
    values = {1: days(1, 8)}
    values[1][7 * DAY + 5, 1] += 30.0

    [worst, _] = ranked(values, 7 * DAY, 7 * DAY + 12)

    assert (worst["channel"], worst["onset_at"], worst["order"]) == ("humidity", None, None)
    assert worst["peak_deviations"] > 20
    assert worst["low"] < worst["value"] - 10


@given(st.integers(1, 4), st.sampled_from([0, 1]), st.floats(6.0, 20.0), st.sampled_from([-1, 1]))
def test_whoever_is_moved_far_is_ranked_first_whichever_it_is_and_whichever_way(mote, channel, far, sign):
    values = {one: days(one, 5) for one in range(1, 5)}
    values[mote][4 * DAY + 3 :, channel] += sign * far * (1.0, 3.0)[channel]

    worst = ranked(values, 4 * DAY, 4 * DAY + 24)[0]

    assert (worst["mote"], worst["channel"]) == (mote, PROFILE.names[channel])
    assert np.sign(worst["peak_deviations"]) == sign


# ---- by the API -------------------------------------------------------------------------------------------------


@pytest.fixture
def two_days(db):
    """Until now: three motes, of which the second was heated an hour ago."""
    builders.install_fleet(motes=("7", "8", "9"), profile=PROFILE)
    profile = current_fleet().profiles["indoor"]
    now = datetime.now(UTC).replace(microsecond=0)
    begin = now - timedelta(hours=40)
    n = int(40 * 3600 / STEP_S)
    for mote in Mote.objects.order_by("pk"):
        values = days(mote.pk, 2)[:n]
        values[:, 0] = 21 + 0.1 * np.random.default_rng(mote.pk).standard_normal(n)
        if mote.code == "8":
            values[-12:, 0] += 15
        hot().write(
            profile, builders.batch(profile, values, mote=mote.pk, start_us=micros(begin), step_s=STEP_S).to_table()
        )
    return now


def ask(client, **asked):
    return client.post("/api/v1/analytics/root-cause", asked, "application/json")


def test_everybody_may_ask_which_mote_it_was(two_days, charlie_client):
    answer = ask(
        charlie_client, start=(two_days - timedelta(hours=2)).isoformat(), end=two_days.isoformat(), limit=3
    ).json()

    assert (answer["first"]["mote"], answer["first"]["channel"], answer["first"]["order"]) == ("8", "temperature", 1)
    assert (answer["n_looked_at"], len(answer["causes"])) == (6, 3)
    assert "at this hour of the day is not known" in answer["missing"][0]
    assert answer["seconds"] < 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"end": "2020-01-01T00:00:00Z"}, "start"),
        ({"start": "2001-01-01T00:00:00Z"}, "start"),
        ({"profile": "x"}, "profile"),
        ({"start": "yesterday"}, "start"),
    ],
)
def test_a_stretch_that_cannot_be_looked_at_is_refused_by_its_field(two_days, charlie_client, changes, field):
    asked = {"start": (two_days - timedelta(hours=2)).isoformat(), "end": two_days.isoformat(), **changes}

    answer = ask(charlie_client, **asked)

    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_without_readings_nothing_is_ranked(charlie_client):
    builders.install_fleet(motes=("7",))

    answer = ask(charlie_client, start="2026-03-02T12:00:00Z", end="2026-03-02T13:00:00Z").json()

    assert (answer["first"], answer["causes"]) == (None, [])
