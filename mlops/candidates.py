"""A candidate beside the version that serves: on the same held-out days, and on what people have confirmed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mlops import comparing, feedback, stretches
from mlops.detection import FittedEngine
from mlops.history import History, Lake
from mlops.models import ModelVersion
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


def report(version: ModelVersion) -> str:
    """The comparison in plain text; what there was none with is said."""
    found = version.metrics.get("comparison")
    gate = version.metrics.get("gate", {}).get("words", "")
    if not found:
        return f"{version.name}: nothing served that it could be compared with. {gate}"
    lines = [(f"{version.name} against {found['with']}", "serving", "candidate")]
    lines += [(label, old, new) for label, old, new in rows(version)]
    width = max(len(label) for label, _, _ in lines)
    table = [f"{label:<{width}}  {old:>12}  {new:>12}" for label, old, new in lines]
    change = f"{found['gained']['n']} events gained and {found['lost']['n']} lost over {found['weeks']:.2f} weeks"
    return "\n".join([*table, change, gate])


FIGURES = {
    "false_events_per_mote_week": ("False events a mote and week", ".2f"),
    "flagged_share": ("Clean readings flagged", ".3%"),
    "found_share": ("Planted faults found", ".0%"),
}


def rows(version: ModelVersion) -> list[tuple[str, str, str]]:
    """Each figure with the serving version's and the candidate's value, as people read it."""
    found = version.metrics.get("comparison", {})
    if not found:
        return []
    before = found.get("serving_metrics", {})
    held_out = [
        (label, _shown(before.get(name), form), _shown(version.metrics.get(name), form))
        for name, (label, form) in FIGURES.items()
    ]
    sides = [found["serving"], found["candidate"]]
    told, scores = [_shown(side["events_a_week"], ".1f") for side in sides], []
    for q in map(str, comparing.QUANTILES):
        old, new = (_shown(side["quantiles"][q], ".3f") for side in sides)
        scores.append((f"Score that {1 - float(q):.1%} of readings exceed", old, new))
    confirmed = found.get("confirmed", {})
    old, new = (f"{confirmed.get(side)} of {confirmed.get('n')}" for side in ("serving", "candidate"))
    kept = [("Confirmed events found", old, new)] if confirmed.get("n") else []
    return [*held_out, ("Alerts a week, all motes", told[0], told[1]), *kept, *scores]


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
