"""What the looks of every minute left is told by page, API and /metrics, and so is that nobody looks any more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from ingestion import health, metrics
from ingestion.flow import canary
from sensors.models import ProcessHeartbeat
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
FOUND = {
    "n_motes": 42, "n_silent": 1, "n_slow": 1, "n_skewed": 1, "shares": {"main/5": 0.5}, "well_since": None,
    "silent": [{"mote": "7", "site": "main", "expected_s": 30.0, "since": "2026-03-02T12:00:00+00:00"}],
    "slow": [{"mote": "5", "site": "main", "expected_s": 30.0, "n": 10, "owed": 20.0, "share": 0.5}],
    "skewed": [{"mote": "9", "site": "main", "expected_s": 30.0, "seconds": 42.0, "words": "Its clock is 42 s ahead"}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_watch(monkeypatch):
    cache.clear()
    monkeypatch.setattr(health, "_watch", health.Watch())
    builders.install_fleet(motes=("5", "7", "9"))


def looked(ago: timedelta = timedelta(seconds=5)) -> None:
    ProcessHeartbeat.objects.create(name="flow", kind="watch", beat_at=timezone.now() - ago, detail=FOUND)


def sent(*stored_ms: float | None) -> None:
    for ms in stored_ms:
        run = canary.Run("", ms, ms and ms + 20.0, "" if ms else "not stored within 15 s")
        canary.record(run, site="main", now=timezone.now())


def test_the_health_page_names_the_motes_in_trouble_and_how_long_a_reading_takes(charlie_client):
    looked()
    sent(80.0, 90.0)

    page = charlie_client.get("/system/").content.decode()

    told = (
        "main/7",
        "main/5",
        "10 of 20 expected readings",
        "Its clock is 42 s ahead",
        "90 ms",
        "110 ms to open pages",
    )
    for words in told:
        assert words in page
    assert 'href="/motes/main/7/"' in page


def test_the_api_tells_the_same_and_looks_are_no_processes(charlie_client):
    looked()
    sent(None)

    told = charlie_client.get("/api/v1/health").json()

    assert (told["flow"]["state"], told["flow"]["n_silent"]) == ("watching", 1)
    assert [one["trouble"] for one in told["flow"]["troubled"]] == ["silent", "clock", "slow"]
    assert told["flow"]["canary"]["stored_ms"] is None
    assert told["processes"] == []


def test_a_watch_that_stopped_is_said_to_be_silent(charlie_client):
    looked(ago=timedelta(minutes=5))

    assert charlie_client.get("/api/v1/health").json()["flow"]["state"] == "silent"


def test_without_a_look_the_page_says_so(charlie_client):
    page = charlie_client.get("/system/").content.decode()

    assert "not started" in page
    assert "No marked reading was sent of late" in page


def test_metrics_tell_motes_in_trouble_and_the_canary():
    looked()
    sent(None, 80.0)

    told = metrics.exposition().decode().splitlines()

    assert "sieis_motes_slow 1.0" in told
    assert "sieis_motes_clock_skewed 1.0" in told
    assert 'sieis_mote_delivered_ratio{mote="5",site="main"} 0.5' in told
    assert 'sieis_canary_seconds{hop="stored"} 0.08' in told
    assert "sieis_canary_lost 1.0" in told
    assert not [line for line in told if "sieis_heartbeat_age" in line and "watch" in line]


def test_an_old_look_tells_prometheus_nothing():
    looked(ago=timedelta(minutes=10))

    told = metrics.exposition().decode()

    assert not [line for line in told.splitlines() if line.startswith("sieis_flow_looked_timestamp_seconds")]
    assert 'mote="5"' not in told
