"""Machines: the health score as the sum of its parts, its history, the page and the API."""

from __future__ import annotations

import doctest
import json
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from ingestion import machine_health
from ingestion.machine_health import health, scores
from ingestion.pages.machines_page import history
from sensors import registry
from sensors.installation import install_pack
from sensors.packs import read_pack
from sensors.stores import StoreUnavailable, hot
from sensors.wear import FAILING, Limits, limits, severities
from tests import builders
from tests.people import *  # noqa: F403

TOLD = json.loads((Path(__file__).parents[1] / "js" / "machine-health.json").read_text())
PACK = read_pack("machine")
OF_PACK = limits(PACK.profile, PACK.settings)
NAMES = ("healthy", "degrading", "failing")
GOOD, WORN, BROKEN = [55, 1.0, 50, 250], [75, 1.0, 50, 250], [95, 3.0, 50, 250]


def told_limits() -> list[Limits]:
    return [
        Limits(
            builders.channel(one["code"], label=one["label"], unit=one["unit"], normal=tuple(one["normal"])),
            one["high"] and tuple(one["high"]),
            one["low"] and tuple(one["low"]),
        )
        for one in TOLD["channels"]
    ]


@pytest.mark.parametrize("case", TOLD["cases"], ids=lambda case: case["story"])
def test_page_and_server_count_a_score_alike(case):
    values = [None if code in case.get("suspect", ()) else value for code, value in case["values"].items()]

    found = health(told_limits(), values, case["score"], names=TOLD["names"])

    assert found.stage == case["stage"]
    assert {part.code: round(part.lost, 6) for part in found.parts} == case["lost"]
    if found.score is not None:
        assert found.score == pytest.approx(100 - sum(part.lost for part in found.parts))


def test_the_words_are_those_of_their_example():
    assert doctest.testmod(machine_health).failed == 0


READINGS = st.lists(st.floats(-20, 2000), min_size=4, max_size=4)


@given(READINGS, READINGS, st.floats(0, 1), st.floats(0, 1))
def test_a_machine_in_a_worse_stage_never_has_the_better_score(one, other, score, other_score):
    severity = severities(OF_PACK, np.array([one, other]))
    total, stage = scores(severity, np.array([score, other_score]))

    assert all(0 <= value <= 100 for value in total)
    if stage[0] > stage[1]:
        assert total[0] < total[1]


def test_zones_of_a_gauge_cover_it_and_end_where_the_pack_says():
    pressure = OF_PACK[2]

    assert pressure.zones == [(2, 15, 30), (1, 30, 40), (0, 40, 60), (1, 60, 70), (2, 70, 85)]
    for one in OF_PACK:
        ends = [end for _, _, end in one.zones]
        assert [start for _, start, _ in one.zones[1:]] == ends[:-1]
        assert (one.zones[0][1], ends[-1]) == one.span


def test_fires_are_no_machines_and_neither_is_an_office():
    for name in ("smoke", "indoor", "climate"):
        pack = read_pack(name)
        assert limits(pack.profile, pack.settings) == ()


# ---- over stored readings ----------------------------------------------------------------------------------


@pytest.fixture
def hall(db):
    install_pack(PACK, site_code="main", time_zone="UTC", who=None, now=timezone.now())
    return registry.current_fleet()


def store(fleet, code: str, values: list[float], *, ago_s: float = 1.0, n: int = 1, flags: int = 0) -> None:
    profile, mote = fleet.profiles["machine"], fleet.find(code)
    start = int((timezone.now().timestamp() - ago_s - n + 1) * 1e6)
    told = builders.batch(profile, [values] * n, mote=mote.id, start_us=start, step_s=1.0)
    told.surprise[:] = 0.0
    told.flags[:] = flags
    hot().write(profile, told.to_table())


def test_the_machine_that_fails_stands_first_and_the_silent_one_last(hall, charlie_client):
    store(hall, "MACHINE_001", GOOD)
    store(hall, "MACHINE_002", BROKEN)
    store(hall, "MACHINE_003", WORN)
    store(hall, "MACHINE_004", BROKEN, ago_s=3600)

    answer = charlie_client.get("/api/v1/machines").json()["machines"]

    assert [(one["mote"], one["stage"]) for one in answer[:3]] == [
        ("MACHINE_002", "failing"), ("MACHINE_003", "degrading"), ("MACHINE_001", "healthy"),
    ]  # fmt: skip
    assert {one["mote"]: one["stage"] for one in answer[3:]} == {
        "MACHINE_004": "silent", "MACHINE_005": "never heard",
    }  # fmt: skip
    for one in answer[:3]:
        assert one["score"] == pytest.approx(100 - sum(part["lost"] for part in one["parts"]), abs=0.3)
    assert answer[3]["score"] is None
    worn = next(part for part in answer[1]["parts"] if part["code"] == "temperature")
    assert worn["why"] == "above 70 °C, where degrading begins"


def test_the_page_says_stage_and_gauges_in_words(hall, charlie_client):
    store(hall, "MACHINE_002", BROKEN)

    page = charlie_client.get("/machines/").content.decode()

    card = page[page.index('data-key="main/MACHINE_002"') :].partition("</article>")[0]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", card))
    assert "failing" in words
    assert "above 2.5 mm/s, where failing begins" in words
    assert "3.00 mm/s failing" in words
    assert "50.0 PSI normal" in words


def test_the_history_falls_where_the_machine_wears_and_is_open_where_nothing_was_heard(hall):
    store(hall, "MACHINE_001", GOOD, ago_s=300, n=300)
    store(hall, "MACHINE_001", BROKEN, ago_s=1, n=300)

    found = history(store=hot(), now=timezone.now(), window_s=900)

    values, stages = found.scores["main/MACHINE_001"], found.stages["main/MACHINE_001"]
    assert values[0] is None
    assert stages[0] is None
    assert values[40] == 100.0
    assert stages[40] == 0
    assert values[-5] < 50
    assert stages[-5] == FAILING
    assert len(found.at) == len(values) == 90
    assert set(found.scores) == {f"main/MACHINE_00{n}" for n in range(1, 6)}


def test_without_machines_the_page_says_how_to_get_some(db, charlie_client):
    builders.install_fleet()

    page = charlie_client.get("/machines/").content.decode()

    assert "python manage.py load_pack machine" in page
    assert charlie_client.get("/api/v1/machines").json() == {"machines": []}


class Away:
    """A hot store that does not answer."""

    def latest(self, profile, motes):
        raise StoreUnavailable("it is switched off")

    def close(self): ...


def test_a_store_that_is_away_is_said_and_no_error(hall, charlie_client, settings):
    settings.SIEIS_HOT_STORE = {"BACKEND": "tests.ingestion.test_machines.Away", "OPTIONS": {}}

    page = charlie_client.get("/machines/")

    assert page.status_code == 200
    assert "it is switched off" in page.content.decode()


def test_strangers_are_sent_away(db, mallory):
    assert mallory.get("/machines/").status_code == 302
    assert mallory.get("/api/v1/machines").status_code in (401, 403)


def test_a_window_that_makes_no_sense_is_refused_by_its_name(hall, charlie_client):
    answer = charlie_client.get("/api/v1/machines/history?window_s=1")

    assert answer.status_code == 400
    assert "window_s" in answer.content.decode()


def test_a_large_hall_sees_less_of_the_past_rather_than_waiting(hall):
    whole = history(store=hot(), now=timezone.now(), window_s=86_400)

    assert whole.step_s * 90 < timedelta(days=1).total_seconds()
