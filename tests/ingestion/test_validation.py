"""Quality reports: every check on data that passes it and on data that fails it, and the deed through its doors."""

from __future__ import annotations

import doctest
import json
import secrets
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import numpy as np
import polars as pl
import pytest
from django.conf import settings as conf
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion import tasks
from ingestion.models import LedgerHour, QualityReport, Quarantined
from ingestion.validation import failing, reports, words
from ingestion.validation.figures import COUNTS, Bounds, Tally
from ingestion.validation.rows import Scope, days, excluded, walk
from sensors import corrections, quality, registry
from sensors.lake import Lake, lake
from sensors.models import Correction, Mote, Profile, Site
from sensors.overlay import Overlay
from sensors.readings import Formula, micros
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.conftest import NOON
from tests.contracts.test_hot_store import influx
from tests.contracts.test_lake import empty, s3_options
from tests.ingestion.quality_site import GOOD, HOUR, INDOOR, LIMITS, good, quality_site, table  # noqa: F401


def check(report: QualityReport, name: str) -> dict:
    return next(one for one in report.checks if one["name"] == name)


def failed(report: QualityReport) -> list[str]:
    return [one["name"] for one in report.checks if one["has_passed"] is False]


# ---- each check ----


def test_good_data_passes_every_check_with_full_quality(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))

    report = place.report()

    assert failed(report) == []
    assert (report.state, report.has_passed, report.quality_percent, report.n_readings) == ("done", True, 100.0, 240)
    assert [one["name"] for one in report.checks] == [
        "records", "duplicates", "motes", "dates", "range:temperature", "range:humidity", "range:voltage", "missing",
        "nulls", "hot", "times", "battery",
    ]  # fmt: skip
    assert all(one["words"].endswith(".") for one in report.checks)


def test_readings_that_the_books_do_not_know_fail_the_records(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))
    place.keep(good(place.keys["7"], 3, start=NOON + timedelta(hours=2)), in_books=False)

    found = check(place.report(), "records")

    assert found["has_passed"] is False
    assert "243 readings" in found["words"]
    assert "the books say 240: 3 that the books do not know" in found["words"]


def test_readings_that_the_books_miss_fail_the_records(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))
    place.keep(good(place.keys["7"], 2, start=NOON + timedelta(hours=1)), in_lake=False)

    assert "2 that the books say were stored are not there" in check(place.report(), "records")["words"]


def test_what_has_just_arrived_may_be_in_the_lake_before_the_books(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))
    place.keep(good(place.keys["7"], 3, start=NOON + timedelta(hours=1)), in_books=False)

    just_now = place.report(now=NOON + timedelta(hours=1, minutes=2))

    assert check(just_now, "records")["has_passed"] is True
    assert "3 more than the books say so far" in check(just_now, "records")["words"]


def test_books_that_do_not_add_up_fail_the_records(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))
    LedgerHour.objects.update(received=500)

    assert "1 line of the books do not add up" in check(place.report(), "records")["words"]


def test_duplicates_are_those_of_the_books_and_those_in_the_lake(place):
    rows = good(place.keys["7"])
    place.keep(rows, good(place.keys["8"]))
    place.keep(rows.head(2), in_hot=False)
    LedgerHour.objects.update(duplicate=1, received=243)

    report = place.report()

    assert (check(report, "duplicates")["n"], check(report, "duplicates")["of"]) == (3, 243)
    assert check(report, "duplicates")["has_passed"] is False
    assert check(report, "records")["has_passed"] is True
    assert (
        place.behind(report, "duplicates").rows.select("mote", "at").rows() == rows.head(2).select("mote", "at").rows()
    )


def test_history_that_was_imported_again_is_told_and_not_held_against_the_data(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))
    LedgerHour.objects.create(
        hour=NOON, profile="indoor", topic=conf.SIEIS_TOPICS["history"], partition=0, received=240, duplicate=240
    )

    report = place.report()

    assert (check(report, "duplicates")["n"], check(report, "duplicates")["has_passed"]) == (0, True)
    assert "240 of the messages were history that was imported again" in check(report, "duplicates")["words"]


def test_a_mote_that_says_nothing_fails_the_coverage_and_lowers_the_quality(place):
    place.keep(good(place.keys["7"]))

    report = place.report()

    assert failed(report) == ["motes"]
    assert "Nothing came from 8." in check(report, "motes")["words"]
    assert report.quality_percent == 50.0
    assert [one["n"] for one in report.detail["motes"]] == [120, 0]


def test_a_retired_mote_is_not_missed(place):
    Mote.objects.filter(code="8").update(state=Mote.State.RETIRED)
    registry.touch_fleet()
    place.keep(good(place.keys["7"]))

    assert place.report().has_passed


def test_a_gap_of_more_than_a_day_fails_the_range_and_says_between_what(place):
    place.keep(good(place.keys["7"], 10), good(place.keys["8"], 10))
    place.keep(good(place.keys["7"], 10, start=NOON + timedelta(hours=32)))

    report = place.report()

    found = check(report, "dates")
    assert found["has_passed"] is False
    assert "31.9 h: mote 7, from 2026-03-02 12:04 UTC to 2026-03-03 20:00 UTC" in found["words"]
    assert "2 of 2 days have readings" in found["words"]
    assert place.behind(report, "dates").rows["at"].to_list() == [NOON + timedelta(hours=32)]


def test_values_beyond_the_physical_range_fail_and_the_normal_band_stands_beside(place):
    hot_air = [(21.0, 45.0, 2.8)] * 100 + [(35.0, 45.0, 2.8)] * 10 + [(60.0, 45.0, 2.8)] * 6 + [(122.0, 45.0, 2.8)] * 4
    place.keep(table(place.keys["7"], hot_air), good(place.keys["8"]))

    report = place.report()

    found = check(report, "range:temperature")
    assert (found["n"], found["of"], found["has_passed"]) == (10, 240, False)
    assert "0 below, 10 above; 4 (1.67%) even outside −60 to 100 °C" in found["words"]
    assert "8.33% are outside the normal band 18 to 28 °C" in found["words"]
    assert check(report, "range:humidity")["has_passed"] is True
    assert report.quality_percent == round(100 * (720 - 10) / 720, 2)
    page = place.behind(report, "range:temperature")
    assert page.rows["temperature"].to_list() == [60.0] * 6 + [122.0] * 4


def test_missing_readings_are_counted_from_each_motes_first_to_its_last(place):
    half = good(place.keys["7"], 241)[::2]  # an hour and more at every second interval
    place.keep(
        pl.concat([half[:60], good(place.keys["7"], 61, start=NOON + timedelta(hours=1))]), good(place.keys["8"])
    )

    report = place.report()

    found = check(report, "missing")
    assert (found["n"], found["of"], found["has_passed"]) == (60, 301, False)
    assert "fewest of mote 7, 66.85%" in found["words"]
    assert len(place.behind(report, "missing").rows) == 60


def test_a_mote_with_a_slower_rhythm_is_judged_by_its_own_and_the_profiles_stands_beside(place):
    place.keep(good(place.keys["7"], 60, step_s=60.0), good(place.keys["8"]))

    report = place.report()

    assert check(report, "missing")["has_passed"] is True
    assert "a mote's own slower rhythm: 7" in check(report, "missing")["words"]
    [slow, _] = report.detail["motes"]
    assert (slow["own_interval_s"], slow["delivered"]) == (60.0, 1.0)
    assert slow["delivered_by_profile"] == pytest.approx(0.504, abs=0.001)


def test_more_readings_than_promised_in_one_hour_do_not_fill_another(place):
    every_second = good(place.keys["7"], 3600, step_s=1.0)
    place.keep(every_second, good(place.keys["7"], 1, start=NOON + timedelta(hours=4)), good(place.keys["8"]))

    [busy, _] = place.report().detail["motes"]

    assert busy["delivered"] == pytest.approx(122 / 481)


def test_another_interval_may_be_asked_for(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))

    found = check(place.report(reports.Span(interval_s=15.0)), "missing")

    assert found["has_passed"] is False
    assert "One every 15 s was asked for; the profile promises one every 30 s." in found["words"]


def test_null_values_are_told_by_channel(place):
    holes = np.array([GOOD] * HOUR)
    holes[:20, 1] = np.nan
    place.keep(table(place.keys["7"], holes), good(place.keys["8"]))

    report = place.report()

    assert failed(report) == ["nulls"]
    assert "humidity 8.33%" in check(report, "nulls")["words"].lower()
    assert len(place.behind(report, "nulls").rows) == 20


def test_readings_that_the_hot_store_lacks_are_counted_and_found(place):
    place.keep(good(place.keys["7"], 100), good(place.keys["8"]))
    place.keep(good(place.keys["7"], 20, start=NOON + timedelta(minutes=50)), in_hot=False)

    report = place.report()

    found = check(report, "hot")
    assert (found["n"], found["of"], found["has_passed"]) == (20, 240, False)
    assert found["figure"] == "-20 (8.33%)"
    assert place.behind(report, "hot").rows["at"].min() == NOON + timedelta(minutes=50)


def test_what_the_hot_store_forgot_after_its_newest_reading_is_not_missed(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))
    place.keep(good(place.keys["7"], 1, start=NOON + timedelta(days=30, minutes=30)), in_lake=False)
    hot().forget(INDOOR, list(place.keys.values()), NOON + timedelta(minutes=30))

    found = check(place.report(), "hot")

    assert (found["of"], found["n"]) == (120, 0)


def test_what_the_hot_store_may_have_forgotten_is_not_compared(place):
    place.keep(good(place.keys["7"], start=NOON - timedelta(days=40)), in_hot=False)
    place.keep(good(place.keys["7"]), good(place.keys["8"]))

    found = check(place.report(), "hot")

    assert (found["of"], found["n"]) == (240, 0)


def test_a_reading_measured_after_it_arrived_fails_the_times(place):
    from_the_future = good(place.keys["7"]).with_columns(received_at=pl.col("at") - timedelta(hours=1))
    place.keep(from_the_future.head(2), good(place.keys["7"])[2:], good(place.keys["8"]))
    for offset, site in enumerate(["main", "lab"]):  # the lab has an 8 of its own
        Quarantined.objects.create(
            topic="t",
            partition=0,
            offset=offset,
            received_at=NOON,
            reason="future_timestamp",
            mote_code="8",
            site=site,
            payload=b"",
            size=0,
        )

    report = place.report()

    assert failed(report) == ["times"]
    assert "1 message of these motes was put aside" in check(report, "times")["words"]
    assert len(place.behind(report, "times").rows) == 2


def test_a_dying_battery_is_told_mote_by_mote_with_what_it_did(place):
    dying = [(21.0, 45.0, 2.8)] * 100 + [(21.0, 45.0, 2.3)] * 10 + [(122.0, 45.0, 2.1)] * 10
    place.keep(table(place.keys["7"], dying), good(place.keys["8"]))

    report = place.report()

    assert "battery" in failed(report)
    assert check(report, "battery")["n"] == 20
    told, silent = [one["battery"] for one in report.detail["motes"]]
    assert (
        "first fell below 2.40 V on 2026-03-02 12:50 UTC and was not seen above it after 2026-03-02 12:49 UTC" in told
    )
    assert "out of range in 50.00% of them (in the others in 0.00%)" in told
    assert "as far as 122.00 °C" in told
    assert silent == ""


# ---- what people left out ----


def test_excluded_values_count_apart_and_nowhere_else(place):
    odd = [(122.0, 45.0, 2.8)] * 20 + [(21.0, 45.0, 2.8)] * 100
    place.keep(table(place.keys["7"], odd), good(place.keys["8"]))
    corrections.correct(
        Mote.objects.get(code="7"), kind=Correction.Kind.EXCLUDE, channel="temperature", starts_at=NOON,
        ends_at=NOON + timedelta(minutes=10), why="repair", who=None, now=NOON,
    )  # fmt: skip

    report = place.report()

    assert report.has_passed
    assert check(report, "range:temperature")["of"] == 220
    assert report.detail["left_out"]["excluded"] == 20
    assert "left 20 values out" in report.detail["left_out"]["words"]
    assert report.quality_percent == 100.0


def test_what_follows_from_an_excluded_value_is_excluded_with_it():
    dew_point = replace(INDOOR.channels[0], code="dew_point", formula=Formula("dew_point", ("temperature", "humidity")))
    stretch = Overlay(7, "temperature", True, 0.0, 0, 10)
    rows = pl.DataFrame({"mote": [7, 7, 8], "at": [5, 10, 5]})

    for channel, taken in ((dew_point, True), (INDOOR.channels[0], True), (INDOOR.channels[1], False)):
        assert rows.with_columns(out=excluded([stretch], channel))["out"].to_list() == [taken, False, False]


def test_a_recalibrated_stretch_is_judged_as_it_reads_now(place):
    place.keep(table(place.keys["7"], [(61.0, 45.0, 2.8)] * HOUR), good(place.keys["8"]))
    corrections.correct(
        Mote.objects.get(code="7"), kind=Correction.Kind.OFFSET, channel="temperature", offset=-40.0, starts_at=NOON,
        ends_at=NOON + timedelta(hours=2), why="calibrated", who=None, now=NOON,
    )  # fmt: skip

    report = place.report()

    assert report.has_passed
    assert report.detail["left_out"]["corrected"] == HOUR


# ---- little data ----


def test_an_empty_lake_fails_with_a_sentence(place):
    report = place.report()

    assert (report.state, report.has_passed, report.quality_percent) == ("done", False, 0.0)
    assert "no reading" in check(report, "records")["words"]


def test_one_reading_is_judged(place):
    Mote.objects.filter(code="8").delete()
    registry.touch_fleet()
    place.keep(good(place.keys["7"], 1))

    assert place.report().has_passed


def test_a_range_holds_only_its_own_readings_and_whole_hours_of_the_books(place):
    place.keep(good(place.keys["7"], 3 * HOUR), good(place.keys["8"], 3 * HOUR))

    report = place.report(reports.Span(NOON + timedelta(minutes=30), NOON + timedelta(minutes=150)))

    assert failed(report) == []
    assert report.n_readings == 480
    assert "The lake has 240 readings" in check(report, "records")["words"]


def test_two_sites_do_not_see_each_other(place):
    builders.install_fleet(motes=("7",), profile=INDOOR, site="lab")
    there = Mote.objects.get(site__code="lab").pk
    place.keep(good(place.keys["7"]), good(place.keys["8"]), good(there, 5))

    assert [place.report(site=site).n_readings for site in ("main", "lab")] == [240, 5]
    assert place.report(site="lab").has_passed


def test_a_channel_of_a_newer_version_is_null_in_older_readings(place):
    place.keep(good(place.keys["7"]))
    newer = builders.profile(*INDOOR.channels, builders.channel("co2"), battery=INDOOR.battery)
    scope = Scope(newer, (place.keys["7"],))
    source = lake().scan("silver/indoor")

    [(_, rows)] = walk(source, scope, days(source, scope))

    assert rows["co2"].null_count() == HOUR


# ---- chunks, and a property ----


def tally(rows: pl.DataFrame, scope: Scope, chunk: int) -> Tally:
    source = rows.with_columns(date=pl.col("at").dt.date()).lazy()
    counted = Tally(scope, Bounds.of(scope, LIMITS, dict.fromkeys(scope.motes, 0), NOON + timedelta(days=9)))
    for _, part in walk(source, scope, days(source, scope), chunk=chunk):
        counted.take(part)
    return counted


READING = st.tuples(
    st.integers(1, 3),
    st.integers(0, 60 * 50),
    st.sampled_from([None, -300.0, -50.0, 21.0, 30.0, 60.0, 130.0]),
    st.sampled_from([None, 45.0, 101.0]),
    st.sampled_from([None, 2.2, 2.8]),
    st.sampled_from([0, quality.STUCK | 1 << quality.CHANNEL_SHIFT]),
)


@settings(max_examples=20)
@given(st.lists(READING, min_size=1, max_size=40), st.sampled_from([1, 7, 10_000]))
def test_no_value_is_counted_in_two_places_and_none_is_lost(readings, chunk):
    motes, minutes, *values, flags = zip(*readings, strict=True)
    at = pl.Series([NOON + timedelta(minutes=one) for one in minutes]).cast(pl.Datetime("us", "UTC"))
    columns = dict(zip(INDOOR.names, (pl.Series(one, dtype=pl.Float64) for one in values), strict=True))
    rows = pl.DataFrame({"mote": motes, "at": at, **columns, "flags": flags, "received_at": at})
    overlays = (corrections.overlay.Overlay(2, "humidity", True, 0.0, micros(NOON), micros(NOON) + 10**10),)

    found = tally(rows, Scope(INDOOR, (1, 2, 3), overlays=overlays), chunk).found()

    assert found is not None
    unique = found.n - found.total("repeated")
    assert found.n == len(rows)
    assert unique == rows.select("mote", "at").n_unique()
    for code in INDOOR.names:
        counts = found.channel(code)
        exclusive = ("excluded", "null", "below", "above", "suspect", "trusted")
        assert sum(counts[name] for name in exclusive) == unique
        assert counts["far"] <= counts["below"] + counts["above"] <= counts["abnormal"] + counts["excluded"]
    for delivery in found.delivery(INDOOR).values():
        assert 0 < delivery.share <= 1
        assert 0 < delivery.by_profile <= 1


def test_the_chunks_in_which_rows_are_read_change_nothing(place):
    random = np.random.default_rng(5)
    parts = [
        table(mote, random.normal(GOOD, (30.0, 30.0, 0.3), (3000, 3)), start=NOON - timedelta(hours=3), step_s=97.0)
        for mote in (1, 2)
    ]
    rows, scope = pl.concat(parts), Scope(INDOOR, (1, 2))

    whole, small = (tally(rows, scope, chunk).found() for chunk in (10**6, 100))

    assert whole is not None
    assert small is not None
    assert whole.motes.equals(small.motes)
    assert (whole.own_s, whole.silence) == (small.own_s, small.silence)
    assert whole.delivery(INDOOR) == small.delivery(INDOOR)
    assert all(whole.channel(code)[name] >= 0 for code in INDOOR.names for name in COUNTS)


def test_the_words_are_as_their_examples_say():
    assert doctest.testmod(words).failed == 0


# ---- the readings behind a verdict ----


def test_the_list_of_failing_readings_is_paged_without_a_hole(place):
    bad = [(60.0, 45.0, 2.8)] * 25
    place.keep(table(place.keys["7"], bad), table(place.keys["8"], bad))
    report = place.report()

    pages, behind = [], None
    while True:
        page = place.behind(report, "range:temperature", behind=behind, limit=7)
        pages.append(page.rows)
        if (behind := page.following) is None:
            break

    assert [len(one) for one in pages] == [7] * 7 + [1]
    assert pl.concat(pages).select("mote", "at").n_unique() == 50
    assert failing.Place.parse(str(failing.Place(5, 7))) == failing.Place(5, 7)


def test_the_list_is_narrowed_by_mote_and_flag(place):
    place.keep(table(place.keys["7"], [(60.0, 45.0, 2.8)] * 9), table(place.keys["8"], [(60.0, 45.0, 2.8)] * 5))
    report = place.report()

    assert len(place.behind(report, "range:temperature", mote="8").rows) == 5
    assert len(place.behind(report, "range:temperature", flag="out_of_range").rows) == 14
    assert len(place.behind(report, "range:temperature", flag="late").rows) == 0


@pytest.mark.parametrize("name", ["motes", "records", "nonsense"])
def test_a_check_without_readings_says_which_have_some(place, name):
    place.keep(good(place.keys["7"]))
    report = place.report()

    with pytest.raises(failing.NoReadings, match="it has: dates, range:temperature"):
        place.behind(report, name)


# ---- the deed ----


def test_one_scope_has_one_unfinished_report(place):
    first = place.ask()

    with pytest.raises(reports.AlreadyValidating, match=f"report {first.pk}"):
        place.ask()

    place.made(first)
    assert place.ask().pk != first.pk


def test_a_report_whose_maker_was_killed_fails_by_its_lease(place):
    report = place.ask(now=NOON)
    QualityReport.objects.update(state="running", heartbeat_at=NOON)

    reports.expire(NOON + timedelta(seconds=60))
    report.refresh_from_db()
    assert report.state == "running"
    again = place.ask(now=NOON + timedelta(seconds=121))

    report.refresh_from_db()
    assert (report.state, again.state) == ("failed", "queued")
    assert "was killed" in report.error


def test_a_report_that_was_given_up_meanwhile_stays_failed(place):
    place.keep(good(place.keys["7"]))
    report = place.ask()

    class Slow:
        """A lake during whose reading the lease runs out."""

        def version(self, name):
            QualityReport.objects.filter(pk=report.pk).update(state="failed", error="expired")
            return lake().version(name)

        def scan(self, name, version=None):
            return lake().scan(name, version)

    with pytest.raises(reports.GivenUp):
        place.made(report, lake=Slow())

    report.refresh_from_db()
    assert (report.state, report.error) == ("failed", "expired")


def test_a_failure_is_kept_with_its_reason(place):
    place.keep(good(place.keys["7"]))
    report = place.ask()

    class Away:
        """A lake whose bucket does not answer."""

        def version(self, name):
            raise StoreUnavailable("the lake at http://s3 cannot be used now")

        scan = version

    with pytest.raises(StoreUnavailable):
        place.made(report, lake=Away())

    report.refresh_from_db()
    assert report.state == "failed"
    assert "http://s3" in report.error


def test_a_report_says_how_much_better_or_worse_than_the_last_one(place):
    place.keep(table(place.keys["7"], [(60.0, 45.0, 2.8)] * 60), good(place.keys["8"], 60))
    first = place.report()
    place.keep(
        good(place.keys["7"], 60, start=NOON + timedelta(minutes=30)),
        good(place.keys["8"], 60, start=NOON + timedelta(minutes=30)),
    )

    second = place.report()

    since = reports.compared(second)
    assert since is not None
    assert since.report == first
    assert since.quality == pytest.approx(8.34, abs=0.02)
    assert since.checks["range:temperature"].points == pytest.approx(-25.0)
    assert since.checks["range:temperature"].is_better
    assert reports.compared(first) is None


@pytest.mark.parametrize(
    ("profile", "site", "said"),
    [("smoke", None, "indoor at main"), (None, "nowhere", "no motes at site “nowhere”")],
)
def test_a_scope_without_motes_is_refused_with_what_there_is(place, profile, site, said):
    with pytest.raises(reports.CannotValidate, match=said):
        reports.one_scope(profile, site)


def test_several_scopes_must_be_told_apart(place):
    builders.install_fleet(motes=("7",), profile=INDOOR, site="lab")

    with pytest.raises(reports.CannotValidate, match="indoor at lab; indoor at main"):
        reports.one_scope("indoor", None)


@pytest.mark.service
def test_a_report_is_the_same_on_servers(db, addresses):
    profile = replace(INDOOR, code=f"test-{secrets.token_hex(4)}")
    builders.install_fleet(motes=("7", "8"), profile=profile)
    keys = list(Mote.objects.values_list("pk", flat=True))
    s3, prefix = s3_options(addresses), profile.code
    bucket, store = Lake(f"s3://{addresses['S3_BUCKET']}/{prefix}", s3), influx(addresses)
    rows = pl.concat(table(key, [(60.0, 45.0, 2.8)] * 120, profile=profile) for key in keys)
    rows = rows.with_columns(offset=pl.int_range(len(rows), dtype=pl.Int64))
    scope = Profile.objects.get(), Site.objects.get()
    later = NOON + timedelta(days=1)
    asked = reports.ask(scope, reports.Span(), trigger="person", who=None, now=later)
    try:
        bucket.append(f"silver/{profile.code}", rows, app_ids={0: "t/0"}, next_offsets={0: len(rows)})
        store.write(profile, rows)
        made = reports.make_report(
            asked, lake=bucket, hot=store, fleet=registry.current_fleet(), now=later, limits=LIMITS
        )
        page = reports.failing_readings(
            made, failing.Asked("range:temperature"), lake=bucket, hot=store, fleet=registry.current_fleet()
        )
    finally:
        store.forget(profile, keys, NOON + timedelta(days=9))
        store.close()
        empty(addresses["S3_BUCKET"], prefix, s3)

    assert failed(made) == ["records", "range:temperature"]
    assert (check(made, "hot")["of"], check(made, "hot")["n"]) == (240, 0)
    assert len(page.rows) == 100


# ---- its doors ----


def run(*arguments: str) -> str:
    out = StringIO()
    try:
        call_command("validate_data", *arguments, stdout=out)
    except CommandError as error:
        out.write(f"exit {error.returncode}: {error}")
    return out.getvalue()


def test_the_command_prints_the_missions_layout_and_exits_with_one_on_a_failure(place):
    place.keep(table(place.keys["7"], [(60.0, 45.0, 2.8)] * HOUR), good(place.keys["8"]))

    said = run("--site", "main")

    assert "✓ Duplicates: 0 (0.00%) — PASS" in said
    assert "✗ Temperature range: 120 (50.00%) — FAIL" in said
    assert "Overall quality: 83.33% — FAIL" in said
    assert said.endswith("exit 1: Not good enough: Indoor at main.")


def test_the_command_speaks_json_and_passes(place):
    place.keep(good(place.keys["7"]), good(place.keys["8"]))

    [told] = json.loads(run("--json"))

    assert (told["profile"], told["site"], told["has_passed"], told["trigger"]) == ("indoor", "main", True, "command")
    assert told["checks"][0]["name"] == "records"
    assert QualityReport.objects.get().checks == told["checks"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--site", "nowhere"), "no motes at site “nowhere”"),
        (("--start", "2026-03-03T00:00Z", "--end", "2026-03-02T00:00Z"), "is not before the end"),
        (("--start", "yesterday"), "“yesterday” is no instant"),
        (("--interval", "0"), "give seconds above 0"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(place, arguments, said):
    assert said in run(*arguments)
    assert not QualityReport.objects.exists()


def test_the_nightly_task_makes_a_report_of_each_profile_and_site(place):
    builders.install_fleet(motes=("1",), profile=INDOOR, site="lab")
    place.keep(good(place.keys["7"]), good(place.keys["8"]))

    tasks.validate_all()
    for report in QualityReport.objects.filter(state="queued"):
        tasks.make_report(report.pk)

    made = QualityReport.objects.order_by("site__code")
    assert [(one.site.code, one.state, one.trigger, one.has_passed) for one in made] == [
        ("lab", "done", "schedule", False), ("main", "done", "schedule", True),
    ]  # fmt: skip
    tasks.expire_reports()


def test_without_any_mote_the_nightly_task_does_nothing(db):
    tasks.validate_all()

    assert not QualityReport.objects.exists()
