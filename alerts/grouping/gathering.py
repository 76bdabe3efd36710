"""Which alerts belong together, and which of them came first. Pure.

Alerts belong together when they begin close in time and share something: the gateway through which they fell silent,
a zone, a channel of a site, or that they are about SIEIS itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

CLOSE = timedelta(minutes=5)
LONGEST = timedelta(hours=2)  # in a zone where something happens every few minutes, causes differ
GATEWAY, ZONE, CHANNEL, SYSTEM = "gateway", "zone", "channel", "system"
SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Sign:
    """An alert as far as grouping looks at it."""

    alert: int
    kind: str
    site: str
    zone: str
    channel: str
    began_at: datetime

    def ties(self) -> Iterator[tuple[str, str]]:
        """What it may share with others, the strongest first."""
        if self.kind == SILENT and self.site:
            yield GATEWAY, self.site
        if self.zone:
            yield ZONE, f"{self.site}/{self.zone}"
        if self.channel and self.site:
            yield CHANNEL, f"{self.site} {self.channel}"
        if not self.site:
            yield SYSTEM, ""


@dataclass(frozen=True, slots=True)
class Member:
    """A sign with the incident that it belongs to, and when that began."""

    sign: Sign
    incident: int
    opened_at: datetime


def incident_of(sign: Sign, members: Sequence[Member]) -> tuple[Member, str, str] | None:
    """The member that it joins, and what they share; None where it stands alone."""
    near = [
        one
        for one in members
        if abs(one.sign.began_at - sign.began_at) <= CLOSE and abs(sign.began_at - one.opened_at) <= LONGEST
    ]
    for cause, shared in sign.ties():
        for one in reversed(near):
            if (cause, shared) in one.sign.ties():
                return one, cause, shared
    return None


def first_mover(signs: Sequence[Sign]) -> tuple[Sign, str]:
    """Whose onset came first, and by how much."""
    ordered = sorted(signs, key=lambda one: (one.began_at, one.alert))
    first = ordered[0]
    if len(ordered) == 1:
        return first, ""
    lead_s = (ordered[1].began_at - first.began_at).total_seconds()
    if lead_s < 1:
        n = sum(one.began_at - first.began_at < timedelta(seconds=1) for one in ordered)
        return first, f"{n} began at the same time"
    return first, f"it began {_span(lead_s)} before the next"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
