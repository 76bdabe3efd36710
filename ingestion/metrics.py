"""What Prometheus is told. Counters count what this process did; what others say comes from the database at the scrape.

With the consumer in a process of its own, its counts and figures reach /metrics of the web process by its heartbeat.
"""

from __future__ import annotations

import os
import socket
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Sum
from django.utils import timezone
from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from alerts.models import Alert, Severity
from ingestion.models import NotKept, Quarantined
from sensors import live, registry
from sensors.models import Mote, ProcessHeartbeat
from sensors.presence import presence

PROCESS = f"{socket.gethostname()}:{os.getpid()}"
REGISTRY = CollectorRegistry()
PATH = CollectorRegistry()  # what the reading path of this process counts
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

READINGS = Counter("sieis_readings", "Readings stored", ["profile"], registry=PATH)
QUARANTINED = Counter("sieis_quarantined", "Messages put aside", ["reason"], registry=PATH)
DUPLICATES = Counter("sieis_duplicates", "Readings that were stored before", ["profile"], registry=PATH)
STORE_RETRIES = Counter("sieis_store_retries", "Writes that were tried again", ["sink"], registry=PATH)
BATCH_SECONDS = Histogram(
    "sieis_batch_seconds",
    "From a poll's answer to what browsers hear",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=PATH,
)

HEARD_WITHIN = timedelta(minutes=5)
LOOKS = ("watch", "canary")  # heartbeats of no process


def counted() -> list[list[Any]]:
    """What this process's reading path counted, for its heartbeat: name, labels and value of each."""
    samples = (sample for family in PATH.collect() for sample in family.samples)
    return [[one.name, one.labels, one.value] for one in samples if not one.name.endswith("_created")]


class OfThePath(Collector):
    """The reading path's counts: this process's own, and by `process` those that heartbeats of others tell."""

    def describe(self) -> Iterable[Metric]:
        return PATH.collect()

    def collect(self) -> Iterator[Metric]:
        elsewhere = _counted_elsewhere(timezone.now())
        for family in PATH.collect():
            names = {family.name + suffix for suffix in ("_total", "_bucket", "_count", "_sum")}
            for process, samples in elsewhere.items():
                for name, labels, value in samples:
                    if name in names:
                        family.add_sample(name, {**labels, "process": process}, value)
            yield family


def _counted_elsewhere(now: datetime) -> dict[str, list[list[Any]]]:
    """By process, as the newest heartbeat of each says; a process may run several consumers, which count together."""
    beats = ProcessHeartbeat.objects.filter(kind="consumer", beat_at__gt=now - HEARD_WITHIN).order_by("beat_at")
    found = {beat.detail["process"]: beat.detail["counted"] for beat in beats if "counted" in beat.detail}
    return {process: samples for process, samples in found.items() if process != PROCESS}


class Announced(Collector):
    """The live channel's counts, which are kept below this app."""

    def collect(self) -> Iterator[Metric]:
        told = "Messages for the live channel"
        yield CounterMetricFamily("sieis_announced", f"{told} that were sent", live.counts.announced)
        yield CounterMetricFamily("sieis_announce_failures", f"{told} that could not be sent", live.counts.failed)
        yield CounterMetricFamily("sieis_announce_dropped", f"{told} that newer ones replaced", live.counts.dropped)


class FromDatabase(Collector):
    """What stands in the database at the scrape: alerts, motes, and the heartbeats of all processes."""

    def describe(self) -> Iterable[Metric]:
        return ()  # no query at import, when the registry asks what there will be

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        yield _active_alerts()
        yield from _quarantine()
        yield from _motes(now)
        yield from _flow(now)
        yield from _processes(now)


def _active_alerts() -> Metric:
    metric = GaugeMetricFamily("sieis_alerts_active", "Alerts that nobody ended", labels=["severity"])
    rows = Alert.objects.active().order_by().values_list("severity").annotate(n=Count("id"))
    found: dict[str, int] = dict(rows)
    for severity in Severity.values:
        metric.add_metric([severity], found.get(severity, 0))
    return metric


def _quarantine() -> Iterator[Metric]:
    rows = Quarantined.objects.order_by().values_list("status").annotate(n=Count("id"))
    found: dict[str, int] = dict(rows)
    kept = GaugeMetricFamily("sieis_quarantine_messages", "Messages kept put aside, by status", labels=["status"])
    for status in Quarantined.Status.values:
        kept.add_metric([status], found.get(status, 0))
    yield kept
    told = "Messages beyond the quarantine's cap, of the days that it keeps"
    counted = GaugeMetricFamily("sieis_quarantine_not_kept", told, labels=["reason"])
    for reason, n in NotKept.objects.order_by().values_list("reason").annotate(Sum("n")):
        counted.add_metric([reason], n)
    yield counted


def _motes(now: datetime) -> Iterator[Metric]:
    intervals = {code: profile.interval_s for code, profile in registry.profiles().items()}
    rows = Mote.objects.filter(is_probe=False).order_by().values_list("state", "last_seen_at", "profile__code")
    states: Tally[str] = Tally()
    heard: Tally[str] = Tally()
    for state, last_seen_at, profile in rows:
        states[state] += 1
        heard[presence(state, last_seen_at, intervals.get(profile, 0.0), now=now)] += 1
    by_state = GaugeMetricFamily("sieis_motes", "Motes by state", labels=["state"])
    for state in Mote.State.values:
        by_state.add_metric([state], states[state])
    yield by_state
    yield GaugeMetricFamily("sieis_motes_silent", "Active motes that are not heard", heard["silent"])


def _flow(now: datetime) -> Iterator[Metric]:
    """The last look and the last canary, unless they are too old to say anything of now."""
    beats = {one.kind: one for one in ProcessHeartbeat.objects.filter(kind__in=LOOKS, beat_at__gt=now - HEARD_WITHIN)}
    watched, sent = beats.get("watch"), beats.get("canary")
    found = watched.detail if watched else {}
    yield GaugeMetricFamily("sieis_motes_slow", "Motes that deliver less than they promise", found.get("n_slow", 0))
    yield GaugeMetricFamily("sieis_motes_clock_skewed", "Motes whose clock is wrong", found.get("n_skewed", 0))
    share = GaugeMetricFamily(
        "sieis_mote_delivered_ratio", "Readings of the last ten minutes over those expected", labels=["site", "mote"]
    )
    for place, value in found.get("shares", {}).items():
        share.add_metric(place.split("/", 1), value)
    looked = GaugeMetricFamily("sieis_flow_looked_timestamp_seconds", "When the flow was last looked at", labels=())
    if watched:
        looked.add_metric([], watched.beat_at.timestamp())
    took = GaugeMetricFamily("sieis_canary_seconds", "What the last marked reading took", labels=["hop"])
    lost = GaugeMetricFamily("sieis_canary_lost", "Of the last 60 marked readings", labels=())
    if sent:
        last = sent.detail["runs"][-1]
        lost.add_metric([], sent.detail["n_lost"])
        for hop in ("stored", "heard"):
            if last[f"{hop}_ms"] is not None:
                took.add_metric([hop], last[f"{hop}_ms"] / 1000)
    yield from (share, looked, took, lost)


def _processes(now: datetime) -> Iterator[Metric]:
    age = GaugeMetricFamily("sieis_heartbeat_age_seconds", "Since a process said it lives", labels=["kind", "name"])
    rate = GaugeMetricFamily("sieis_pipeline_readings_per_second", "As the consumer measured it", labels=["name"])
    lag = GaugeMetricFamily("sieis_pipeline_lag_messages", "As the consumer measured it", labels=["name", "partition"])
    stuck = GaugeMetricFamily("sieis_pipeline_stuck", "1 while a sink is away", labels=["name"])
    last = GaugeMetricFamily(
        "sieis_pipeline_last_batch_timestamp_seconds", "When the consumer had its last batch", labels=["name"]
    )
    for beat in ProcessHeartbeat.objects.filter(beat_at__gt=now - HEARD_WITHIN).exclude(kind__in=LOOKS):
        age.add_metric([beat.kind, beat.name], max((now - beat.beat_at).total_seconds(), 0.0))
        if beat.kind != "consumer":
            continue
        detail = beat.detail
        rate.add_metric([beat.name], detail.get("readings_per_s", 0.0))
        stuck.add_metric([beat.name], 1 if detail.get("stuck_at") else 0)
        if detail.get("last_batch_at"):
            last.add_metric([beat.name], datetime.fromisoformat(detail["last_batch_at"]).timestamp())
        for partition, n in detail.get("lag", {}).items():
            lag.add_metric([beat.name, partition], n)
    yield from (age, rate, stuck, last, lag)


REGISTRY.register(OfThePath())
REGISTRY.register(Announced())
REGISTRY.register(FromDatabase())


def exposition() -> bytes:
    """Everything in Prometheus' text format."""
    return generate_latest(REGISTRY)
