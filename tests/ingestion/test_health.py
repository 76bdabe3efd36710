"""Health never hangs, says since when what is away, and tells strangers one word; /metrics counts for Prometheus."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from alerts.models import Alert
from ingestion import health, metrics
from ingestion.models import Checkpoint, Quarantined
from ingestion.vital_signs import VitalSigns
from sensors.models import Mote, ProcessHeartbeat
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403


def refuse() -> None:
    raise ConnectionError("connection refused")


def fine() -> None:
    pass


def beat(kind: str = "consumer", *, name: str = "", ago_s: float = 1, **detail: object) -> None:
    ProcessHeartbeat.objects.create(
        name=name or f"{kind}@here", kind=kind, beat_at=timezone.now() - timedelta(seconds=ago_s), detail=detail
    )


@pytest.fixture(autouse=True)
def own_watch(monkeypatch):
    """Every test asks anew."""
    monkeypatch.setattr(health, "_watch", health.Watch())


# ---- asking the parts ---------------------------------------------------------------------------------------


def test_a_part_that_is_away_says_why_and_since_when():
    watch = health.Watch()

    watch.look({"hot_store": refuse}, NOON)
    (later,) = watch.look({"hot_store": refuse}, NOON + timedelta(minutes=1))

    assert (later.state, later.error, later.since) == ("down", "connection refused", NOON)


def test_a_part_that_came_back_remembers_its_last_trouble():
    watch = health.Watch()

    watch.look({"hot_store": refuse}, NOON)
    (later,) = watch.look({"hot_store": fine}, NOON + timedelta(minutes=1))

    assert (later.state, later.since) == ("up", NOON + timedelta(minutes=1))
    assert (later.error, later.error_at) == ("connection refused", NOON)
    assert later.latency_ms is not None


def test_a_part_that_never_answers_is_down_and_delays_nobody_a_second_time():
    watch, release, asked = health.Watch(patience_s=0.05), threading.Event(), []

    def hang() -> None:
        asked.append(1)
        release.wait(5)

    first = watch.look({"stream": hang, "lake": fine}, NOON)
    watch.patience_s = 5.0
    second = watch.look({"stream": hang, "lake": fine}, NOON + timedelta(minutes=1))
    release.set()

    assert [one.state for one in first] == ["down", "up"]
    assert "no answer" in str(second[0].error)
    assert len(asked) == 1


def test_whoever_asks_within_two_seconds_gets_the_same_answer():
    watch, asked = health.Watch(), []
    ping = {"lake": lambda: asked.append(1)}

    for seconds in (0, 1, 3):
        watch.look(ping, NOON + timedelta(seconds=seconds))

    assert len(asked) == 2


def test_in_the_embedded_mode_the_real_parts_are_up(db):
    found = health.checks(timezone.now())

    assert {one.name: one.state for one in found.dependencies} == dict.fromkeys(
        ("database", "stream", "hot_store", "lake", "artefacts"), "up"
    )


def test_with_redis_it_is_asked_too(settings):
    settings.HAS_REDIS = True

    assert "redis" in health.pings()


# ---- the reading path ---------------------------------------------------------------------------------------


def test_health_is_healthy_while_a_consumer_says_that_it_runs(db):
    beat(lag={}, serving={"indoor": 3}, readings_per_s=42.0)

    found = health.checks(timezone.now())

    assert (found.status, found.pipeline.state, found.pipeline.readings_per_s) == ("healthy", "running", 42.0)
    assert found.pipeline.serving == {"indoor": 3}


@pytest.mark.parametrize(
    ("detail", "ago_s", "state"),
    [
        ({}, 60, "silent"),
        ({"state": "stopped"}, 1, "silent"),
        ({"stuck_at": "hot_store", "since": "2026-03-02T12:00:00+00:00", "error": "refused"}, 1, "stuck"),
    ],
)
def test_health_is_degraded_when_the_reading_path_stands_still(db, detail, ago_s, state):
    beat(ago_s=ago_s, **detail)

    found = health.checks(timezone.now())

    assert (found.status, found.pipeline.state) == ("degraded", state)


def test_a_partition_says_how_far_it_is_saved_and_how_much_waits(db, settings):
    topic = settings.SIEIS_TOPICS["readings"]
    Checkpoint.objects.create(topic=topic, partition=0, next_offset=100, saved_at=NOON)
    Checkpoint.objects.create(topic=topic, partition=1, next_offset=50)
    beat(lag={f"{topic}/0": 7})

    partitions = health.checks(timezone.now()).pipeline.partitions

    assert [(one.next_offset, one.lag) for one in partitions] == [(100, 7), (50, None)]


def test_without_a_database_health_says_down_and_does_not_ask_it(monkeypatch, charlie_client):
    monkeypatch.setattr(health, "pings", lambda: {"database": refuse, "lake": fine})

    answer = charlie_client.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "down")


# ---- who is told what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/health", "/api/v1/health"])
def test_strangers_are_told_one_word(db, mallory, dave_client, address):
    beat()

    assert mallory.get(address).json() == {"status": "healthy", "model_loaded": False}
    assert dave_client.get(address).json() == {"status": "healthy", "model_loaded": False}


def test_people_with_a_role_are_told_everything(charlie_client):
    beat(last_batch_at="2026-03-02T12:00:00+00:00")
    beat("web")

    told = charlie_client.get("/api/v1/health").json()

    assert told["pipeline"]["last_batch_at"] == "2026-03-02T12:00:00Z"
    assert {one["kind"]: one["state"] for one in told["processes"]} == {"consumer": "alive", "web": "alive"}
    assert told["dependencies"][0]["name"] == "database"


def test_the_quarantine_is_read_by_reason(charlie_client):
    for n, reason in enumerate(("malformed", "no_mote")):
        Quarantined.objects.create(
            topic="t", partition=0, offset=n, received_at=NOON, reason=reason, payload=b"\xff{", size=2
        )

    answer = charlie_client.get("/api/v1/quarantine?reason=malformed").json()

    assert [(one["reason"], one["payload"]) for one in answer["results"]] == [("malformed", "\\xff{")]
    assert charlie_client.get("/api/v1/quarantine?reason=ugly").status_code == 400


# ---- Prometheus ---------------------------------------------------------------------------------------------


def test_metrics_need_the_token_or_a_role(db, mallory, dave_client, charlie_client, settings):
    assert [client.get("/metrics").status_code for client in (mallory, dave_client, charlie_client)] == [401, 401, 200]

    settings.SIEIS_METRICS_TOKEN = "a long secret"

    assert Client(headers={"Authorization": "Bearer a long secret"}).get("/metrics").status_code == 200
    assert Client(headers={"Authorization": "Bearer guess"}).get("/metrics").status_code == 401


def test_without_a_token_set_no_empty_one_opens_the_metrics(db):
    assert Client(headers={"Authorization": "Bearer "}).get("/metrics").status_code == 401


def test_metrics_tell_motes_alerts_and_what_consumers_in_other_processes_said(charlie_client):
    builders.install_fleet(motes=("7", "8"))
    Mote.objects.filter(code="7").update(last_seen_at=timezone.now() - timedelta(days=1))
    Alert.objects.create(subject="a", kind="b", severity="high", words="", first_seen_at=NOON, last_seen_at=NOON)
    beat(lag={"sensor-readings/0": 12}, readings_per_s=42.5, stuck_at="hot_store", last_batch_at=NOON.isoformat())

    families = text_string_to_metric_families(charlie_client.get("/metrics").text)
    told = {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}

    here = "consumer@here"
    assert told["sieis_motes", "active"] == 2
    assert told["sieis_motes_silent",] == 1
    assert (told["sieis_alerts_active", "high"], told["sieis_alerts_active", "low"]) == (1, 0)
    assert told["sieis_pipeline_lag_messages", here, "sensor-readings/0"] == 12
    assert told["sieis_pipeline_readings_per_second", here] == 42.5
    assert told["sieis_pipeline_stuck", here] == 1
    assert told["sieis_pipeline_last_batch_timestamp_seconds", here] == NOON.timestamp()


def test_metrics_tell_what_consumers_in_other_processes_counted(charlie_client):
    counted = [["sieis_readings_total", {"profile": "indoor"}, 17.0], ["sieis_batch_seconds_count", {}, 3.0]]
    beat(process="other:1", counted=counted)
    beat(name="history@here", process="other:1", counted=counted)
    beat(name="self@here", process=metrics.PROCESS, counted=[["sieis_readings_total", {"profile": "ours"}, 1.0]])

    text = charlie_client.get("/metrics").text

    assert text.count('sieis_readings_total{process="other:1",profile="indoor"} 17.0') == 1
    assert 'sieis_batch_seconds_count{process="other:1"} 3.0' in text
    assert 'profile="ours"' not in text
    assert text.count("# TYPE sieis_readings_total counter") == 1
    list(text_string_to_metric_families(text))


def test_a_heartbeat_tells_what_was_counted_and_the_mean_of_bursts(db):
    signs = VitalSigns("readings@there", "sensor-readings", since=NOON)
    metrics.READINGS.labels("counted").inc(3)

    for second in range(0, 32, 2):  # twelve readings each six seconds
        signs.beat(
            now=NOON, clock=100.0 + second, n_readings=12 * (second // 6), is_last=False, stuck={}, detail={}
        )  # fmt: skip
        told = ProcessHeartbeat.objects.get(name="readings@there").detail
        if second >= 16:
            assert 1.0 <= told["readings_per_s"] <= 3.0
    assert told["newest_per_s"] == 6.0
    assert ["sieis_readings_total", {"profile": "counted"}, 3.0] in told["counted"]


def test_what_this_process_counted_is_in_the_metrics(charlie_client):
    metrics.READINGS.labels("indoor").inc(5)
    metrics.BATCH_SECONDS.observe(0.02)

    text = charlie_client.get("/metrics").text

    assert 'sieis_readings_total{profile="indoor"}' in text
    assert "sieis_batch_seconds_bucket" in text
    assert "sieis_announce_failures_total" in text
    assert "process_cpu_seconds_total" in text
