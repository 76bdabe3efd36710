"""The consumer of the server mode: the reading path as a process of its own."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ingestion.running import consume, read_labels
from ingestion.streams import StreamClosed
from sensors import live

LABELS_END_S = 10.0


class Command(BaseCommand):
    help = (
        "Moves readings from the stream through judgement and detection into the stores, and labels into their table, "
        "until SIGTERM."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.HAS_REDIS:
            raise CommandError(
                "Without REDIS_URL the reading path runs inside the web process (manage.py serve), because an "
                "in-memory live channel does not reach another process. Set REDIS_URL, or start `manage.py serve`."
            )
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        labels = threading.Thread(target=read_labels, args=(stop,), name="labels", daemon=True)
        labels.start()
        try:
            consume(stop)
        except StreamClosed as reason:
            raise CommandError(str(reason)) from None
        finally:
            stop.set()
            labels.join(LABELS_END_S)
            live.flush()
