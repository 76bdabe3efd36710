"""What a run of forecasts leaves in a running demo, by manage.py shell: a day is too short to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from django.utils import timezone

from alerts.models import Alert
from mlops.forecasts import record, warnings
from mlops.forecasts.record import Said
from mlops.models import ForecastWarning, IssuedForecast, RiskDay
from sensors.readings import micros
from sensors.registry import current_fleet
from sensors.stores import hot

VERSION = "forecast-journey-v1"
STEP, STEPS = timedelta(minutes=5), 72


def issue(chances: Sequence[tuple[str, float, float]]) -> None:
    """For each mote the chance of its temperature passing a limit, by what was known an hour ago."""
    fleet, now = current_fleet(), timezone.now()
    motes = {mote.code: mote for mote in fleet.motes}
    said = [_said(motes[code].id, value, chance, now - timedelta(hours=1)) for code, value, chance in chances]
    warnings.follow(record.keep(said, now=now), fleet=fleet, now=now)


def _said(mote: int, value: float, chance: float, origin_at: Any) -> Said:
    times = {
        name: (origin_at + timedelta(hours=h)).isoformat() for name, h in (("earliest", 3), ("at", 4), ("latest", 5))
    }
    risk = {
        "limit": "normal band",
        "value": value,
        "is_upper": True,
        "probability": chance,
        "is_beyond": False,
        **times,
    }
    away = np.linspace(0.2, 2.0, STEPS)
    rows = value - 1.0 + np.vstack([0 * away, -2 * away, -away, 0 * away, away, 2 * away])
    step_us = round(STEP.total_seconds() * 1e6)
    return Said(mote, "temperature", VERSION, micros(origin_at), step_us, rows, [risk])


def settle() -> None:
    warnings.settle(timezone.now(), store=hot(), fleet=current_fleet())


def forget() -> None:
    """Other journeys meet a demo that has forecast nothing."""
    alerts = list(ForecastWarning.objects.values_list("alert", flat=True))
    for kept in (IssuedForecast, ForecastWarning, RiskDay):
        kept.objects.all().delete()
    Alert.objects.filter(pk__in=[one for one in alerts if one]).delete()
