"""The engine's compiled loops on disk: each release compiles into a folder of its own, and old ones are forgotten."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from mlops.detection.compiled import FOLDER

log = structlog.get_logger(__name__)
KEPT = timedelta(days=3)


def forget_stale(now: datetime, *, own: Path = FOLDER) -> list[str]:
    """Marks our own folder as used today and deletes those that no process has begun with for three days.

    A process that still runs by a deleted one has its loops in memory; one that goes back to it compiles again.
    """
    if own.is_dir():
        os.utime(own, (now.timestamp(), now.timestamp()))
    oldest = (now - KEPT).timestamp()
    stale = [one for one in own.parent.glob("engine-*") if one != own and one.is_dir() and _used(one) < oldest]
    for one in stale:
        shutil.rmtree(one, ignore_errors=True)  # of two processes that start at once one may be faster
    if stale:
        log.info("kernels_forgotten", n=len(stale), folder=str(own.parent))
    return sorted(one.name for one in stale)


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
