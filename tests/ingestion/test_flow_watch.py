"""Silence is one alert for what has one cause, tells nothing twice, and never blames a mote for the path."""

from __future__ import annotations

from datetime import datetime, timedelta

from ingestion.flow import skew, watch
from ingestion.flow.watch import Path, Spoken, Standing, silences
from tests.conftest import NOON

MINUTE = timedelta(minutes=1)
LONG_AGO = NOON - timedelta(days=1)
PATIENCE = timedelta(seconds=300)


def spoken(n: int, *, zone: str = "lab", site: str = "main", first: int = 1, heard_at: datetime = NOON) -> list[Spoken]:
    return [Spoken(one, site, zone, str(one), 30.0, heard_at) for one in range(first, first + n)]


def subjects(found: watch.Found) -> list[str]:
    return [one.subject for one in found.troubles]


def stands(
    *subjects: str, kind: str = watch.SILENT, at: datetime = NOON + 6 * MINUTE, **more: datetime
) -> list[Standing]:
    return [Standing(subject, kind, at, more.get("last_seen_at", at), more.get("was_back_at")) for subject in subjects]


# ---- who is silent ------------------------------------------------------------------------------------------


def test_a_mote_is_silent_only_after_its_patience():
    motes = [*spoken(1), *spoken(9, first=2, heard_at=NOON + PATIENCE)]

    early = silences(motes, now=NOON + PATIENCE, well=LONG_AGO, standing=())
    late = silences(motes, now=NOON + PATIENCE + MINUTE, well=LONG_AGO, standing=())

    assert subjects(early) == []
    assert subjects(late) == ["mote:main/1"]
    assert "2026-03-02 12:00 UTC" in late.troubles[0].words
    assert late.troubles[0].mote == 1


def test_forty_two_motes_of_one_zone_falling_silent_make_one_alert():
    elsewhere = spoken(20, zone="hall", first=100, heard_at=NOON + 6 * MINUTE)

    found = silences([*spoken(42), *elsewhere], now=NOON + 6 * MINUTE, well=LONG_AGO, standing=())

    assert subjects(found) == ["zone:main/lab"]
    assert "42 of 42 motes of zone main/lab" in found.troubles[0].words
    assert len(found.silent) == 42


def test_motes_that_cross_their_patience_one_after_the_other_are_one_alert_from_the_first_look_on():
    motes = [one for i in range(42) for one in spoken(1, first=i, heard_at=NOON + timedelta(seconds=i))]

    found = silences(motes, now=NOON + PATIENCE + timedelta(seconds=5), well=LONG_AGO, standing=())

    assert len(found.silent) == 5
    assert subjects(found) == ["zone:main/lab"]


def test_silence_in_several_zones_of_a_site_is_the_sites():
    found = silences([*spoken(5), *spoken(5, zone="hall", first=10)], now=NOON + 6 * MINUTE, well=LONG_AGO, standing=())

    assert subjects(found) == ["site:main"]


def test_motes_without_a_zone_are_gathered_by_their_site():
    found = silences(spoken(5, zone=""), now=NOON + 6 * MINUTE, well=LONG_AGO, standing=())

    assert subjects(found) == ["site:main"]


def test_when_all_sites_are_silent_the_stream_is_what_is_silent():
    motes = [*spoken(5), *spoken(5, site="north", first=10), *spoken(5, site="south", first=20)]

    found = silences(motes, now=NOON + 6 * MINUTE, well=LONG_AGO, standing=())

    assert subjects(found) == ["stream:readings"]


def test_two_motes_of_a_large_zone_are_two_alerts():
    motes = [*spoken(2), *spoken(40, first=10, heard_at=NOON + 6 * MINUTE)]

    found = silences(motes, now=NOON + 6 * MINUTE, well=LONG_AGO, standing=())

    assert subjects(found) == ["mote:main/1", "mote:main/2"]


def test_motes_that_died_on_different_days_are_not_gathered():
    motes = [one for i in range(4) for one in spoken(1, first=i, heard_at=NOON - timedelta(days=i))]

    found = silences(motes, now=NOON + 6 * MINUTE, well=LONG_AGO - timedelta(days=9), standing=())

    assert subjects(found) == [f"mote:main/{i}" for i in (3, 2, 1, 0)]


# ---- what was told before -----------------------------------------------------------------------------------


def test_a_watch_that_begins_anew_tells_the_same_and_ends_nothing():
    motes = [
        *spoken(42),
        *spoken(1, zone="hall", first=50),
        *spoken(9, zone="hall", first=60, heard_at=NOON + 9 * MINUTE),
    ]

    found = silences(motes, now=NOON + 9 * MINUTE, well=LONG_AGO, standing=stands("zone:main/lab", "mote:main/50"))

    assert subjects(found) == ["zone:main/lab", "mote:main/50"]
    assert found.over == []


def test_a_mote_that_speaks_again_ends_its_alert():
    back = spoken(1, heard_at=NOON + 7 * MINUTE)

    found = silences(back, now=NOON + 8 * MINUTE, well=LONG_AGO, standing=stands("mote:main/1"))

    assert [one.subject for one in found.over] == ["mote:main/1"]


def test_who_fell_silent_again_within_half_an_hour_must_speak_for_as_long():
    flapping = stands("mote:main/1", was_back_at=NOON)
    at = flapping[0].last_seen_at

    for minutes, is_over in ((2, False), (29, False), (31, True)):
        now = at + minutes * MINUTE
        found = silences(spoken(1, heard_at=now), now=now, well=LONG_AGO, standing=flapping)
        assert bool(found.over) == is_over


def test_a_mote_that_flaps_for_a_day_makes_two_alerts():
    standing: list[Standing] = []
    was_back_at, n_raised = None, 0
    for minute in range(24 * 60):
        now = NOON + minute * MINUTE
        heard_at = now - timedelta(minutes=max(minute % 14 - 4, 0))  # four minutes of speech, ten of silence
        found = silences(spoken(1, heard_at=heard_at), now=now, well=LONG_AGO, standing=standing)
        if found.over:
            standing, was_back_at = [], now
        for trouble in found.troubles:
            first = standing[0].first_seen_at if standing else now
            n_raised += not standing
            standing = [Standing(trouble.subject, trouble.kind, first, now, was_back_at)]

    assert n_raised == 2


def test_a_zone_that_comes_back_hands_on_the_two_motes_that_do_not():
    back = [*spoken(2), *spoken(40, first=10, heard_at=NOON + 8 * MINUTE)]

    found = silences(back, now=NOON + 8 * MINUTE, well=LONG_AGO, standing=stands("zone:main/lab"))

    assert [one.subject for one in found.over] == ["zone:main/lab"]
    assert subjects(found) == ["mote:main/1", "mote:main/2"]


def test_a_zone_of_which_ten_are_still_silent_keeps_its_alert_and_makes_no_others():
    back = [*spoken(10), *spoken(32, first=20, heard_at=NOON + 8 * MINUTE)]

    found = silences(back, now=NOON + 8 * MINUTE, well=LONG_AGO, standing=stands("zone:main/lab"))

    assert subjects(found) == ["zone:main/lab"]
    assert "10 of 42" in found.troubles[0].words


def test_a_mote_that_was_dead_before_keeps_its_own_alert_while_its_zone_is_silent():
    dead = spoken(1, first=99, heard_at=NOON - timedelta(days=3))
    own = stands("mote:main/99", at=NOON - timedelta(days=2))

    first = silences([*dead, *spoken(9)], now=NOON + 6 * MINUTE, well=LONG_AGO, standing=own)
    later = silences(
        [*dead, *spoken(9)], now=NOON + 9 * MINUTE, well=LONG_AGO, standing=[*own, *stands("zone:main/lab")]
    )

    for found in (first, later):
        assert sorted(subjects(found)) == ["mote:main/99", "zone:main/lab"]
        assert "9 of 9" in next(one.words for one in found.troubles if one.mote is None)
        assert found.over == []


def test_a_mote_under_maintenance_keeps_its_alert_and_gets_none():
    found = silences([], now=NOON + 8 * MINUTE, well=LONG_AGO, standing=stands("mote:main/1"), resting={"mote:main/1"})

    assert (found.troubles, found.over) == ([], [])


def test_a_mote_of_which_nothing_is_expected_any_more_loses_its_alert():
    found = silences([], now=NOON + 8 * MINUTE, well=LONG_AGO, standing=stands("mote:main/1"))

    assert [one.subject for one in found.over] == ["mote:main/1"]


# ---- the path -----------------------------------------------------------------------------------------------


def path(**changes: object) -> Path:
    values = {
        "topic": "sensor-readings", "beat_at": NOON, "running_since": LONG_AGO, "stuck_at": None,
        "readings_per_s": 42.0, "lag": {"sensor-readings/0": 3},
    }  # fmt: skip
    return Path(**{**values, **changes})  # type: ignore[arg-type]


def test_while_the_path_is_in_trouble_no_mote_is_blamed_and_no_alert_ends():
    for troubled in (path(stuck_at="hot_store"), path(running_since=None), path(lag={"a/0": 99_999})):
        well = watch.well_since(troubled, None)
        found = silences(spoken(42), now=NOON + 6 * MINUTE, well=well, standing=stands("mote:main/50"))

        assert (found.troubles, found.over, found.silent) == ((), (), ())


def test_a_consumer_that_says_no_more_that_it_lives_is_one_alert():
    gone = path(beat_at=NOON - 2 * MINUTE, running_since=None)

    (trouble,) = watch.path_troubles(gone, now=NOON)

    assert (trouble.subject, trouble.kind) == ("consumer:sensor-readings", watch.AWAY)


def test_a_consumer_that_was_never_there_is_no_trouble_but_nobody_is_blamed():
    never = path(beat_at=None, running_since=None)

    assert watch.path_troubles(never, now=NOON) == []
    assert watch.well_since(never, None) is None


def test_a_backlog_of_more_than_a_minute_names_the_partitions_behind():
    (trouble,) = watch.path_troubles(path(lag={"readings/0": 5000, "readings/1": 2}), now=NOON)

    assert trouble.kind == watch.BEHIND
    assert "readings/0: 5,000" in trouble.words


def test_after_an_outage_motes_have_their_whole_patience_again():
    well = watch.well_since(path(), NOON + 5 * MINUTE)
    motes = spoken(42)

    soon = silences(motes, now=NOON + 9 * MINUTE, well=well, standing=())
    later = silences(motes, now=NOON + 11 * MINUTE, well=well, standing=())

    assert subjects(soon) == []
    assert subjects(later) == ["zone:main/lab"]


def test_a_mote_that_was_told_silent_before_an_outage_is_still_counted_after_it():
    told = stands("mote:main/1", at=NOON - timedelta(hours=1))
    motes = [*spoken(1, heard_at=NOON - timedelta(hours=2)), *spoken(9, first=2)]

    found = silences(motes, now=NOON + MINUTE, well=NOON, standing=told)

    assert (subjects(found), found.over, found.silent) == ([], [], {1})


# ---- clocks -------------------------------------------------------------------------------------------------


def sampled(*delays: float) -> list[skew.Sample]:
    samples: list[skew.Sample] = []
    for i, delay in enumerate(delays):
        samples = skew.with_sample(samples, i, delay)
    return samples


def test_a_clock_ahead_and_steady_lateness_are_told_with_their_sign():
    assert skew.skew_s(sampled(*[-42.0] * 5), 30.0, was_wrong=False) == 42.0
    assert skew.skew_s(sampled(*[600.0] * 5), 30.0, was_wrong=False) == -600.0
    assert skew.skew_s(sampled(*[0.05] * 9), 30.0, was_wrong=False) is None


def test_one_reading_from_the_future_makes_no_wrong_clock():
    assert skew.skew_s(sampled(0.1, 0.1, -280.0, 0.1, 0.1), 30.0, was_wrong=False) is None


def test_the_same_reading_seen_twice_is_one_sample():
    samples = skew.with_sample(skew.with_sample([], 7, -42.0), 7, -42.0)

    assert len(samples) == 1


def test_a_clock_near_the_bound_is_not_told_again_and_again():
    assert skew.skew_s(sampled(*[-9.0] * 5), 30.0, was_wrong=False) is None
    assert skew.skew_s(sampled(*[-9.0] * 5), 30.0, was_wrong=True) == 9.0
    assert skew.skew_s(sampled(*[-4.0] * 5), 30.0, was_wrong=True) is None


def test_wrong_clocks_of_a_whole_zone_are_one_alert_and_of_one_mote_its_own():
    motes = [*spoken(42), *spoken(9, zone="hall", first=50)]

    found = skew.skews(motes, {**dict.fromkeys(range(1, 43), 3600.0), 50: 20.0}, {50: 7}, now=NOON, standing=())

    assert [one.subject for one in found.troubles] == ["zone:main/lab", "mote:main/50"]
    assert "20 s ahead" in found.troubles[1].words
    assert "7 of its readings were put aside" in found.troubles[1].words
