"""A mote that slowly leaves its neighbours is named, and what moves them all is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.detection import Engine, decode_votes
from mlops.detection.layers import peers
from sensors.readings import Batch, Formula
from tests.builders import channel
from tests.mlops.detection_world import INDOOR, after, changed, in_pieces, normal, trained

HOUR_US = 3_600_000_000


def days(n: float = 1.0, **options) -> Batch:
    return normal(days=n, start_us=after(4.0), **options)


def drifted(stream: Batch, mote: int, per_hour: float, place: int = 0) -> Batch:
    hours = (stream.at - stream.at[0]) / HOUR_US
    rows = stream.mote == mote
    return changed(stream, rows, place, stream.values[rows, place] + per_hour * hours[rows])


def named(stream: Batch, engine=None) -> dict[int, float]:
    """By mote: after how many hours its neighbours first gave it away."""
    engine = engine or trained()
    _, judged, _ = engine.step(engine.start(), stream)
    says = np.array([decode_votes(votes)["peers"] >= 4.0 for votes in judged.votes.tolist()])
    return {
        int(mote): float((judged.at[says & (judged.mote == mote)][0] - stream.at[0]) / HOUR_US)
        for mote in np.unique(judged.mote[says])
    }


def test_a_mote_that_creeps_away_is_named_long_before_its_values_are_unusual():
    found = named(drifted(days(), 3, 0.1))

    assert list(found) == [3]
    assert found[3] * 0.1 < 1.0  # °C, of a daily course of three


def test_weather_that_moves_all_motes_alike_names_nobody():
    stream = days()
    hours = (stream.at - stream.at[0]) / HOUR_US

    assert named(changed(stream, slice(None), 0, stream.values[:, 0] - 0.3 * hours)) == {}


def test_a_short_excursion_is_no_drift():
    stream = days()
    hour = (stream.mote == 3) & (stream.at - stream.at[0] < HOUR_US / 6)

    assert named(changed(stream, hour, 0, 45.0)) == {}


def test_a_mote_named_as_faulty_is_no_neighbour_any_more():
    stream = drifted(days(), 1, 1.5)
    late = (stream.at - stream.at[0]) > 12 * HOUR_US
    hours = np.where(late, (stream.at - stream.at[0]) / HOUR_US - 12, 0.0)
    rows = stream.mote == 2
    stream = changed(stream, rows, 0, stream.values[rows, 0] - 0.5 * hours[rows])

    assert sorted(named(stream)) == [1, 2]


def test_of_the_last_mote_whose_neighbours_are_all_faulty_it_is_said_that_nobody_can_judge_it():
    stream = normal(days=2.0, start_us=after(3.0))  # Thursday and Friday: the model knows no weekend
    hours = (stream.at - stream.at[0]) / HOUR_US
    for mote in range(1, 6):  # one dies after the other, and falls silent
        rows = stream.mote == mote
        dying = np.maximum(hours[rows] - 6 * mote, 0.0)
        stream = changed(stream, rows, 0, stream.values[rows, 0] + 1.5 * dying)
        stream = stream.take(~(rows & (hours > 6 * mote + 6)))
        hours = (stream.at - stream.at[0]) / HOUR_US

    found = named(stream)

    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert found[6] > 30.0


def test_the_alarm_outlasts_silences_as_one_event():
    stream = drifted(days(), 3, 0.3)
    quiet_hours = (stream.at - stream.at[0]) // HOUR_US % 3 == 2
    holed = stream.take(~(quiet_hours & (stream.mote == 3)))

    _, _, changes = trained().step(trained().start(), holed)

    since = stream.at[0] + int(named(holed)[3] * HOUR_US)
    (alarm,) = {
        change.noticed_at: change for change in changes if change.mote == 3 and change.last_at >= since
    }.values()
    assert alarm.ended_at is None


def test_where_nobody_has_neighbours_an_event_ends_with_a_silence():
    engine = Engine(without=["peers"]).fit(normal())
    stream = days(0.25, motes=[3])
    spoilt = changed(stream, slice(100, 200), 0, 45.2).take(np.r_[0:150, 300:400])

    _, _, changes = engine.step(engine.start(), spoilt)

    assert changes[0].last_at == stream.at[149]
    assert changes[0].ended_at is not None


def test_a_stranger_has_no_neighbours():
    assert named(drifted(days(motes=[1, 2, 3, 77]), 77, 0.3)) == {}


def test_a_derived_channel_is_compared_though_no_other_layer_judges_it():
    engine = Engine().fit(with_damp(normal()))
    stream = with_damp(drifted(days(), 2, 0.3, place=1))

    _, judged, changes = engine.step(engine.start(), changed(stream, slice(None), 1, np.nan))

    assert {change.mote for change in changes} == {2}
    assert changes[0].peak_channel == "damp"
    assert np.isfinite(judged.surprise).all()


def with_damp(stream: Batch) -> Batch:
    """With a derived channel that says what humidity does."""
    formula = Formula("difference", ("humidity", "voltage"))
    damp = channel("damp", physical=(0.0, 100.0), is_detected=False, formula=formula)
    return replace(
        stream,
        profile=replace(INDOOR, channels=(*INDOOR.channels, damp)),
        values=np.column_stack([stream.values, stream.values[:, 1]]),
    )


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 6 * 720), max_size=8), restarts=st.booleans())
def test_neighbours_are_read_alike_however_the_stream_is_cut(cuts, restarts):
    stream = drifted(drifted(days(0.25), 3, 0.9), 5, -0.9)

    _, events, _ = whole = in_pieces(trained(), stream, [])

    assert {mote for mote, _ in events} == {3, 5}
    assert in_pieces(trained(), stream, cuts, restarts=restarts) == whole


def test_without_three_motes_nobody_has_neighbours():
    assert peers.NAME in Engine().fit(normal(motes=2)).arrays
    assert np.isinf(Engine().fit(normal(motes=2)).arrays[peers.NAME]["scale"]).all()
