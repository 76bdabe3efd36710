"""Each layer finds its fault, and events tell it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlops.detection import Engine, decode_votes, fallback, words
from mlops.detection.tails import rising
from sensors import quality
from sensors.readings import Batch, concat, score
from tests.builders import channel, profile
from tests.mlops.detection_world import DAY_STEPS, INDOOR, STEP_S, after, changed, normal, trained

HOUR = 3600 // STEP_S
STEP_US = STEP_S * 1_000_000


def quiet(hours: float = 6, **settings) -> Batch:
    """One mote of the fleet after training, from noon on."""
    return normal(motes=[3], days=hours / 24, start_us=after(3.5), seed=9, **settings)


def judge(stream: Batch, engine=None):
    engine = engine or trained()
    _, judged, changes = engine.step(engine.start(), stream)
    return judged, {(change.mote, change.noticed_at): change for change in changes}


def the_event(events):
    assert len(events) == 1
    return next(iter(events.values()))


def test_a_normal_day_has_no_event():
    judged, events = judge(normal(days=1, start_us=after(), seed=8))

    assert events == {}
    assert not judged.is_anomaly.any()
    assert (judged.model_version == 7).all()


def test_one_outlier_is_a_high_event_that_ends_two_steps_after_normal_readings_return():
    judged, events = judge(changed(quiet(), 100, 0, 45.2))

    event = the_event(events)
    at = judged.at
    assert score(judged.surprise[100], INDOOR.onset) >= 0.6
    assert (event.noticed_at, event.last_at, event.ended_at) == (at[100], at[100], at[103])
    assert (event.peak_channel, event.peak_value, event.layer) == ("temperature", 45.2, "level")
    assert event.n_readings == judged.is_anomaly.sum() == 1
    assert event.contributions["temperature"] > 0.8
    assert sum(event.contributions.values()) == pytest.approx(1.0)
    assert event.expected[0] < 22 < event.expected[1] < 30
    assert judged.event_id.tolist()[99:105] == [0, at[100], at[100], at[100], at[100], 0]


def test_a_value_beyond_the_physical_range_is_judged_by_the_gate_and_never_learnt():
    judged, events = judge(changed(quiet(), slice(100, 105), 0, 130.0))

    assert decode_votes(judged.votes[100])["gate"] == judged.surprise[100] == 12.0
    assert the_event(events).layer == "gate"
    undisturbed = judge(quiet())[0]
    levels = [[decode_votes(votes)["level"] for votes in one.votes[106:]] for one in (judged, undisturbed)]
    assert levels[0] == levels[1]
    assert not judged.is_anomaly[106:].any()


def test_a_flat_line_is_stuck_after_the_packs_duration_and_the_event_starts_where_the_line_does():
    stream = quiet(8)
    stuck = changed(stream, slice(200, 200 + 3 * HOUR), 1, stream.values[200, 1])

    judged, events = judge(stuck)

    flagged = np.flatnonzero(judged.flags & quality.STUCK)
    event = min(events.values(), key=lambda change: change.noticed_at)
    assert (flagged[0], flagged[-1]) == (200 + HOUR, 200 + 3 * HOUR - 1)
    assert quality.channels(int(judged.flags[flagged[0]]), INDOOR) == ["humidity"]
    assert event.started_at == stream.at[200]
    assert event.noticed_at == stream.at[200 + HOUR + 1]


def test_a_jump_within_normal_levels_is_held_until_the_value_is_back():
    jumped = changed(quiet(), slice(100, 110), 0, quiet().values[100:110, 0] + 2.2)

    judged, events = judge(jumped)

    assert decode_votes(judged.votes[100])["jump"] >= INDOOR.onset
    assert (judged.flags[100:110] & quality.JUMP).all()
    assert not (judged.flags[119:] & quality.JUMP).any()  # both jumps lie in what the noise layer looks back on
    assert the_event(events).noticed_at in judged.at[100:102]


def test_a_lively_signal_on_a_new_level_is_adopted_and_a_dead_one_is_not():
    n = 4 * HOUR
    lively = changed(quiet(), slice(100, 100 + n), 1, quiet().values[100 : 100 + n, 1] + 12.0)
    dead = changed(quiet(), slice(100, 100 + n), 1, 55.0)

    adopted, _ = judge(lively)
    held, _ = judge(dead)

    assert np.flatnonzero(adopted.flags[: 100 + n] & quality.JUMP).tolist() == list(range(100, 131))
    assert np.flatnonzero(held.flags & quality.JUMP)[-1] == 100 + n - 1


def test_an_event_that_ends_because_its_level_is_the_norm_now_says_so():
    dry = changed(quiet(), slice(None), 1, 26.0 + 0.1 * (quiet().values[:, 1] % 1.0))
    lasting = changed(dry, slice(100, None), 1, dry.values[100:, 1] + 33.0)
    passing = changed(dry, slice(100, 103), 1, dry.values[100:103, 1] + 33.0)

    stays, returns = (the_event(judge(one, fallback(INDOOR))[1]) for one in (lasting, passing))

    assert stays.adopted == ("humidity",)
    assert words(stays, INDOOR).endswith("; new level adopted as normal")
    assert returns.adopted == ()
    assert "adopted" not in words(returns, INDOOR)


def test_a_hold_ends_unconditionally():
    stream = quiet(14)
    dead = changed(stream, slice(100, len(stream)), 1, 55.0)

    judged, _ = judge(dead)

    assert np.flatnonzero(judged.flags & quality.JUMP)[-1] == 100 + 720


def test_a_slow_drift_is_found():
    stream = quiet(12)
    drifting = changed(stream, slice(0, len(stream)), 0, stream.values[:, 0] + np.arange(len(stream)) * 0.01)

    _, events = judge(drifting)

    first = min(events.values(), key=lambda change: change.noticed_at)
    assert first.layer in ("level", "jump")
    assert 50 < np.searchsorted(stream.at, first.noticed_at) < 500


def test_a_state_between_the_two_usual_ones_is_found_by_the_forest():
    two = profile(*(channel(name, max_rate_per_s=0.0) for name in ("inlet", "outlet", "casing")))
    rng = np.random.default_rng(2)
    history = normal(motes=4, days=2, of=two)
    # Every reading is all cold or all warm: apart, each value is ordinary.
    state = rng.integers(0, 2, len(history))[:, None] * 8.0
    history = replace(history, values=19.0 + state + rng.normal(0, 0.2, (len(history), 3)))
    engine = Engine().fit(history)
    values = np.array([[19.0, 19.0, 19.0], [27.0, 27.0, 27.0], [23.0, 23.0, 23.0]])
    noon = np.full(3, after(1.5))

    judged = engine.score_stateless(values, np.ones(3, dtype=np.int64), noon, np.zeros(3, dtype=np.int64))

    assert judged.layer[2] == "forest"
    assert judged.surprise[2] >= 3.0 > 1.0 > judged.surprise[:2].max()


def test_two_readings_at_onset_a_step_apart_open_an_event_that_starts_at_the_first():
    judged, events = judge(changed(quiet(), [100, 101], 1, _at_onset()))

    event = the_event(events)
    assert INDOOR.onset <= judged.surprise[100] < 2 * INDOOR.onset
    assert (event.started_at, event.noticed_at) == (judged.at[100], judged.at[101])
    assert judged.is_anomaly.tolist()[99:103] == [False, False, True, False]


def test_one_reading_at_onset_is_no_event():
    _, events = judge(changed(quiet(), [100], 1, _at_onset()))

    assert events == {}


def test_what_grows_to_onset_is_noticed_at_its_first_reading_there():
    grown = changed(changed(quiet(), 99, 1, _at_onset(99, 0.85)), 100, 1, _at_onset())

    judged, events = judge(grown)

    event = the_event(events)
    assert judged.surprise[99] < INDOOR.onset <= judged.surprise[100] < 2 * INDOOR.onset
    assert (event.started_at, event.noticed_at) == (judged.at[100], judged.at[100])
    assert np.flatnonzero(judged.is_anomaly).tolist() == [100]


def test_a_lone_reading_at_onset_is_no_event_after_half_of_it():
    judged, events = judge(changed(changed(quiet(), 99, 1, _at_onset(99, 0.6)), 100, 1, _at_onset()))

    assert 0.5 * INDOOR.onset < judged.surprise[99] < INDOOR.onset <= judged.surprise[100]
    assert events == {}


def _at_onset(place: int = 100, share: float = 1.05) -> float:
    """A humidity at a reading of `quiet` that is little more than one onset surprising, by bisection."""
    low, high = 42.0, 60.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        judged, _ = judge(changed(quiet(), place, 1, middle))
        low, high = (low, middle) if judged.surprise[place] >= share * INDOOR.onset else (middle, high)
    return high


def test_a_mote_that_falls_silent_in_an_event_ends_it_at_its_last_anomalous_reading():
    stream = changed(quiet(), slice(98, 100), 0, 45.2)
    resumed = concat([stream.take(slice(0, 100)), quiet().take(slice(200, 210))])

    judged, events = judge(resumed)

    event = the_event(events)
    assert event.ended_at == event.last_at == stream.at[99]
    assert not judged.event_id[100:].any()


def test_a_gap_gives_the_world_time_to_change():
    stream = quiet(10)
    moved = changed(stream, slice(100, len(stream)), 0, stream.values[100:, 0] + 2.0)
    after_gap = concat([moved.take(slice(0, 100)), moved.take(slice(100 + 5 * HOUR, len(stream)))])

    assert (judge(moved)[0].flags & quality.JUMP).any()
    assert not (judge(after_gap)[0].flags & quality.JUMP).any()


def test_readings_between_the_steps_are_judged_but_not_learnt():
    second = quiet(0.5, step_s=1)
    spike = changed(second, 500, 0, 45.2)

    judged, events = judge(spike)

    assert the_event(events).noticed_at == spike.at[500]
    assert judged.is_anomaly.sum() == 1
    assert not (judged.flags[501:] & quality.JUMP).any()
    calm, none = judge(second)
    assert none == {}
    np.testing.assert_array_equal(judged.surprise[700:], calm.surprise[700:])


def test_a_moderate_oddity_at_one_hertz_must_last_a_step():
    second = quiet(0.5, step_s=1)
    odd = _at_onset() + 0.3

    _, short = judge(changed(second, slice(500, 520), 1, odd))
    judged, lasting = judge(changed(second, slice(500, 600), 1, odd))

    assert short == {}
    event = the_event(lasting)
    assert event.started_at == judged.at[500]
    assert 27_000_000 <= event.noticed_at - event.started_at <= STEP_US


def test_missing_values_are_skipped_and_a_reading_without_any_says_nothing():
    stream = changed(quiet(), slice(50, 60), slice(0, 3), np.nan)
    stream = changed(stream, slice(100, 400), 1, np.nan)

    judged, events = judge(changed(stream, 300, 0, 45.2))

    assert np.isnan(judged.surprise[50:60]).all()
    assert np.isfinite(judged.surprise[100:400]).all()
    assert the_event(events).peak_channel == "temperature"


def test_a_mote_that_was_not_in_the_history_is_judged_by_the_fleet():
    stranger = normal(motes=[77], days=1, start_us=after(), seed=4)

    judged, none = judge(stranger)
    _, events = judge(changed(stranger, 1000, 0, 45.2))

    assert none == {}
    assert np.isfinite(judged.surprise).all()
    assert the_event(events).peak_surprise > 2 * INDOOR.onset


def test_a_mote_whose_first_reading_is_a_spike_is_judged_by_what_follows():
    judged, events = judge(changed(quiet(), 0, 0, 45.2))

    assert the_event(events).ended_at == judged.at[3]
    assert not (judged.flags[1:] & quality.JUMP).any()


def test_midnight_and_full_hours_are_no_cliffs():
    n = 4000
    at = after(3.0) - 2000 * 1_000_000 + np.arange(n) * 1_000_000
    values = np.tile([30.0, 42.0, 2.7], (n, 1))

    judged = trained().score_stateless(values, np.full(n, 3), at, np.zeros(n, dtype=np.int64))

    assert np.abs(np.diff(judged.expected_low[:, 0])).max() < 0.01
    assert np.ptp(judged.expected_low[:, 0]) > 0.05


def test_local_time_decides_what_is_usual():
    values, mote, at = np.array([[22.0, 42.0, 2.7]] * 2), np.array([3, 3]), np.full(2, after(3.25))

    judged = trained().score_stateless(values, mote, at, np.array([0, 12 * 3600]))

    middle = (judged.expected_low + judged.expected_high)[:, 0] / 2
    assert middle[0] - middle[1] == pytest.approx(3.0, abs=0.2)


def test_a_reading_by_itself_is_judged_by_the_layers_that_need_no_order():
    values = np.array([[45.2, 42.0, 2.7], [21.9, 42.0, 2.7], [130.0, 42.0, 2.7]])

    judged = trained().score_stateless(values, np.full(3, 3), np.full(3, after(3.5)), np.zeros(3, dtype=np.int64))

    assert judged.layer == ["level", judged.layer[1], "gate"]
    assert (judged.channel[0], judged.channel[2]) == ("temperature", "temperature")
    assert (score(judged.surprise, INDOOR.onset) >= 0.6).tolist() == [True, False, True]
    assert judged.expected_low[0, 0] < 22 < judged.expected_high[0, 0]
    assert judged.channel_surprise.shape == (3, 3)


def sun(stream: Batch, degrees: float, within_s: float = 120) -> np.ndarray:
    """What a window lets in from seven on."""
    since_seven = stream.at // 1_000_000 % 86_400 - 7 * 3600
    return degrees * np.clip(since_seven / within_s, 0, 1) * np.clip(1.5 - since_seven / 7200, 0, 1)


def test_what_the_world_did_at_an_hour_it_may_do_again_as_long_as_it_does():
    """A mote at such a window: told the first day, a Friday, and known to be so from the next on."""
    stream = normal(motes=[900], days=10, start_us=after(4.0), seed=4)

    _, events = judge(changed(stream, slice(None), 0, stream.values[:, 0] + sun(stream, 1.6)))

    assert {change.noticed_at < after(5.0) for change in events.values()} == {True}


def test_what_grows_at_the_hour_of_a_habit_does_not_widen_its_own_limit():
    stream = normal(motes=[900], days=4, start_us=after(4.0), seed=4)
    growing = np.where(stream.at < after(7.0), sun(stream, 1.6), sun(stream, 2.0, within_s=600))

    judged, _ = judge(changed(stream, slice(None), 0, stream.values[:, 0] + growing))

    jumped = judged.at[(judged.at >= after(7.0)) & (judged.flags & quality.JUMP != 0)]
    assert after(7.0) < jumped[0] - 7 * 3_600_000_000 <= after(7.0) + 900_000_000


# ---- the fallback -------------------------------------------------------------------------------------------


def test_without_a_model_the_packs_normal_band_decides():
    engine = fallback(INDOOR)
    calm, none = judge(normal(days=0.5, start_us=after()), engine)
    judged, events = judge(changed(quiet(), 100, 0, 45.2), engine)

    event = the_event(events)
    assert none == {}
    assert (calm.model_version == 0).all()
    assert score(judged.surprise[100], INDOOR.onset) >= 0.6
    assert event.expected == (18.0, 28.0)
    assert words(event, INDOOR) == "Temperature 45.2 °C, expected 18.0–28.0 °C; normal again at or below 28.0 °C"
    assert decode_votes(judged.votes[100])["forest"] == 0.0


def test_without_a_model_the_packs_rate_and_flat_line_hold():
    engine, stream = fallback(INDOOR), quiet()
    jumped, _ = judge(changed(stream, 100, 1, stream.values[99, 1] + 31.0), engine)
    stuck, _ = judge(changed(stream, slice(100, 400), 0, 22.0), engine)

    assert jumped.flags[100] & quality.JUMP
    assert np.flatnonzero(stuck.flags & quality.STUCK)[0] == 100 + HOUR


def test_an_event_goes_on_when_another_model_takes_over():
    stream = changed(quiet(), slice(100, 140), 0, 45.2)
    state = (first := fallback(INDOOR)).start()
    state, _, opened = first.step(state, stream.take(slice(0, 120)))

    _, _, closed = trained().step(state, stream.take(slice(120, 200)))

    assert [change.ended_at is None for change in (*opened, *closed)] == [True, False]
    assert opened[0].noticed_at == closed[0].noticed_at
    assert closed[0].n_readings == 40
    assert (opened[0].model_version, closed[0].model_version) == (0, 7)


# ---- plain references ---------------------------------------------------------------------------------------


def stuck_reference(values, at_s, limit_s):
    """Which readings stand at the end of a run of equal values of at least that length."""
    flags, since = [], None
    for i, x in enumerate(values):
        if i == 0 or x != values[i - 1] or at_s[i] - at_s[i - 1] > 20 * STEP_S:
            since = at_s[i]
        flags.append(at_s[i] - since >= limit_s)
    return flags


def trembling(x, usual, model):
    """For each reading of humidity, whether it is noisy and whether it is calm; exact steps, no gaps."""
    kept, leaps, noisy, said = [], 0, 0, []
    for k, value in enumerate(x):
        is_odd = usual(k, value)[0] >= INDOOR.onset / 2
        is_leap = bool(kept) and (abs(value - kept[-1]) > model["leap"][1] * model["margin"][0] or is_odd)
        leaps = min(leaps + 1, 4) if is_leap else 0
        if not 1 <= leaps <= 3:
            kept.append(value)
        surprise = most = 0.0
        if len(kept) >= 11:
            last = np.array(kept[-11:])
            second = np.abs(last[2:] - 2 * last[1:-1] + last[:-2]).astype(np.float32)
            table = rising(model["raw"][1], model["surprise"][1])
            surprise = np.interp(np.float32(np.sort(second)[2] / model["scale"][1]), *table)
            most = np.interp(np.float32(np.sort(second)[5] / model["most_scale"][1]), *table)
        is_noisy, is_calm = surprise >= INDOOR.onset, max(surprise, most if noisy >= 9 else 0) < INDOOR.onset / 2
        noisy = 0 if is_calm else min(noisy + is_noisy, 9)
        said.append((is_noisy, is_calm))
    return said


class Hold:
    """The jump layer for one channel on exact steps, slow, one reading at a time."""

    def __init__(self, allowed, limit, natural_s, usual, trembles, begins_at_hour):
        self.allowed, self.limit, self.natural_s, self.usual, self.trembles = allowed, limit, natural_s, usual, trembles
        self.hour, self.habit, self.begins_at_hour = begins_at_hour, [0] * 24, begins_at_hour
        self.repeated = 0
        self.accepted = self.accepted_at = self.held_at = self.before = self.since = None
        self.run_since = self.alive = self.farthest = 0
        self.past = [None] * 9

    def change(self, lag):
        power = int(np.log2(lag))
        low, high = self.allowed[power], self.allowed[min(power + 1, len(self.allowed) - 1)]
        return low + (lag / 2**power - 1) * (high - low)

    def habitual(self):
        return max(1.0, 0.012 * max(self.habit[(self.hour + near) % 24] for near in (-1, 0, 1)))

    def step(self, k, x):
        hour = int(self.begins_at_hour + k * STEP_S / 3600) % 24
        if hour != self.hour:
            self.habit[self.hour] = max(self.habit[self.hour], self.repeated)
            self.habit[hour] -= self.habit[hour] >> 5
            self.hour, self.repeated = hour, 0
        return self.judged_at(k, x)

    def judged_at(self, k, x):
        if self.before != x:
            self.run_since = k
        is_flagged = self.judged(k, x)
        self.before = x
        return is_flagged

    def accept(self, k, x, *, forgets=False):
        if forgets:
            self.past = [None] * 9
        for place in range(8, 0, -1):
            younger, own = self.past[place - 1], self.past[place]
            if younger is not None and (own is None or k - own[1] >= 2 ** (place + 1)):
                self.past[place] = younger
        self.past[0] = (np.float32(x), k)
        self.accepted, self.accepted_at, self.held_at = x, k, None

    def since_past(self, k, x, surprise, is_ordinary):
        ratios = [
            abs(x - value) / self.change(k - at)
            for value, at in filter(None, self.past)
            if not (is_ordinary and self.usual(k, value)[0] >= surprise + 1)
        ]
        return max(ratios, default=0.0)

    def judged(self, k, x):
        if self.accepted is None:
            self.accept(k, x)
            return False
        surprise, middle = self.usual(k, x)
        is_noisy, is_calm = self.trembles(k)
        is_odd, is_ordinary = surprise >= INDOOR.onset, surprise < INDOOR.onset / 2 and not is_noisy
        moved = abs(x - self.before)
        is_alive = is_calm and moved <= self.change(1) * self.limit and (k - self.run_since) * STEP_S <= self.natural_s
        ratio = abs(x - self.accepted) / self.change(k - self.accepted_at)
        ratio = max(ratio, self.since_past(k, x, surprise, is_ordinary)) / self.habitual()
        is_bad = ratio > self.limit or is_noisy
        is_doubtful = self.held_at is not None or ratio > self.limit / 2
        is_return = is_ordinary and is_doubtful and self.usual(k, self.accepted)[0] >= surprise + 1
        if self.held_at is None:
            if is_bad and not is_return:
                self.since = self.since if is_ordinary and self.since is not None else k if is_ordinary else None
                if self.since is not None and k - 1 > self.since:
                    self.accept(k, x)
                    return False
                self.held_at, self.back, self.alive, self.farthest = k, ratio <= self.limit, 0, ratio
                self.since = None if self.since == k else self.since
                return True
            self.since = None
            self.alive = self.alive + 1 if is_odd and is_alive else 0
            if (did := ratio / self.limit * self.habitual()) > 1 and not (is_bad or is_odd):
                self.repeated = max(self.repeated, int(min(did, 2) / 0.01))
            if not is_odd or self.alive >= 30:
                self.accept(k, x, forgets=is_return)
            return False
        closer = abs(x - self.accepted) < abs(self.before - self.accepted)
        closer = closer or (is_ordinary and abs(x - middle) < abs(self.before - middle))
        self.back = self.back or (moved > 0.5 * self.change(1) and closer)
        is_plausible = is_return or (self.back and (is_ordinary or (is_calm and not is_bad)))
        self.since = (k if self.since is None else self.since) if is_plausible or is_ordinary else None
        is_over = self.since is not None and (k if is_plausible else k - 1) > self.since
        passes = is_return or is_plausible or is_over
        ratio = (0.0 if is_bad or is_return else ratio) if passes else max(ratio, self.limit)
        self.alive = self.alive + 1 if is_alive else 0
        self.farthest = max(self.farthest, ratio)
        enough = max(6, 30 * min(1, self.farthest / self.limit - 1))
        if self.alive >= enough and (did := self.farthest / self.limit * self.habitual()) <= 2:
            self.habit[self.hour] = max(self.habit[self.hour], int(did / 0.01))
        if is_over or self.alive >= enough or k - self.held_at >= 720:
            self.accept(k, x, forgets=is_bad or is_return)
        return not passes


def usual_at(stream):
    """Of a humidity at a reading by itself: its surprise and the middle of what was expected; the engine says it once.

    Asked reading by reading, as the layer needs it, this is the test's whole time.
    """
    said = trained().score_stateless(*(getattr(stream, name) for name in ("values", "mote", "at", "utc_offset_s")))
    low, high = said.expected_low[:, 1], said.expected_high[:, 1]
    of_level = trained().arrays["level"]
    knots, heights = rising(of_level["raw"][1], of_level["surprise"][1])
    middle, scale = (low + high) / 2, (high - low) / 2 / of_level["limit"][1]

    def usual(k, value):
        return np.interp(abs(value - middle[k]) / scale[k], knots, heights), middle[k]

    # The table is the engine's word, not a second opinion.
    own = [usual(k, value)[0] for k, value in enumerate(stream.values[:, 1])]
    np.testing.assert_allclose(own, said.channel_surprise[:, 1], atol=1e-9)
    return usual


@pytest.mark.parametrize("seed", range(4))
def test_stuck_and_jump_agree_with_plain_references(seed):
    rng = np.random.default_rng(seed)
    stream = normal(motes=[3], days=1, start_us=after(3.5), seed=seed)
    x = stream.values[:, 1].copy()
    for _ in range(8):
        begin, length = int(rng.integers(10, DAY_STEPS - 10)), int(rng.choice([1, 2, 5, 40, 300]))
        part = slice(begin, begin + length)
        match rng.integers(4):
            case 0:
                x[part] += rng.uniform(2, 15)
            case 1:
                x[part] = x[begin]
            case 2:
                x[part] = rng.uniform(35, 55)
            case _:
                x[part] += rng.normal(0, 4, len(x[part]))
    stream = changed(stream, slice(None), 1, x)
    judged, _ = judge(stream)

    of_jump, of_stuck = trained().arrays["jump"], trained().arrays["stuck"]
    usual = usual_at(stream)
    noise = trembling(x, usual, trained().arrays["noise"])
    natural_s = of_jump["natural_us"][1] / 1e6
    hold = Hold(of_jump["allowed"][1], of_jump["limit"][1], natural_s, usual, lambda k: noise[k], 12)
    at_s = (stream.at - stream.at[0]) / 1e6
    of_humidity = judged.flags >> (quality.CHANNEL_SHIFT + 1) & 1 != 0
    expected_stuck = np.array(stuck_reference(x, at_s, of_stuck["flat_us"][1] / 1e6))
    expected_jump = np.array([hold.step(k, value) for k, value in enumerate(x)])
    assert of_humidity.tolist() == (expected_stuck | expected_jump).tolist()
    assert ((judged.flags & quality.JUMP) != 0).tolist() == expected_jump.tolist()
    assert expected_jump.any()
