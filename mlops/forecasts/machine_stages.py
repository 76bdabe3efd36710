"""When the fleet's machines will be degrading or failing: kept with each run of forecasts, told to pages and API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from mlops.forecasting import CannotForecast
from mlops.forecasting.risk import Risk
from mlops.forecasts.issued_models import StageForecast
from mlops.forecasts.serving import Forecast
from mlops.forecasts.spoken import spoken
from mlops.forecasts.stages import StageTime, stage_risks
from sensors.fleet import MoteRef
from sensors.machines import Kind


def stages_of(kind: Kind, forecasts: Sequence[Forecast], now: datetime) -> list[StageForecast]:
    """Of one machine, by the forecasts of its channels; empty where one that shows wear has none, or no risk."""
    by_channel = {one.channel.code: one for one in forecasts}
    heard = [by_channel[one.channel.code] for one in kind.limits if one.channel.code in by_channel]
    if len(heard) < len(kind.limits):
        return []
    try:
        found = stage_risks(kind.limits, [one.ways for one in heard])
    except CannotForecast:
        return []
    last, ends_at = max(one.last_reading_at for one in heard), min(one.at[-1] for one in heard)
    return [
        StageForecast(
            mote_id=heard[0].mote.id, stage=stage, name=kind.names[stage], issued_at=now, origin_at=last,
            ends_at=ends_at, probability=risk.probability, is_beyond=risk.is_beyond, at=risk.at,
            earliest=risk.earliest, latest=risk.latest,
        )
        for stage, risk in found.items()
    ]  # fmt: skip


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
