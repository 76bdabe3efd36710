"""How the engine's loops are compiled, and what they share. No fastmath, no parallel: a row never sees its neighbours.

Numba's cache does not notice a change in a function of another file, so it lies in a folder named after the content of
the whole package: after any change everything is compiled anew.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import config as numba_config
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

CAP = 12.0  # surprise beyond which more says nothing
NEVER = np.iinfo(np.int64).max
NO_TIME = np.iinfo(np.int64).min
SILENT_STEPS = 20  # a mote that said nothing for longer was silent
STEP_TOLERANCE = 0.9  # senders jitter: a step counts as passed a little early

PACKAGE = Path(__file__).parent
config: Any = numba_config  # it makes its attributes at run time


def digest(package: Path = PACKAGE) -> str:
    """Of the package's source, file by file."""
    content = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return content.hexdigest()[:16]


FOLDER = Path(config.CACHE_DIR or PACKAGE / "__pycache__") / f"engine-{digest()}"


def compiled(function: Callable[..., Any], **how: Any) -> Any:
    """The loop, compiled when it is first called and kept for the next process."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(FOLDER)  # numba looks at it now, when it decorates
    try:
        return njit(cache=True, nogil=True, **how)(function)
    finally:
        config.CACHE_DIR = before


def inlined(function: Callable[..., Any]) -> Any:
    """A part of such a loop that takes whole tuples: called, it would count the references of each of their arrays."""
    return compiled(function, inline="always")


@inlined
def interpolate(knots: Array, heights: Array, row: int, x: float) -> float:
    """Height at x of the line through a row of knots; level beyond its ends."""
    last = knots.shape[1] - 1
    if x <= knots[row, 0]:
        return heights[row, 0]
    if x >= knots[row, last]:
        return heights[row, last]
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) >> 1
        if knots[row, middle] <= x:
            low = middle
        else:
            high = middle
    share = (x - knots[row, low]) / (knots[row, high] - knots[row, low])
    return heights[row, low] + share * (heights[row, high] - heights[row, low])


@compiled
def bent(x: float, bend: float) -> float:
    """A channel of many decades, such as light, on a scale of its own: even near 0, of ratios far from it."""
    return math.asinh(x / bend) if bend > 0.0 else x


@compiled
def straight(x: float, bend: float) -> float:
    return math.sinh(x) * bend if bend > 0.0 else x


@compiled
def bend_all(values: Array, bends: Array) -> None:
    """In place; a scalar loop, since a vectorised asinh may differ between a vector's body and its rest."""
    for i in range(values.shape[0]):
        for c in range(values.shape[1]):
            if bends[c] > 0.0:
                values[i, c] = bent(values[i, c], bends[c])
