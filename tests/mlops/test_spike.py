"""A value of light that the light did not make is told at once; lamps and mornings are not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mlops.detection import Engine, FittedEngine, decode_votes
from mlops.detection.layers import noise, spike
from sensors import quality
from sensors.readings import Batch
from tests.builders import channel, profile
from tests.mlops.detection_world import MONDAY_US, STEP_S, changed, in_pieces, normal

OFFICE = profile(channel("light", unit="lx", physical=(0.0, 2000.0), normal=(0.0, 1500.0), resolution=0.5))
HOUR = 3600 // STEP_S


def lit(
    *, motes, days: float, start_day: float = 0.0, lamps: tuple[float, float] = (7.5, 19.0), seed: int = 1
) -> Batch:
    """Offices in which lamps give 150 lx from one hour to another, and the sun up to 300 more about noon."""
    stream = normal(motes=motes, days=days, start_us=MONDAY_US + int(start_day * 86_400e6), of=OFFICE, seed=seed)
    hour = stream.at / 3.6e9 % 24
    sun = 300.0 * np.maximum(0.0, np.sin((hour - 6.0) / 12.0 * np.pi))
    # Nobody is at the switch at the same minute twice.
    late = (stream.mote * 13 + stream.at // 86_400_000_000 * 7) % 20 / 60
    lamp = np.where((hour >= lamps[0] + late) & (hour < lamps[1] + late), 150.0, 0.0)
    shade = np.random.default_rng(seed).normal(1.0, 0.01, len(hour))
    return replace(stream, values=(np.round(2.0 * ((sun + lamp) * shade + 1.0)) / 2.0)[:, None])


@cache
def office() -> FittedEngine:
    return Engine().fit(lit(motes=4, days=5))


def judge(stream: Batch):
    _, judged, changes = office().step(office().start(), stream)
    return judged, {change.noticed_at: change for change in changes}


@pytest.mark.parametrize("mote", [2, 99])
def test_a_single_value_two_and_a_half_times_as_high_is_told_at_that_reading_alone(mote):
    stream = lit(motes=[mote], days=0.75, start_day=1.0, seed=5)
    struck = changed(stream, 14 * HOUR, 0, 2.5 * stream.values[14 * HOUR, 0])

    judged, events = judge(struck)

    (event,) = events.values()
    assert np.flatnonzero(judged.is_anomaly).tolist() == [14 * HOUR]
    assert (event.layer, event.noticed_at, event.last_at) == ("spike", judged.at[14 * HOUR], judged.at[14 * HOUR])
    assert decode_votes(judged.votes[14 * HOUR])["spike"] >= 2 * OFFICE.onset
    assert event.expected[1] < event.peak_value


def test_lamps_at_their_hours_and_dusk_and_dawn_are_no_events():
    _, events = judge(lit(motes=[1, 2, 3, 4, 99], days=2, start_day=1.0, seed=6))

    assert events == {}


def test_a_lamp_that_goes_out_early_in_the_evening_leaves_a_dark_room_and_no_event():
    _, events = judge(lit(motes=[2], days=1, start_day=1.0, lamps=(7.5, 18.2), seed=7))

    assert events == {}


def test_a_lamp_at_an_hour_without_such_changes_is_one_short_event_and_then_the_norm():
    stream = lit(motes=[2], days=1, start_day=1.0, seed=8)
    lamp = np.zeros(len(stream))
    lamp[2 * HOUR : 4 * HOUR] = 150.0

    judged, events = judge(replace(stream, values=stream.values + lamp[:, None]))

    (event,) = events.values()
    assert event.adopted == ("light",)
    assert judged.is_anomaly.sum() <= spike.STAYS
    assert judged.at[2 * HOUR] == event.noticed_at


def test_three_spikes_in_a_row_do_not_make_it_tremble():
    stream = lit(motes=[2], days=0.75, start_day=1.0, seed=5)
    rows = 14 * HOUR + np.array([0, 3, 6, 9])
    judged, _ = judge(changed(stream, rows, 0, 3.5 * stream.values[rows, 0]))

    assert np.flatnonzero(judged.is_anomaly).tolist() == rows.tolist()
    assert max(decode_votes(votes)[noise.NAME] for votes in judged.votes[rows[0] :]) < OFFICE.onset


@pytest.mark.parametrize("seed", range(3))
def test_no_cut_and_no_restart_of_spikes_and_lamps_shows(seed):
    rng = np.random.default_rng(seed)
    stream = lit(motes=[1, 2, 99], days=0.2, start_day=1.25, seed=seed)
    rows = rng.choice(len(stream), 60, replace=False)
    stream = changed(stream, rows, 0, stream.values[rows, 0] * rng.choice([0.0, 0.3, 2.5, 4.0, np.nan], 60))
    flags = stream.flags.copy()
    flags[rng.choice(len(stream), 20)] |= quality.LATE
    stream = replace(stream, flags=flags)
    cuts = sorted(rng.integers(0, len(stream), 12).tolist())

    assert in_pieces(office(), stream, cuts, restarts=True) == in_pieces(office(), stream, [])


def test_the_compiled_loop_says_what_its_source_says(monkeypatch):
    stream = lit(motes=[1, 99], days=0.05, start_day=1.5, seed=3)
    stream = changed(stream, slice(40, 260, 11), 0, 900.0)
    compiled = in_pieces(office(), stream, [])

    monkeypatch.setattr(spike, "advance", spike.advance.py_func)

    assert in_pieces(office(), stream, []) == compiled


def test_a_history_of_two_days_knows_no_hour_and_says_nothing():
    engine = Engine().fit(lit(motes=4, days=2))

    assert np.isinf(engine.arrays["spike"]["times"]).all()
