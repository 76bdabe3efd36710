"""The Celery application: its tasks live in the apps, its schedule in the database."""

import os
import sys
import threading
from typing import Any

from celery import Celery
from celery.signals import worker_ready, worker_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sieis_site.settings")
# Celery would run the system checks, throw away what they say, and keep every page in memory for it.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("sieis")
app.config_from_object("django.conf:settings", namespace="CELERY")
if "beat" not in sys.argv:  # which sends names only; what stands behind them takes 100 MB
    app.autodiscover_tasks()
STOPPING = threading.Event()


@worker_ready.connect
def _say_alive(**kwargs: Any) -> None:
    from alerts.notifying.delivering import keep_delivering  # models are there only when the worker is
    from alerts.rules.running import keep_judging
    from sieis_site.beating import keep_saying

    threading.Thread(target=keep_saying, args=("worker", STOPPING), name="heartbeat", daemon=True).start()
    threading.Thread(target=keep_delivering, args=(STOPPING,), name="notifier", daemon=True).start()
    threading.Thread(target=keep_judging, args=(STOPPING,), name="rules", daemon=True).start()


@worker_shutdown.connect
def _say_gone(**kwargs: Any) -> None:
    from sieis_site.beating import say_gone

    STOPPING.set()
    say_gone("worker")
