"""The Celery application: its tasks live in the apps, its schedule in the database."""

import os
import threading
from typing import Any

from celery import Celery
from celery.signals import worker_ready, worker_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sieis_site.settings")

app = Celery("sieis")
app.config_from_object("django.conf:settings", namespace="CELERY")
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
