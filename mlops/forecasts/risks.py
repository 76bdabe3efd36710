"""Which limits a mote's channel has, and how likely a forecast says that each is passed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.conf import settings

from alerts.rules.models import Rule
from alerts.rules.running import scope
from alerts.rules.saying import ABOVE, VALUE
from mlops.forecasting import CannotForecast
from mlops.forecasting.risk import Limit, Paths, Risk, risk
from sensors.fleet import Fleet
from sensors.readings import Channel

BAND, RANGE = "normal band", "physical range"
Told = dict[str, Any]  # a risk as it is kept: JSON


@dataclass(frozen=True, slots=True)
class Named:
    """A limit, and whose it is."""

    name: str
    limit: Limit


OfRules = Mapping[tuple[int, str], Sequence[Named]]


def limits_of(channel: Channel, of_rules: Sequence[Named] = ()) -> list[Named]:
    """The normal band, the physical range where that lies beyond it, and what rules ask of it."""
    (low, high), (least, most) = channel.normal, channel.physical
    found = [Named(BAND, Limit(high)), Named(BAND, Limit(low, False))]
    found = [one for one in found if least < one.limit.value < most]
    # A forecast stays within the physical range, so reaching its end is as good as passing it.
    if most > high:
        found.append(Named(RANGE, Limit(most, is_end=True)))
    if least < low:
        found.append(Named(RANGE, Limit(least, False, is_end=True)))
    return [*found, *of_rules]


def limits_of_rules(fleet: Fleet) -> OfRules:
    """By mote and channel the thresholds of the rules that are on."""
    found: dict[tuple[int, str], list[Named]] = defaultdict(list)
    for rule in Rule.objects.standing().filter(is_on=True):
        limits = [
            (one.channel, Named(f"rule “{rule.name}”"[:120], Limit(one.than, one.how == ABOVE)))
            for one in rule.parsed().conditions
            if one.kind == VALUE
        ]
        for _, motes in scope(rule, fleet):
            for mote in motes:
                for channel, limit in limits:
                    found[mote.id, channel].append(limit)
    return found


class Forecast(Protocol):
    @property
    def ways(self) -> Paths:
        """Raises CannotForecast."""
        ...


def risks_of(forecast: Forecast, limits: Sequence[Named]) -> list[Told]:
    """Each limit's risk; none where too few past forecasts are over to say any."""
    try:
        ways = forecast.ways
    except CannotForecast:
        return []
    return [told(one, risk(ways, one.limit)) for one in limits]


def told(named: Named, found: Risk) -> Told:
    at, earliest, latest = (_iso(one) for one in (found.at, found.earliest, found.latest))
    return {
        "limit": named.name, "value": named.limit.value, "is_upper": named.limit.is_upper,
        "probability": round(found.probability, 4), "is_beyond": found.is_beyond,
        "at": at, "earliest": earliest, "latest": latest,
    }  # fmt: skip


def limit_of(name: str, value: float, is_upper: bool) -> Limit:
    """Of a kept risk or warning."""
    return Limit(value, is_upper, is_end=name == RANGE)


def level(probability: float) -> str:
    """low, medium or high, as the settings say."""
    return Risk(probability).level(settings.SIEIS_RISK_LOW, settings.SIEIS_RISK_HIGH)


def words(kept: Mapping[str, Any], channel: Channel) -> str:
    """Of a kept risk, for people."""
    at, earliest, latest = (
        datetime.fromisoformat(kept[name]) if kept[name] else None for name in ("at", "earliest", "latest")
    )
    found = Risk(kept["probability"], kept["is_beyond"], at, earliest, latest)
    said = found.words(channel.label.lower(), limit_of(kept["limit"], kept["value"], kept["is_upper"]), channel.unit)
    return f"{said} ({kept['limit']})"


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at else None
