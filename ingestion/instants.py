"""Instants as messages give them: ISO 8601 text, or a number of seconds, ms, µs or ns since 1970. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from sensors.readings import NOT_AN_INSTANT, Ints, micros


def instants(stamps: Sequence[Any]) -> Ints:
    """UTC microseconds of each stamp (ISO 8601 text, or seconds, ms, µs or ns since 1970); NOT_AN_INSTANT if none.

    What a stamp means never depends on the others: a replay cuts the stream into other batches.
    """
    kinds = set(map(type, stamps))
    if kinds <= {int, float}:
        return _epochs(stamps)
    if kinds == {str}:
        return _texts(stamps)
    found = np.full(len(stamps), NOT_AN_INSTANT, dtype=np.int64)
    for parse, wanted in ((_epochs, {int, float}), (_texts, {str})):
        places = [i for i, stamp in enumerate(stamps) if type(stamp) in wanted]
        if places:
            found[places] = parse([stamps[i] for i in places])
    return found


def _epochs(stamps: Sequence[int | float]) -> Ints:
    """By magnitude: seconds until the year 5138, then ms, µs, ns. Whole seconds and µs stay exact."""
    try:
        numbers = np.array(stamps, dtype=np.float64)
    except OverflowError:  # a whole number with hundreds of digits
        numbers = np.array([math.nan if (number := finite(stamp)) is None else number for stamp in stamps])
    size = np.abs(numbers)
    scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e6, 1e3, 1.0], 1e-3)
    # Rounding to the microsecond: 1772452800.123456 is not exactly a binary fraction.
    scaled = np.rint(numbers * scale)
    fits = np.isfinite(scaled) & (np.abs(scaled) < 2**62)
    return np.where(fits, scaled, float(NOT_AN_INSTANT)).astype(np.int64)


def _texts(stamps: Sequence[str]) -> Ints:
    parsed = pl.Series(stamps).str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False).cast(pl.Int64)
    found = parsed.fill_null(NOT_AN_INSTANT).to_numpy().copy()
    for i in np.flatnonzero(found == NOT_AN_INSTANT).tolist():
        found[i] = _one(stamps[i])
    return found


def _one(stamp: Any) -> int:
    if isinstance(stamp, int | float):
        return int(_epochs([stamp])[0])
    if not isinstance(stamp, str):
        return int(NOT_AN_INSTANT)
    try:
        instant = datetime.fromisoformat(stamp.strip())
        return micros(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return _numeric_text(stamp)


def _numeric_text(stamp: str) -> int:
    try:
        return _one(float(stamp))
    except (ValueError, OverflowError):
        return int(NOT_AN_INSTANT)


def finite(value: Any) -> float | None:
    """The number, or None for what is none: text, NaN, infinity, true, a list."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
