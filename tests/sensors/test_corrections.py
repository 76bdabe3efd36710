"""Corrections lie over stored readings: they show everywhere at once, the readings stay, and undo is whole."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from django.core.exceptions import ValidationError

from mlops import history
from sensors import corrections, live, quality, registry
from sensors.derived import Before, derive
from sensors.models import AuditEntry, Correction, Mote
from sensors.overlay import apply
from sensors.readings import Batch, Formula, concat
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.mlops.conftest import indoor_days
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
STEP = timedelta(seconds=30)
AIR = builders.profile(
    builders.channel(),
    builders.channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%"),
    builders.channel(
        "dew", physical=(-40.0, 40.0), formula=Formula("dew_point", ("temperature", "humidity")), is_detected=False
    ),
    builders.channel(
        "trend", physical=(-5000.0, 5000.0), formula=Formula("rate", ("temperature",), 3600.0), is_detected=False
    ),
)


@pytest.fixture
def mote(db) -> Mote:
    builders.install_fleet(motes=("7", "8"), profile=AIR)
    return Mote.objects.get(code="7")


def judged(mote: Mote, *temperatures: float) -> Batch:
    """As the path would have stored it."""
    made = builders.batch(AIR, [[one, 50.0, np.nan, np.nan] for one in temperatures], mote=mote.pk)
    made.flags[:] = quality.range_flags(AIR, made.values)
    return derive(made, Before())


def store(mote: Mote, *temperatures: float) -> Batch:
    made = judged(mote, *temperatures)
    hot().write(AIR, made.to_table())
    return made


def correct(mote: Mote, *, since: int = 0, until: int = 99, **changes: Any) -> Correction:
    """From one step to before another."""
    given: dict[str, Any] = {
        "kind": "exclude",
        "channel": "",
        "why": "window open",
        "who": None,
        "now": NOON + 99 * STEP,
    }
    return corrections.correct(mote, starts_at=NOON + since * STEP, ends_at=NOON + until * STEP, **{**given, **changes})


def shown(mote: Mote) -> pl.DataFrame:
    return corrections.between(hot(), AIR, [mote.pk], NOON, NOON + timedelta(days=1))


def kinds(table: pl.DataFrame) -> list[list[str]]:
    return [quality.names(flags) for flags in table["flags"]]


def suspect(table: pl.DataFrame, row: int) -> list[str]:
    return quality.channels(table["flags"][row], AIR)


# ---- leaving out --------------------------------------------------------------------------------------------


def test_a_stretch_that_is_left_out_is_flagged_from_its_start_and_before_its_end(mote):
    store(mote, 20.0, 21.0, 22.0, 23.0)

    correct(mote, since=1, until=3)

    assert kinds(shown(mote)) == [[], ["excluded"], ["excluded"], []]
    assert shown(mote)["temperature"].to_list() == [20.0, 21.0, 22.0, 23.0]


def test_leaving_out_a_channel_takes_along_what_follows_from_it_and_nothing_else(mote):
    store(mote, 20.0, 21.0, 22.0)

    correct(mote, channel="temperature", since=1, until=2)

    assert suspect(shown(mote), 1) == ["temperature", "dew", "trend"]
    assert kinds(shown(mote))[2] == []
    assert shown(mote)["trend"][2] is None  # nothing is measured from what is left out


def test_another_mote_is_not_touched(mote):
    eight = Mote.objects.get(code="8")
    store(mote, 20.0)
    store(eight, 20.0)

    correct(mote)

    both = corrections.between(hot(), AIR, [mote.pk, eight.pk], NOON, NOON + timedelta(days=1))
    assert kinds(both) == [["excluded"], []]


# ---- recalibrating ------------------------------------------------------------------------------------------


def test_an_offset_moves_the_channel_and_what_follows_from_it(mote):
    store(mote, 20.0, 20.0, 20.0)

    correct(mote, kind="offset", channel="temperature", offset=5.0, since=1)

    table = shown(mote)
    assert table["temperature"].to_list() == [20.0, 25.0, 25.0]
    assert table["dew"].to_list() == pytest.approx([9.27, 13.86, 13.86], abs=0.1)
    assert table["trend"].to_list() == [None, 600.0, 0.0]
    assert kinds(table) == [[], ["corrected"], ["corrected"]]


def test_the_newest_reading_alone_follows_an_offset_as_well(mote):
    store(mote, 20.0, 20.0)

    correct(mote, kind="offset", channel="temperature", offset=5.0)

    newest = corrections.latest(hot(), AIR, [mote.pk])
    assert newest["temperature"].item() == 25.0
    assert newest["dew"].item() == pytest.approx(13.86, abs=0.1)
    assert newest["trend"].item() == 0.0  # as it was measured: what came before is not in hand


def test_an_offset_brings_values_back_into_their_range_and_out_of_it(mote):
    store(mote, 60.0, 20.0)

    correct(mote, kind="offset", channel="temperature", offset=-35.0)

    table = shown(mote)
    assert table["temperature"].to_list() == [25.0, -15.0]
    assert kinds(table) == [["corrected"], ["out_of_range", "corrected"]]
    assert suspect(table, 0) == []
    assert "temperature" in suspect(table, 1)


def test_two_offsets_add_up_where_they_overlap(mote):
    store(mote, 20.0, 20.0, 20.0)

    correct(mote, kind="offset", channel="temperature", offset=1.0, until=2)
    correct(mote, kind="offset", channel="temperature", offset=2.0, since=1)

    assert shown(mote)["temperature"].to_list() == [21.0, 23.0, 22.0]


def test_an_offset_does_not_bring_back_what_is_left_out(mote):
    store(mote, 60.0)

    correct(mote)
    correct(mote, kind="offset", channel="temperature", offset=-35.0)

    assert "excluded" in kinds(shown(mote))[0]
    assert "temperature" in suspect(shown(mote), 0)


# ---- the way back -------------------------------------------------------------------------------------------


def test_taken_back_the_stored_readings_show_again_as_they_are(mote):
    before = store(mote, 20.0, 60.0, 21.0).to_table()
    one, two = correct(mote, until=2), correct(mote, kind="offset", channel="temperature", offset=3.0)

    for made in (one, two):
        corrections.undo_correction(made, who=None, now=NOON)

    assert shown(mote).equals(before)
    with pytest.raises(corrections.AlreadyUndone, match="already taken back"):
        corrections.undo_correction(one, who=None, now=NOON)


def test_who_corrected_what_and_why_is_kept(mote, bob):
    made = correct(mote, who=bob, why=" sun on the case ")
    corrections.undo_correction(made, who=bob, now=made.made_at + STEP)

    undone, done = AuditEntry.objects.filter(subject="mote:main/7")
    assert (done.deed, done.who, done.detail["why"]) == ("correct_readings", bob, "sun on the case")
    assert (undone.deed, undone.detail) == ("undo_correction", {"correction": made.pk})


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"until": 0}, "ends_at", "not after its start"),
        ({"why": "  "}, "why", "blank"),
        ({"channel": "pressure"}, "channel", "no channel of Indoor"),
        ({"kind": "offset", "offset": 1.0}, "channel", "expected one of temperature, humidity"),
        ({"kind": "offset", "channel": "dew", "offset": 1.0}, "channel", "cannot be recalibrated"),
        ({"kind": "offset", "channel": "temperature"}, "offset", "An offset of 0 corrects nothing"),
        ({"kind": "offset", "channel": "temperature", "offset": float("nan")}, "offset", "An offset of nan"),
        ({"offset": 1.0}, "offset", "left out has no offset"),
        ({"kind": "smooth"}, "kind", "not a valid choice"),
    ],
)
def test_what_cannot_be_a_correction_is_refused_with_the_field(mote, changes, field, words):
    with pytest.raises(ValidationError) as refused:
        correct(mote, **changes)

    assert words in " ".join(refused.value.message_dict[field])
    assert Correction.objects.count() == 0


# ---- live, and in training ----------------------------------------------------------------------------------


def test_a_correction_that_reaches_on_is_laid_over_what_open_pages_are_told(mote):
    now = NOON + 99 * STEP
    was = registry.revision()

    correct(mote, kind="offset", channel="temperature", offset=5.0, until=10_000, now=now)
    correct(mote, until=1, now=now)

    fleet = registry.current_fleet()
    assert fleet.revision == was + 1  # the path reads the fleet anew; what is over concerns it not
    told = apply(judged(mote, 20.0), fleet.corrections)
    assert (told.values[0, 0], quality.names(int(told.flags[0]))) == (25.0, ["corrected"])
    assert "suspect" in live.TOLD_OF_A_READING


def test_training_leaves_out_what_is_left_out_and_learns_what_is_recalibrated(db):
    builders.install_fleet(motes=("7", "8"))
    kind = builders._default_profile()
    motes = list(Mote.objects.order_by("pk"))
    table = concat([indoor_days(3, tuple(mote.pk for mote in motes))]).to_table()
    day: datetime = NOON + timedelta(days=1)
    corrections.correct(
        motes[0], kind="exclude", channel="", starts_at=NOON, ends_at=day, why="moved", who=None, now=day
    )
    corrections.correct(
        motes[1], kind="offset", channel="temperature", offset=2.0, starts_at=NOON, ends_at=day, why="calibrated",
        who=None, now=day,
    )  # fmt: skip

    class TableLake:
        def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
            return table.with_columns(pl.col("at").dt.date().alias("date")).lazy()

        def version(self, name: str) -> int:
            return 1

    fleet, end = registry.current_fleet(), NOON + timedelta(days=3)
    past = history.read(
        kind, NOON, end, lake=TableLake(), fleet=fleet, leave_out=history.to_leave_out(fleet, NOON, end)
    )

    n_excluded = table.filter((pl.col("mote") == motes[0].pk) & (pl.col("at") < day)).height
    assert past.left_out["excluded"] == n_excluded > 0
    learnt = past.train.values[(past.train.mote == motes[1].pk) & (past.train.at < day.timestamp() * 1e6), 0]
    told = table.filter((pl.col("mote") == motes[1].pk) & (pl.col("at") < day))["temperature"].to_numpy()
    assert learnt[0] == pytest.approx(told[0] + 2.0)
