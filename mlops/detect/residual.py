"""What a series does that its past does not foretell, after telemanom (Hundman et al. 2018). Pure.

A forecasting member learns the training part and forecasts each reading from what lies before it, several steps ahead
at once. The error is laid on the reading that it is the error of, smoothed, and held to a threshold without parameters:
the mean of the errors before and as many deviations as part them best. What is less than 13 % above the greatest error
that counts as normal is pruned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from alerts.events import EventChange
from mlops.detect.reading import ENGINE, CannotJudge
from mlops.forecasting import CannotForecast, Panel, panel_of
from mlops.forecasting.members import DEEP, Member, has_torch, make
from sensors.readings import Batch, Bools, Floats, Ints, Profile

MEMBERS = {"ridge": "linear", "telemanom": "telemanom"}  # which forecasts for which detector
DETECTORS = (ENGINE, *MEMBERS)
HORIZON, ASKED = 10, (1, 4, 7, 10)  # steps ahead, and those whose forecasts of a reading are averaged
VALIDATED = 0.25  # of the training part, to choose the member's settings on
WINDOW, SMOOTHED = 2100, 0.05  # errors that a threshold is of, the training part at most; and smoothed over that share
EVERY, LEAST, PRUNE = 35, 40, 0.13
DEVIATIONS = np.arange(2.0, 10.0, 0.5)
FARTHEST = 12.0  # deviations, where nothing parts the errors
LOUDER, QUIET = 1.5, 0.97  # an event is told anew when it is so many times as far out; else it stays below onset


def why_not(detector: str) -> str:
    """Why it cannot judge here; empty where it can."""
    if MEMBERS.get(detector) in DEEP and not has_torch():
        return f"“{detector}” is not installed: it needs PyTorch; pip install -r requirements/deep.txt"
    return ""


@dataclass(frozen=True)
class Residuals:
    """Of each reading (rows, channels): its forecast, how far it may be off, and how far it is, smoothed, in that."""

    forecast: Floats
    limit: Floats
    share: Floats
    error: Floats


class Heard(NamedTuple):
    """What a detector says of each reading, and its events by mote and when they were noticed."""

    surprise: Floats
    is_anomaly: Bools
    event: Ints
    by_channel: Floats
    changes: dict[tuple[int, int], EventChange]


def judge(batch: Batch, is_training: Bools, detector: str) -> Heard:
    """Raises CannotJudge. What was learnt from is not judged."""
    try:
        found = residuals(batch, is_training, MEMBERS[detector])
    except CannotForecast as why:
        raise CannotJudge(f"“{detector}” cannot learn from this file: {why}") from None
    return _said(batch, found, detector)


def residuals(batch: Batch, is_training: Bools, member: str) -> Residuals:
    """Raises CannotForecast."""
    n_series = int(batch.mote.max())
    learnt, panel = _learnt(batch.take(is_training), n_series, member), _panel(batch, n_series)
    cell = (batch.at - panel.start + panel.step // 2) // panel.step
    found = Residuals(*(np.full(batch.values.shape, np.nan) for _ in range(4)))
    n_channels = batch.values.shape[1]
    for mote in np.unique(batch.mote).tolist():
        own = np.flatnonzero(batch.mote == mote)
        n_training = int(is_training[own].sum())
        for channel in np.flatnonzero(batch.profile.is_detected).tolist():
            ahead = learnt.foretell(panel, (mote - 1) * n_channels + channel, np.arange(len(panel)))
            forecast = aligned(ahead)[cell[own]]
            error = smoothed(np.abs(batch.values[own, channel] - forecast), n_training)
            limit = limits(error, n_training)
            place = own, channel
            found.forecast[place], found.error[place], found.limit[place] = forecast, error, limit
            found.share[place] = error / limit
    return found


def _panel(batch: Batch, n_series: int) -> Panel:
    names = [f"{mote} {name}" for mote in range(n_series) for name in batch.profile.names]
    return panel_of(
        batch.at, batch.values, names, series=batch.mote - 1, n_series=n_series, step_s=batch.profile.step_s
    )


def _learnt(training: Batch, n_series: int, member: str) -> Member:
    if not len(training):
        raise CannotForecast("there is no part to learn from; say how much with --train-fraction or --train-rows")
    known = _panel(training, n_series)
    return make(member, HORIZON).fit(known, len(known) - int(VALIDATED * len(known)))


def aligned(ahead: Floats) -> Floats:
    """Of forecasts (origins, steps) the mean of those that were made of each row, by their distance in ASKED."""
    total = np.zeros(len(ahead))
    for step in ASKED:
        made = np.concatenate([np.full(step - 1, np.nan), ahead[: len(ahead) - step + 1, step - 1]])
        total += made
    return total / len(ASKED)


def smoothed(error: Floats, n_training: int) -> Floats:
    """What was not measured or not foretold changes nothing."""
    span = max(SMOOTHED * _window(n_training), 1.0)
    return pl.Series(error).fill_nan(None).ewm_mean(span=span, adjust=False, ignore_nulls=True).to_numpy()


def _window(n_training: int) -> int:
    return min(n_training, WINDOW) if n_training >= LEAST else WINDOW


def limits(error: Floats, n_training: int) -> Floats:
    """Of each reading by the errors before it; NaN where too few are known."""
    found, window = np.full(len(error), np.nan), _window(n_training)
    for begin in range(n_training, len(error), EVERY):
        past = error[max(0, begin - window) : begin]
        past = past[np.isfinite(past)]
        if len(past) >= LEAST:
            found[begin : begin + EVERY] = threshold(past)
    return found


def threshold(past: Floats) -> float:
    """That mean and z deviations which, taking away what lies beyond, calms the rest most for the fewest stretches."""
    mean, deviation = float(past.mean()), float(past.std())
    best, chosen = -np.inf, max(mean + FARTHEST * deviation, (1.0 + PRUNE) * float(past.max()))
    for limit in (mean + DEVIATIONS * deviation).tolist():
        beyond = past > limit
        rest = past[~beyond]
        if not beyond.any() or not len(rest) or deviation == 0.0:
            continue
        pruned = max(limit, (1.0 + PRUNE) * float(rest.max()))
        stretches = int((np.diff(beyond.astype(np.int8), prepend=0) == 1).sum())
        gain = ((mean - rest.mean()) / mean + (deviation - rest.std()) / deviation) / (beyond.sum() + stretches**2)
        if gain > best and past[beyond].max() >= pruned:
            best, chosen = float(gain), pruned
    return max(chosen, 1e-9)


# ---- as the engine says it ----------------------------------------------------------------------------------


def _said(batch: Batch, found: Residuals, detector: str) -> Heard:
    share = np.nan_to_num(found.share)
    onset, n = batch.profile.onset, len(batch)
    said = Heard(np.zeros(n), np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64), onset * share, {})
    for mote in np.unique(batch.mote).tolist():
        own = np.flatnonzero(batch.mote == mote)
        worst = share[own].max(axis=1)
        said.surprise[own] = onset * news(worst)
        for rows in _stretches(own, worst >= 1.0):
            change = _event(batch, found, share, own, rows, detector)
            said.is_anomaly[rows], said.event[rows] = True, change.noticed_at
            said.changes[change.mote, change.noticed_at] = change
    return said


def news(share: Floats) -> Floats:
    """Loud at the beginning of a stretch beyond 1, and when it gets clearly worse; quiet in between."""
    told, loudest = np.minimum(share, QUIET), 0.0
    beyond = share >= 1.0
    for i in np.flatnonzero(beyond).tolist():
        if i == 0 or not beyond[i - 1]:
            loudest = 0.0
        if share[i] >= LOUDER * loudest:
            told[i] = loudest = float(share[i])
    return told


def _stretches(own: Ints, beyond: Bools) -> Iterator[Ints]:
    edges = np.flatnonzero(np.diff(beyond.astype(np.int8), prepend=0, append=0))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield own[begin:end]


def _event(batch: Batch, found: Residuals, share: Floats, own: Ints, rows: Ints, detector: str) -> EventChange:
    """Its peak is the reading that was farthest from its forecast: smoothed, the error comes late."""
    profile: Profile = batch.profile
    miss = np.nan_to_num(np.abs(batch.values[rows] - found.forecast[rows]) / found.limit[rows])
    row, channel = np.unravel_index(int(miss.argmax()), miss.shape)
    peak, shares = rows[row], share[rows].max(axis=0)
    middle, reach = found.forecast[peak, channel], found.limit[peak, channel]
    begun, last = int(batch.at[rows[0]]), int(batch.at[rows[-1]])
    return EventChange(
        mote=int(batch.mote[peak]), profile=profile.code, started_at=begun, noticed_at=begun, last_at=last,
        ended_at=None if rows[-1] == own[-1] else last, n_readings=len(rows),
        peak_surprise=float(profile.onset * shares.max()), peak_at=int(batch.at[peak]),
        peak_channel=profile.names[channel], peak_value=float(batch.values[peak, channel]),
        expected=(float(middle - reach), float(middle + reach)), layer=detector,
        contributions=dict(zip(profile.names, (shares / shares.sum()).tolist(), strict=True)), model_version=0,
    )  # fmt: skip
