"""A reading that nobody measured, judged by what serves: the prediction tool of the Insights page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from alerts.events import EventChange
from mlops import registry
from mlops.detection import FittedEngine, decode_votes, fallback, words
from mlops.detection.words import number, quantity
from mlops.models import ModelVersion
from sensors.readings import Floats, Ints, Profile, score, severity

NEAREST = 3


def engine_of(kind: Profile) -> FittedEngine:
    """What judges the profile now: the version that serves, else the pack alone."""
    version = registry.production(kind.code)
    if version is None or version.profile_version != kind.version:
        return fallback(kind)
    return _loaded(version.pk)


@lru_cache(maxsize=8)
def _loaded(pk: int) -> FittedEngine:
    return registry.load(ModelVersion.objects.select_related("profile").get(pk=pk))


def tried(
    engine: FittedEngine, values: Mapping[str, float | None], *, mote: int, at: Ints, utc_offset_s: Ints
) -> dict[str, Any]:
    """The verdict, its reasons and what was expected; values by channel, None where nothing was measured."""
    kind = engine.profile
    row = np.array([[_known(values.get(name)) for name in kind.names]])
    said = engine.score_stateless(row, np.array([mote]), at, utc_offset_s)
    surprise = float(said.surprise[0])
    heard = np.maximum(np.nan_to_num(said.channel_surprise[0]), 0.0)
    is_anomaly = surprise >= kind.onset
    value = float(score(surprise, kind.onset)) if np.isfinite(surprise) else 0.0
    bands = list(zip(said.expected_low[0].tolist(), said.expected_high[0].tolist(), strict=True))
    channels = [
        _channel(kind, c, row[0, c], float(heard[c]), float(heard.sum()), bands[c])
        for c in np.flatnonzero(kind.is_detected).tolist()
    ]
    return {
        "is_anomaly": is_anomaly,
        "score": round(value, 4),
        "surprise": None if not np.isfinite(surprise) else round(surprise, 3),
        "severity": severity(value),
        "words": _words(kind, said, row[0], surprise) if is_anomaly else "Nothing odd about this reading.",
        "channels": channels,
        "layers": {name: vote for name, vote in decode_votes(int(said.votes[0])).items() if vote > 0},
        "model_version": engine.number,
    }


def _known(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _channel(
    kind: Profile, c: int, value: float, surprise: float, total: float, expected: tuple[float, float]
) -> dict[str, Any]:
    low, high = expected
    channel = kind.channels[c]
    is_known = bool(np.isfinite(low) and np.isfinite(high))
    band = f"{number(low, channel)}–{quantity(high, channel)}" if is_known else ""
    is_beyond = bool(is_known and np.isfinite(value) and not low <= value <= high)
    return {
        "code": channel.code, "surprise": round(surprise, 3), "share": round(surprise / total, 3) if total else 0.0,
        "low": low if is_known else None, "high": high if is_known else None, "band": band,
        "is_beyond": is_beyond,
    }  # fmt: skip


def _words(kind: Profile, said: Any, row: Floats, surprise: float) -> str:
    """As an event would be told."""
    c = kind.names.index(said.channel[0])
    change = EventChange(
        mote=0, profile=kind.code, started_at=0, noticed_at=0, last_at=0, ended_at=None, n_readings=1,
        peak_surprise=surprise, peak_at=0, peak_channel=said.channel[0], peak_value=float(row[c]),
        expected=(float(said.expected_low[0, c]), float(said.expected_high[0, c])), layer=said.layer[0],
        contributions={}, model_version=0,
    )  # fmt: skip
    return words(change, kind)


def nearest(kind: Profile, values: Mapping[str, float | None], latest: pl.DataFrame) -> pl.DataFrame:
    """The newest readings that are most like it, each channel counted in widths of its normal band."""
    given = [each for each in kind.channels if each.formula is None and values.get(each.code) is not None]
    apart = [
        ((pl.col(each.code) - float(values[each.code] or 0.0)) / max(each.normal[1] - each.normal[0], 1e-9)) ** 2
        for each in given
    ]
    if not apart or latest.is_empty():
        return latest.head(0).with_columns(apart=pl.lit(0.0))
    distance = pl.mean_horizontal(apart).sqrt()
    return latest.with_columns(apart=distance).filter(pl.col("apart").is_finite()).sort("apart").head(NEAREST)
