"""Level: distance from what this mote usually shows at this hour, weekdays and weekends apart, in robust scales."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlops.detection.compiled import Array, compiled, interpolate
from mlops.detection.history import Arrays, History, grouped_median
from mlops.detection.rows import Field, Rows, Said
from mlops.detection.tails import inverse, line
from sensors.readings import Bools, Channel, Floats, Ints, Profile

NAME = "level"
MEMORY: Mapping[str, Field] = {}
TAIL = 0.25
OWN_LIMITS = False
BY_HEART = True
IS_SETTLED = False
ANY_DAY = True  # by itself: what a kind of day has not shown, it judges by a wide band
HOURS = 24
MAD = 1.4826  # of a normal distribution: the median absolute deviation as a standard deviation
FLOOR = 0.5  # an hour is at least half as restless as the whole day: a dark night is not infinitely precise
ENOUGH = 0.25  # of an hour's readings, for a bin to speak for itself
YOUNG_S = 12 * 3600.0  # what a mote said in less than this is no norm yet: the pack's band widens it
BAND_SCALES = 6.0  # of half the normal band's width
DAYS = 2  # that show an hour of a kind of day, for what lies between days to be known
HALF_A_DAY = 0.5  # of its hours: before, a kind of day counts as not shown
FEW = 30  # readings of an hour from which its own scale counts


def prior(profile: Profile) -> Arrays:
    """One band for every hour: the pack's normal one, its edge a scale away from its middle."""
    low, high = profile.bounds("normal")
    n, onset = len(low), profile.onset
    half = np.maximum((high - low) / 2.0, 1e-9)
    # Inside the band nothing is wrong; a tenth of its width beyond is onset, six tenths beyond is high.
    raw, surprise = line(
        [(0.0, 0.0), (0.7, 0.05 * onset), (1.0, 0.3 * onset), (1.2, onset), (2.2, 2 * onset), (5.0, 12.0)], n
    )
    return {
        "motes": np.zeros(0, dtype=np.int64),
        "center": np.broadcast_to((low + high) / 2.0, (1, 2, HOURS, n)).astype(np.float32),
        "scale": np.broadcast_to(half, (1, HOURS, n)).astype(np.float32),
        "doubt": np.zeros((1, 2, HOURS, n), dtype=np.float32),
        "shown": np.ones((2, HOURS), dtype=np.bool_),
        "raw": raw,
        "surprise": surprise,
        "limit": np.ones(n),
    }


def learnt_tables(profile: Profile, learnt: Bools) -> Arrays:
    """For a learnt level whose tail nobody could measure: six scales are onset, ten are high."""
    onset, drawn = profile.onset, prior(profile)
    knots = [(0.0, 0.0), (3.0, 0.3 * onset), (6.0, onset), (10.0, 2 * onset), (20.0, 12.0)]
    raw, surprise = line(knots, len(learnt))
    return {
        "raw": np.where(learnt[:, None], raw, drawn["raw"]),
        "surprise": np.where(learnt[:, None], surprise, drawn["surprise"]),
        "limit": np.where(learnt, inverse(raw[0], surprise[0], onset), drawn["limit"]),
    }


def fit(history: History) -> Arrays:
    """A profile of every mote, and the fleet's for motes that come later."""
    readings = history.on_steps()
    bins = bins_of(readings.local_s)
    n_motes = len(readings.ids)
    start = prior(history.profile)
    center = np.tile(start["center"].astype(np.float64), (n_motes + 1, 1, 1, 1))
    scale = np.tile(start["scale"].astype(np.float64), (n_motes + 1, 1, 1))
    enough = max(1.0, ENOUGH * 3600.0 / history.profile.step_s)
    days = days_of(readings, bins)
    doubt = np.zeros(center.shape)
    for c, channel in enumerate(history.profile.channels):
        values = readings.values[:, c]
        if not np.isfinite(values).any():
            continue
        fleet = _fleet_center(values, bins)
        center[1:, :, :, c] = _centers(values, bins, readings.place, n_motes, fleet, enough)
        center[0, :, :, c] = fleet
        least = max(channel.resolution, 1e-6)
        own, seen = _scales(values - center[1:, :, :, c].reshape(n_motes, -1)[readings.place, bins], readings, bins)
        half = (channel.normal[1] - channel.normal[0]) / 2.0
        youth = np.maximum(0.0, 1.0 - seen * history.profile.step_s / YOUNG_S)[:, None] * half / BAND_SCALES
        scale[1:, :, c] = np.maximum(np.where(np.isfinite(own), own, np.nanmedian(own, axis=0)) + youth, least)
        scale[0, :, c] = np.maximum(_fleet_scale(own, center[1:, :, :, c], fleet, seen) + youth.min(), least)
        doubt[:, :, :, c] = np.where(days < DAYS, _doubt(center[:, :, :, c], channel) / BAND_SCALES, 0.0)
    return {
        "motes": readings.ids.astype(np.int64),
        "center": center.astype(np.float32),
        "scale": scale.astype(np.float32),
        "doubt": doubt.astype(np.float32),
        "shown": (days > 0) & ((days > 0).mean(axis=1, keepdims=True) >= HALF_A_DAY),
        **learnt_tables(history.profile, np.asarray(np.isfinite(readings.values).any(axis=0))),
    }


def _doubt(centers: Floats, channel: Channel) -> Floats:
    """How far from its middle a channel may be at an hour of which this kind of day has shown too little.

    The middle is borrowed, from a working day for a weekend, or is that of a single day: whatever the mote has shown at
    any hour may be usual there, and whatever the pack calls normal.
    """
    low = np.minimum(centers.min(axis=(1, 2), keepdims=True), channel.normal[0])
    high = np.maximum(centers.max(axis=(1, 2), keepdims=True), channel.normal[1])
    return np.maximum(centers - low, high - centers)


def wide_open(own: Arrays) -> Arrays:
    """With all of the doubt inside what is expected at hours that were never shown; the limit is known by now."""
    times = np.where(own["shown"][:, :, None], 1.0, BAND_SCALES / own["limit"])
    return own | {"doubt": (own["doubt"] * times).astype(np.float32)}


def days_of(readings: History, bins: Ints) -> Ints:
    """(weekend, hour): on how many days some mote was heard at that hour, at its own pace."""
    day = readings.local_s // 86_400
    heard = np.stack([day * 2 * HOURS + bins, readings.place], axis=1)
    cells, count = np.unique(heard, axis=0, return_counts=True)
    shown = np.unique(cells[count >= ENOUGH * np.median(count), 0])
    return np.bincount(shown % (2 * HOURS), minlength=2 * HOURS).reshape(2, HOURS)


def bins_of(local_s: Ints) -> Ints:
    """Weekend × hour of each local instant: 0..23 on weekdays, 24..47 at weekends."""
    day = local_s // 86_400
    weekend = ((day + 3) % 7 >= 5).astype(np.int64)
    return weekend * HOURS + local_s // 3600 % HOURS


def _fleet_center(values: Floats, bins: Ints) -> Floats:
    """(weekend, hour); an hour never seen borrows from the other kind of day, then from the whole."""
    middle, _ = grouped_median(values, bins, 2 * HOURS)
    middle = middle.reshape(2, HOURS)
    filled = np.where(np.isfinite(middle), middle, middle[::-1])
    return np.where(np.isfinite(filled), filled, np.nanmedian(values))


def _centers(values: Floats, bins: Ints, place: Ints, n_motes: int, fleet: Floats, enough: float) -> Floats:
    """(motes, weekend, hour): the mote's own medians, else its other kind of day, else the fleet's hour moved to it."""
    middle, count = grouped_median(values, place * 2 * HOURS + bins, n_motes * 2 * HOURS)
    middle = np.where(count >= enough, middle, np.nan).reshape(n_motes, 2, HOURS)
    offset, _ = grouped_median(values - fleet.reshape(-1)[bins], place, n_motes)
    moved = fleet[None] + np.where(np.isfinite(offset), offset, 0.0)[:, None, None]
    filled = np.where(np.isfinite(middle), middle, middle[:, ::-1])
    return np.where(np.isfinite(filled), filled, moved)


def _scales(residual: Floats, readings: History, bins: Ints) -> tuple[Floats, Ints]:
    """(motes, hour) robust scale of what is left, and which motes have any; never far below the mote's whole day."""
    n_motes, distance = len(readings.ids), np.abs(residual)
    hour = readings.place * HOURS + bins % HOURS
    own, count = grouped_median(distance, hour, n_motes * HOURS)
    whole, seen = grouped_median(distance, readings.place, n_motes)
    finite = np.isfinite(distance)
    total = np.bincount(readings.place[finite], distance[finite], minlength=n_motes)
    # Where most readings are equal the median distance is 0; the mean still knows of the others.
    floor = np.maximum(MAD * whole, total / np.maximum(seen, 1)) * FLOOR
    own = np.where(count >= FEW, MAD * own, np.nan).reshape(n_motes, HOURS)
    own = np.where(np.isfinite(own), own, (MAD * whole)[:, None])
    return np.maximum(own, floor[:, None]), seen


def _fleet_scale(own: Floats, centers: Floats, fleet: Floats, seen: Ints) -> Floats:
    """(hour): wide enough that most motes of the fleet would have been taken for normal by it."""
    apart = np.abs(centers - fleet[None]).max(axis=1)[seen > 0]
    return np.nanmedian(own, axis=0) + np.quantile(apart, 0.95, axis=0) / 2.0


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    raw = np.full(rows.values.shape, np.nan)
    place = _places(model["motes"], rows.mote)
    rows.is_known[:] = place > 0
    rows.is_shown[:] = model["shown"].reshape(-1)[bins_of(rows.local_s)]
    measure(rows, place, model["center"], model["scale"], model["doubt"], model["raw"], model["surprise"], raw)
    return Said(raw, rows.usual, rows.spread)


def _places(known: Ints, mote: Ints) -> Ints:
    """Row of each mote in the tables; 0, the fleet, for motes that were not in the history."""
    if len(known) == 0:
        return np.zeros(len(mote), dtype=np.int64)
    place = np.minimum(np.searchsorted(known, mote), len(known) - 1)
    return np.where(known[place] == mote, place + 1, 0)


@compiled
def measure(
    rows: Rows, place: Array, center: Array, scale: Array, doubt: Array, knots: Array, heights: Array, raw: Array
) -> None:
    """Distance from the line between the two hours whose middles lie around each instant: midnight is no cliff."""
    for i in range(len(place)):
        row = place[i]
        hour = (rows.local_s[i] - 1800) // 3600
        toward = (rows.local_s[i] - 1800 - hour * 3600) / 3600.0
        day, next_day = hour // 24, (hour + 1) // 24
        kind = 1 if (day + 3) % 7 >= 5 else 0
        next_kind = 1 if (next_day + 3) % 7 >= 5 else 0
        this_hour, next_hour = hour - day * 24, hour + 1 - next_day * 24
        for c in range(rows.values.shape[1]):
            here, there = center[row, kind, this_hour, c], center[row, next_kind, next_hour, c]
            rows.usual[i, c] = here + toward * (there - here)
            here = scale[row, this_hour, c] + doubt[row, kind, this_hour, c]
            there = scale[row, next_hour, c] + doubt[row, next_kind, next_hour, c]
            rows.spread[i, c] = here + toward * (there - here)
            x = rows.values[i, c]
            if not np.isnan(x):
                raw[i, c] = abs(x - rows.usual[i, c]) / rows.spread[i, c]
                rows.oddness[i, c] = interpolate(knots, heights, c, raw[i, c])
