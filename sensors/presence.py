"""Whether a mote is heard. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from sensors.readings import MISSED_INTERVALS

LEAST = timedelta(minutes=2)  # last_seen_at is written in the slow cycle only


def patience(interval_s: float) -> timedelta:
    """How long a mote may say nothing before it counts as silent."""
    return max(timedelta(seconds=MISSED_INTERVALS * interval_s), LEAST)


def presence(state: str, last_seen_at: datetime | None, interval_s: float, *, now: datetime) -> str:
    """ "live", "silent" or "never_seen" for an active mote, its state for any other."""
    if state != "active":
        return state
    if last_seen_at is None:
        return "never_seen"
    return "live" if now - last_seen_at <= patience(interval_s) else "silent"
