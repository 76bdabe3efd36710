"""What the training part says of its channels: a profile without a pack, and the model that fits so much history."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from mlops.detect.reading import CannotJudge, Readings, Request
from mlops.detection import VOTES, Engine, FittedEngine, fallback
from sensors.readings import Batch, Bools, Channel, Floats, Ints, Profile, micros

# A limit that one normal reading in ten thousand passes cannot be learnt from fewer; what goes on learning can.
ENOUGH = 10_000
FILE = "file"  # the code of a profile that nobody wrote
LEARNS_ON = ("series", "shift")
# A third of the time, and the loudest voice in none of the injected faults of the Intel lab: for packs only.
FOREST = "forest"
FEWEST = 20  # readings
RESTING_STEPS = 60  # a lively channel that has not moved for so long, and longer than ever before, is stuck
UNIT = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]\s*$")
MOST_DECIMALS = 6
REPEATED = 5  # times that a value of a sensor with steps occurs at least
SINGLE = 2e-7  # how exact a number is that was kept in single precision


def training_part(readings: Readings, ask: Request) -> Bools:
    """The rows to learn from, in the order of time."""
    n = len(readings)
    is_training = np.zeros(n, dtype=np.bool_)
    if ask.train_until is not None:
        is_training[:] = readings.at < micros(ask.train_until)
        said = f"before {ask.train_until:%Y-%m-%d %H:%M:%S}"
    else:
        rows = ask.train_rows if ask.train_rows is not None else int(ask.train_fraction * n)
        is_training[:rows] = True
        said = f"the first {rows:,} rows"
    n_training = int(is_training.sum())
    if n_training < FEWEST and ask.profile is None:
        raise CannotJudge(
            f"{said} are {n_training:,} of {n:,} rows to learn from; expected at least {FEWEST}: say how many with "
            "--train-fraction, --train-rows or --train-until, or name a profile with --profile"
        )
    if n_training == n:
        raise CannotJudge(f"{said} are all {n:,} rows: nothing is left to judge; learn from fewer")
    return is_training


def profile_of(readings: Readings, is_training: Bools) -> Profile:
    """Channels as the training part shows them."""
    step_s = typical_step_s(readings.series[is_training], readings.at[is_training])
    values = readings.values[is_training]
    is_long = len(values) >= ENOUGH
    channels = tuple(
        channel_of(name, values[:, c][np.isfinite(values[:, c])], step_s, is_long=is_long)
        for c, name in enumerate(readings.names)
    )
    return Profile(FILE, 1, "A file", step_s, step_s, channels)


def typical_step_s(series: Ints, at: Ints) -> float:
    """The median of what lies between a series' readings."""
    order = np.lexsort((at, series))
    apart = np.diff(at[order])[np.diff(series[order]) == 0]
    apart = apart[apart > 0]
    if not len(apart):
        raise CannotJudge("no series has two readings at different times in the training part: learn from more rows")
    return float(np.median(apart)) / 1e6


def channel_of(name: str, values: Floats, step_s: float, *, is_long: bool) -> Channel:
    """Without knowledge of the sensor nothing is impossible, until a long past says how far it reaches."""
    named = UNIT.match(name)
    label, unit = (named[1] or name, named[2]) if named else (name, "")
    if not len(values):
        return Channel(name, label, unit, (-np.inf, np.inf), (0.0, 1.0), 0.0, 0.0, 0.0, is_detected=False)
    low, high = float(values.min()), float(values.max())
    usual = np.quantile(values, [0.001, 0.999]) if is_long else np.array([low, high])
    physical = (2 * low - high, 2 * high - low) if is_long and high > low else (-np.inf, np.inf)
    rests = RESTING_STEPS * step_s if is_long else 0.0
    written = resolution(values) if is_long else 0.0
    return Channel(name, label, unit, physical, (float(usual[0]), float(usual[1])), written, 0.0, rests)


def resolution(values: Floats) -> float:
    """What usually lies between two values that occur, at least the decimal place to which they are written.

    0 where nearly every value is another one.
    """
    distinct = np.unique(values)
    if len(distinct) * REPEATED > len(values):
        return 0.0
    apart = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 0.0
    some = values[:: max(1, len(values) // 5000)]
    exact = max(1e-9, SINGLE * float(np.abs(some).max()))
    for decimals in range(MOST_DECIMALS + 1):
        if 10.0**-decimals < 4.0 * exact:
            break
        if np.allclose(some, np.round(some, decimals), rtol=0.0, atol=exact):
            return max(float(10.0**-decimals), apart)
    return apart


def learn(history: Batch, *, is_pack: bool, without: Sequence[str] = ()) -> tuple[FittedEngine, Sequence[str]]:
    """The model, and which layers have too little history to speak."""
    if len(history) < FEWEST:
        return fallback(history.profile), ()
    if is_pack:
        return Engine(without=without).fit(history), ()
    silent = () if len(history) >= ENOUGH else tuple(set(VOTES) - {"gate", FOREST, *LEARNS_ON})
    return Engine(without={*silent, FOREST, *without}).fit(history), silent
