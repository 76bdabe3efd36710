"""What a mote's neighbours say at the same time. Pure."""

from __future__ import annotations

import numpy as np

from sensors.readings import Floats

LEAST = 2  # neighbours that must speak; one alone may be the one that is wrong


def median_of_others(grid: Floats) -> Floats:
    """For each cell of an (instants, motes) table the median of the row's other cells; NaN where too few speak.

    >>> median_of_others(np.array([[1.0, 2.0, 9.0, np.nan]])).tolist()
    [[5.5, 5.0, 1.5, 2.0]]
    """
    n_all = (~np.isnan(grid)).sum(axis=1, keepdims=True)
    order = np.argsort(grid, axis=1, kind="stable")  # NaN comes last
    ranked = np.take_along_axis(grid, order, axis=1)
    rank = np.argsort(order, axis=1, kind="stable")
    n = n_all - ~np.isnan(grid)
    lower, upper = np.maximum((n - 1) // 2, 0), np.maximum(n // 2, 0)
    # Whose own rank lies below the middle finds it one place further on, now that it is gone.
    last = grid.shape[1] - 1
    middle = sum(
        np.take_along_axis(ranked, np.minimum(place + (place >= rank), last), axis=1) for place in (lower, upper)
    )
    return np.where((n >= LEAST), middle / 2.0, np.nan)
