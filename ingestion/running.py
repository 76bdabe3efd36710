"""Builds the runner from what the settings name. An edge: the only place below sieis_site that chooses parts."""

from __future__ import annotations

import os
import socket
import threading

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import close_old_connections
from django.utils import timezone

from alerts.services import raise_system_alert
from ingestion.checkpoints import Fenced
from ingestion.labels import LabelReader
from ingestion.patience import Announces
from ingestion.replaying import Parts
from ingestion.runner import Pace, Runner
from ingestion.streams import StreamClosed, stream
from mlops import kernels
from mlops.serving import Serving
from sensors import live, registry
from sensors.lake import LakeFenced, lake
from sensors.stores import hot

log = structlog.get_logger(__name__)
REJOIN_S = 2.0
REREAD_S = 30.0


def build_runner(name: str = "readings", *, owner: str | None = None, announce: Announces | None = live) -> Runner:
    """The reading path over the configured stream "readings", or "history", which announces nothing."""
    is_history = name == "history"
    return Runner(
        stream=stream(name),
        hot=hot(),
        lake=lake(),
        storage=default_storage,
        serving=Serving(),
        fleet=registry.current_fleet,
        fleet_revision=registry.revision,
        announce=None if is_history else announce,
        group=f"{settings.KAFKA_GROUP}-{name}" if is_history else settings.KAFKA_GROUP,
        owner=owner or f"{name}@{socket.gethostname()}:{os.getpid()}",
        now=timezone.now,
        is_history=is_history,
        pace=Pace(
            batch_max=settings.SIEIS_BATCH_MAX,
            batch_wait_s=settings.SIEIS_BATCH_WAIT_S,
            slow_cycle_s=settings.SIEIS_SLOW_CYCLE_S,
            slow_cycle_readings=settings.SIEIS_SLOW_CYCLE_READINGS,
            future_s=settings.SIEIS_FUTURE_S,
            look_s=settings.MODEL_RELOAD_INTERVAL,
        ),
    )


def consume(stop: threading.Event) -> None:
    """Runs the reading path until `stop`; a consumer that lost its partitions joins again with what is saved."""
    kernels.forget_stale(timezone.now())
    while not stop.is_set():
        try:
            build_runner().run(stop)
        except (Fenced, LakeFenced) as lost:
            log.warning("joining_again", reason=str(lost))
            stop.wait(REJOIN_S)
        except StreamClosed as reason:
            raise_system_alert(
                subject=f"stream:{settings.SIEIS_TOPICS['readings']}", kind="stream_closed", words=str(reason),
                severity="high", now=timezone.now(),
            )  # fmt: skip
            raise


def build_label_reader() -> LabelReader:
    """The reader of the configured stream "labels", in a group of its own."""
    return LabelReader(
        stream=stream("labels"),
        group=f"{settings.KAFKA_GROUP}-labels",
        owner=f"labels@{socket.gethostname()}:{os.getpid()}",
        fleet=registry.current_fleet,
        fleet_revision=registry.revision,
        now=timezone.now,
    )


def parts() -> Parts:
    """What sending a put-aside message again needs to reach."""
    return Parts(fleet=registry.current_fleet(), hot=hot(), lake=lake(), stream=stream)


def read_labels(stop: threading.Event) -> None:
    """Keeps the labels that are told until `stop`; whatever breaks that is logged and must not hold up the readings."""
    while not stop.is_set():
        try:
            build_label_reader().run(stop)
        except Exception:
            log.exception("labels_failed", again_in_s=REREAD_S)
            stop.wait(REREAD_S)
        finally:
            close_old_connections()
