"""Forecasts as the API and the command say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlops.forecasting.intervals import NAMES
from mlops.forecasts.serving import Forecast, Refusal
from sensors.readings import Floats

DIGITS = 6


def as_json(
    told: Forecast | Refusal,
    *,
    risk: Sequence[Mapping[str, Any]] = (),
    track_record: Any = None,
    stages: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """All steps of a forecast, or why there is none."""
    if isinstance(told, Refusal):
        return {"mote": told.name, "channel": told.channel, "detail": told.reason}
    return {
        "mote": told.name,
        "channel": told.channel.code,
        "unit": told.unit,
        "model_version": told.model_version,
        "model": told.member,
        "last_reading_at": spoken(told.last_reading_at),
        "issued_at": spoken(told.issued_at),
        "age_s": round(told.age_s, 3),
        "is_stale": told.is_stale,
        "step_s": told.step_s,
        **steps(told.at, told.mean, told.quantiles),
        "risk": list(risk),
        "track_record": track_record,
        "stages": list(stages),
    }


def steps(at: Sequence[datetime], mean: Floats, quantiles: Floats) -> dict[str, Any]:
    return {
        "at": [spoken(one) for one in at],
        "mean": rounded(mean),
        "quantiles": {name: rounded(quantiles[:, level]) for level, name in enumerate(NAMES)},
    }


def rounded(values: Floats) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def spoken(at: datetime) -> str:
    text = at.astimezone(UTC).isoformat(timespec="microseconds" if at.microsecond else "seconds")
    return text.replace("+00:00", "Z")
