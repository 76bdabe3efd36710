"""How many steps make a season. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from mlops.forecasting.panel import Panel, carried
from sensors.readings import Bools, Floats, Ints

HOUR_US = 3_600_000_000
USUAL_US = (24 * HOUR_US, 168 * HOUR_US)
CYCLES = 2  # of a season must have been seen
ALIKE = 0.3  # correlation with itself a season ago, below which there is none


def seasons(panel: Panel, n_train: int) -> list[int]:
    """In steps: the day and the week where they fit, else what repeats itself most; empty where nothing does."""
    usual = [round(us / panel.step) for us in USUAL_US if us >= 2 * panel.step]
    fit = [steps for steps in usual if steps * CYCLES <= n_train]
    if fit:
        return fit
    found = [lag for series in panel.values[:n_train].T if (lag := _most_alike(series))]
    return [int(np.median(found))] if len(found) > panel.values.shape[1] / 2 else []


def season(panel: Panel, n_train: int) -> int:
    """The shortest; 1 where there is none, so that a season ago is the last value."""
    return next(iter(seasons(panel, n_train)), 1)


def _most_alike(values: Floats) -> int:
    """The lag beyond the first dip at which a series is most like itself; 0 where it is not."""
    if np.isfinite(values).sum() < 8:
        return 0
    moved = carried(values) - np.nanmean(values)
    size = 2 * len(moved)
    spectrum = np.fft.rfft(moved, size)
    alike = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(moved) // CYCLES + 1]
    if alike[0] <= 0.0 or not (alike < 0.0).any():
        return 0
    dip = int((alike < 0.0).argmax())
    lag = dip + int(alike[dip:].argmax())
    return lag if alike[lag] > ALIKE * alike[0] else 0


def local_at(at: Ints, zone: str) -> Floats:
    """As the clocks on the wall say, so that a day's course stays where people put it when they change."""
    if zone == "UTC":
        return at.astype(np.float64)
    hours, place = np.unique(at // HOUR_US, return_inverse=True)
    clock = ZoneInfo(zone)
    offsets = [datetime.fromtimestamp(int(hour) * 3600, UTC).astimezone(clock).utcoffset() for hour in hours]
    return (at + np.array([offset.total_seconds() * 1e6 if offset else 0.0 for offset in offsets])[place]).astype(float)


def is_weekend(local: Floats) -> Bools:
    return np.asarray((local // USUAL_US[0] + 3) % 7 >= 5)  # 1970 began on a Thursday


def days_ahead(panel: Panel, first: int, end: int, steps: int) -> NDArray[np.float32]:
    """For each row from first to before end, of the steps from it on (rows, steps): 1 on a weekend, else -1."""
    kinds = _kinds(panel.start + panel.step * first, panel.step, end - first + steps - 1, panel.zone)
    return np.lib.stride_tricks.sliding_window_view(kinds, steps)


@lru_cache(maxsize=64)  # motes are forecast from about the same instants
def _kinds(start: int, step: int, n: int, zone: str) -> NDArray[np.float32]:
    local = local_at(start + step * np.arange(n, dtype=np.int64), zone)
    return np.where(is_weekend(local), np.float32(1.0), np.float32(-1.0))
