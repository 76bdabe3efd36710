"""Readings by the API: many motes in one call, page by page, summed up, and as lines for other programs."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from django.utils import timezone

from sensors.lake import lake
from sensors.models import Mote, Site
from sensors.readings import micros
from sensors.registry import profiles
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
SPAN = {"start": "2026-03-02T11:00:00Z", "end": "2026-03-02T12:00:00Z"}


@pytest.fixture
def ask(charlie_client, monkeypatch):
    """Two motes with six readings each, half a minute apart, from 11 o'clock on."""
    monkeypatch.setattr(timezone, "now", lambda: NOON)
    builders.install_fleet(motes=("7", "8"))
    profile = profiles()["indoor"]
    for code, level in (("7", 20.0), ("8", 30.0)):
        values = np.column_stack([level + np.arange(6.0), np.full(6, 40.0), np.full(6, 100.0), np.full(6, 2.7)])
        mote = Mote.objects.get(code=code).pk
        hot().write(profile, builders.batch(profile, values, mote=mote, start_us=micros(NOON - HOUR)).to_table())

    def get(accept="application/json", **query):
        return charlie_client.get("/api/v1/sensors/readings", {**SPAN, **query}, headers={"Accept": accept})

    return get


def temperatures(answer):
    return [(row["mote"], row["values"]["temperature"]) for row in answer["readings"]]


def test_many_motes_are_told_one_after_the_other(ask):
    answer = ask(mote_id="7,8", channel="temperature").json()

    assert [mote for mote, _ in temperatures(answer)] == ["7"] * 6 + ["8"] * 6
    assert answer["readings"][0]["values"] == {"temperature": 20.0}
    assert (answer["tier"], answer["resolution"], answer["cursor"]) == ("hot", "raw", None)


def test_what_cannot_be_read_is_said_beside_what_can(ask, tmp_path):
    old = {"start": "2025-12-01T00:00:00Z"}
    assert ask(mote_id="7", **old).json()["missing"] == []

    table = hot().between(profiles()["indoor"], [Mote.objects.get(code="7").pk], NOON - HOUR, NOON)
    older = table.with_columns(pl.col("at") - timedelta(days=60), partition=pl.lit(0), offset=pl.int_range(len(table)))
    lake().append("silver/indoor", older, app_ids={0: "t/0"}, next_offsets={0: len(table)})
    assert len(ask(mote_id="7", **old).json()["readings"]) == 12
    for file in (tmp_path / "lake").rglob("*.parquet"):
        file.unlink()

    answer = ask(mote_id="7", **old).json()
    assert (len(answer["readings"]), answer["tier"]) == (6, "hot")
    assert "cannot be read" in answer["missing"][0]


def test_cursors_lead_through_all_motes_once(ask):
    told, cursor, n_pages = [], None, 0
    while n_pages == 0 or cursor:
        page = ask(mote_id="7,8", limit=5, **({"cursor": cursor} if cursor else {})).json()
        told += temperatures(page)
        cursor, n_pages = page["cursor"], n_pages + 1

    assert told == temperatures(ask(mote_id="7,8").json())
    assert n_pages == 3


def test_minutes_hours_and_days_hold_average_extremes_and_count(ask):
    minutes = ask(mote_id="7", resolution="1m").json()["readings"]
    (hour,) = ask(mote_id="7", resolution="1h").json()["readings"]
    (day,) = ask(mote_id="7", resolution="1d", start="2026-03-02T00:00:00Z").json()["readings"]

    assert [(one["at"], one["values"]["temperature"]["avg"]) for one in minutes] == [
        ("2026-03-02T11:00:00Z", 20.5),
        ("2026-03-02T11:01:00Z", 22.5),
        ("2026-03-02T11:02:00Z", 24.5),
    ]
    assert hour["values"]["temperature"] == {"avg": 22.5, "min": 20.0, "max": 25.0, "count": 6}
    assert (hour["at"], day["at"]) == ("2026-03-02T11:00:00Z", "2026-03-02T00:00:00Z")


def test_a_day_begins_at_midnight_of_the_sites_clock(ask):
    Site.objects.update(time_zone="Europe/Berlin")

    (day,) = ask(mote_id="7", resolution="1d", start="2026-03-01T00:00:00Z").json()["readings"]

    assert day["at"] == "2026-03-01T23:00:00Z"


@pytest.mark.parametrize(("hours", "resolution"), [(1, "raw"), (24, "1m"), (24 * 30, "1h"), (24 * 300, "1d")])
def test_auto_chooses_by_the_span(ask, hours, resolution):
    start = (NOON - hours * HOUR).isoformat()

    assert ask(mote_id="7", resolution="auto", start=start).json()["resolution"] == resolution


def test_summed_pages_go_on_with_their_cursor(ask):
    first = ask(mote_id="7", resolution="1m", limit=2).json()
    second = ask(mote_id="7", resolution="1m", limit=2, cursor=first["cursor"]).json()

    assert (len(first["readings"]), len(second["readings"]), second["cursor"]) == (2, 1, None)


def test_lines_for_other_programs_hold_the_same(ask):
    lines = [json.loads(line) for line in ask("application/x-ndjson", mote_id="7").content.splitlines()]
    rows = list(csv.DictReader(io.StringIO(ask("text/csv", mote_id="7").content.decode())))
    hours = list(csv.DictReader(io.StringIO(ask("text/csv", mote_id="7", resolution="1h").content.decode())))

    assert [line["values"]["temperature"] for line in lines] == [float(row["temperature"]) for row in rows]
    assert rows[0]["at"] == "2026-03-02T11:00:00Z"
    assert hours[0]["temperature.avg"] == "22.5"


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ({"mote_id": "7", "channel": "co2"}, "channel", "“co2”"),
        ({"mote_id": ","}, "mote_id", "at least one mote"),
        ({"mote_id": "7", "cursor": "nonsense"}, "cursor", "“nonsense”"),
        ({"mote_id": "7", "resolution": "5m"}, "resolution", "5m"),
        ({"mote_id": "7", "resolution": "1m", "start": "2026-01-01T00:00:00Z"}, "resolution", "at most two days"),
    ],
)
def test_a_wrong_question_says_what_is_wrong_in_every_form(ask, query, field, words):
    for accept in ("application/json", "text/csv"):
        answer = ask(accept, **query)
        assert answer.status_code == 400
        (error,) = json.loads(answer.content)["errors"]
        assert error["field"] == field
        assert words in error["detail"]
