"""A candidate beside the version that serves: on the same held-out days, and on what people have confirmed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mlops import comparing, feedback, stretches
from mlops.detection import FittedEngine
from mlops.history import History, Lake
from sensors.fleet import Fleet
from sensors.readings import micros


def side_by_side(
    serving: FittedEngine, candidate: FittedEngine, past: History, *, lake: Lake, fleet: Fleet, now: datetime
) -> dict[str, Any]:
    """Both on all readings of the held-out days, and on what people have confirmed since."""
    profile = past.held_out.profile
    first, last = (datetime.fromtimestamp(int(at) / 1e6, UTC) for at in past.held_out.at[[0, -1]])
    motes = set(past.held_out.mote.tolist())
    days = stretches.readings(profile, first, last, lake=lake, fleet=fleet, motes=motes)
    compared = comparing.compare(serving, candidate, past.held_out if days is None else days)
    return {**compared, "confirmed": _confirmed(serving, candidate, motes, lake=lake, fleet=fleet, now=now)}


def _confirmed(
    serving: FittedEngine, candidate: FittedEngine, motes: set[int], *, lake: Lake, fleet: Fleet, now: datetime
) -> dict[str, Any]:
    found = {"n": 0, "serving": 0, "candidate": 0}
    lost = []
    asked = [one for one in feedback.confirmed(serving.profile.code, now) if one[0] in motes]
    for mote, start, end in asked:
        readings = stretches.around((mote, start, end), serving.profile, lake=lake, fleet=fleet)
        if readings is None:
            continue
        stretch = (mote, micros(start), micros(end))
        before, after = (comparing.finds(engine, readings, stretch) for engine in (serving, candidate))
        found = {"n": found["n"] + 1, "serving": found["serving"] + before, "candidate": found["candidate"] + after}
        if before and not after:
            lost.append({"mote": mote, "started_at_us": stretch[1]})
    return {**found, "lost": lost}
