"""What a day has not shown is no alarm: a first model knows one dusk, and maybe no weekend or no working day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ingestion.capability import grounds
from mlops import gate
from mlops.detection import Engine, held_out
from sensors.packs import read_pack
from sensors.readings import micros

HOURS = timedelta(hours=1)
LEARNT, TESTED = 21 * HOURS, 5 * HOURS  # as training splits 26 hours: what it tests on, it does not learn
A_WEEK = 1 / 7  # the budget: false events a mote and day
EVERY = 3  # of the fleet's motes


@pytest.mark.parametrize(
    "serves_from",
    [
        pytest.param(datetime(2026, 11, 20, 12, tzinfo=UTC), id="from Friday noon into the first weekend"),
        pytest.param(datetime(2026, 11, 21, 18, 13, tzinfo=UTC), id="at dusk of a Saturday, of which it knows noon"),
        pytest.param(datetime(2026, 3, 8, 7, 12, tzinfo=UTC), id="on a Sunday morning, before its motes' first dusk"),
        pytest.param(datetime(2026, 11, 22, 18, 13, tzinfo=UTC), id="from a weekend into Monday"),
        pytest.param(datetime(2026, 11, 23, 12, tzinfo=UTC), id="on Monday, when it knows the Sunday"),
    ],
)
def test_a_model_of_a_day_keeps_the_alert_budget_on_the_next_one(serves_from):
    pack = read_pack("indoor")
    learns_from, ends = serves_from - LEARNT - TESTED, serves_from + timedelta(days=1)
    whole = grounds.simulated(pack, micros(learns_from), micros(ends), seed=1)
    ground = replace(
        whole, codes=whole.codes[::EVERY], motes=whole.motes[::EVERY], table=whole.table[:, ::EVERY],
        offset_s=whole.offset_s[::EVERY],
    )  # fmt: skip

    model = Engine().fit(grounds.clean(ground, micros(learns_from), micros(serves_from - TESTED)))
    _, _, changes = model.step(model.start(), grounds.clean(ground, micros(serves_from), micros(ends)))

    events = {(change.mote, change.noticed_at): change for change in changes}.values()
    told = [(change.mote, change.layer, change.peak_channel, change.peak_value) for change in events]
    assert len(told) <= A_WEEK * len(ground.motes), told


@pytest.mark.parametrize(
    ("days", "interval_s", "trained_at"),
    [
        pytest.param(3, 300.0, datetime(2026, 11, 21, 12, tzinfo=UTC), id="three days, Saturday noon"),
        pytest.param(3, 300.0, datetime(2026, 11, 21, 21, tzinfo=UTC), id="three days, Saturday evening"),
        pytest.param(3, 300.0, datetime(2026, 11, 22, 9, tzinfo=UTC), id="three days, Sunday morning"),
        pytest.param(3, 300.0, datetime(2026, 11, 23, 9, tzinfo=UTC), id="three days, Monday morning"),
        pytest.param(3, 30.0, datetime(2026, 11, 21, 21, tzinfo=UTC), id="three days of half minutes"),
        pytest.param(10, 300.0, datetime(2026, 11, 21, 9, tzinfo=UTC), id="ten days, Saturday morning"),
        pytest.param(10, 300.0, datetime(2026, 11, 21, 16, tzinfo=UTC), id="ten days, Saturday afternoon"),
        pytest.param(30, 300.0, datetime(2026, 11, 20, 12, tzinfo=UTC), id="thirty days, Friday noon"),
    ],
)
def test_a_first_model_is_not_refused_because_of_the_day_on_which_it_was_trained(days, interval_s, trained_at):
    begin, a_fifth = trained_at - timedelta(days=days), timedelta(days=days) / 5
    ground = grounds.simulated(
        read_pack("indoor").with_motes(6), micros(begin), micros(trained_at), seed=1, interval_s=interval_s
    )
    parts = [micros(begin), micros(trained_at - 2 * a_fifth), micros(trained_at - a_fifth), micros(trained_at)]
    history, calibration, later = (grounds.clean(ground, *span) for span in pairwise(parts))

    figures = held_out(Engine().fit(history, calibration=calibration), later)

    told = gate.judge({**figures, "found_share": 1.0}, None)
    assert told.promote, told.words
    assert figures["mote_weeks"] == pytest.approx(6 * days / 5 / 7, rel=0.01)
