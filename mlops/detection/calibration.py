"""Raw outputs on held-out normal data become the tables of surprise, combined and calibrated once more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from mlops.detection import tails
from mlops.detection.history import Arrays, History
from mlops.detection.tails import Tail
from sensors.readings import Floats

ROWS = 200_000
FOLDS = 5
Tails = dict[tuple[str, int], Tail]  # by layer and channel; a layer of whole readings has channel 0 only


def sample(history: History) -> History:
    """Whole motes on their steps, about ROWS readings of them: what is judged in order cannot be thinned."""
    steps = history.on_steps()
    if len(steps) <= ROWS:
        return steps
    return steps.some_motes(max(1, int(len(steps.ids) * ROWS / len(steps))))


def folds(history: History) -> Iterator[tuple[History, History]]:
    """Each stretch of time, and what remains without it: a calibration that has seen every kind of day.

    The end of a week alone would be a weekend, and every weekday morning a surprise.
    """
    edges = np.linspace(int(history.at.min()), int(history.at.max()) + 1, FOLDS + 1).astype(np.int64)
    for begin, end in pairwise(edges.tolist()):
        inside = (history.at >= begin) & (history.at < end)
        if inside.any() and not inside.all():
            yield history.take(inside), history.take(~inside)


def calibrate(
    arrays: Mapping[str, Arrays], raw: Mapping[str, Floats], least_scales: Mapping[str, float], onset: float
) -> tuple[dict[str, Arrays], Tails, Tail | None]:
    """The layers' arrays with measured tables and limits, and the tails that made them.

    `least_scales` names the layers to be measured, each with the thinnest tail it may have. A channel of which too
    little was heard keeps its drawn table; where nothing was heard at all, so do all.
    """
    measured = {
        (name, c): tails.fit_tail(raw[name][:, c], least_scale=least)
        for name, least in least_scales.items()
        for c in range(raw[name].shape[1])
        if np.isfinite(raw[name][:, c]).sum() >= tails.FEW
    }
    if not measured:
        return dict(arrays), {}, None
    combined = tails.fit_tail(np.fmax(_loudest(measured, raw), _drawn(arrays, raw, least_scales)))
    tables = {name: _room(own, raw[name].shape[1]) if name in least_scales else own for name, own in arrays.items()}
    for (name, c), tail in measured.items():
        own = tables[name]
        own["raw"][c], own["surprise"][c] = tails.table(tail, combined)
        reach = tails.inverse(own["raw"][c], own["surprise"][c], onset)
        # Raw outputs are in units of what is allowed: less than that is no event, however rare it was in one history.
        own["raw"][c] *= max(1.0, 1.0 / reach)
        own["limit"][c] = max(1.0, reach)
    return tables, measured, combined


def between_limits(
    name: str, own: Arrays, raw: Floats, least_scale: float, combined: Tail | None, onset: float
) -> tuple[Arrays, Tails]:
    """The arrays of a layer that says itself what begins an event and what keeps one open; all between is measured."""
    measured = {
        (name, c): tails.fit_tail(raw[:, c], least_scale=least_scale)
        for c in range(raw.shape[1])
        if np.isfinite(raw[:, c]).sum() >= tails.FEW
    }
    told = _room(own, raw.shape[1])
    for (_, c), tail in measured.items():
        drawn = own["raw"][c], own["surprise"][c]
        told["raw"][c], told["surprise"][c] = tails.between(drawn, tails.table(tail, combined), (0.5 * onset, onset))
    return told, measured


def below_onset(tables: Mapping[str, Arrays], onset: float) -> dict[str, Arrays]:
    """The layers' tables as far as nothing becomes an event by them, so that nothing is held while tails are measured.

    What one layer says changes what the next one measures: a jump back to the ordinary is none.
    """
    quiet = float(np.nextafter(onset, 0.0))
    return {
        name: {"raw": own["raw"], "surprise": np.minimum(own["surprise"], quiet)}
        for name, own in tables.items()
        if "raw" in own
    }


def _room(own: Arrays, n: int) -> Arrays:
    """The layer's arrays with tables of its own to write into; a layer that had none is silent in the others."""
    raw, surprise = (own["raw"], own["surprise"]) if "raw" in own else tails.line([(0.0, 0.0)], n)
    limit = own.get("limit", np.full(n, np.inf))
    return {**own, "raw": raw.copy(), "surprise": surprise.copy(), "limit": limit.copy()}


def card(measured: Tails, combined: Tail | None, names: tuple[str, ...], whole: set[str]) -> dict[str, Any]:
    """The tails in figures; `whole` are the layers that judge readings as a whole."""
    return {
        "tails": {
            layer if layer in whole else f"{layer} {names[c]}": tail.card() for (layer, c), tail in measured.items()
        },
        "combined": combined.card() if combined else None,
    }


def _loudest(measured: Tails, raw: Mapping[str, Floats]) -> Floats:
    """The largest surprise of each row, each layer by its own tail."""
    loudest = np.full(len(next(iter(raw.values()))), np.nan)
    for (layer, c), tail in measured.items():
        said = raw[layer][:, c]
        surprise = np.interp(said, *tails.rising(*tails.table(tail)))
        loudest = np.fmax(loudest, np.where(np.isfinite(said), surprise, np.nan))
    return loudest


def _drawn(arrays: Mapping[str, Arrays], raw: Mapping[str, Floats], measured: Collection[str]) -> Floats:
    """The largest surprise of each row by the layers that bring their own tables: they are in the crowd, too."""
    loudest = np.full(len(next(iter(raw.values()))), np.nan)
    for layer in arrays.keys() & raw.keys() - set(measured):
        for c in range(raw[layer].shape[1] if "raw" in arrays[layer] else 0):
            said = raw[layer][:, c]
            own = tails.rising(arrays[layer]["raw"][c], arrays[layer]["surprise"][c])
            loudest = np.fmax(loudest, np.where(np.isfinite(said), np.interp(said, *own), np.nan))
    return loudest
