"""Where an alert is: the site, zone and mote that routes, silences and incidents ask for."""

from __future__ import annotations

from dataclasses import dataclass

from alerts.models import Alert


@dataclass(frozen=True, slots=True)
class Place:
    """Codes of site and zone, key of the mote; empty where the alert is about a part of SIEIS."""

    site: str = ""
    zone: str = ""
    mote: int | None = None

    def is_in(self, *, site: str = "", zone: str = "", mote: int | None = None) -> bool:
        """Whether it lies within what is named; a zone is named with its site, what is empty holds everything."""
        return (
            (not site or site == self.site)
            and (not zone or zone == f"{self.site}/{self.zone}")
            and (mote is None or mote == self.mote)
        )


def place_of(alert: Alert) -> Place:
    """From its mote, else from a subject such as zone:main/lab or site:main."""
    if alert.mote is not None:
        return Place(alert.mote.site.code, alert.mote.zone.code if alert.mote.zone else "", alert.mote_id)
    what, _, name = alert.subject.partition(":")
    site, _, zone = name.partition("/")
    return Place(site, zone) if what in ("zone", "site") else Place()


def is_of_kind(alert_kind: str, asked: str) -> bool:
    """“rule” stands for every rule's alerts, whose kinds are rule:7 and the like."""
    return alert_kind == asked or alert_kind.startswith(f"{asked}:")
