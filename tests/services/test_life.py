"""A model's life on the real servers, by pages and API: born, promoted, asked, replaced, refused, rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.services import life
from tests.services.life import LIVE, PAST, Person
from tests.stack import Stack

pytestmark = pytest.mark.service
FAULTY = timedelta(hours=3)  # the last part of the live readings
BY = 9.0  # °C: what the injected fault is off by


@pytest.fixture
def sieis(tmp_path: Path) -> Iterator[Stack]:
    with life.small_fleet(tmp_path / "data") as running:
        running.start("worker", "-m", "celery", "-A", "sieis_site", "worker", "--loglevel", "WARNING")
        yield running


def test_a_model_lives_from_thirty_simulated_days_to_its_roll_back(sieis: Stack, tmp_path: Path) -> None:
    alice, bob, now = Person(sieis, "alice"), Person(sieis, "bob"), datetime.now(UTC)
    assert "No model yet" in alice.page("/models/")

    first = trained_by_the_page(alice)
    assert first["stage"] == "candidate"
    assert alice.act(f"/models/{first['name']}/promote", why="the first one").status_code == 200
    life.consumer_serves(sieis, first["name"])

    readings = life.live_readings(now - LIVE + timedelta(seconds=life.INTERVAL_S), now)
    ill = str(readings[0]["mote_id"])
    faulty = [one for one in readings if one["timestamp"] >= (now - FAULTY).timestamp()]
    for reading in faulty:
        reading["temperature"] += BY * (str(reading["mote_id"]) == ill)
    quiet = readings[: len(readings) - len(faulty)]
    life.send(sieis, quiet)
    newest = f"{datetime.fromtimestamp(quiet[-1]['timestamp'], UTC):%Y-%m-%dT%H:%M:%SZ}"
    for mote in {str(one["mote_id"]) for one in quiet if one["timestamp"] == quiet[-1]["timestamp"]}:
        assert scored(bob, f"mote_id={mote}&site=main&at={newest}") == [first["name"]]

    life.send(sieis, faulty)
    alert = sieis.wait_until(lambda: alert_seen_by(bob, f"mote:main/{ill}", first["name"]), "consumer", wait_s=60)
    said = bob.act(f"/alerts/{alert['id']}/judge", verdict="real", note="its sensor was loose")
    assert said.status_code == 200, said.text
    (counted,) = [one for one in alice.ask("/ml/precision") if one["name"] == first["name"]]
    assert (counted["n"], counted["real"]) == (1, 1)

    second = made_by_one_of_two_who_ask_at_once(sieis, alice)
    assert second["stage"] == "candidate", "an engineer is to decide"
    assert second["data"]["left_out"]["labelled"] > 0, "what Bob called a fault is not learnt as normal"
    compared = alice.ask(f"/models/{second['name']}/comparison")["comparison"]
    assert compared["with"] == first["name"]
    assert compared["confirmed"]["n"] >= 1, "what Bob confirmed is asked of both"
    assert second["metrics"]["gate"]["words"].startswith("Waits for an engineer; ")
    assert second["name"] in alice.page("/models/watch/")

    worse_is_refused_with_the_reason(sieis, alice, tmp_path / "broken.csv", now - PAST - timedelta(days=2))
    assert serving(alice) == first["name"]

    assert alice.act(f"/models/{second['name']}/promote", why="it has learnt more").status_code == 200
    life.consumer_serves(sieis, second["name"])
    sieis.wait_until(lambda: serving(alice) == second["name"], "web", wait_s=30)
    assert alice.act("/models/rollback", profile="indoor", why="we liked the first one").status_code == 200
    life.consumer_serves(sieis, first["name"])
    sieis.wait_until(lambda: serving(alice) == first["name"], "web", wait_s=30)
    card = alice.page(f"/models/card/{first['name']}/")
    assert "we liked the first one" in card
    assert len(life.whole_versions(sieis)) == 3


def trained_by_the_page(alice: Person) -> Any:
    asked = alice.submit("/models/training/start", profile="indoor", days="31", promote="never")
    assert "1 training asked for" in asked.text
    (job,) = alice.ask("/ml/jobs")["results"]
    version = alice.made(job["id"])
    assert version["metrics"]["n_readings"] > 0, "held out"
    assert version["name"] in alice.page("/models/")
    return version


def made_by_one_of_two_who_ask_at_once(sieis: Stack, alice: Person) -> Any:
    assert alice.act("/ml/policies/indoor", method="PATCH", mode="manual", days=30).status_code == 200
    both = (alice, Person(sieis, "alice"))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda who: who.act("/ml/retrain", profile="indoor"), both))
    started, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert (started.status_code, refused.status_code) == (202, 409)
    job = started.json()["job_id"]
    assert f"job {job} is " in refused.json()["detail"]
    assert len(alice.ask("/ml/jobs")["results"]) == 2
    return alice.made(job)


def worse_is_refused_with_the_reason(sieis: Stack, alice: Person, path: Path, end: datetime) -> None:
    """What learnt from sensors that say anything holds everything for normal."""
    begin = end - timedelta(days=2)
    life.broken_days(path, begin, end)
    sieis.manage("import_readings", str(path), "--pack", "indoor", "--site", "main", "--yes")
    asked = {"start": begin.isoformat(), "end": end.isoformat(), "promote": "gate"}
    worse = alice.made(alice.retrain(**asked))
    assert worse["stage"] == "candidate"
    gate = worse["metrics"]["gate"]
    assert "the gate refuses it: " in gate["words"]
    assert "confirmed events that it would lose: 1, at most 0 wanted" in gate["words"], gate
    assert "the gate refuses it: " in alice.page(f"/models/card/{worse['name']}/")


def scored(person: Person, query: str) -> list[str]:
    return [one["model_version"] for one in person.ask(f"/ml/scored?{query}")]


def serving(person: Person) -> str:
    return str(person.ask("/ml/model/info?profile=indoor")["model_version"])


def alert_seen_by(person: Person, subject: str, version: str) -> Any:
    """The mote's alert that holds an event which this version has seen."""
    for alert in person.ask("/alerts?limit=100")["results"]:
        if alert["subject"] == subject and version in scored(person, f"alert={alert['id']}"):
            return alert
    return None
