"""Each kind of fault does what it says, and its truth says exactly when and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.simulating.faults import OF_A_MOTE
from ingestion.simulating.simulator import US, Simulator, messages
from sensors.packs import BadPack, parse_pack, read_pack
from sensors.packs.simulated import FAULT_KINDS
from sensors.readings import micros
from tests.conftest import NOON
from tests.sensors.test_packs import OFFICE

START = micros(NOON)
MINUTE, HOUR, DAY = 60 * US, 3600 * US, 86_400 * US
ALL = slice(None)


def only(kind, pack="indoor", *, rate=0.2, seed=1, lengths_s=(60, 300)):
    """Motes to which only this happens."""
    read = read_pack(pack)
    settings = {**read.simulator, "faults": {kind: 1.0}, "fault_length_s": list(lengths_s)}
    return Simulator.of(replace(read, simulator=settings), site="main", seed=seed, n_motes=8, anomaly_rate=rate)


def healthy(pack="indoor", seed=1):
    return Simulator.of(read_pack(pack), site="main", seed=seed, n_motes=8, anomaly_rate=0.0)


def said(sim, fault, *, before_us=0, after_us=0, interval_s=1.0):
    """Instants and values of the fault's mote alone, about the fault."""
    readings = sim.produce(fault.starts_us - before_us, fault.ends_us + after_us, interval_s)
    own = readings.take(readings.mote == sim.places.codes.index(fault.mote))
    return own.at, own.values


def first_fault(sim, *, where=lambda fault: True):
    hours = (sim.faults(START + i * HOUR, START + (i + 1) * HOUR) for i in range(24 * 40))
    return next(fault for hour in hours for fault in hour if where(fault) and fault.starts_us >= START)


def column(sim, fault):
    return sim.profile.names.index(fault.channel)


def deviation(sim, fault, **about):
    """How far the fault's channel is off, in widths of its normal band, at each instant."""
    at, values = said(sim, fault, **about)
    _, true = said(healthy(), fault, **about)
    low, high = sim.profile.bounds("normal")
    i = column(sim, fault)
    return at, (values[:, i] - true[:, i]) / (high[i] - low[i])


# ---- the truth ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["spike", "drift", "bias", "stuck", "cyclic", "noise", "out_of_range", "multi_channel"]
)
def test_only_the_channel_told_is_off_and_only_while_it_is_told(kind):
    sim = only(kind)
    readings, true = (one.produce(START, START + HOUR, 1) for one in (sim, healthy()))
    wrong = readings.values != true.values

    told = np.zeros_like(wrong)
    for fault in sim.faults(START, START + HOUR):
        rows = (readings.at >= fault.starts_us) & (readings.at < fault.ends_us)
        told[rows & (readings.mote == sim.places.codes.index(fault.mote)), column(sim, fault)] = True

    assert told.any()
    assert not (wrong & ~told).any()
    # A stuck lamp at noon repeats what is true; a spike is a third of its stretch.
    assert wrong[told].mean() > {"spike": 0.25, "stuck": 0.5}.get(kind, 0.9)


@pytest.mark.parametrize("kind", [kind for kind in FAULT_KINDS if kind != "episode"])
def test_a_fault_is_told_with_its_channel_or_none_and_a_length_that_the_pack_allows(kind):
    longer = 12 if kind == "battery_death" else 1

    faults = only(kind).faults(START, START + 3 * DAY)

    assert {fault.kind for fault in faults} == {kind}
    assert {bool(fault.channel) for fault in faults} == {kind not in OF_A_MOTE}
    lengths_s = [(fault.ends_us - fault.starts_us) / US / longer for fault in faults]
    assert 60 <= min(lengths_s) < 120
    assert 240 < max(lengths_s) <= 300


INDOOR = Simulator.of(read_pack("indoor"), site="main", anomaly_rate=0.2, n_motes=10)


@given(cuts=st.lists(st.integers(0, HOUR), max_size=4))
def test_whatever_the_cut_each_fault_begins_in_one_part(cuts):
    sim, borders = INDOOR, [START, *(START + cut for cut in sorted(cuts)), START + HOUR]

    begun = [
        fault for a, b in pairwise(borders) for fault in sim.faults(a, b) if fault.starts_us >= a
    ]  # fmt: skip

    assert Counter(begun) == Counter(
        fault for fault in sim.faults(*borders[:: len(borders) - 1]) if fault.starts_us >= START
    )
    assert max(Counter(begun).values()) == 1


# ---- one channel --------------------------------------------------------------------------------------------


def test_a_bias_is_there_from_the_first_reading_to_the_last():
    sim = only("bias")
    fault = first_fault(sim, where=lambda one: one.channel == "temperature")

    at, off = deviation(sim, fault, before_us=MINUTE, after_us=MINUTE)

    inside = (at >= fault.starts_us) & (at < fault.ends_us)
    assert (off[~inside] == 0.0).all()
    assert np.abs(off[inside]).min() >= 0.6
    assert np.abs(off[inside]).max() <= 1.2
    assert np.ptp(off[inside]) < 0.01


def test_a_drift_leaves_the_truth_evenly():
    sim = only("drift")
    fault = first_fault(sim, where=lambda one: one.channel == "temperature")

    _, off = deviation(sim, fault)

    steps = np.diff(off)
    assert abs(off[0]) < 0.05
    assert 0.85 < abs(off[-1]) <= 1.8
    assert np.abs(steps - steps.mean()).max() < 0.003  # two roundings to a hundredth of a degree


def test_a_cyclic_fault_swings_six_times_about_the_truth():
    sim = only("cyclic", lengths_s=(250, 300))
    fault = first_fault(sim, where=lambda one: one.channel == "temperature")

    _, off = deviation(sim, fault)

    assert abs(np.mean(off)) < 0.05
    assert (np.diff(np.sign(off[np.abs(off) > 0.05])) != 0).sum() == 11


def test_a_burst_of_noise_is_centred_and_wide():
    sim = only("noise", lengths_s=(250, 300))
    fault = first_fault(sim, where=lambda one: one.channel == "temperature")

    _, off = deviation(sim, fault)

    assert abs(off.mean()) < 3 * off.std() / np.sqrt(len(off))
    assert 0.25 < off.std() < 0.7


def test_spikes_stand_alone_among_good_readings():
    sim = only("spike", lengths_s=(250, 300))
    fault = first_fault(sim, where=lambda one: one.channel == "temperature")

    _, off = deviation(sim, fault)

    assert 0.2 < (off != 0.0).mean() < 0.5
    assert np.abs(off[off != 0.0]).min() > 0.25


def test_where_the_pack_says_spikes_end_between_80_and_120_degrees_and_in_dry_air():
    sim = only("spike", "climate")
    readings, true = (one.produce(START, START + 2 * HOUR, 12) for one in (sim, healthy("climate")))

    changed = readings.values != true.values

    assert changed.any(axis=0).all()
    for i, (low, high) in enumerate([(80, 120), (0, 20)]):
        spikes = readings.values[changed[:, i], i]
        assert ((spikes >= low) & (spikes <= high)).all()


def test_several_channels_move_as_one():
    sim = only("multi_channel", lengths_s=(250, 300))
    first = first_fault(sim, where=lambda one: one.channel == "temperature")
    together = [
        one
        for one in sim.faults(first.starts_us, first.ends_us)
        if (one.mote, one.starts_us) == (first.mote, first.starts_us)
    ]

    shapes = [deviation(sim, fault)[1] for fault in together]

    assert len({fault.channel for fault in together}) == len(together) in (2, 3)
    for shape in shapes[1:]:
        assert abs(np.corrcoef(shapes[0], shape)[0, 1]) > 0.99


def test_a_sensor_that_drops_out_says_nothing_and_the_others_go_on():
    sim = only("drop_out")
    fault = first_fault(sim)

    readings = sim.produce(fault.starts_us, fault.ends_us, 1)

    codes = {sim.places.codes[mote] for mote in np.unique(readings.mote)}
    assert fault.mote not in codes
    assert len(codes) >= 5


# ---- the battery --------------------------------------------------------------------------------------------


def test_a_dying_battery_ends_as_those_of_the_lab_did():
    sim = only("battery_death", lengths_s=(600, 1200), rate=0.05)
    fault = first_fault(sim)
    _, values = said(sim, fault, interval_s=30)
    _, true = said(healthy(), fault, interval_s=30)
    temperature, humidity, light, volts = values.T
    true = true[: len(values)]

    assert abs(volts[0] - true[0, 3]) < 0.02  # from where the battery was
    assert (np.diff(volts) < 0.02).all()
    assert 2.0 <= volts[-1] < 2.03
    fresh = volts > 2.41
    assert np.array_equal(values[fresh][:, :2], true[fresh][:, :2])
    assert (temperature[volts < 2.26] == 122.15).all()
    assert (humidity[volts < 2.19] < 0.0).all()
    climbing = temperature[(volts < 2.38) & (volts > 2.28)]
    assert ((climbing > true[0, 0]) & (climbing < 122.0)).all()
    assert np.array_equal(light, true[:, 2])


def test_a_battery_that_has_died_is_silent_until_it_is_changed():
    sim = only("battery_death", rate=0.05)
    fault = first_fault(sim)
    length = fault.ends_us - fault.starts_us

    at, values = said(sim, fault, after_us=5 * MINUTE)

    silence = np.max(np.diff(at))
    assert silence == pytest.approx(0.15 * length, abs=2 * US)
    assert at[np.argmax(np.diff(at)) + 1] - fault.ends_us < US
    assert values[-1, 3] > 2.3


def test_a_pack_without_a_battery_is_told_so():
    with pytest.raises(BadPack, match="battery_death needs a battery, or a channel “voltage”"):
        parse_pack(OFFICE + "\n[simulator]\nfaults = { battery_death = 1 }\n")


# ---- clock and messages -------------------------------------------------------------------------------------


def test_a_skewed_clock_dates_true_readings_wrongly_and_never_by_whole_seconds():
    sim = only("clock_skew")
    readings, true = (one.produce(START, START + 6 * HOUR, 5) for one in (sim, healthy()))
    off = readings.reported_at - readings.at

    assert np.array_equal(readings.values, true.values)
    told = np.zeros(len(off), dtype=bool)
    for fault in sim.faults(START, START + 6 * HOUR):
        mote = sim.places.codes.index(fault.mote)
        inside = (readings.mote == mote) & (readings.at >= fault.starts_us) & (readings.at < fault.ends_us)
        told |= inside
        assert len(np.unique(off[inside])) <= 1
    assert ((off != 0) == told).all()
    skews = np.unique(off[told])
    assert (np.abs(skews) >= 30 * US).all()
    assert (np.abs(skews) <= 3601 * US).all()
    assert skews.min() < 0 < skews.max()
    assert (skews % US != 0).all()


def test_what_is_sent_twice_is_the_same_message_at_once_or_after_newer_ones():
    sim = only("duplicate")
    readings = sim.produce(START, START + HOUR, 1)
    values, _ = messages(readings)
    once, _ = messages(healthy().produce(START, START + HOUR, 1))

    repeats = np.flatnonzero(readings.is_repeat)

    assert sorted(messages(readings.once())[0]) == sorted(once)
    assert set(values) == set(once)
    assert len(values) == len(once) + len(repeats)
    newest = np.maximum.accumulate(readings.at)
    at_once = sum(values[i] == values[i - 1] for i in repeats)
    out_of_order = int((readings.at[repeats] < newest[repeats]).sum())
    assert at_once > 0.3 * len(repeats)
    assert out_of_order > 0.2 * len(repeats)


def test_nothing_is_sent_twice_outside_of_what_is_told():
    sim = only("duplicate")
    [fault, *_] = [one for one in sim.faults(START, START + DAY) if one.starts_us > START + HOUR]

    before = sim.produce(fault.starts_us - 20 * US, fault.starts_us, 1)
    after = sim.produce(fault.ends_us, fault.ends_us + 20 * US, 1)

    place = sim.places.codes.index(fault.mote)
    assert not before.is_repeat[before.mote == place].any()
    assert not after.is_repeat[after.mote == place].any()


MESSY = {kind: only(kind, rate=0.4) for kind in ("duplicate", "clock_skew", "multi_channel")} | {
    "battery_death": only("battery_death", rate=0.4)
}


@given(
    kind=st.sampled_from(sorted(MESSY)),
    offset_s=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 600 * US), max_size=5),
)
def test_however_time_is_cut_the_same_messages_come_in_the_same_order(kind, offset_s, cuts):
    sim, start = MESSY[kind], START + offset_s * US
    borders = [start, *(start + cut for cut in sorted(cuts)), start + 600 * US]

    parts = [messages(sim.produce(a, b, 5))[0] for a, b in pairwise(borders)]

    assert [value for part in parts for value in part] == messages(sim.produce(start, borders[-1], 5))[0]


# ---- machines and fires -------------------------------------------------------------------------------------


def state(values):
    """0 normal, 1 degrading, 2 failing, by vibration."""
    return np.digitize(values[:, 1], [1.5, 2.5], right=True)


def test_a_machine_never_fails_without_having_degraded_and_some_are_repaired_in_time():
    sim = Simulator.of(read_pack("machine"), site="main", anomaly_rate=0.2)
    readings = sim.produce(START, START + 6 * HOUR, 1)

    for mote in range(5):
        states = state(readings.values[readings.mote == mote])
        assert np.diff(states).max() == 1  # into a worse state only from the one before

    told = Counter(fault.kind for fault in sim.faults(START, START + 10 * DAY))
    episodes = told["degrading"] - told["failing"]  # each that fails is told as degrading twice
    assert 0.5 < told["failing"] / episodes < 0.8


def test_a_machines_health_is_used_up_until_it_is_repaired_at_once():
    sim = Simulator.of(read_pack("machine"), site="main", anomaly_rate=0.1, is_history=True)
    incident = next(one for one in sim.schedule.between(START, START + 10 * DAY) if one.size > 0.8)
    at = np.linspace(incident.starts_us, incident.ends_us - 1, 500).astype(np.int64)

    severity = sim.episodes.severity(incident, at)

    worst = int(np.argmax(severity))
    assert (np.diff(severity[: worst + 1]) > 0).all()
    assert (np.diff(severity[worst:]) < 0).all()
    assert worst / len(at) > 0.85


def test_load_warms_a_machine_and_draws_power():
    values = Simulator.of(read_pack("machine"), site="main", anomaly_rate=0.0).produce(START, START + DAY, 60).values

    together = np.corrcoef(values.T)

    assert together[0, 3] > 0.4
    assert together[1, 3] > 0.2
    assert abs(together[2, 3]) < 0.2


def smoke(**changes):
    return Simulator.of(read_pack("smoke"), site="main", **changes)


def test_a_fire_shows_in_gas_and_particles_first_and_in_warm_dry_air_later():
    sim = smoke(anomaly_rate=0.2, is_history=False)
    fire = first_fault(sim, where=lambda one: one.kind == "fire")
    names = {name: i for i, name in enumerate(sim.profile.names)}
    _, high = sim.profile.bounds("normal")
    at, values = said(sim, fire, before_us=10 * MINUTE)

    burning = values[at >= fire.starts_us]
    assert (burning[:, names["tvoc"]] >= 5000).all()
    assert (burning[:, names["eco2"]] >= 5000).all()
    assert (burning[:, names["raw_h2"]] <= 11_800).all()
    assert (burning[:, names["raw_ethanol"]] <= 17_500).all()
    assert (burning[:, names["pm2_5"]] >= 300).all()
    first = {
        name: at[np.flatnonzero(values[:, i] > high[i])[0]]
        for name, i in names.items()
        if name in ("tvoc", "temperature")
    }
    assert first["tvoc"] < first["temperature"]
    assert burning[:, names["temperature"]].max() > 36


def test_healthy_air_keeps_the_proportions_of_the_smoke_set():
    sim = smoke(anomaly_rate=0.0)
    values = sim.produce(START, START + DAY, 30).values
    names = {name: i for i, name in enumerate(sim.profile.names)}

    together = np.corrcoef(values.T)

    dust = [names[name] for name in ("pm1_0", "pm2_5", "nc0_5", "nc1_0", "nc2_5")]
    assert together[np.ix_(dust, dust)].min() > 0.95
    assert together[names["raw_h2"], names["raw_ethanol"]] > 0.6
    assert together[names["tvoc"], names["raw_ethanol"]] < -0.5
    assert together[names["tvoc"], names["eco2"]] > 0.5
