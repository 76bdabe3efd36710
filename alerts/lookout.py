"""The loops that nobody sees look after one another: a watcher that has stopped is itself an alert.

The look at the flow finds silent motes, the notifier sends messages, the rules judge. Each says in a heartbeat that it
lives, and each looks whether the others do.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alerts import services
from sensors import live
from sensors.models import ProcessHeartbeat

KIND = "watcher_away"
# By kind of heartbeat: how long it may say nothing, and what is missing then.
LOOPS = {
    "watch": (timedelta(minutes=5), "Silent motes and wrong clocks are not found", "the worker or beat"),
    "notifier": (timedelta(minutes=2), "Nothing is sent to anybody", "the worker"),
    "rules": (timedelta(minutes=2), "No rule is judged", "the worker"),
}


def look_after(own: str, *, now: datetime, since: datetime | None = None) -> list[str]:
    """Raises an alert for each other loop that has stopped, and ends it when it is back; answers who is away.

    `since`: when the loop that looks began. After a start the others get their time to say that they live.
    """
    away = []
    for kind, (patience, missing, who) in LOOPS.items():
        beat = ProcessHeartbeat.objects.filter(kind=kind).order_by("-beat_at").first() if kind != own else None
        if beat is None or (since is not None and now - since < patience):
            continue
        subject = f"watcher:{kind}"
        if now - beat.beat_at > patience:
            away.append(kind)
            words = (
                f"{missing} since {beat.beat_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: the loop “{kind}” says no more "
                f"that it lives. Start {who} again; the log says why it ended."
            )
            alert = services.raise_system_alert(subject=subject, kind=KIND, words=words, severity="high", now=now)
            if alert.first_seen_at == now:
                live.announce_alert(alert)
        else:
            for over in services.clear_system_alert(subject=subject, kind=KIND, now=now):
                live.announce_alert(over)
    return away
