"""Simulated sensors: the same by seed and instant, healthy inside their bands, and every fault told as truth."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.simulating import noise
from ingestion.simulating.faults import Plan
from ingestion.simulating.simulation import history_chunks, simulate_live
from ingestion.simulating.simulator import US, Simulator, instants, messages
from ingestion.simulating.worlds import is_weekend, local_days, local_hours
from ingestion.streams import StreamUnavailable, stream
from sensors.packs import parse_pack, read_pack, shipped
from sensors.packs.simulated import FAULT_KINDS
from sensors.readings import micros
from tests.conftest import NOON
from tests.sensors.test_packs import OFFICE

START = micros(NOON)
HOUR = 3600 * US
DAY = 24 * HOUR


def simulator(name="indoor", **changes):
    return Simulator.of(read_pack(name), **{"site": "main", "time_zone": "Europe/Berlin", **changes})


def by_mote(readings, n_motes):
    """(instants, motes, channels) with NaN where nothing was sent."""
    at, rows = np.unique(readings.at, return_inverse=True)
    table = np.full((len(at), n_motes, len(readings.names)), np.nan)
    table[rows, readings.mote] = readings.values
    return at, table


def labelled(sim, at):
    """Which (instant, mote) lies in a told fault, and which channels it names."""
    marks = np.zeros((len(at), len(sim.places), len(sim.profile.names)), dtype=bool)
    for fault in sim.faults(int(at[0]), int(at[-1]) + 1):
        inside = (at >= fault.starts_us) & (at < fault.ends_us)
        channels = [sim.profile.names.index(fault.channel)] if fault.channel else slice(None)
        marks[inside, sim.places.codes.index(fault.mote), channels] = True
    return marks


# ---- the same, whoever asks ---------------------------------------------------------------------------------

SHARED = {name: simulator(name, anomaly_rate=0.2) for name in ("indoor", "machine")}
CUTS = st.lists(st.integers(0, 600 * US), max_size=4)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(sorted(SHARED)), offset_s=st.integers(0, 10**7), cuts=CUTS)
def test_however_a_range_is_cut_the_same_bytes_come_out(name, offset_s, cuts):
    sim, start = SHARED[name], START + offset_s * US
    borders = [start, *(start + cut for cut in sorted(cuts)), start + 600 * US]

    whole = messages(sim.produce(start, borders[-1], 10))
    parts = [messages(sim.produce(a, b, 10)) for a, b in pairwise(borders)]

    assert [value for values, _ in parts for value in values] == whole[0]
    assert [key for _, keys in parts for key in keys] == whole[1]


def test_a_simulator_built_anew_says_the_same_and_another_seed_does_not():
    first, again, other = (messages(simulator(seed=seed).produce(START, START + 120 * US, 30))[0] for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_live_goes_on_where_history_ended():
    """Another interval and other faults, but the same instants give the same readings."""
    history = simulator(is_history=True, anomaly_rate=0.0)
    live = simulator(anomaly_rate=0.0)

    slow, fast = history.produce(START, START + 60 * US, 30), live.produce(START, START + 60 * US, 1)

    shared = np.isin(fast.at, slow.at)
    assert np.array_equal(fast.values[shared], slow.values)


def test_a_motes_readings_do_not_depend_on_who_else_is_simulated():
    few, many = (simulator(n_motes=n).produce(START, START + 600 * US, 30) for n in (3, 60))

    assert np.array_equal(few.values[few.mote == 1], many.values[many.mote == 1])


@given(
    start=st.integers(0, 10**9), length=st.integers(0, 10**9), cut=st.integers(0, 10**9), interval=st.floats(0.5, 90)
)
def test_instants_are_multiples_of_the_interval_whatever_the_range(start, length, cut, interval):
    whole = instants(start, start + length, interval)
    cut = start + cut % (length + 1)

    assert np.array_equal(
        whole, np.concatenate([instants(start, cut, interval), instants(cut, start + length, interval)])
    )


def test_hashed_normals_look_normal():
    drawn = noise.normal(noise.keys(1, "test", range(20)), np.arange(10_000, dtype=np.int64)).ravel()

    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1.0) < 0.01
    assert (np.abs(drawn) > 1.96).mean() == pytest.approx(0.05, abs=0.003)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


# ---- healthy readings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped())
def test_what_is_not_labelled_stays_in_its_normal_band(name):
    sim = simulator(name, anomaly_rate=0.1)
    step = 60.0 if name == "indoor" else sim.profile.step_s
    readings = sim.produce(START, START + int(step * US) * (40_000 // len(sim.places)), step)
    at, table = by_mote(readings, len(sim.places))

    healthy = ~labelled(sim, at) & ~np.isnan(table)

    low, high = sim.profile.bounds("normal")
    assert healthy.sum() > 60_000
    assert ((table >= low) & (table <= high) | ~healthy).all()


def test_normal_is_truncated_at_100_000_draws_of_each_machine_channel():
    sim = simulator("machine", anomaly_rate=0.0)

    values = sim.produce(START, START + 20_000 * US, 1).values

    assert values.shape == (100_000, 4)
    low, high = sim.profile.bounds("normal")
    assert (values.min(axis=0) >= low).all()
    assert (values.max(axis=0) <= high).all()
    assert (values.std(axis=0) > 0.03 * (high - low)).all()


def test_a_band_whose_edges_are_no_whole_steps_is_kept_too():
    office = OFFICE.replace("[400, 1200]\nresolution = 1\n", "[404, 1196]\nresolution = 10\n")
    sim = Simulator.of(
        parse_pack(f"{office}\n[simulator.channels]\nco2 = {{ daily = 0.7 }}"), site="main", anomaly_rate=0
    )

    co2 = sim.produce(START, START + DAY, 60).values[:, 0]

    assert (co2.min(), co2.max()) == (410.0, 1190.0)


@pytest.mark.parametrize("name", ["machine", "climate"])
def test_normal_values_do_not_heap_up_on_the_edges_of_their_band(name):
    sim = simulator(name, anomaly_rate=0.0)

    values = sim.produce(START, START + DAY, 4).values

    for i, channel in enumerate(sim.profile.channels):
        steps = (channel.normal[1] - channel.normal[0]) / channel.resolution
        shares = [np.mean(np.abs(values[:, i] - edge) < channel.resolution / 2) for edge in channel.normal]
        assert max(shares) < 3.0 / steps  # no more than anywhere else


@pytest.mark.parametrize("name", shipped())
def test_sensors_report_whole_steps_of_their_resolution(name):
    sim = simulator(name, anomaly_rate=0.3)

    values = sim.produce(START, START + 600 * US, 10).values

    for i, channel in enumerate(sim.profile.channels):
        steps = values[:, i] / channel.resolution
        assert np.abs(steps - np.rint(steps)).max() < 1e-4
        assert {float(f"{value:.6g}") if abs(value) < 1e3 else value for value in values[:, i]} == set(values[:, i])


def test_nearer_motes_move_more_alike():
    sim = simulator(anomaly_rate=0.0)
    _, table = by_mote(sim.produce(START, START + 14 * DAY, 3600), 42)
    warmth = table[:, :, 0]
    warmth = warmth - warmth.mean(axis=1, keepdims=True)  # what all share: day, week, weather
    pairs = np.triu_indices(42, 1)
    distance = np.hypot(*(np.subtract.outer(axis, axis)[pairs] for axis in (sim.places.x, sim.places.y)))

    together = np.corrcoef(warmth.T)[pairs]

    assert together[distance < 5].mean() > together[(distance > 8) & (distance < 14)].mean() + 0.2
    assert together[distance < 5].mean() > together[distance > 25].mean() + 0.4


def test_days_and_weeks_show_in_temperature_and_light():
    sim = simulator(anomaly_rate=0.0)
    at, table = by_mote(sim.produce(START, START + 14 * DAY, 600), 42)
    hours, weekend = local_hours(at, "Europe/Berlin"), is_weekend(local_days(at, "Europe/Berlin"))
    midday, night = (hours > 10) & (hours < 16), hours < 4

    warm, light = table[:, :, 0].mean(axis=1), table[:, :, 2].mean(axis=1)

    assert warm[midday & ~weekend].mean() > warm[midday & weekend].mean() + 1 > warm[night].mean() + 1
    assert light[midday & ~weekend].mean() > 200
    assert light[midday & weekend].mean() < 100
    assert light[night].max() < 5


def test_people_come_at_eight_go_for_lunch_and_leave_in_the_evening():
    """They breathe: humidity against what the room's temperature alone explains is their trace."""
    sim = simulator(anomaly_rate=0.0)
    at, table = by_mote(sim.produce(START, START + 28 * DAY, 600), 42)
    hours, weekend = local_hours(at, "Europe/Berlin"), is_weekend(local_days(at, "Europe/Berlin"))

    damp = (table[:, :, 1] + 2.1 * table[:, :, 0]).mean(axis=1)
    usual = [damp[(hours >= hour) & (hours < hour + 1) & ~weekend].mean() for hour in range(24)]
    alone = [damp[(hours >= hour) & (hours < hour + 1) & weekend].mean() for hour in range(24)]
    people = np.array(usual) - np.array(alone)
    people -= people[:5].mean()

    assert people[10] > people[7] + 0.4
    assert people[12] < min(people[10], people[15]) - 0.15
    assert people[21] < people[15] - 0.4


def test_heating_begins_before_people_do_and_is_turned_down_at_weekends():
    sim = simulator(anomaly_rate=0.0)
    at, table = by_mote(sim.produce(START, START + 28 * DAY, 600), 42)
    hours, weekend = local_hours(at, "Europe/Berlin"), is_weekend(local_days(at, "Europe/Berlin"))
    warm = table[:, :, 0].mean(axis=1)
    early, night = (hours > 7) & (hours < 7.5), (hours > 3) & (hours < 5)

    workday, free = ((warm[early & days].mean() - warm[night & days].mean()) for days in (~weekend, weekend))

    assert workday > 0.7
    assert 0.1 < free < workday / 2


def test_lamps_are_switched_by_the_room():
    sim = simulator(anomaly_rate=0.0)
    monday = START - START % DAY + 5 * HOUR
    _, table = by_mote(sim.produce(monday, monday + 4 * HOUR, 10), 42)

    in_a_minute = table[6:, :, 2] - table[:-6, :, 2]
    switched = np.argmax(in_a_minute, axis=0)
    by_room = defaultdict(set)
    for room, row in zip(sim.world.rooms, switched, strict=True):
        by_room[room].add(int(row))

    assert in_a_minute.max(axis=0).min() > 90
    assert all(max(rows) - min(rows) <= 3 for rows in by_room.values())
    assert len({min(rows) for rows in by_room.values()}) == len(by_room) > 3


def test_the_day_is_the_sites_own():
    tokyo, berlin = (
        simulator(anomaly_rate=0.0, time_zone=zone).produce(START, START + 30 * US, 30)
        for zone in ("Asia/Tokyo", "Europe/Berlin")
    )

    assert berlin.values[:, 2].mean() > 150  # noon in UTC: a working day in Berlin, evening in Tokyo
    assert tokyo.values[:, 2].mean() < 30


def test_batteries_run_down_slowly():
    sim = simulator(anomaly_rate=0.0)
    (_, first), (_, later) = (by_mote(sim.produce(at, at + HOUR, 60), 42) for at in (START, START + 60 * DAY))

    fallen = first[:, :, 3].mean(axis=0) - later[:, :, 3].mean(axis=0)

    assert 0.01 < np.median(fallen) < 0.04
    assert (fallen > 0).mean() > 0.8  # the others have had new batteries since


# ---- faults -------------------------------------------------------------------------------------------------


def test_faults_are_labelled_where_values_deviate_and_nowhere_else():
    sim, clean = simulator(anomaly_rate=0.2), simulator(anomaly_rate=0.0)
    at, broken = by_mote(sim.produce(START, START + 6 * HOUR, 10), 42)
    _, healthy = by_mote(clean.produce(START, START + 6 * HOUR, 10), 42)
    differs = broken != healthy

    marks = labelled(sim, at)

    assert marks.any(axis=2).mean() == pytest.approx(0.2, abs=0.02)
    assert not (differs & ~marks).any()
    deviating = defaultdict(list)
    for fault in sim.faults(START, START + 6 * HOUR):
        inside = (at >= fault.starts_us) & (at < fault.ends_us)
        deviating[fault.kind].extend(differs[inside, sim.places.codes.index(fault.mote)].any(axis=1))
    quiet = {"clock_skew", "duplicate"}  # what is measured stays true
    assert set(deviating) == set(FAULT_KINDS) - {"episode"}
    for kind in set(deviating) - quiet:
        assert np.mean(deviating[kind]) > (0.25 if kind == "spike" else 0.6), kind
    for kind in quiet:  # but for those that meet a dying battery
        assert np.mean(deviating[kind]) < 0.15, kind


def test_a_stuck_sensor_repeats_what_it_said_when_it_stuck():
    sim = simulator(anomaly_rate=0.2)
    stuck = next(fault for fault in sim.faults(START, START + 6 * HOUR) if fault.kind == "stuck")

    readings = sim.produce(stuck.starts_us, stuck.ends_us, 1)

    place, channel = sim.places.codes.index(stuck.mote), sim.profile.names.index(stuck.channel)
    assert len(np.unique(readings.values[readings.mote == place, channel])) == 1


def test_out_of_range_is_out_of_range_and_where_the_pack_says():
    sim = simulator("climate", anomaly_rate=0.2)
    at, table = by_mote(sim.produce(START, START + 6 * HOUR, 12), 5)
    spikes = [fault for fault in sim.faults(START, START + 6 * HOUR) if fault.kind == "out_of_range"]

    for fault in spikes:
        inside = (at >= fault.starts_us) & (at < fault.ends_us)
        values = table[inside, sim.places.codes.index(fault.mote), sim.profile.names.index(fault.channel)]
        low, high = (80, 120) if fault.channel == "temperature" else (0, 20)
        assert ((values >= low) & (values <= high)).all()
    assert {fault.channel for fault in spikes} == {"temperature", "humidity"}


def test_a_newcomer_sees_a_fault_every_30_to_60_seconds_and_history_has_one_a_mote_and_week():
    live, history = simulator(), simulator(is_history=True)

    n_live = len(live.faults(START, START + 24 * HOUR))
    n_history = len(history.faults(START, START + 28 * DAY))

    assert 30 < 24 * 3600 / n_live < 60
    assert n_history / (42 * 4) == pytest.approx(1.0, abs=0.25)
    lengths_s = {
        kind: [
            (fault.ends_us - fault.starts_us) / US for fault in live.faults(START, START + DAY) if fault.kind == kind
        ]
        for kind in ("bias", "battery_death")
    }
    assert 20 <= min(lengths_s["bias"]) < max(lengths_s["bias"]) <= 120
    assert 240 <= min(lengths_s["battery_death"]) < max(lengths_s["battery_death"]) <= 1440  # a battery takes its time


def test_machines_pass_from_normal_over_degrading_to_failing_in_their_bands():
    sim = simulator("machine", anomaly_rate=0.3)
    at, table = by_mote(sim.produce(START, START + 6 * HOUR, 1), 5)
    bands = {
        "degrading": ([70, 1.5, 30, 300], [85, 2.5, 70, 400]),
        "failing": ([85, 2.5, 0, 400], [200, 50, 150, 2000]),
    }
    told = sim.faults(START, START + 6 * HOUR)

    for fault in told:
        values = table[(at >= fault.starts_us) & (at < fault.ends_us), sim.places.codes.index(fault.mote)]
        low, high = (np.array(limits) for limits in bands[fault.kind])
        assert ((values >= low) & (values <= high)).all()
        pressure = values[:, 2]
        assert ((pressure <= 40) | (pressure >= 60)).all()
        if fault.kind == "failing":
            assert ((pressure <= 30) | (pressure >= 70)).all()
    for fault in told:
        if fault.kind == "failing":
            before = [other for other in told if other.mote == fault.mote and other.ends_us == fault.starts_us]
            assert [other.kind for other in before] == ["degrading"] or fault.starts_us < START + 900 * US


def test_the_anomaly_rate_asked_for_is_the_rate_that_comes():
    for name, rate in (("machine", 0.05), ("indoor", 0.1), ("smoke", 0.2)):
        sim = simulator(name, anomaly_rate=rate)
        told = sim.faults(START, START + 4 * DAY)
        length = sum(fault.ends_us - fault.starts_us for fault in told)

        assert length / (4 * DAY * len(sim.places)) == pytest.approx(rate, rel=0.15)


def test_a_rate_that_cannot_be_is_refused_with_the_rates_that_can():
    with pytest.raises(
        ValueError, match=r"an anomaly rate of 0\.9 is not possible; with faults of 20 to 120 s it is from 0 to 0\.58"
    ):
        Plan(0.9, (20.0, 120.0))


# ---- messages -----------------------------------------------------------------------------------------------


def test_messages_are_what_the_wire_expects():
    values, keys = messages(simulator("machine", anomaly_rate=0.0, names_site=True).produce(START, START + 2 * US, 1))

    first = json.loads(values[0])
    assert list(first) == ["timestamp", "machine_id", "site", "temperature", "vibration", "pressure", "power"]
    assert (first["timestamp"], first["machine_id"], first["site"]) == (START / US, "MACHINE_001", "main")
    assert keys == [b"main/hall"] * 10
    assert "site" not in json.loads(messages(simulator().produce(START, START + US, 1))[0][0])


def test_an_absent_value_is_null():
    readings = simulator(anomaly_rate=0.0).produce(START, START + US, 1)
    readings.values[0, 1] = np.nan

    assert json.loads(messages(readings)[0][0])["humidity"] is None


def test_a_profile_of_ones_own_can_be_simulated_with_no_settings_at_all():
    sim = Simulator.of(parse_pack(OFFICE), site="main")

    values, keys = messages(sim.produce(START, START + 3600 * US, 60))

    assert set(json.loads(values[0])) == {"timestamp", "mote_id", "co2", "noise"}
    assert set(keys) == {b"main"}


# ---- history ------------------------------------------------------------------------------------------------


def test_history_comes_whole_and_in_order_whatever_the_size_of_its_chunks():
    sim = simulator(is_history=True)

    chunks = [values for values, _ in history_chunks(sim, NOON, NOON + timedelta(hours=2), chunk=1000)]

    together = [value for values in chunks for value in values]
    assert max(map(len, chunks)) <= 1000
    assert together == messages(sim.produce(START, START + 2 * HOUR, 30))[0]


# ---- live ---------------------------------------------------------------------------------------------------


class Steps(threading.Event):
    """Time that passes only when somebody waits for it."""

    def __init__(self, until_s=float("inf")):
        super().__init__()
        self.now_us, self.until_us = START, START + until_s * US

    def wait(self, timeout=None):
        self.now_us += math.ceil(timeout * US)
        if self.now_us >= self.until_us:
            self.set()
        return self.is_set()


class Flaky:
    """A stream that is away for its first appends."""

    topic = "sensor-readings"

    def __init__(self, failures):
        self.failures, self.values = failures, []

    def ensure(self):
        pass

    def append(self, values, keys):
        if self.failures:
            self.failures -= 1
            raise StreamUnavailable("no broker at localhost:9092")
        self.values += values


def run(steps, sink, **changes):
    given = {"simulator": simulator(), "stream": sink, "interval_s": 1.0, "stop": steps, "clock": lambda: steps.now_us}
    return simulate_live(**{**given, **changes})


def everything(name):
    consumer = stream(name).consumer("test", on_assign=lambda _: {}, on_revoke=lambda _: None)
    values, more = [], consumer.poll(100_000, 0.0).values
    while more:
        values, more = values + more, consumer.poll(100_000, 0.0).values
    consumer.close()
    return values


def test_live_sends_every_reading_once_as_time_passes_and_tells_the_truth_beside_it():
    steps, sim = Steps(until_s=60), simulator(anomaly_rate=0.2)

    sent = run(steps, stream("readings"), simulator=sim, labels=stream("labels"), site="main")

    arrived = everything("readings")
    assert sorted(arrived) == sorted(messages(sim.produce(START, sent.until_us, 1))[0])
    assert sent.readings == len(arrived) > 55 * 40
    told = [json.loads(value) for value in everything("labels")]
    expected = sim.faults(START, sent.until_us)
    assert [(fault["mote_id"], fault["kind"], fault["starts_at"]) for fault in told] == [
        (fault.mote, fault.kind, fault.starts_us / US) for fault in expected
    ]
    assert sent.faults == len(told) > 5
    assert told[0]["source"] == "simulator"


def test_a_stream_that_is_away_is_waited_for_and_nothing_is_lost():
    steps, sink, told = Steps(until_s=60), Flaky(failures=4), []

    sent = run(steps, sink, tell=told.append)

    assert sink.values == messages(simulator().produce(START, sent.until_us, 1))[0]
    assert [words.rpartition(" in ")[2] for words in told] == ["0.5 s", "1 s", "2 s", "4 s"]
    assert told[0].startswith("The stream “sensor-readings” cannot be reached: no broker at localhost:9092.")


def test_stopping_while_the_stream_is_away_ends_with_what_was_sent():
    told = []

    sent = run(Steps(until_s=20), Flaky(failures=1000), tell=told.append)

    assert sent.readings == 0
    assert "stayed away until the end" in told[-1]


def test_a_fault_that_was_under_way_is_told_when_a_laptop_wakes():
    steps, labels, sim = Steps(), Flaky(0), simulator(anomaly_rate=0.2)
    sink = Flaky(0)

    sent = run(
        steps, sink, simulator=sim, labels=labels, stop_after=42 * 3,
        clock=lambda: steps.now_us + (8 * HOUR if sink.values else 0), tell=lambda words: None,
    )  # fmt: skip

    woken = START + 8 * HOUR
    told = {(one["mote_id"], one["kind"], one["starts_at"]) for one in map(json.loads, labels.values)}
    under_way = [fault for fault in sim.faults(woken, sent.until_us) if fault.starts_us < woken]
    assert under_way
    assert {(fault.mote, fault.kind, fault.starts_us / US) for fault in under_way} <= told


def test_a_fault_that_no_reading_shows_is_not_told():
    steps, sink, labels, sim = Steps(), Flaky(0), Flaky(0), simulator(anomaly_rate=0.2)

    sent = run(
        steps, sink, simulator=sim, labels=labels, interval_s=97.0, speed=0.0, start_us=START - 6 * HOUR, end_us=START
    )

    healthy = simulator(anomaly_rate=0.0).produce(START - 6 * HOUR, START, 97.0)
    honest = dict(zip(zip(healthy.at.tolist(), healthy.mote.tolist(), strict=True), healthy.values, strict=True))
    readings = sim.produce(START - 6 * HOUR, START, 97.0)
    told = [json.loads(value) for value in labels.values]
    spikes = [one for one in told if one["kind"] == "spike"]
    assert len(spikes) > 10
    for one in spikes:
        starts, ends = (round(one[end] * US) for end in ("starts_at", "ends_at"))
        inside = (readings.at >= starts) & (readings.at < ends)
        place = sim.profile.names.index(one["channel"])
        mine = inside & (readings.mote == sim.places.codes.index(one["mote_id"]))
        rows = zip(readings.at[mine].tolist(), readings.mote[mine].tolist(), readings.values[mine], strict=True)
        assert any(values[place] != honest[at, mote][place] for at, mote, values in rows)
    assert sent.faults == len(told) < len(sim.faults(START - 6 * HOUR, START))


def test_no_fault_is_told_beyond_the_last_reading_that_was_asked_for():
    steps, sink, labels, sim = Steps(), Flaky(0), Flaky(0), simulator(anomaly_rate=0.2)

    sent = run(
        steps, sink, simulator=sim, labels=labels, stop_after=42 * 60, speed=0.0, start_us=START - HOUR, end_us=START
    )

    assert sent.readings == 42 * 60
    last = max(json.loads(value)["starts_at"] for value in labels.values)
    assert last <= sent.until_us / US < (START - 55 * 60 * US) / US
    assert sent.faults == len(labels.values)


def test_a_laptop_that_slept_makes_no_readings_for_the_night():
    steps, sink, told = Steps(), Flaky(0), []

    def clock():
        return steps.now_us + (8 * HOUR if sink.values else 0)

    sent = run(steps, sink, clock=clock, stop_after=42 * 3, tell=told.append)

    assert sent.readings == 126
    assert "slept through" in told[0]


def test_faster_than_time_covers_the_stretch_and_ends():
    steps, sink = Steps(), Flaky(0)

    sent = run(steps, sink, speed=3600.0, interval_s=30.0, start_us=START - 6 * HOUR, end_us=START)

    assert (steps.now_us - START) / US == pytest.approx(6, abs=0.5)
    assert sink.values == messages(simulator().produce(START - 6 * HOUR, START, 30))[0]
    assert sent.readings == len(sink.values)


# ---- the command --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_simulate_stops_after_so_many_readings_and_reports_them(capsys):
    call_command(
        "simulate", "--pack", "machine", "--machines", "3", "--speed", "0", "--duration", "1m", "--stop-after", "50"
    )

    words, warning = capsys.readouterr()
    assert "3 of these motes are not registered" in warning
    assert "`manage.py load_pack machine --motes 3` adds them" in warning
    assert "3 motes of “machine” send every 1 s" in words
    assert "50 readings and" in words
    assert len(everything("readings")) == 50


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("pack", "words", "first"),
    [
        ("indoor", "42 motes of “indoor” send every 30 s", ("mote_id", "1")),
        ("machine", "5 motes of “machine” send every 1 s", ("machine_id", "MACHINE_001")),
        ("climate", "5 motes of “climate” send every 12 s", ("sensor_id", "SENSOR_001")),
    ],
)
def test_each_pack_has_its_motes_and_pace(pack, words, first, capsys):
    call_command("simulate", "--pack", pack, "--speed", "0", "--duration", "5m", "--stop-after", "100")

    assert words in capsys.readouterr().out
    name, code = first
    assert json.loads(everything("readings")[0])[name] == code


@pytest.mark.django_db
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_told_to_stop_flushes_and_reports(number, capsys):
    before = signal.getsignal(number)

    class Terminates(threading.Thread):
        def run(self):
            while not stream("readings").bounds() or not sum(end for _, end in stream("readings").bounds().values()):
                threading.Event().wait(0.002)
            os.kill(os.getpid(), number)

    call_command("load_pack", "machine", "--yes")
    killer = Terminates()
    killer.start()
    call_command("simulate", "--pack", "machine", "--interval", "0.01")
    killer.join()

    reported = int(capsys.readouterr().out.rpartition(" readings and")[0].split()[-1].replace(",", ""))
    assert reported == len(everything("readings")) > 0
    assert signal.getsignal(number) is before


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pack", "outdoor"), "“outdoor” is neither a pack"),
        (("--motes", "0"), "--motes is 0; expected a number above 0"),
        (("--motes", "many"), "“many” is no whole number of at most 18 digits; expected one such as 5"),
        (("--seed", "9" * 19), "is no whole number of at most 18 digits"),
        (("--motes", "1000000000000"), "1,000,000,000,000 motes were asked for; expected at most 100,000"),
        (("--speed", "fast"), "“fast” is no number; expected one such as 0.5"),
        (("--interval", "nan"), "“nan” is no number"),
        (("--interval", "1e-9"), "--interval is 1e-09; expected 0.001 or more"),
        (("--speed", "0", "--duration", "99999d"), "--duration reaches back 99,999 days, to before 1970"),
        (("--interval", "-1"), "--interval is -1; expected a number above 0"),
        (("--speed", "3600"), "--speed 3600 needs --duration"),
        (("--speed", "-1"), "--speed is -1"),
        (("--duration", "soon"), "“soon” is no duration; expected a number of seconds, or 10m, 6h, 30d"),
        (("--anomaly-rate", "0.9"), "an anomaly rate of 0.9 is not possible"),
    ],
)
def test_simulate_refuses_in_a_sentence(arguments, words):
    with pytest.raises(CommandError, match=words):
        call_command("simulate", *arguments)
