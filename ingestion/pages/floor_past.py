"""How the fleet stood over the last hours, in equal steps: what the floor map's slider goes through.

A step is told by the readings at its begin, which is cheap however fast motes report, and by the events that ran in
it, so that no anomaly is missed for lying between two looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.db.models import Q

from alerts.models import Event
from sensors import overlay, quality, registry
from sensors.corrections import standing
from sensors.fleet import Fleet
from sensors.readings import Floats, Profile, score
from sensors.spoken import instants
from sensors.stores import HotStore

STEPS = 72
HOURS = ((1, "1 h"), (6, "6 h"), (24, "24 h"))
LOOK_INTERVALS, LEAST_LOOK_S = 2.0, 5.0


def past(*, store: HotStore, now: datetime, hours: int) -> dict[str, Any]:
    """By mote: score, whether an anomaly ran, and each channel's mean, a list of steps each. StoreUnavailable."""
    fleet = registry.current_fleet()
    step_s = hours * 3600 // STEPS
    first = int(now.timestamp()) // step_s - STEPS + 1
    starts = first * step_s + np.arange(STEPS, dtype=np.int64) * step_s
    found: dict[str, dict[str, Any]] = {}
    for code, profile in fleet.profiles.items():
        members = [mote.id for mote in fleet.motes if mote.profile == code]
        if members:
            found |= _of_profile(store, fleet, profile, members, starts, step_s)
    return {"at": instants(starts * 1_000_000), "stepS": step_s, "motes": found}


def _of_profile(
    store: HotStore, fleet: Fleet, profile: Profile, members: Sequence[int], starts: Any, step_s: int
) -> dict[str, dict[str, Any]]:
    looks = pl.concat(_looks(store, profile, members, starts, step_s))
    begin, end = (datetime.fromtimestamp(int(at), UTC) for at in (starts[0], starts[-1] + step_s))
    looks = overlay.corrected(profile, looks, standing(members, begin, end))
    values, scores, is_anomalous = _placed(profile, looks, members, int(starts[0]), step_s)
    _with_events(profile, members, starts, step_s, begin, end, scores, is_anomalous)
    return {
        f"{fleet.by_id[mote].site}/{fleet.by_id[mote].code}": {
            "score": _known(scores[row], 3),
            "anomalous": is_anomalous[row].astype(int).tolist(),
            "values": {name: _known(values[row, :, i], 3) for i, name in enumerate(profile.names)},
        }
        for row, mote in enumerate(members)
    }


def _looks(
    store: HotStore, profile: Profile, members: Sequence[int], starts: Any, step_s: int
) -> Iterator[pl.DataFrame]:
    length = timedelta(seconds=min(step_s, max(LOOK_INTERVALS * profile.interval_s, LEAST_LOOK_S)))
    for at in starts.tolist():
        start = datetime.fromtimestamp(at, UTC)
        yield store.between(profile, members, start, start + length)


def _placed(
    profile: Profile, looks: pl.DataFrame, members: Sequence[int], first_s: int, step_s: int
) -> tuple[Floats, Floats, Any]:
    """(motes, steps, channels) of clean means, (motes, steps) of the highest score and of whether any was anomalous."""
    is_suspect = quality.suspects(looks["flags"].to_numpy(), len(profile.names))
    clean = [
        pl.when(pl.Series(is_suspect[:, place])).then(None).otherwise(pl.col(name)).alias(name)
        for place, name in enumerate(profile.names)
    ]
    scored = pl.Series("score", score(looks["surprise"].to_numpy(), profile.onset)).fill_nan(None)
    step = ((pl.col("at").cast(pl.Int64) // 1_000_000 - first_s) // step_s).alias("step")
    told = looks.with_columns(*clean, scored, step).group_by("mote", "step")
    means = told.agg(pl.col(profile.names).mean(), pl.col("score").max(), pl.col("is_anomaly").any())
    rows = np.array([members.index(mote) for mote in means["mote"].to_list()], dtype=np.int64)
    steps = means["step"].to_numpy()
    values = np.full((len(members), STEPS, len(profile.names)), np.nan)
    scores = np.full((len(members), STEPS), np.nan)
    is_anomalous = np.zeros((len(members), STEPS), dtype=np.bool_)
    values[rows, steps] = means.select(pl.col(profile.names).fill_null(float("nan"))).to_numpy()
    scores[rows, steps] = means["score"].fill_null(float("nan")).to_numpy()
    is_anomalous[rows, steps] = means["is_anomaly"].to_numpy()
    return values, scores, is_anomalous


def _with_events(
    profile: Profile,
    members: Sequence[int],
    starts: Any,
    step_s: int,
    begin: datetime,
    end: datetime,
    scores: Floats,
    is_anomalous: Any,
) -> None:
    within = Q(started_at__lt=end) & (Q(last_at__gte=begin) | Q(ended_at=None))
    events = Event.objects.filter(within, mote__in=members).values_list(
        "mote", "started_at", "last_at", "peak_surprise"
    )
    for mote, started_at, last_at, peak in events:
        ran = (starts + step_s > started_at.timestamp()) & (starts <= last_at.timestamp())
        row = members.index(mote)
        scores[row, ran] = np.fmax(scores[row, ran], float(score(peak, profile.onset)))
        is_anomalous[row, ran] = True


def _known(values: Floats, decimals: int) -> list[float | None]:
    return [None if value != value else value for value in np.round(values, decimals).tolist()]
