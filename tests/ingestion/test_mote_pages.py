"""The pages of motes as the server draws them: the list, each mote's stretch with its figures, and who may do what."""

from __future__ import annotations

import doctest
import json
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.core.cache import cache
from django.utils import timezone

from alerts.models import Event
from ingestion.models import LedgerHour
from ingestion.pages import mote_page
from ingestion.pages.mote_series import MOST_POINTS, coverage, series, thinned
from mlops.models import Label
from sensors import corrections, quality, registry, services
from sensors.lake import lake
from sensors.models import Mote, SensorGrade
from sensors.readings import Battery, Imputation, micros
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
INDOOR = builders.profile(
    builders.channel(imputation=Imputation("hold", 3600.0)),
    builders.channel("voltage", physical=(1.5, 3.5), normal=(2.3, 3.0), unit="V"),
    battery=Battery("voltage", low=2.4, empty=2.0),
)
RANGE = "?from=2026-03-02T12:00:00Z&to=2026-03-02T13:00:00Z"


@pytest.fixture(autouse=True)
def fresh_cache():
    cache.clear()


@pytest.fixture
def fleet(db):
    builders.install_fleet(motes=("7", "8", "10"), profile=INDOOR)
    return registry.current_fleet()


def mote(code: str = "7") -> Mote:
    return Mote.objects.select_related("site", "zone", "profile").get(code=code, site__code="main")


def store(values: Any, *, code: str = "7", start=NOON, step_s: float = 30.0) -> None:
    made = builders.batch(INDOOR, values, mote=mote(code).pk, start_us=micros(start), step_s=step_s)
    made.flags[:] = quality.range_flags(INDOOR, made.values) | quality.battery_flags(INDOOR, made.values)
    hot().write(INDOOR, made.to_table())


def book(code: str, hours: dict[Any, int]) -> None:
    for hour, n in hours.items():
        line, _ = LedgerHour.objects.get_or_create(hour=hour, profile="indoor", topic="t", partition=0)
        line.motes[str(mote(code).pk)] = n
        line.save()


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def told(answer: Any) -> dict[str, Any]:
    found = re.search(r'<script id="mote-data" type="application/json">(.*?)</script>', answer.content.decode(), re.S)
    return json.loads(found[1])


def codes(answer: Any) -> list[str]:
    return [row.mote.code for row in answer.context["rows"]]


# ---- the list -----------------------------------------------------------------------------------------------


def test_the_list_tells_state_battery_grade_delivery_and_when_each_was_heard(fleet, charlie_client):
    now = timezone.now()
    store([[20.0, 2.31]], start=now - timedelta(seconds=5))
    hour = now.replace(minute=0, second=0, microsecond=0)
    for back in range(1, 24):
        LedgerHour.objects.create(
            hour=hour - timedelta(hours=back), profile="indoor", topic="t", partition=0, motes={str(mote().pk): 60}
        )
    SensorGrade.objects.create(
        mote=mote(), channel="temperature", grade="D", starts_at=NOON, ends_at=NOON, graded_at=NOON
    )

    answer = charlie_client.get("/motes/")

    seven = answer.context["rows"][0]
    assert (seven.presence, seven.volts, seven.power.is_low, seven.grade) == ("live", "2.31", True, "D")
    assert seven.delivery == pytest.approx(0.48, abs=0.025)  # 60 of 120 an hour, and nothing in this one yet
    assert (answer.context["rows"][1].presence, answer.context["rows"][1].delivery) == ("never_seen", None)
    assert "2.31 V low" in text(answer)


def test_an_hour_that_brought_too_much_makes_up_for_no_silent_one(fleet, charlie_client):
    store([[20.0, 2.7]] * 3600, step_s=1.0)
    store([[20.0, 2.7]], start=NOON + timedelta(hours=4))
    book("7", {NOON: 3600, NOON + timedelta(hours=4): 1})

    [seven, *_] = charlie_client.get("/motes/").context["rows"]

    assert seven.delivery == pytest.approx(122 / 481)  # the day of a site that ended ends with its last reading


def test_a_mote_that_began_just_now_owes_nothing_of_the_time_before(fleet, charlie_client):
    began = timezone.now() - timedelta(seconds=50)
    store([[20.0, 2.7]] * 2, start=began)
    spoke = (began, began + timedelta(seconds=30))
    book("7", Counter(one.replace(minute=0, second=0, microsecond=0) for one in spoke))

    [seven, *_] = charlie_client.get("/motes/").context["rows"]

    assert seven.delivery == 1.0


def test_a_silence_at_the_end_counts_against_a_mote(fleet, charlie_client):
    store([[20.0, 2.7]] * 120)
    store([[20.0, 2.7]] * 481, code="8")
    book("7", {NOON: 120})
    book("8", {NOON + timedelta(hours=n): 120 for n in range(4)} | {NOON + timedelta(hours=4): 1})

    seven, eight, _ = charlie_client.get("/motes/").context["rows"]

    assert eight.delivery == 1.0
    assert seven.delivery == pytest.approx(120 / 481)


def test_a_healthy_mote_with_a_slower_rhythm_delivers_all_on_the_list_too(fleet, charlie_client):
    store([[20.0, 2.7]] * 1441, step_s=60.0)
    book("7", {NOON + timedelta(hours=n): 60 for n in range(24)} | {NOON + timedelta(hours=24): 1})

    [seven, *_] = charlie_client.get("/motes/").context["rows"]

    assert seven.delivery == pytest.approx(1.0)


def test_days_left_are_a_band_where_the_voltage_falls(fleet, charlie_client):
    for day in range(8):
        store([[20.0, 2.8 - 0.05 * day]], start=NOON + timedelta(days=day))

    [seven, *_] = charlie_client.get("/motes/").context["rows"]

    assert seven.power.left == "4–13 days left"  # 2.45 V, 0.45 V above empty, 0.05 V a day
    assert "4–13 days left when last heard" in text(charlie_client.get("/motes/"))


def test_the_address_filters_and_sorts(fleet, charlie_client):
    builders.install_fleet(motes=("7",), site="hall", profile=INDOOR)
    services.change_mote(mote("8"), state="maintenance", who=None, now=NOON)
    services.change_mote(mote("10"), state="retired", who=None, now=NOON)

    assert codes(charlie_client.get("/motes/")) == ["7", "7", "8"]
    assert codes(charlie_client.get("/motes/?state=all&site=main")) == ["7", "8", "10"]
    assert codes(charlie_client.get("/motes/?state=all&site=main&sort=-code")) == ["10", "8", "7"]
    assert codes(charlie_client.get("/motes/?state=retired")) == ["10"]
    assert codes(charlie_client.get("/motes/?q=8")) == ["8"]
    assert codes(charlie_client.get("/motes/?grade=F")) == []
    assert len(codes(charlie_client.get("/motes/?grade=none&sort=up&state=lost"))) == 3
    assert "1 retired not shown" in text(charlie_client.get("/motes/"))


def test_the_list_costs_the_same_number_of_queries_for_five_hundred_motes(
    fleet, charlie_client, django_assert_max_num_queries, django_assert_num_queries
):
    with django_assert_max_num_queries(25) as few:
        charlie_client.get("/motes/")
    builders.install_fleet(motes=tuple(f"m{n}" for n in range(497)), profile=INDOOR)

    with django_assert_num_queries(len(few.captured_queries)):
        answer = charlie_client.get("/motes/")

    assert len(answer.context["page"].object_list) == 500


def test_several_motes_change_their_state_at_once_and_only_by_those_who_may(fleet, bob_client, charlie_client):
    chosen = {"mote": [mote("7").pk, mote("8").pk], "state": "maintenance", "back": "/motes/?site=main"}

    assert charlie_client.post("/motes/state", chosen).status_code == 403
    answer = bob_client.post("/motes/state", chosen, follow=True)

    assert "2 of 2 motes changed; all are maintenance now." in text(answer)
    assert answer.redirect_chain == [("/motes/?site=main", 302)]
    assert list(Mote.objects.order_by("id").values_list("state", flat=True)) == ["maintenance", "maintenance", "active"]


@pytest.mark.parametrize(
    ("post", "words"),
    [({"state": "asleep"}, "“asleep” is no state"), ({"state": "active", "mote": ["x"]}, "No mote was chosen")],
)
def test_a_change_that_makes_no_sense_changes_nothing_and_says_why(fleet, bob_client, post, words):
    assert words in text(bob_client.post("/motes/state", {**post, "back": "//evil.example/"}, follow=True))


def test_without_motes_and_with_retired_ones_only_the_list_says_what_to_do(charlie_client):
    assert "load_pack indoor" in text(charlie_client.get("/motes/"))

    builders.install_fleet(motes=("7",), profile=INDOOR)
    services.change_mote(mote(), state="retired", who=None, now=NOON)

    assert "Show the retired" in text(charlie_client.get("/motes/"))


# ---- one mote -----------------------------------------------------------------------------------------------


def test_without_a_range_the_page_ends_at_the_newest_reading_however_old(fleet, charlie_client):
    store([[20.0, 2.7], [21.0, 2.7]])

    answer = charlie_client.get("/motes/main/7/")

    shown = answer.context["stretch"]
    assert (shown.end - shown.start, shown.end) == (timedelta(hours=6), NOON + timedelta(seconds=31))
    assert told(answer)["channels"][0]["line"] == [[micros(NOON) / 1000, 20.0], [micros(NOON) / 1000 + 30_000, 21.0]]


def test_presets_and_steps_stand_in_addresses(fleet, charlie_client):
    page = charlie_client.get(f"/motes/main/7/{RANGE}").content.decode()

    assert "?from=2026-03-02T11:00:00Z&amp;to=2026-03-02T12:00:00Z" in page  # a step back
    assert "?from=2026-03-02T07:00:00Z&amp;to=2026-03-02T13:00:00Z" in page  # six hours
    assert 'aria-current="true">1 h</a>' in page


@pytest.mark.parametrize("query", ["?from=yesterday&to=", "?from=2026-03-02T12:00:00", "?to=9999-12-31T23:59:59Z"])
def test_an_address_that_makes_no_sense_shows_something(fleet, charlie_client, query):
    assert charlie_client.get(f"/motes/main/7/{query}").status_code == 200


def test_figures_are_of_the_clean_and_say_what_they_leave_out_and_why(fleet, charlie_client):
    store([[20.0, 2.7], [122.0, 2.3], [22.0, 2.7], [24.0, 2.39]])

    answer = charlie_client.get(f"/motes/main/7/{RANGE}")

    temperature, voltage = answer.context["charts"]
    assert temperature.figures == [("min", "20.00"), ("mean", "21.00"), ("max", "22.00")]
    assert (temperature.series.n_clean, temperature.series.n_left_out) == (2, 2)
    assert temperature.left_out == "2 left out: 2 low battery, 1 out of range"
    assert (voltage.series.n_left_out, voltage.series.n_clean) == (0, 4)
    assert [point[1] for point in told(answer)["channels"][0]["flagged"]] == [122.0, 24.0]
    assert temperature.coverage == words_percent(4 * 30 / 3600)


def words_percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def test_no_line_is_drawn_across_a_silence_and_the_gap_is_counted(fleet, charlie_client):
    store([[20.0, 2.7], [20.5, 2.7]])
    store([[21.0, 2.7]], start=NOON + timedelta(seconds=30 + 301))

    answer = charlie_client.get(f"/motes/main/7/{RANGE}")

    assert [value for _, value in told(answer)["channels"][0]["line"]] == [20.0, 20.5, None, 21.0]
    assert "1 gap" in text(answer)


def test_a_correction_shows_in_line_figures_and_list_at_once(fleet, bob, bob_client):
    store([[20.0, 2.7], [30.0, 2.7]])
    later = NOON + timedelta(seconds=30)
    corrections.correct(
        mote(), kind="exclude", channel="temperature", starts_at=later, ends_at=later + timedelta(hours=1),
        why="a lamp beside it", who=bob, now=NOON,
    )  # fmt: skip

    answer = bob_client.get(f"/motes/main/7/{RANGE}")

    [temperature, _] = answer.context["charts"]
    assert (temperature.series.high, temperature.left_out) == (20.0, "1 left out: 1 excluded")
    assert "a lamp beside it" in text(answer)
    assert "data-undo" in answer.content.decode()


def test_imputed_values_are_a_line_of_their_own_and_in_no_figure(fleet, charlie_client):
    store([[20.0, 2.7], [21.0, 2.7]], step_s=120.0)

    plain, filled = (charlie_client.get(f"/motes/main/7/{RANGE}{more}") for more in ("", "&impute=1"))

    assert told(plain)["channels"][0]["imputed"] == []
    assert [value for _, value in told(filled)["channels"][0]["imputed"]] == [20.0, 20.0, 20.0]
    assert told(filled)["channels"][1]["imputed"] == []
    for name in ("n", "mean", "coverage", "n_left_out"):
        assert getattr(plain.context["charts"][0].series, name) == getattr(filled.context["charts"][0].series, name)


def test_events_grades_labels_and_deeds_of_the_mote_stand_on_its_page(fleet, alice, alice_client):
    store([[20.0, 2.7]])
    Event.objects.create(
        mote=mote(), noticed_at=NOON, started_at=NOON - timedelta(minutes=5), last_at=NOON, n_readings=3,
        peak_surprise=9.0, peak_at=NOON, peak_channel="temperature", layer="jump", words="jumped", model_version=1,
    )  # fmt: skip
    Label.objects.create(mote=mote(), kind="drift", starts_at=NOON, ends_at=NOON, source="simulator")
    SensorGrade.objects.create(
        mote=mote(), channel="temperature", grade="C", reasons=["jumps 12 times a day"], starts_at=NOON, ends_at=NOON,
        graded_at=NOON,
    )  # fmt: skip
    services.change_mote(mote(), label="by the window", who=alice, now=NOON)

    answer = alice_client.get(f"/motes/main/7/{RANGE}")

    assert told(answer)["events"][0]["words"] == "jumped"
    for words in ("jumps 12 times a day", "drift", "change mote: label – → by the window", "alice"):
        assert words in text(answer)


def test_each_role_gets_the_deeds_it_may_do(fleet, alice_client, bob_client, charlie_client):
    store([[20.0, 2.7]])
    marks = ('data-state="maintenance"', 'id="correct-open"', 'data-dialog="edit"')

    def has(client: Any) -> list[bool]:
        page = client.get(f"/motes/main/7/{RANGE}").content.decode()
        return [mark in page for mark in marks]

    assert has(charlie_client) == [False, False, False]
    assert has(bob_client) == [True, True, False]
    assert has(alice_client) == [True, True, True]


def test_a_retired_mote_keeps_its_page_and_its_past(fleet, charlie_client):
    store([[20.0, 2.7]])
    services.change_mote(mote(), state="retired", who=None, now=NOON)

    answer = charlie_client.get("/motes/main/7/")

    assert "This mote is retired" in text(answer)
    assert told(answer)["channels"][0]["line"][0][1] == 20.0


def test_a_mote_that_was_never_heard_and_one_that_is_not_there(fleet, charlie_client):
    assert "has never been heard" in text(charlie_client.get("/motes/main/8/"))
    assert charlie_client.get("/motes/main/99/").status_code == 404


class AwayStore:
    """A hot store whose server does not answer."""

    def latest(self, *args, **kwargs):
        raise StoreUnavailable("connection refused by 10.0.0.7:8086")

    between = latest

    def close(self):
        pass


def test_without_the_hot_store_both_pages_stand_and_say_so(fleet, charlie_client, settings):
    settings.SIEIS_HOT_STORE = {"BACKEND": "tests.ingestion.test_mote_pages.AwayStore", "OPTIONS": {}}

    for path in ("/motes/", "/motes/main/7/"):
        assert "connection refused by 10.0.0.7:8086" in text(charlie_client.get(path))


def test_what_the_hot_store_cannot_tell_comes_from_the_lake(fleet, charlie_client, settings):
    made = builders.batch(INDOOR, [[20.0, 2.7], [21.0, 2.7]], mote=mote().pk, start_us=micros(NOON))
    lake().append("silver/indoor", made.to_table(), app_ids={0: "t/0"}, next_offsets={0: 2})
    settings.SIEIS_HOT_STORE = {"BACKEND": "tests.ingestion.test_mote_pages.AwayStore", "OPTIONS": {}}

    page = text(charlie_client.get(f"/motes/main/7/{RANGE}"))

    assert "only what the other has is shown" in page
    assert "2 readings" in page


def test_no_page_has_inline_script_or_style_whatever_a_label_says(fleet, alice_client):
    Mote.objects.filter(code="7").update(label="</script><script>alert(1)</script>")
    store([[20.0, 2.7]])

    for path in ("/motes/", "/motes/main/7/"):
        page = alice_client.get(path).content.decode()
        assert "<script>alert(1)" not in page
        assert not re.search(r"<script(?![^>]*(src=|application/json))|<style|\sstyle=|\son\w+=", page), path


# ---- the Live page ------------------------------------------------------------------------------------------


def test_the_live_page_marks_what_is_suspect_and_averages_it_into_no_sparkline(fleet, charlie_client):
    now = timezone.now()
    store([[20.0, 2.7]] * 3 + [[122.0, 2.7]], start=now - timedelta(seconds=8), step_s=2.0)

    page = charlie_client.get("/").content.decode()
    trail = charlie_client.get("/live/trails").json()["motes"]["main/7"]

    row = re.search(r'<tr data-key="main/7".*?</tr>', page, re.S)[0]
    assert re.search(r'class="value is-suspect">122\.00<', row)
    assert re.search(r'class="value">2\.70<', row)
    assert {value for value in trail["temperature"] if value is not None} == {20.0}


def test_the_live_page_shows_readings_as_they_are_corrected(fleet, charlie_client):
    now = timezone.now()
    store([[20.0, 2.7]], start=now - timedelta(seconds=4))
    corrections.correct(
        mote(), kind="offset", channel="temperature", offset=5.0, starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(hours=1), why="checked", who=None, now=now,
    )  # fmt: skip

    row = re.search(r'<tr data-key="main/7".*?</tr>', charlie_client.get("/").content.decode(), re.S)[0]

    assert "25.00" in row
    assert 25.0 in charlie_client.get("/live/trails").json()["motes"]["main/7"]["temperature"]


# ---- what is drawn of a long stretch ------------------------------------------------------------------------


def test_thinning_keeps_a_single_spike_among_a_hundred_thousand_readings():
    n = 100_000
    at = np.arange(n) * 1_000_000
    values = np.sin(np.arange(n) / 500)
    values[61_803] = 99.0

    rows = thinned(at, values, (0, n * 1_000_000), MOST_POINTS)

    assert len(rows) <= MOST_POINTS + 2
    assert 61_803 in rows
    assert (np.diff(rows) > 0).all()


def test_a_long_line_keeps_its_wide_gaps_and_says_how_many_points_it_is(db):
    n = 50_000
    step = np.where(np.arange(n) == 25_000, 40 * 86_400, 30)
    batch = builders.batch(INDOOR, np.column_stack([np.full(n, 20.0), np.full(n, 2.7)]))
    batch.at[:] = micros(NOON) + np.cumsum(step) * 1_000_000

    [temperature, _] = series(INDOOR, batch.to_table(), micros(NOON), int(batch.at[-1]) + 1)

    assert sum(value is None for _, value in temperature.line) == 1
    assert temperature.n == temperature.n_clean == n
    assert temperature.is_thinned
    assert temperature.n_drawn <= MOST_POINTS + 2


@pytest.mark.parametrize(
    ("at_s", "share"),
    [([], 0.0), ([0, 30, 60, 90], 1.0), ([0, 90], 0.5), (list(range(120)), 1.0), (list(range(60)), 0.74), ([60], 0.25)],
)
def test_coverage_counts_a_reading_for_its_interval_however_many_come_in_it(at_s, share):
    at = np.array(at_s, dtype=np.int64) * 1_000_000

    assert coverage(at, 30.0, 0, 120_000_000) == pytest.approx(share, abs=0.005)


def test_the_words_are_as_their_examples_say():
    assert doctest.testmod(mote_page).failed == 0


# ---- events, and the motes beside it --------------------------------------------------------------------------


def test_events_of_the_range_are_listed_and_those_of_other_days_are_not(fleet, charlie_client):
    store([[20.0, 2.7]] * 10)
    for start, words in ((NOON, "Temperature 45.0 °C"), (NOON - timedelta(days=2), "Voltage jumped")):
        Event.objects.create(
            mote=mote(), noticed_at=start, started_at=start, last_at=start + timedelta(minutes=5), n_readings=11,
            ended_at=start + timedelta(minutes=6), peak_surprise=9.0, peak_at=start, peak_channel="temperature",
            layer="level", words=words, model_version=1,
        )  # fmt: skip

    page = text(charlie_client.get(f"/motes/main/7/{RANGE}"))

    assert "Temperature 45.0 °C 11 level none" in page
    assert "Voltage jumped" not in page


def test_the_motes_beside_it_are_those_that_one_counts_next_and_the_range_goes_along(fleet, charlie_client):
    store([[20.0, 2.7]] * 10)

    page = charlie_client.get(f"/motes/main/8/{RANGE}").content.decode()
    first = charlie_client.get("/motes/main/7/").content.decode()

    links = dict(re.findall(r'href="(/motes/main/\w+/[^"]*)" data-key="([jk])"', page))
    kept = "?from=2026-03-02T12:00:00Z&amp;to=2026-03-02T13:00:00Z"
    assert links == {f"/motes/main/7/{kept}": "k", f"/motes/main/10/{kept}": "j"}
    assert re.findall(r'data-key="([jk])"', first) == ["j"]
