"""Jobs and their schedule inside the web process: a Celery worker and a beat as threads, on the in-memory broker."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import structlog
from celery.worker import WorkController
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from mlops import children, training_jobs
from sieis_site.beating import BEAT_S, Scheduler, say_alive, say_gone
from sieis_site.celery import app

CONCURRENCY = 2
POLL_S = 0.2  # how often the in-memory broker is looked into
LOOK_S = 5.0  # how often beat looks at its rows
PATIENCE_S = 2.0

log = structlog.get_logger(__name__)


class Worker(WorkController):
    """Celery's worker without its command line: it takes no signals, for they belong to the web server."""

    def __init__(self, **kwargs: object) -> None:
        self.is_ready = threading.Event()
        super().__init__(**kwargs)

    def on_consumer_ready(self, consumer: object) -> None:
        self.is_ready.set()


class WorkerGone(Exception):
    """The worker's thread ended though nobody asked it to."""


def run_worker(stop: threading.Event) -> None:
    """Runs jobs and schedule until `stop`, and first takes up the jobs that an earlier process left."""
    children.STOPPING.clear()
    app.conf.broker_transport_options = {"polling_interval": POLL_S}
    worker = Worker(
        app=app, pool_cls="threads", concurrency=CONCURRENCY, hostname="embedded@localhost",
        without_heartbeat=True, without_mingle=True, without_gossip=True,
    )  # fmt: skip
    thread = threading.Thread(target=worker.start, name="sieis-jobs", daemon=True)
    thread.start()
    try:
        worker.is_ready.wait(PATIENCE_S)
        training_jobs.expire_leases(timezone.now(), queued_for=timedelta(0))
        _beat(stop, thread)
    finally:
        children.STOPPING.set()
        worker.stop()
        say_gone("worker")
        thread.join(PATIENCE_S)


def _beat(stop: threading.Event, worker: threading.Thread) -> None:
    """Sends what is due. Celery's own beat sleeps through a request to stop; this one is woken by it."""
    scheduler = Scheduler(app=app)
    wait_s, said_at = 0.0, 0.0
    while not stop.wait(wait_s):
        if not worker.is_alive():
            raise WorkerGone("the thread that runs jobs ended; what it logged says why")
        close_old_connections()
        if time.monotonic() - said_at >= BEAT_S:
            said_at = time.monotonic()
            say_alive("worker")
        try:
            wait_s = min(scheduler.tick(), LOOK_S)
        except DatabaseError as error:
            log.warning("beat_without_database", reason=str(error))
            wait_s = LOOK_S
    scheduler.close()
