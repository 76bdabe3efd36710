"""Where the fleet stands with its limits: the newest forecast of each mote's channel, the likeliest to pass first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from mlops.forecasts import risks
from mlops.forecasts.issued_models import IssuedForecast
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Channel


@dataclass(frozen=True, slots=True)
class FleetRisk:
    """One limit of a mote's channel."""

    mote: MoteRef
    channel: Channel
    forecast: IssuedForecast
    risk: Mapping[str, Any]

    @property
    def level(self) -> str:
        """beyond, high, medium or low."""
        return "beyond" if self.risk["is_beyond"] else risks.level(self.risk["probability"])

    @property
    def at(self) -> datetime | None:
        """When it is passed in half of the ways in which it is."""
        return datetime.fromisoformat(self.risk["at"]) if self.risk["at"] else None

    @property
    def words(self) -> str:
        said = risks.words(self.risk, self.channel)
        return said[0].upper() + said[1:]


def newest() -> QuerySet[IssuedForecast]:
    """Of each mote's channel."""
    later = IssuedForecast.objects.filter(
        mote=OuterRef("mote"), channel=OuterRef("channel"), origin_at__gt=OuterRef("origin_at")
    )
    return IssuedForecast.objects.filter(~Exists(later))


def fleet_risks(fleet: Fleet) -> list[FleetRisk]:
    """All limits that have a risk: what is passed already first, then by chance, then by time."""
    rows = list(newest().filter(mote__in=list(fleet.by_id)).defer("values"))
    found = [one for row in rows for one in _of(row, fleet)]
    return sorted(found, key=lambda one: (
        not one.risk["is_beyond"], -one.risk["probability"], one.risk["at"] or "~", one.mote.id, one.channel.code,
    ))  # fmt: skip


def _of(row: IssuedForecast, fleet: Fleet) -> Iterator[FleetRisk]:
    mote = fleet.by_id[row.mote_id]
    channel = next((one for one in fleet.profiles[mote.profile].channels if one.code == row.channel), None)
    if channel is not None and not mote.is_retired:
        yield from (FleetRisk(mote, channel, row, one) for one in row.risks)
