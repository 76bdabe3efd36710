"""Channels that follow from others: right by the book, however the stream is cut, and no better than their sources."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.pipeline import PartitionState, Pipeline
from ingestion.records import Records
from ingestion.wire import Wire
from mlops.detection import fallback
from sensors import quality
from sensors.derived import Before, derive
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Batch, Formula, Profile, concat
from tests.builders import batch, channel, profile

NOON_US = 1_772_452_800_000_000
NAN = float("nan")


def derived(code: str, kind: str, *of: str, scale: float = 1.0, **changes: Any) -> Any:
    wide = {"physical": (-1e9, 1e9), "normal": (-1e6, 1e6)}
    return channel(code, formula=Formula(kind, of, scale), is_detected=False, **{**wide, **changes})


HUMIDITY = channel("humidity", physical=(0.0, 100.0), normal=(20.0, 70.0), unit="%")
AIR = profile(
    channel(),
    HUMIDITY,
    derived("ratio", "ratio", "temperature", "humidity", resolution=0.001),
    derived("dew", "dew_point", "temperature", "humidity"),
    derived("trend", "rate", "temperature", scale=3600.0),
    interval_s=30.0,
)
RATIO, DEW, TREND = 2, 3, 4


def told(*rows: tuple[float, float], profile: Profile = AIR, **how: Any) -> Batch:
    nothing = [NAN] * (len(profile.channels) - 2)
    return batch(profile, [[*row, *nothing] for row in rows], **how)


def column(found: Batch, place: int) -> list[float]:
    return [float(value) for value in found.values[:, place]]


# ---- formulas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "humidity", "dew_point"),
    # Dew points over water by the psychrometric tables (ASHRAE, sea level), to a tenth of a degree.
    [(20.0, 50.0, 9.3), (25.0, 60.0, 16.7), (30.0, 80.0, 26.2), (10.0, 100.0, 10.0), (21.0, 40.0, 6.9)],
)
def test_the_dew_point_is_that_of_the_psychrometric_tables(temperature, humidity, dew_point):
    found = derive(told((temperature, humidity)), Before())

    assert found.values[0, DEW] == pytest.approx(dew_point, abs=0.11)


def test_air_that_has_no_humidity_or_an_impossible_one_has_no_dew_point():
    found = derive(told((20.0, 0.0), (20.0, -4.0), (20.0, 104.0), (20.0, NAN)), Before())

    assert np.isnan(found.values[:, DEW]).all()


def test_a_ratio_is_large_but_finite_where_its_divisor_vanishes():
    found = derive(told((20.0, 50.0), (1e-9, 0.0), (1e-9, -1e-12)), Before())

    assert column(found, RATIO) == [0.4, 1.0, -1.0]


def test_a_change_is_measured_from_the_motes_own_reading_before():
    both = told((20.0, 40.0), (50.0, 40.0), (20.5, 40.0), (49.0, 40.0), mote=[1, 2, 1, 2], step_s=15.0)

    found = derive(both, Before())

    assert np.isnan(found.values[:2, TREND]).all()
    assert column(found, TREND)[2:] == [60.0, -120.0]  # 0.5 and -1 in 30 s, an hour's worth


def test_no_change_is_measured_over_a_silence():
    silence = told((20.0, 40.0), (30.0, 40.0), step_s=AIR.silent_after_s + 1)
    pause = told((20.0, 40.0), (30.0, 40.0), step_s=AIR.silent_after_s)

    assert np.isnan(derive(silence, Before()).values[1, TREND])
    assert derive(pause, Before()).values[1, TREND] == pytest.approx(10 / 300 * 3600)


def test_a_late_reading_has_no_change_and_none_is_measured_from_it():
    late = told((20.0, 40.0), (99.0, 40.0), (20.5, 40.0))
    late.at[1] = late.at[0] - 1_000_000
    late.flags[1] = quality.LATE

    found = derive(late, Before())

    assert np.isnan(found.values[1, TREND])
    assert found.values[2, TREND] == pytest.approx(0.5 / 60 * 3600)


# ---- what follows from a suspect value is suspect -----------------------------------------------------------


def test_what_follows_from_a_suspect_value_is_suspect_and_no_change_is_measured_from_it():
    spike = told((20.0, 40.0), (122.0, 40.0), (20.0, 40.0), (20.5, 40.0))
    spike.flags[:] |= quality.range_flags(AIR, spike.values)

    found = derive(spike, Before())

    assert quality.channels(int(found.flags[1]), AIR) == ["temperature", "ratio", "dew", "trend"]
    assert quality.names(int(found.flags[1])) == ["out_of_range"]
    assert found.flags[2:].tolist() == [0, 0]
    assert np.isnan(found.values[2, TREND])
    assert found.values[3, TREND] == pytest.approx(60.0)


def test_a_derived_channel_has_a_physical_range_of_its_own():
    narrow = profile(channel(), HUMIDITY, derived("dew", "dew_point", "temperature", "humidity", physical=(0.0, 5.0)))

    found = derive(told((20.0, 50.0), profile=narrow), Before())

    assert quality.channels(int(found.flags[0]), narrow) == ["dew"]


def test_a_profile_without_formulas_is_left_alone():
    plain = profile(channel(), HUMIDITY)
    before = told((20.0, 50.0), profile=plain)

    assert derive(before, Before()) is before


# ---- cut anywhere -------------------------------------------------------------------------------------------

steps = st.tuples(
    st.sampled_from([1, 2]),  # mote
    st.sampled_from([1.0, 29.0, 31.0, 301.0]),  # seconds since the reading before
    st.sampled_from([20.0, 20.5, 21.25, 48.0, 122.0, NAN]),
    st.sampled_from([40.0, 0.0, 55.5, NAN]),
    st.booleans(),  # late
)


def stream(rows: list[tuple[int, float, float, float, bool]]) -> Batch:
    made = told(*[(temperature, humidity) for _, _, temperature, humidity, _ in rows])
    made.mote[:] = [mote for mote, *_ in rows]
    made.at[:] = NOON_US + np.cumsum([int(step * 1e6) for _, step, *_ in rows])
    made.flags[:] = np.where([is_late for *_, is_late in rows], quality.LATE, 0)
    made.flags[:] |= quality.range_flags(AIR, made.values)
    return made


@given(rows=st.lists(steps, min_size=1, max_size=25), cuts=st.lists(st.integers(0, 25), max_size=6))
def test_however_the_stream_is_cut_values_and_flags_are_the_same(rows, cuts):
    whole = stream(rows)
    expected = derive(whole, Before())

    before, parts = Before(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True):
        parts.append(derive(whole.take(slice(start, max(start, end))), before))
        before = Before.from_bytes(before.to_bytes())  # as after a restart
    found = concat(parts)

    assert np.array_equal(found.values, expected.values, equal_nan=True)
    assert found.flags.tolist() == expected.flags.tolist()


def test_a_newer_version_of_a_profile_measures_on_from_what_the_older_one_remembered():
    older = profile(channel(), derived("trend", "rate", "temperature"))
    newer = profile(channel(), derived("trend", "rate", "temperature"), channel("light"), version=2)
    before = Before()
    derive(batch(older, [[20.0, NAN]]), before)

    found = derive(batch(newer, [[23.0, NAN, 5.0]], start_us=NOON_US + 30_000_000), before)

    assert found.values[0, 1] == pytest.approx(0.1)


# ---- on the reading path ------------------------------------------------------------------------------------

FLEET = Fleet(1, (MoteRef(1, "7", "main", "lab", "indoor", "UTC", "active"),), {"indoor": AIR}, "main")


def path() -> Pipeline:
    def existing(profile: Profile, keys: Any) -> Any:
        raise AssertionError("nothing comes late here")

    return Pipeline(Wire(FLEET), {"indoor": fallback(AIR)}, existing, lambda: 0.0)


def send(pipeline: Pipeline, states: dict[int, PartitionState], first: int, *temperatures: float) -> Batch:
    messages = [
        {"mote_id": "7", "timestamp": NOON_US / 1e6 + 30 * i, "temperature": one, "humidity": 40.0, "dew": 99.0}
        for i, one in enumerate(temperatures, start=first)
    ]
    n = len(messages)
    received = np.full(n, NOON_US + 3_600_000_000)
    raw = [json.dumps(one).encode() for one in messages]
    [made] = pipeline.process(Records(raw, np.zeros(n, np.int64), first + np.arange(n), received), states).batches
    return made


def test_after_a_restart_the_path_measures_changes_from_where_it_was():
    states = {0: PartitionState()}
    send(path(), states, 0, 20.0, 20.5)

    restored = {0: PartitionState.from_bytes(states[0].to_bytes())}
    found = send(path(), restored, 2, 21.5)

    assert found.values[0, TREND] == pytest.approx(120.0)


def test_what_is_derived_is_not_the_senders_to_say():
    found = send(path(), {0: PartitionState()}, 0, 20.0)

    assert found.values[0, DEW] == pytest.approx(6.0, abs=0.1)
