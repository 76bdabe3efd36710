"""Readings as API, live channel and pages tell them: mote codes, instants in UTC with a Z, a score beside its word."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from sensors import quality
from sensors.fleet import Fleet
from sensors.readings import INSTANT, Batch, Floats, Ints, from_table, score, severity

Spoken = dict[str, Any]


def instants(at_us: Ints) -> list[str]:
    """ISO 8601 of UTC microseconds, with as many decimals as there are.

    >>> instants(np.array([1_772_452_800_000_000, 1_772_452_800_500_000]))
    ['2026-03-02T12:00:00Z', '2026-03-02T12:00:00.500Z']
    """
    return pl.Series(at_us).cast(INSTANT).dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_list()


def spoken(batch: Batch, fleet: Fleet) -> list[Spoken]:
    """One object a reading, in the batch's order. What was not measured or not judged is None."""
    scores = np.round(score(batch.surprise, fleet.onsets_of(batch.profile, batch.model_version)), 4)
    columns = zip(
        batch.mote.tolist(),
        instants(batch.at),
        batch.values.tolist(),
        np.round(quality.quality(batch.profile, batch.flags, batch.values), 3).tolist(),
        batch.flags.tolist(),
        _known(scores),
        _known(np.round(batch.surprise, 4)),
        batch.is_anomaly.tolist(),
        batch.model_version.tolist(),
        strict=True,
    )
    names = batch.profile.names
    return [
        {
            "mote": fleet.by_id[mote].code,
            "site": fleet.by_id[mote].site,
            "profile": batch.profile.code,
            "at": at,
            "values": {name: None if value != value else value for name, value in zip(names, values, strict=True)},
            "quality": trusted,
            "flags": quality.names(flags) if flags else [],
            "suspect": quality.channels(flags, batch.profile) if flags else [],
            "score": scored,
            "surprise": surprise,
            "severity": None if scored is None else severity(scored),
            "is_anomaly": is_anomaly,
            "model_version": version,
        }
        for mote, at, values, trusted, flags, scored, surprise, is_anomaly, version in columns
    ]


def spoken_table(table: pl.DataFrame, profile_code: str, fleet: Fleet) -> list[Spoken]:
    """The same of rows that the hot store gave."""
    told = spoken(from_table(fleet.profiles[profile_code], table, np.zeros(len(table), dtype=np.int64)), fleet)
    judged_by = table["profile_version"].to_list()
    return [{**one, "profile_version": version} for one, version in zip(told, judged_by, strict=True)]


def _known(numbers: Floats) -> list[float | None]:
    return [None if number != number else number for number in numbers.tolist()]
