"""The History page: what a range adds up to, what is behind a cell or a bar, and what it says when it cannot."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from alerts.models import Event
from sensors import gold, stores
from sensors.lake import lake
from sensors.models import Mote
from sensors.readings import micros
from sensors.registry import profiles
from sensors.stores import StoreUnavailable, hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def fleet(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOON + HOUR / 2)
    builders.install_fleet(motes=("7", "8"))
    return {mote.code: mote.pk for mote in Mote.objects.all()}


@pytest.fixture
def write(fleet):
    until = 0

    def put(code, start, temperature):
        nonlocal until
        n = len(temperature)
        values = np.column_stack([temperature, np.full(n, 40.0), np.full(n, 100.0), np.full(n, 2.7)])
        batch = builders.batch(profiles()["indoor"], values, mote=fleet[code], start_us=micros(start))
        batch.offset[:] = np.arange(until, until + n)
        until += n
        hot().write(profiles()["indoor"], batch.to_table())
        lake().append("silver/indoor", batch.to_table(), app_ids={0: "t/0"}, next_offsets={0: until})

    return put


@pytest.fixture
def show(charlie_client):
    def get(path="/history/", **query):
        answer = charlie_client.get(path, query)
        assert answer.status_code == 200
        return html.unescape(answer.content.decode())

    return get


def data(page):
    return json.loads(re.search(r'<script id="history-data" type="application/json">(.*?)</script>', page, re.S)[1])


def line(page, channel, i=0):
    (found,) = [one for one in data(page)["channels"] if one["code"] == channel]
    return found["lines"][i]


def links(page, kind):
    return [html.unescape(one) for one in re.findall(r'href="(/history/readings/\?[^"]*' + kind + r'[^"]*)"', page)]


def test_a_week_adds_up_to_its_readings_days_and_quality(write, show):
    write("7", NOON - DAY, [20.0] * 100)
    write("8", NOON - HOUR, [30.0] * 100)

    page = show()

    assert '<dd class="value" id="n-readings">200</dd>' in page
    assert "2 <small>of 7</small>" in page
    assert "100 %" in page
    assert [point[1] for point in line(page, "temperature")["points"]] == [20.0, 30.0]


def test_a_spike_of_one_reading_reaches_the_band(write, show):
    write("7", NOON - HOUR, [20.0] * 59 + [44.0] + [20.0] * 59)

    (point,) = line(show(), "temperature")["points"]

    assert (point[2], point[3]) == (20.0, 44.0)


def test_an_anomalous_stretch_is_marked_under_the_channels_that_it_is_about(write, show, fleet):
    write("7", NOON - HOUR, [20.0] * 10)
    Event.objects.create(
        mote_id=fleet["7"], noticed_at=NOON - HOUR, started_at=NOON - HOUR, last_at=NOON - HOUR / 2, n_readings=9,
        peak_surprise=6.0, peak_at=NOON - HOUR, peak_channel="light", peak_value=1.0, layer="jump", words="x",
        contributions={"temperature": 0.05, "humidity": 0.2, "light": 0.75, "voltage": 0.0}, model_version=3,
    )  # fmt: skip

    marked = {one["code"]: one["ribbon"] for one in data(show())["channels"]}

    assert {code for code, spans in marked.items() if spans} == {"humidity", "light"}
    assert marked["light"][0][1] - marked["light"][0][0] == HOUR.total_seconds() * 500


def test_motes_are_compared_line_by_line_and_the_stretch_before_is_laid_under(write, show):
    write("7", NOON - HOUR, [20.0] * 10)
    write("8", NOON - HOUR, [30.0] * 10)
    write("7", NOON - HOUR - DAY, [10.0] * 10)
    gold.aggregate(lake(), profiles()["indoor"], now=NOON)
    day = {"from": "2026-03-02T00:00", "to": "2026-03-03T00:00"}

    apart = show(compare="motes", mote=["main/7", "main/8"], **day)
    before = show(compare="before", **day)

    assert [line(apart, "temperature", i)["label"] for i in (0, 1)] == ["Mote 7", "Mote 8"]
    assert line(apart, "temperature", 1)["points"][0][1] == 30.0
    now, past = line(before, "temperature")["points"][0], line(before, "temperature", 1)["points"][0]
    assert (now[1], past[1]) == (25.0, 10.0)
    assert now[0] == past[0]


def test_a_few_hours_of_a_mote_show_every_reading(write, show):
    write("7", NOON - HOUR, [20.0, 21.0, 22.0])

    page = show(mote="main/7", **{"from": "2026-03-02T10:00", "to": "2026-03-02T12:00"})

    assert data(page)["every"] == "raw"
    assert [value for _, value in line(page, "temperature")["points"]] == [20.0, 21.0, 22.0]


def test_a_cell_and_a_bar_open_exactly_their_readings(write, show):
    write("7", NOON - HOUR, [20.0] * 5 + [25.0] * 3)
    write("8", NOON - 26 * HOUR, [20.0] * 4)

    page = show()
    cell = next(one for one in links(page, "weekday=1") if "hour=11" in one)
    bar = next(one for one in links(page, "low=") if "low=25.0" in one)

    assert show(cell).count("<tr><td") == 8
    assert show(bar).count("<tr><td") == 3
    assert "Mon, 11:00 to 11:59" in show(cell)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"profile": "boat"}, "There is no profile “boat”"),
        ({"channel": "co2"}, "no channel “co2”"),
        ({"mote": "main/99"}, "There is no mote “main/99”"),
        ({"from": "yesterday"}, "“yesterday” is no date"),
        ({"from": "2026-03-05", "to": "2026-03-01"}, "is not before"),
    ],
)
def test_what_makes_no_sense_of_an_address_is_said_and_the_rest_is_shown(write, show, query, words):
    write("7", NOON - HOUR, [20.0])

    page = show(**query)

    assert words in page
    assert "history-data" in page


def test_without_the_hot_store_the_lake_answers_and_the_page_says_so(write, show, monkeypatch):
    write("7", NOON - DAY, [20.0] * 100)
    gold.aggregate(lake(), profiles()["indoor"], now=NOON)

    class Away:
        def between(self, *args, **kwargs):
            raise StoreUnavailable("influxdb at 10.0.0.9 does not answer")

        def close(self): ...

    monkeypatch.setattr(stores, "_hot", Away())
    page = show()

    assert '<dd class="value" id="n-readings">100</dd>' in page
    assert "influxdb at 10.0.0.9 does not answer" in page
    assert ">from the lake</span>" in page


def test_before_the_first_mote_and_before_the_first_reading_the_page_says_what_to_do(db, charlie_client, monkeypatch):
    assert "Nothing to look back on yet" in charlie_client.get("/history/").content.decode()
    builders.install_fleet(motes=("7",))
    assert "No reading in this range" in charlie_client.get("/history/").content.decode()
