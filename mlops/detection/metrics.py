"""How an engine does on data that it has not seen. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincinv

from mlops.detection.engine import FittedEngine
from mlops.detection.history import History
from mlops.detection.layers import VOTES
from mlops.detection.tails import ASKED
from sensors.readings import WEEK_S, Batch, Bools, Floats, Ints

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
HOLE = 2.0  # times a mote's pace: longer, and nothing was heard
SURE = 0.95


def held_out(fitted: FittedEngine, batch: Batch) -> dict[str, Any]:
    """Figures on held-out normal data: every event is a false one."""
    rows = History.of(batch)
    weeks = heard_us(rows) / 1e6 / WEEK_S
    order = np.lexsort((rows.mote, rows.at))
    rows = rows.take(order)
    late, flags = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64)
    out, changes = fitted.judge(fitted.start(), rows.mote, rows.at, rows.local_s, rows.measured, late, flags)
    spoken = np.isfinite(out.surprise)
    n = int(spoken.sum())
    begun = np.array(sorted({(change.noticed_at, change.mote) for change in changes}), dtype=np.int64).reshape(-1, 2)
    return {
        "n_readings": n,
        "n_motes": len(rows.ids),
        "mote_weeks": weeks,
        "share_surprise_3": _share(out.surprise[spoken] >= 3.0),
        "share_onset": _share(out.surprise[spoken] >= fitted.onset),
        "flagged_share": _share(out.is_anomaly[spoken]),
        "forest_anomaly_ratio": _forest_ratio(fitted, rows),
        "n_events": len(begun),
        "events_crowd": crowd(*_by_hour(begun[:, 0], rows.at)),
        "false_events_per_mote_week": len(begun) / weeks if weeks else None,
    }


def heard_us(history: History) -> float:
    """How long the motes were heard: from each reading to the next, and after the last before a hole its mote's pace.

    Counted in steps, a fleet that reports every tenth step would have been heard for a tenth of its time.
    """
    heard = 0.0
    for at in np.split(history.at, np.flatnonzero(np.diff(history.mote)) + 1):
        gaps = np.diff(at)
        pace = max(float(np.median(gaps)) if len(gaps) else 0.0, history.step_us)
        heard += float(np.where(gaps <= HOLE * pace, gaps, pace).sum()) + pace
    return heard


def crowd(beyond: Ints | Floats, size: Ints) -> float:
    """How many times as far as chance alone the counts of blocks scatter: 1 where nothing comes together."""
    n = float(beyond.sum())
    if not n or len(size) < 2:
        return 1.0
    surplus = beyond - size * (n / size.sum())
    return max(1.0, float((surplus**2).sum()) / n)


def _by_hour(begun: Ints, at: Ints) -> tuple[Ints, Ints]:
    """Events and readings of each hour: what strikes all motes at once is one accident."""
    hours, readings = np.unique(at // HOUR_US, return_counts=True)
    return np.bincount(np.searchsorted(hours, begun // HOUR_US), minlength=len(hours)), readings


def _forest_ratio(fitted: FittedEngine, rows: History) -> float | None:
    """Share of readings that a forest used alone at contamination 0.05 would call anomalous."""
    if not fitted.has_forest:
        return None
    raw = fitted.forest_raw(rows.measured, rows.local_s)
    return _share(raw[np.isfinite(raw)] > fitted.arrays["forest"]["offset"][0])


def _share(mask: Any) -> float | None:
    return float(mask.mean()) if len(mask) else None


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a tail probability came true on data that nobody had learnt from."""

    layer: str  # "combined": what the whole engine says
    channel: str  # "": the loudest of all
    asked: float
    n: int
    n_beyond: int
    low: float  # of the observed share, with SURE certainty
    high: float

    @property
    def observed(self) -> float:
        return self.n_beyond / self.n

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"observed": self.observed, "ratio": round(self.observed / self.asked, 4)}


def tail_rates(fitted: FittedEngine, batch: Batch) -> list[Rate]:
    """Of each layer that speaks in probabilities, and of all together: asked against observed on normal readings.

    A layer is asked by its own tail, before the loudest of all is calibrated once more. Gate, stuck, shift, peers
    and spike have drawn limits instead of a tail, and are not asked.
    """
    rows = History.of(batch)
    rows = rows.take(np.lexsort((rows.mote, rows.at)))
    late, flags = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64)
    state = fitted.start()
    heard, said = fitted.listen(state, rows.mote, rows.at, rows.local_s, rows.measured, late, flags)
    raw = {name: one.raw.copy() for name, one in zip(VOTES, said, strict=True)}
    out, _ = fitted.conclude(state, heard, said, rows.measured)
    block = rows.mote * 100_000 + rows.at // DAY_US
    rates = []
    for key, at in fitted.calibration.get("tails", {}).items():
        layer, _, channel = key.partition(" ")
        place = rows.profile.names.index(channel) if channel else 0
        rates += [_rate(layer, channel, p, raw[layer][:, place], at["reached"][str(p)], block) for p in ASKED]
    return rates + [_rate("combined", "", p, out.surprise, -np.log10(p), block) for p in ASKED]


def _rate(layer: str, channel: str, asked: float, raw: Floats, bar: float, block: Ints) -> Rate:
    there = np.isfinite(raw)
    beyond = raw[there] >= bar
    low, high = interval(beyond, block[there])
    return Rate(layer, channel, asked, len(beyond), int(beyond.sum()), low, high)


def interval(beyond: Bools, block: Ints) -> tuple[float, float]:
    """Of the share, by Poisson's law, as much wider as readings of one block (a mote's day) come together."""
    n, n_beyond = len(beyond), int(beyond.sum())
    if n == 0:
        return 0.0, 1.0
    _, place = np.unique(block, return_inverse=True)
    times = crowd(np.bincount(place, weights=beyond), np.bincount(place))
    side, k = (1.0 - SURE) / 2.0, n_beyond / times
    low = gammaincinv(k, side) if k else 0.0
    high = gammaincinv(k + 1, 1.0 - side)
    return float(low * times / n), float(min(high * times / n, 1.0))
