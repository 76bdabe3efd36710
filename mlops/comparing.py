"""Two models on the same days: what each would have told, what one gains and loses, how their scores lie. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alerts.events import EventChange
from mlops.detection import FittedEngine
from sensors.readings import WEEK_S, Batch, Floats, score

BINS = 20  # of the score, from 0 to 1
QUANTILES = (0.5, 0.9, 0.99, 0.999)
SHOWN = 20  # gained and lost events that are kept by name
APART_US = 10 * 60 * 1_000_000  # events of a mote that lie closer tell of the same trouble
GRACE_US = 30 * 60 * 1_000_000  # after a fault's end in which noticing it still counts

Stretch = tuple[int, int, int]  # mote, first and last instant in microseconds


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model says of readings: a score each, and its events as they end."""

    scores: Floats
    events: list[EventChange]


def hear(fitted: FittedEngine, batch: Batch) -> Heard:
    """Steps a fresh state over the readings in order of time."""
    ordered = batch.take(np.lexsort((batch.mote, batch.at)))
    _, judged, changes = fitted.step(fitted.start(), ordered)
    said = judged.surprise[np.isfinite(judged.surprise)]
    last = {(change.mote, change.noticed_at): change for change in changes}
    return Heard(score(said, fitted.onset), list(last.values()))


def compare(serving: FittedEngine, candidate: FittedEngine, days: Batch) -> dict[str, Any]:
    """Old against new on the same days, as the registry keeps it."""
    old, new = hear(serving, days), hear(candidate, days)
    weeks = max(float(np.ptp(days.at)) / 1e6 / WEEK_S, 1e-9)
    gained, lost = _without(new.events, old.events), _without(old.events, new.events)
    return {
        "first_at_us": int(days.at.min()),
        "last_at_us": int(days.at.max()),
        "n_readings": len(days),
        "n_motes": len(np.unique(days.mote)),
        "weeks": weeks,
        "serving": _side(old, weeks),
        "candidate": _side(new, weeks),
        "gained": {"n": len(gained), "a_week": len(gained) / weeks, "first": _named(gained)},
        "lost": {"n": len(lost), "a_week": len(lost) / weeks, "first": _named(lost)},
    }


def _without(mine: Sequence[EventChange], others: Sequence[EventChange]) -> list[EventChange]:
    """The events that no event of the other model's comes near."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for other in others:
        spans.setdefault(other.mote, []).append((other.started_at - APART_US, other.last_at + APART_US))
    return [
        one
        for one in mine
        if not any(begin <= one.last_at and one.started_at <= end for begin, end in spans.get(one.mote, []))
    ]


def _side(heard: Heard, weeks: float) -> dict[str, Any]:
    counts, _ = np.histogram(heard.scores, bins=BINS, range=(0.0, 1.0))
    quantiles = np.quantile(heard.scores, QUANTILES).tolist() if len(heard.scores) else [None] * len(QUANTILES)
    return {
        "n_events": len(heard.events),
        "events_a_week": len(heard.events) / weeks,
        "scores": counts.tolist(),
        "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True)),
    }


def _named(events: Sequence[EventChange]) -> list[dict[str, Any]]:
    worst = sorted(events, key=lambda one: -one.peak_surprise)[:SHOWN]
    return [
        {"mote": one.mote, "started_at_us": one.started_at, "channel": one.peak_channel, "surprise": one.peak_surprise}
        for one in worst
    ]


def finds(fitted: FittedEngine, readings: Batch, stretch: Stretch) -> bool:
    """Whether the model notices something of the mote from the stretch's first instant to shortly after its last."""
    mote, first, last = stretch
    events = hear(fitted, readings).events
    return any(
        one.mote == mote and one.noticed_at >= first - APART_US and one.started_at <= last + GRACE_US for one in events
    )
