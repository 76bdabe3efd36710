"""The words of a message, made once when it is first sent: a try again and a redelivery say the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from alerts.models import Alert
from alerts.notifying.models import SEVERITIES, Delivery
from alerts.places import place_of
from sensors.live import spoken_alert

SHOWN = 20
TOLD = 200  # alerts in the machine-readable part
EVENTS = {"open": "alerts.opened", "resolve": "alerts.recovered", "digest": "alerts.digest", "test": "test"}
WORSE, UNANSWERED = "worsen", "unanswered"


def render(delivery: Delivery, *, base_url: str, now: datetime) -> dict[str, Any]:
    """Title and text for people, and the payload for programs."""
    mentions = list(delivery.mentions.select_related("alert__mote__site", "alert__mote__zone"))
    whats = {one.alert_id: one.what for one in mentions}
    alerts = list({one.alert_id: one.alert for one in mentions}.values())
    title = _title(delivery, alerts, set(whats.values()))
    lines = [_line(alert, base_url) for alert in alerts[:SHOWN]]
    if len(alerts) > SHOWN:
        lines.append(f"… and {len(alerts) - SHOWN} more.")
    first = _first(alerts, delivery)
    text = "\n".join([*([first] if first else []), *lines, *([f"\n{base_url}/alerts/"] if base_url else [])])
    payload = {
        "type": EVENTS[delivery.what],
        "id": delivery.key,
        "at": _instant(now),
        "title": title,
        "n_alerts": len(alerts),
        "alerts": [{**_told(alert, base_url), "what": whats[alert.pk]} for alert in alerts[:TOLD]],
    }
    return {"title": title, "text": text, "payload": payload}


def _title(delivery: Delivery, alerts: Sequence[Alert], whats: set[str]) -> str:
    if delivery.what == "test":
        return "A test from SIEIS"
    if len(alerts) == 1 and delivery.what != "digest":
        return _title_of_one(alerts[0], delivery.what, whats)
    n, worst = len(alerts), max((one.severity for one in alerts), key=SEVERITIES.index)
    words = {"resolve": "are over", "digest": "in the last hour"}.get(delivery.what, "at once")
    return f"{n} {'alert' if n == 1 else 'alerts'}{_where(alerts)} {words}, {worst} at most"


def _title_of_one(alert: Alert, what: str, whats: set[str]) -> str:
    if what == "resolve":
        return f"Over: {_name(alert)}: {alert.words}"
    prefix = "Nobody has acknowledged: " if UNANSWERED in whats else "Worse: " if WORSE in whats else ""
    return f"{prefix}{alert.severity.capitalize()}: {_name(alert)}: {alert.words}"


def _where(alerts: Sequence[Alert]) -> str:
    places = [place_of(alert) for alert in alerts]
    zones, sites = {(one.site, one.zone) for one in places}, {one.site for one in places}
    if len(zones) == 1 and places[0].zone:
        return f" in zone {places[0].site}/{places[0].zone}"
    return f" at site {places[0].site}" if len(sites) == 1 and places[0].site else ""


def _first(alerts: Sequence[Alert], delivery: Delivery) -> str:
    """Where the trouble began, for a message of several."""
    if len(alerts) < 2 or delivery.what != "open":
        return ""
    first = min(alerts, key=lambda one: (one.first_seen_at, one.pk))
    return f"First: {_name(first)} at {first.first_seen_at.astimezone(UTC):%H:%M:%S} UTC.\n"


def _name(alert: Alert) -> str:
    what, _, name = alert.subject.partition(":")
    return f"mote {name}" if what == "mote" else f"{what} {name}"


def _line(alert: Alert, base_url: str) -> str:
    state = "" if alert.is_active else f" ({alert.status})"
    link = f" {base_url}/alerts/{alert.pk}/" if base_url else ""
    began = f"{alert.first_seen_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"- [{alert.severity}] {_name(alert)}: {alert.words} (since {began}){state}{link}"


def _told(alert: Alert, base_url: str) -> dict[str, Any]:
    told = spoken_alert(alert)
    return {
        **told, "first_seen_at": _instant(alert.first_seen_at), "last_seen_at": _instant(alert.last_seen_at),
        "zone": place_of(alert).zone or None, "url": f"{base_url}/alerts/{alert.pk}/" if base_url else None,
    }  # fmt: skip


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
