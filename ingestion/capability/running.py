"""Measuring what is due in a process of its own: the live path keeps its interpreter, and memory returns."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from datetime import datetime

import structlog
from django.conf import settings
from django.core.cache import cache

from ingestion.capability import keeping
from mlops.children import STOPPING, Child

log = structlog.get_logger(__name__)
LOCK, LOCK_S = "capability:measuring", 3600
LOOK_S = 0.5


def command(code: str) -> list[str]:
    return [
        sys.executable,
        str(settings.BASE_DIR / "manage.py"),
        "capability",
        "--profile",
        code,
        "--quick",
        "--watched",
    ]


def measure_due(now: datetime, *, stop: threading.Event | None = None) -> list[str]:
    """Measures the profiles whose table is missing or old, one after the other; the codes of those that succeeded."""
    if not cache.add(LOCK, True, LOCK_S):
        return []  # another worker is at it
    try:
        return [code for code in keeping.due(now) if _measured(code, command(code), stop or STOPPING)]
    finally:
        cache.delete(LOCK)


def _measured(code: str, command: Sequence[str], stop: threading.Event) -> bool:
    child = Child(command, folder=settings.BASE_DIR)
    try:
        while (ended := child.wait(LOOK_S)) is None:
            if stop.is_set():
                child.end()
                return False
        if ended != 0:
            log.warning("capability_not_measured", profile=code, reason=" / ".join(child.said()[-2:]))
        return ended == 0
    finally:
        child.close()
