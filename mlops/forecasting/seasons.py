"""How many steps make a season. Pure."""

from __future__ import annotations

import numpy as np

from mlops.forecasting.panel import Panel, carried
from sensors.readings import Floats

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
