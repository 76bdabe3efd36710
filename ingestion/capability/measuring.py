"""Plants every kind of fault in readings without any, judges them, and counts what was found by what and when. Pure.

Each kind has a run of its own over the same readings, so that every event of it belongs to that kind, and what the
engine says where nothing was planted is false.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ingestion.capability.grounds import Ground, clean
from ingestion.simulating.disturbances import KINDS
from ingestion.simulating.episodes import COURSES
from ingestion.simulating.faults import LASTS, Fault, Plan
from ingestion.simulating.simulator import Readings, Simulator
from mlops.detection import VOTES, FittedEngine
from mlops.detection.compiled import STEP_TOLERANCE
from mlops.detection.events import NEARLY
from mlops.detection.layers import LAYERS, VOTE_BITS, VOTE_UNIT
from mlops.detection.state import EngineState
from sensors.readings import WEEK_S, Batch, Bools, Ints

US = 1_000_000
HOUR_US = 3600 * US
DAY_S = 86_400.0
AT_ONCE = 100_000  # readings a step
WARM_S = 6 * 3600.0  # in which the engine gets to know the motes, before the first fault
WANTED, WANTED_QUICKLY = 60, 20  # faults of a kind
APART = 6.0  # a mote's next fault comes after so many times the longest one, on average
OF_MESSAGES = ("drop_out", "clock_skew", "duplicate")  # no value is wrong: the reading path's business
Tell = Callable[[float, str], None]


@dataclass
class Found:
    """How many of some faults were found, and how long after the first wrong reading."""

    n: int = 0
    found: int = 0
    at_once: int = 0  # at the first wrong reading or the next one
    delays_s: list[float] = field(default_factory=list)

    def add(self, delay_s: float | None, interval_s: float) -> None:
        self.n += 1
        if delay_s is not None:
            self.found += 1
            self.at_once += delay_s <= interval_s * 1.001
            self.delays_s.append(delay_s)

    def to_json(self) -> dict[str, Any]:
        delay = round(float(np.median(self.delays_s)), 1) if self.delays_s else None
        return {"n": self.n, "found": self.found, "at_once": self.at_once, "median_delay_s": delay}


@dataclass(frozen=True)
class Said:
    """What the engine said of a run: its readings in order of mote and time, and when events were noticed."""

    mote: Ints
    at: Ints
    noticed: Mapping[str, Bools]  # by layer: whether it alone would have noticed an event here
    events: Mapping[int, list[tuple[int, int]]]  # by mote: when noticed, and the last reading of it


def kinds_of(ground: Ground) -> list[str]:
    """Every kind of fault that the simulator can do to these motes."""
    names = list(KINDS)
    if len(ground.measured.channels) < 2:
        names.remove("multi_channel")
    battery = ["battery_death"] if ground.measured.battery else []
    episode = ["episode"] if "episode" in ground.simulator.get("faults", {}) else []
    return [*names, *battery, *episode, *OF_MESSAGES]


def lengths_of(ground: Ground) -> tuple[float, float]:
    """How long faults last: as the pack has it for readings that are this far apart."""
    settings = ground.simulator
    if settings.get("interval_s", ground.profile.interval_s) != ground.interval_s:
        settings = {**settings, **settings.get("history", {})}
    low, high = settings.get("fault_length_s", (60.0, 600.0))
    return float(low), float(high)


def measure(
    engine: FittedEngine,
    ground: Ground,
    *,
    is_quick: bool = False,
    seed: int = 1,
    tell: Tell = lambda share, words: None,
) -> dict[str, Any]:
    """The table of one model: a line a kind, and what it says of readings in which nothing was planted."""
    begin, end = int(ground.at[0]), int(ground.at[-1]) + 1
    begin_us = begin + int(min(WARM_S * US, (end - begin) / 4))
    state = engine.start()
    _heard(engine, state, ground, clean(ground, begin, begin_us))
    kinds = kinds_of(ground)
    tell(0.1, "Judging readings without a fault")
    calm = _heard(engine, copy.deepcopy(state), ground, clean(ground, begin_us, end))
    lines = []
    for k, kind in enumerate(kinds):
        tell(0.2 + 0.8 * k / len(kinds), f"Planting {kind.replace('_', ' ')}")
        lines += _line(engine, copy.deepcopy(state), ground, kind, begin_us, end, is_quick, seed)
    return {
        "profile": ground.profile.code, "interval_s": ground.interval_s, "fault_length_s": list(lengths_of(ground)),
        "onset": round(engine.profile.onset, 3), "motes": len(ground.codes), "readings": ground.n_readings,
        "channels": [{"code": one.code, "label": one.label} for one in ground.measured.channels],
        "layers": list(VOTES), "kinds": lines, "clean": _cried(calm, ground),
    }  # fmt: skip


def _line(
    engine: FittedEngine, state: EngineState, ground: Ground, kind: str, begin: int, end: int, is_quick: bool, seed: int
) -> list[dict[str, Any]]:
    """One kind's line; an episode has one for each of its stages."""
    plan, span_us = _plan(ground, kind, WANTED_QUICKLY if is_quick else WANTED)
    end = min(end, begin + span_us)
    simulator = ground.struck(plan, seed)
    sent = ground.sent(simulator.produce(begin, end, ground.interval_s).once())
    said = _heard(engine, state, ground, ground.batch(sent))
    faults = _truth(simulator, begin, end, ground.interval_s)
    wrong = _wrong(ground, sent)
    stages = dict.fromkeys(fault.kind for fault in faults) if faults else {kind: None}
    return [
        {"kind": stage, **_counted([one for one in faults if one.kind == stage], said, wrong, ground, stage != kind)}
        for stage in stages
    ]


def _plan(ground: Ground, kind: str, wanted: int) -> tuple[Plan, int]:
    """Faults of a kind, apart from each other, and how long it takes to have enough of them."""
    length_s = lengths_of(ground)
    share = COURSES[ground.simulator.get("course", "wear")].anomalous if kind == "episode" else 1.0
    longest_s = length_s[1] * LASTS.get(kind, 1.0)
    one = Plan(anomaly_rate=0.0, length_s=length_s, kinds={kind: 1.0}, anomalous={kind: share})
    span_s = max(wanted * APART * longest_s / len(ground.codes), DAY_S if ground.interval_s > 1.0 else 0.0)
    return replace(one, anomaly_rate=one.mean_s / (APART * longest_s)), int(span_s * US)


def _truth(simulator: Simulator, begin: int, end: int, interval_s: float) -> list[Fault]:
    """Faults that lie wholly in the range. What several channels do at once is one fault, and so is a way back."""
    found: list[Fault] = []
    last: dict[str, Fault] = {}
    for fault in simulator.faults(begin, end, interval_s):
        before = last.get(fault.mote)
        last[fault.mote] = fault
        is_same = before is not None and (before.starts_us, before.kind) == (fault.starts_us, fault.kind)
        is_way_back = before is not None and fault.kind == simulator.episodes.stages[0] and (
            before.ends_us == fault.starts_us
        )  # fmt: skip
        if is_same or is_way_back or fault.starts_us < begin or fault.ends_us > end:
            continue
        channel = "" if fault.kind == "multi_channel" else fault.channel
        found.append(Fault(fault.mote, channel, fault.kind, fault.starts_us, fault.ends_us))
    return found


def _wrong(ground: Ground, sent: Readings) -> dict[int, Ints]:
    """By mote: when its readings were other than they should have been, by their own clock."""
    was = ground.values(sent.at)[np.arange(len(sent)), sent.mote]
    differs = ((sent.values != was) & np.isfinite(was)).any(axis=1) | (sent.reported_at != sent.at)
    at, mote = sent.reported_at[differs], sent.mote[differs]
    return {place: np.sort(at[mote == place]) for place in np.unique(mote).tolist()}


def _counted(
    faults: Sequence[Fault], said: Said, wrong: Mapping[int, Ints], ground: Ground, is_stage: bool
) -> dict[str, Any]:
    whole, by_layer, by_channel = Found(), {name: Found() for name in VOTES}, dict[str, Found]()
    nothing = np.zeros(0, dtype=np.int64)
    slack_us = int(max(ground.interval_s, ground.profile.step_s) * US)
    for fault in faults:
        place = ground.codes.index(fault.mote)
        own = wrong.get(place, nothing)
        own = own[(own >= fault.starts_us) & (own < fault.ends_us)]
        if not len(own) and fault.kind not in OF_MESSAGES:
            continue  # nobody could ever find it
        first, until = int(own[0]) if len(own) else fault.starts_us, fault.ends_us + slack_us
        delay = _noticed(said.events.get(int(ground.motes[place]), []), first, until, is_stage)
        whole.add(delay, ground.interval_s)
        by_channel.setdefault(fault.channel, Found()).add(delay, ground.interval_s)
        begin, end = _rows(said, int(ground.motes[place]), first, until)
        for name, found in by_layer.items():
            hits = np.flatnonzero(said.noticed[name][begin:end])
            found.add(float(said.at[begin + hits[0]] - first) / US if len(hits) else None, ground.interval_s)
    return {
        **whole.to_json(),
        "layers": {name: found.to_json() for name, found in by_layer.items()},
        "channels": {name: found.to_json() for name, found in sorted(by_channel.items()) if name},
    }


def _noticed(events: Sequence[tuple[int, int]], first: int, until: int, is_stage: bool) -> float | None:
    """Seconds from the first wrong reading to the event; of a stage that follows on another, it may run already."""
    times = [at for at, last in events if first <= at <= until or (is_stage and at < first <= last)]
    return max(0.0, (min(times) - first) / US) if times else None


def _rows(said: Said, mote: int, first: int, until: int) -> tuple[int, int]:
    low, high = np.searchsorted(said.mote, (mote, mote + 1))
    begin, end = np.searchsorted(said.at[low:high], (first, until + 1))
    return int(low + begin), int(low + end)


# ---- judging ------------------------------------------------------------------------------------------------


def _heard(engine: FittedEngine, state: EngineState, ground: Ground, batch: Batch) -> Said:
    votes, events = [np.zeros(0, dtype=np.int64)], {}
    for begin in range(0, len(batch), AT_ONCE):
        state, judged, changes = engine.step(state, batch.take(slice(begin, begin + AT_ONCE)))
        votes.append(judged.votes)
        events.update({(change.mote, change.noticed_at): change.last_at for change in changes})
    order = np.lexsort((batch.at, batch.mote))
    mote, at = batch.mote[order], batch.at[order]
    heard = np.concatenate(votes)[order]
    of_mote: dict[int, list[tuple[int, int]]] = {}
    for (key, noticed_at), last_at in events.items():
        of_mote.setdefault(key, []).append((noticed_at, last_at))
    step_us = STEP_TOLERANCE * ground.profile.step_s * US
    noticed = {
        layer.NAME: _alone(heard >> (VOTE_BITS * k) & (1 << VOTE_BITS) - 1, mote, at, engine.profile.onset, step_us)
        if not layer.IS_SETTLED
        else (heard >> (VOTE_BITS * k) & (1 << VOTE_BITS) - 1) >= _units(engine.profile.onset)
        for k, layer in enumerate(LAYERS)
    }
    return Said(mote, at, noticed, of_mote)


def _units(surprise: float) -> int:
    """As votes are stored."""
    return int(np.floor(surprise / VOTE_UNIT + 0.5))


def _alone(vote: Ints, mote: Ints, at: Ints, onset: float, step_us: float) -> Bools:
    """Where a layer by itself would notice an event, by the engine's own rule: high at once, or at onset when that, or
    what grew to it, lasts a step."""
    over = vote >= _units(NEARLY * onset)
    begins = over & ~(np.append(False, over[:-1]) & np.append(False, mote[1:] == mote[:-1]))
    run = np.cumsum(begins) - 1
    since = at[begins]
    lasts = np.zeros(len(at), dtype=np.bool_)
    lasts[over] = at[over] - since[run[over]] >= step_us
    return (vote >= _units(2 * onset)) | ((vote >= _units(onset)) & lasts)


def _cried(calm: Said, ground: Ground) -> dict[str, Any]:
    """What was said of readings in which nothing was planted, a mote and week."""
    weeks = len(calm.at) * ground.interval_s / WEEK_S
    n = sum(len(each) for each in calm.events.values())
    return {
        "mote_weeks": round(weeks, 2),
        "events": n,
        "per_mote_week": _per(n, weeks),
        "layers": {name: _per(_stretches(calm, hits), weeks) for name, hits in calm.noticed.items()},
    }


def _per(n: int, weeks: float) -> float | None:
    return round(n / weeks, 3) if weeks else None


def _stretches(calm: Said, hits: Bools) -> int:
    """Stretches in which a layer alone would have cried; what comes within the hour belongs to the same."""
    mote, at = calm.mote[hits], calm.at[hits]
    return int(hits.any()) + int(((np.diff(mote) != 0) | (np.diff(at) > HOUR_US)).sum())
