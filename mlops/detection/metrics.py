"""How an engine does on data that it has not seen. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.detection.engine import FittedEngine
from mlops.detection.history import History
from sensors.readings import WEEK_S, Batch


def held_out(fitted: FittedEngine, batch: Batch) -> dict[str, Any]:
    """Figures on held-out normal data: every event is a false one."""
    rows = History.of(batch)
    order = np.lexsort((rows.mote, rows.at))
    rows = rows.take(order)
    late, flags = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64)
    out, changes = fitted.judge(fitted.start(), rows.mote, rows.at, rows.local_s, rows.measured, late, flags)
    spoken = np.isfinite(out.surprise)
    n = int(spoken.sum())
    steps = np.unique(np.stack([rows.mote, rows.at // rows.step_us]), axis=1).shape[1]
    weeks = steps * rows.profile.step_s / WEEK_S
    n_events = len({(change.mote, change.noticed_at) for change in changes})
    return {
        "n_readings": n,
        "n_motes": len(rows.ids),
        "mote_weeks": weeks,
        "share_surprise_3": _share(out.surprise[spoken] >= 3.0),
        "share_onset": _share(out.surprise[spoken] >= rows.profile.onset),
        "flagged_share": _share(out.is_anomaly[spoken]),
        "forest_anomaly_ratio": _forest_ratio(fitted, rows),
        "n_events": n_events,
        "false_events_per_mote_week": n_events / weeks if weeks else None,
    }


def _forest_ratio(fitted: FittedEngine, rows: History) -> float | None:
    """Share of readings that a forest used alone at contamination 0.05 would call anomalous."""
    if not fitted.has_forest:
        return None
    raw = fitted.forest_raw(rows.measured, rows.local_s)
    return _share(raw[np.isfinite(raw)] > fitted.arrays["forest"]["offset"][0])


def _share(mask: Any) -> float | None:
    return float(mask.mean()) if len(mask) else None
