"""When the fleet's machines will be degrading or failing: kept with each run of forecasts, told to pages and API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from mlops.forecasting import CannotForecast
from mlops.forecasting.risk import Risk
from mlops.forecasts.courses import AHEAD, Course, Seen, course_of, seen
from mlops.forecasts.issued_models import StageForecast
from mlops.forecasts.learnt import series_name
from mlops.forecasts.serving import Forecast
from mlops.forecasts.spoken import spoken
from mlops.forecasts.stages import StageTime, stage_risks
from sensors.fleet import MoteRef
from sensors.machines import Kind


@dataclass
class Stages:
    """Of one run: what a version remembers of a kind of machines is laid out once."""

    _seen: dict[str, Seen] = field(default_factory=dict)

    def of(self, kind: Kind, forecasts: Sequence[Forecast], now: datetime) -> list[StageForecast]:
        """Of one machine; empty where a channel that shows its wear has no forecast, or nothing is known."""
        by_channel = {one.channel.code: one for one in forecasts}
        heard = [by_channel[one.channel.code] for one in kind.limits if one.channel.code in by_channel]
        if len(heard) < len(kind.limits):
            return []
        found = self._risks(kind, heard)
        last, ends_at = max(one.last_reading_at for one in heard), min(one.at[-1] for one in heard)
        return [
            StageForecast(
                mote_id=heard[0].mote.id, stage=stage, name=kind.names[stage], issued_at=now, origin_at=last,
                ends_at=min(ends_at, last + AHEAD), probability=risk.probability, is_beyond=risk.is_beyond, at=risk.at,
                earliest=risk.earliest, latest=risk.latest,
            )
            for stage, risk in found.items()
        ]  # fmt: skip

    def _risks(self, kind: Kind, heard: Sequence[Forecast]) -> dict[int, Risk]:
        known = self._known(kind, heard).risks(course_of([one.measured for one in heard]))
        try:
            return stage_risks(kind.limits, lambda: [one.ways for one in heard], known)
        except CannotForecast:
            return known

    def _known(self, kind: Kind, heard: Sequence[Forecast]) -> Seen:
        """By what the version of these forecasts remembers of all machines."""
        version = heard[0].model_version
        if version not in self._seen:
            self._seen[version] = seen(kind.limits, list(_courses(heard)))
        return self._seen[version]


def _courses(heard: Sequence[Forecast]) -> Iterator[Course]:
    """Of each machine of which all channels are remembered."""
    channels = [(one.channel.code, one.memory) for one in heard]
    names = [{series.removesuffix(f"/{code}") for series in memory.names} for code, memory in channels]
    for mote in sorted(set.intersection(*names)):
        yield course_of([memory.only([series_name(mote, code)]) for code, memory in channels])


@transaction.atomic
def keep(motes: Sequence[MoteRef], found: Sequence[StageForecast]) -> None:
    """In place of what was said of these motes before, also where nothing can be said of one any more."""
    StageForecast.objects.filter(mote__in=[mote.id for mote in motes]).delete()
    StageForecast.objects.bulk_create(found)


def stage_times(now: datetime, mote: int | None = None) -> dict[int, list[StageTime]]:
    """By machine, of all or of that mote, the first stage first; what was said of a time that is over is not told."""
    found: dict[int, list[StageTime]] = defaultdict(list)
    rows = StageForecast.objects.filter(ends_at__gt=now)
    for row in rows if mote is None else rows.filter(mote=mote):
        risk = Risk(row.probability, row.is_beyond, row.at, row.earliest, row.latest)
        found[row.mote_id].append(StageTime(row.name, risk, row.origin_at, row.ends_at, settings.SIEIS_RISK_LOW))
    return found


def as_json(one: StageTime) -> dict[str, Any]:
    times = {name: getattr(one.risk, name) for name in ("at", "earliest", "latest")}
    return {
        "stage": one.name, "probability": round(one.risk.probability, 4), "is_beyond": one.risk.is_beyond,
        **{name: spoken(at) if at else None for name, at in times.items()},
        "last_reading_at": spoken(one.origin_at), "ends_at": spoken(one.ends_at), "words": one.words,
    }  # fmt: skip
