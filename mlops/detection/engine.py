"""The engine: learnt from history, stepped over a stream, the same however the stream is cut."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from alerts.events import EventChange
from mlops.detection import calibration as calibrating
from mlops.detection import events
from mlops.detection.calibration import Tails
from mlops.detection.compiled import NO_TIME, Array, bend_all, bent, straight
from mlops.detection.events import Kept, Opinions, Tables, Verdicts, conclude, tick
from mlops.detection.history import Arrays, History
from mlops.detection.layers import IN_TURN, LAYERS, VOTE_BITS, VOTE_UNIT, VOTES, Layer, forest, gate, level
from mlops.detection.rows import Rows, Said
from mlops.detection.state import EngineState
from mlops.detection.tails import Tail, inverse, line, rising
from sensors import quality
from sensors.readings import Batch, Bools, Floats, Ints, Profile, concat

SCHEMA = 4
DAY_US = 86_400_000_000
CLOSED_AT_ONCE = 256  # events that may close before the loop hands them over
HEARD = (gate.NAME, level.NAME)  # by every layer
NOBODY = np.zeros((0, 0))
# They bring the middle that they measure from; else the level does.
BANDED = ("jump", "series", "shift", "peers", "spike")
FIELDS = {layer.NAME: layer.MEMORY for layer in LAYERS if layer.MEMORY}


@dataclass(frozen=True)
class Judgement:
    """What the layers that need no order say of readings by themselves; channels in the profile's order."""

    surprise: Floats
    votes: Ints
    layer: list[str]
    channel: list[str]
    channel_surprise: Floats
    expected_low: Floats
    expected_high: Floats
    normal_low: Floats  # where the level would say no more
    normal_high: Floats


@dataclass(frozen=True, eq=False)
class FittedEngine:
    """An immutable model of one profile; pickles as plain arrays. `number` 0 is the pack's fallback."""

    profile: Profile
    arrays: dict[str, Arrays]  # by layer; a layer that is not here says nothing
    features: list[str]
    bends: Floats  # channels that layers see bent (see History); 0 as measured
    number: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    own_onset: float | None = None  # of an alert budget; None: the profile's
    remembered = FIELDS  # what it keeps of each mote, by layer

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("models", "tables", "ease")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("schema") != SCHEMA:
            raise ValueError(f"model of schema {state.get('schema')}, this version loads {SCHEMA}: train it again")
        self.__dict__.update(state)

    def numbered(self, number: int) -> FittedEngine:
        return replace(self, number=number)

    def with_onset(self, onset: float | None) -> FittedEngine:
        """The same model with events from another surprise on; layers listen to each other as before."""
        parameters = {name: value for name, value in self.parameters.items() if name != "own_onset"}
        told = {} if onset is None else {"own_onset": float(onset)}
        return replace(self, own_onset=onset, parameters=parameters | told)

    @property
    def onset(self) -> float:
        """Surprise from which a reading is anomalous."""
        return self.profile.onset if self.own_onset is None else self.own_onset

    def start(self) -> EngineState:
        state = EngineState(len(self.profile.channels))
        state.make_room(self.remembered, state.n_channels)
        return state

    def step(self, state: EngineState, batch: Batch) -> tuple[EngineState, Batch, list[EventChange]]:
        """Judges readings in row order. `state` is changed in place and returned; the batch is not changed.

        Rows flagged LATE, and any not newer than their mote's newest, are judged without order and leave no trace.
        """
        if batch.profile.names != self.profile.names:
            raise ValueError(
                f"the batch has channels {', '.join(batch.profile.names)}; "
                f"the model was fitted on {', '.join(self.profile.names)}"
            )
        flags = np.array(batch.flags, dtype=np.int64)
        is_late = (flags & quality.LATE) != 0
        local_s = batch.at // 1_000_000 + batch.utc_offset_s
        out, changes = self.judge(state, batch.mote, batch.at, local_s, batch.values, is_late, flags)
        judged = replace(
            batch,
            flags=out.flags,
            surprise=out.surprise,
            votes=out.votes,
            is_anomaly=out.is_anomaly,
            event_id=out.event_id,
            model_version=np.full(len(batch), self.number, dtype=np.int64),
        )
        return state, judged, changes

    def score_stateless(self, values: Floats, mote: Ints, at: Ints, utc_offset_s: Ints) -> Judgement:
        """Judges single readings by gate, level and forest; a mote that was not in the history by the fleet's norm."""
        n = len(mote)
        late = np.ones(n, dtype=np.bool_)
        flags = np.zeros(n, dtype=np.int64)
        local_s = at // 1_000_000 + utc_offset_s
        state, values = self.start(), np.where(self.profile.is_detected, values, np.nan)
        rows, said = self.listen(state, mote, at, local_s, values, late, flags)
        out, _ = self.conclude(state, rows, said, values)
        names = self.profile.names
        heard = out.votes[:, None] >> (VOTE_BITS * np.arange(len(VOTES))) & (1 << VOTE_BITS) - 1
        low, high = self.band(rows)
        normal_low, normal_high = self.band(rows, self.ease[VOTES.index("level")])
        return Judgement(
            surprise=out.surprise,
            votes=out.votes,
            layer=[VOTES[k] for k in np.argmax(heard, axis=1)],
            channel=[names[c] for c in np.argmax(out.by_channel, axis=1)],
            channel_surprise=out.by_channel,
            expected_low=low,
            expected_high=high,
            normal_low=normal_low,
            normal_high=normal_high,
        )

    def forest_scores(self, values: Floats, local_s: Ints) -> Floats:
        """scikit-learn's score_samples of the forest alone; NaN where it may not vote."""
        return -(2.0 ** self.forest_raw(values, local_s))

    def forest_raw(self, values: Floats, local_s: Ints) -> Floats:
        measured = np.where(gate.outside(self.models["gate"], values), np.nan, values)
        return forest.voices(self.models["forest"], measured, _exact(local_s, np.int64))

    @property
    def has_forest(self) -> bool:
        return "forest" in self.arrays and len(self.arrays["forest"]["split_at"]) > 0

    def band(self, rows: Rows, share: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """What is expected of each channel, from the level's table: (rows, channels) lows and highs."""
        reach = rows.spread * self.tables.limit[VOTES.index("level")] * share
        low, high = (self._straight(rows.usual + side * reach) for side in (-1, 1))
        low, high = np.maximum(low, self.tables.low), np.minimum(high, self.tables.high)
        return np.where(np.isfinite(rows.values), low, np.nan), np.where(np.isfinite(rows.values), high, np.nan)

    def _straight(self, values: Floats) -> Floats:
        with np.errstate(over="ignore"):
            return np.where(self.bends > 0, np.sinh(values) * self.bends, values)

    @cached_property
    def models(self) -> dict[str, Arrays]:
        """The arrays as loops take them: writable and contiguous, else these would be compiled once more."""
        return {
            layer: {name: _exact(array, array.dtype) for name, array in own.items()}
            for layer, own in self.arrays.items()
        }

    @cached_property
    def tables(self) -> Tables:
        """All layers' tables in one piece; those that say nothing yet have a flat one."""
        n = len(self.profile.channels)
        knots, heights, limit = [], [], []
        for layer in LAYERS:
            own = self.arrays.get(layer.NAME, {})
            raw, surprise = (own["raw"], own["surprise"]) if "raw" in own else line([(0.0, 0.0)], n)
            rest = ((0, n - len(raw)), (0, 0))  # a layer of whole readings has a single row
            knots.append(np.pad(raw, rest, mode="edge"))
            heights.append(np.pad(surprise, rest, mode="edge"))
            limit.append(np.broadcast_to(own.get("limit", np.ones(1)), n))
        low, high = self.profile.bounds("physical")
        raw, surprise = np.stack(knots), np.stack(heights)
        return Tables(
            raw=raw,
            surprise=surprise,
            limit=np.stack(limit) * self._widened(raw, surprise),
            onset=float(self.onset),
            low=low,
            high=high,
            bends=_exact(self.bends, np.float64),
            is_settled=np.array([layer.IS_SETTLED for layer in LAYERS]),
            any_day=np.array([layer.ANY_DAY for layer in LAYERS]),
            level=VOTES.index("level"),
            stuck=VOTES.index("stuck"),
            peers=VOTES.index("peers"),
            spike=VOTES.index("spike"),
            vote_bits=VOTE_BITS,
            vote_unit=VOTE_UNIT,
        )

    def _widened(self, raw: Floats, surprise: Floats) -> Floats | float:
        """(layers, channels) how many times as far out its own onset lies as the profile's."""
        if self.own_onset is None:
            return 1.0
        with np.errstate(invalid="ignore", divide="ignore"):
            times = _raw_at(raw, surprise, self.onset) / _raw_at(raw, surprise, self.profile.onset)
        return np.where(np.isfinite(times) & (times > 0), times, 1.0)

    @cached_property
    def ease(self) -> Floats:
        """(layers, channels) the share of the way out to onset at which an event ends, by each layer's own table."""
        raw, height, limit = self.tables.raw, self.tables.surprise, self.tables.limit
        ends = _raw_at(raw, height, 0.5 * self.onset)
        with np.errstate(invalid="ignore"):  # a layer that is silent of a channel ends nowhere, infinitely far out
            return np.clip(np.nan_to_num(ends / limit, nan=1.0, posinf=1.0), 0.0, 1.0)

    def _normal_again(self, layer: str, c: int, low: float, high: float) -> tuple[float, float]:
        """The expected band drawn in to where its layer would say no more."""
        told = VOTES.index(layer if layer in BANDED else "level")
        if not self.tables.low[c] < low < high < self.tables.high[c]:  # cut off: its middle is not known
            return low, high
        bend = float(self.bends[c])
        near, far = bent(low, bend), bent(high, bend)
        middle, reach = 0.5 * (near + far), 0.5 * (far - near) * float(self.ease[told, c])
        return float(straight(middle - reach, bend)), float(straight(middle + reach, bend))

    def judge(
        self, state: EngineState, mote: Ints, at: Ints, local_s: Ints, values: Floats, is_late: Bools, flags: Ints
    ) -> tuple[Verdicts, list[EventChange]]:
        """One pass over rows in their order. Channels that are not detected are as if never measured.

        Derived ones are compared with what neighbours say.
        """
        values = np.where(self.profile.is_detected | ~self.profile.is_measured, values, np.nan)
        rows, said = self.listen(state, mote, at, local_s, values, is_late, flags)
        return self.conclude(state, rows, said, values)

    def listen(
        self, state: EngineState, mote: Ints, at: Ints, local_s: Ints, values: Floats, is_late: Bools, flags: Ints
    ) -> tuple[Rows, list[Said]]:
        """Asks the layers one after the other; those that the model has not are silent."""
        shape = values.shape
        state.make_room(self.remembered, shape[1])  # the loops check no bounds
        at, slot = _exact(at, np.int64), state.slots(mote, is_late)
        state.on_scale(slot, self.tables.bends)
        detected = np.where(self.profile.is_detected, values, np.nan)
        of_level = self.models.get("level") or level.prior(self.profile)
        rows = Rows(
            step_us=int(self.profile.step_s * 1e6),
            onset=float(self.profile.onset),
            mote=_exact(mote, np.int64),
            slot=slot,
            ids=state.ids,
            slots=state.rows_of_ids,
            at=at,
            local_s=_exact(local_s, np.int64),
            previous_at=np.full(len(mote), NO_TIME),
            whole=np.array(values, dtype=np.float64, order="C"),
            measured=np.array(detected, dtype=np.float64, order="C"),
            values=np.array(detected, dtype=np.float64, order="C"),
            is_step=np.zeros(shape, dtype=np.bool_),
            flags=flags,
            usual=np.full(shape, np.nan),
            spread=np.full(shape, np.nan),
            oddness=np.zeros(shape),
            odd_raw=of_level["raw"],
            odd_surprise=of_level["surprise"],
            is_known=np.full(len(mote), "level" not in self.models),  # which alone can tell a stranger
            is_shown=np.ones(len(mote), dtype=np.bool_),
            run_us=np.zeros(shape, dtype=np.int64),
            noisy=np.zeros(shape),
            calm=np.ones(shape, dtype=np.bool_),
            held=np.zeros(shape, dtype=np.bool_),
            adopted=np.zeros(shape, dtype=np.bool_),
        )
        said = dict.fromkeys(VOTES, Said(np.full((len(mote), 1), np.nan)))
        for layer in IN_TURN:
            if layer.NAME in self.models:
                said[layer.NAME] = layer.step(self.models[layer.NAME], state.memory.get(layer.NAME, {}), rows)
            if layer is gate:  # what follows sees measurements only
                bend_all(rows.values, self.tables.bends)
                np.copyto(rows.whole, rows.values, where=self.profile.is_detected)
                tick(rows, state.memory[events.NAME]["ints"], state.memory[events.NAME]["step_at"])
        return rows, list(said.values())

    def conclude(
        self, state: EngineState, rows: Rows, said: list[Said], measured: Floats
    ) -> tuple[Verdicts, list[EventChange]]:
        """All opinions become a surprise, votes and events."""
        n, n_channels = rows.values.shape
        out = Verdicts(
            surprise=np.full(n, np.nan),
            votes=np.zeros(n, dtype=np.int64),
            is_anomaly=np.zeros(n, dtype=np.bool_),
            event_id=np.zeros(n, dtype=np.int64),
            flags=rows.flags,
            by_channel=np.full((n, n_channels), np.nan),
        )
        opinions = Opinions(*(tuple(_or_nobody(getattr(one, part)) for one in said) for part in Opinions._fields))
        kept = Kept(**state.memory[events.NAME])
        dirty = np.zeros(len(kept.ints), dtype=np.uint8)
        closed = (
            np.empty((CLOSED_AT_ONCE, events.N_INTS + 1), dtype=np.int64),
            np.empty((CLOSED_AT_ONCE, events.N_FLOATS)),
            np.empty((CLOSED_AT_ONCE, n_channels)),
        )
        changes: list[EventChange] = []
        row, measured = 0, _exact(measured, np.float64)
        while row < n:
            row, n_closed = conclude(row, rows, measured, opinions, self.tables, kept, out, dirty, *closed)
            changes += [self._change(*(part[k] for part in closed), has_ended=True) for k in range(n_closed)]
        for slot in np.flatnonzero(dirty).tolist():
            if kept.ints[slot, events.NOTICED_AT] != 0:
                changes.append(self._change(kept.ints[slot], kept.floats[slot], kept.shares[slot], has_ended=False))
        return out, changes

    def _change(self, ints: Ints, floats: Floats, shares: Floats, *, has_ended: bool) -> EventChange:
        total = float(shares.sum())
        names = self.profile.names
        low, high = float(floats[events.PEAK_LOW]), float(floats[events.PEAK_HIGH])
        layer, channel = VOTES[ints[events.PEAK_LAYER]], int(ints[events.PEAK_CHANNEL])
        return EventChange(
            mote=int(ints[events.MOTE]),
            profile=self.profile.code,
            started_at=int(ints[events.STARTED_AT]),
            noticed_at=int(ints[events.NOTICED_AT]),
            last_at=int(ints[events.LAST_AT]),
            ended_at=int(ints[events.ENDED_AT]) if has_ended else None,
            n_readings=int(ints[events.N_READINGS]),
            peak_surprise=float(floats[events.PEAK]),
            peak_at=int(ints[events.PEAK_AT]),
            peak_channel=names[channel],
            peak_value=float(floats[events.PEAK_VALUE]),
            expected=(low, high),
            layer=layer,
            contributions={
                name: float(share / total) if total > 0 else 1.0 / len(names)
                for name, share in zip(names, shares, strict=True)
            },
            model_version=self.number,
            normal_again=self._normal_again(layer, channel, low, high),
            adopted=tuple(name for c, name in enumerate(names) if has_ended and ints[events.ADOPTED] >> c & 1),
        )


def _raw_at(raw: Floats, height: Floats, surprise: float) -> Floats:
    """(layers, channels) each table's least raw output with that surprise."""
    return np.array(
        [[inverse(*rising(raw[k, c], height[k, c]), surprise) for c in range(raw.shape[1])] for k in range(len(raw))]
    )


class Engine:
    """Learns a profile from normal readings.

    Tails come from stretches of time that the level layer has not seen when it judges them. Readings handed in as
    `calibration`, normal and later, join the history and are among these stretches: a week's end alone would calibrate
    on a weekend what has to judge Monday morning.
    """

    def __init__(self, *, seed: int = 42, without: Collection[str] = ()) -> None:
        if unknown := set(without) - set(VOTES):
            raise ValueError(f"no layer is called {', '.join(sorted(unknown))}; there are {', '.join(VOTES)}")
        self.seed = seed
        self.without = tuple(without)

    def fit(self, history: Batch, *, calibration: Batch | None = None) -> FittedEngine:
        """A model of `history`: one profile's readings of many motes, in any order, already cleaned."""
        if len(history) == 0:
            raise ValueError("nothing to learn from: the history has no readings")
        whole = History.of(history if calibration is None else concat([history, calibration]), seed=self.seed)
        layers = [layer for layer in LAYERS if layer.NAME not in self.without]
        arrays = {layer.NAME: layer.prior(whole.profile) | layer.fit(whole) for layer in layers}
        arrays[gate.NAME] = gate.prior(history.profile)  # it sees what was measured
        is_young = int(np.ptp(whole.at)) < level.YOUNG_S * 1e6
        parts = _parts(arrays, calibrating.sample(whole))
        raw = _raw_of(parts)
        # A young history has tails that the next hour refutes, however many motes told them.
        heard = {name: said[:0] for name, said in raw.items()} if is_young else raw
        least = {layer.NAME: layer.TAIL for layer in layers if layer.TAIL is not None and not layer.OWN_LIMITS}
        drafted, measured, combined = calibrating.calibrate(arrays, heard, least, whole.profile.onset)
        if measured:  # once more, each layer hearing what the others say of what is no event
            raw = _raw_of(parts, calibrating.below_onset(drafted, whole.profile.onset))
            drafted, measured, combined = calibrating.calibrate(arrays, raw, least, whole.profile.onset)
            measured |= _measure_lives(layers, parts, drafted, combined, whole.profile.onset)
        arrays = drafted
        if level.NAME in arrays:
            arrays[level.NAME] = level.wide_open(arrays[level.NAME])
        names = whole.profile.names
        as_whole = {name for name, said in raw.items() if said.shape[1] < len(names)}
        card = calibrating.card(measured, combined, names, as_whole)
        return FittedEngine(
            profile=history.profile,
            arrays=arrays,
            features=_features(whole.profile, arrays.get("forest", {})),
            bends=whole.bends,
            parameters={
                "seed": self.seed, "without": list(self.without), "n_trees": forest.N_TREES,
                "max_samples": forest.MAX_SAMPLES, "step_s": whole.profile.step_s, "onset": whole.profile.onset,
            },
            calibration={"folds": calibrating.FOLDS, "rows": len(raw["gate"]), **card},
        )  # fmt: skip


def fallback(profile: Profile) -> FittedEngine:
    """The engine of a profile that has no model yet: the pack's ranges, rates, durations and bands; number 0."""
    arrays = {layer.NAME: layer.prior(profile) for layer in LAYERS}
    return FittedEngine(
        profile, arrays, list(profile.names), np.zeros(len(profile.names)), calibration={"folds": 0, "rows": 0}
    )


def _parts(arrays: dict[str, Arrays], rows: History) -> list[tuple[dict[str, Arrays], History]]:
    """The history in stretches; what knows single days by heart is learnt anew without the days it judges."""
    return [
        ({name: own | _anew(name, own, rest) for name, own in arrays.items()}, inside)
        for inside, rest in calibrating.folds(rows)
    ] or [(arrays, rows)]


def _raw_of(
    parts: list[tuple[dict[str, Arrays], History]], tables: Mapping[str, Arrays] | None = None
) -> dict[str, Floats]:
    """What each layer measures on held-out rows while nothing is held; without tables nobody is surprised either."""
    said = [_raw({name: own | _silenced(own) | (tables or {}).get(name, {}) for name, own in arrays.items()}, rows)
            for arrays, rows in parts]  # fmt: skip
    return {name: np.concatenate([part[name] for part in said]) for name in said[0]}


def _measure_lives(
    layers: list[Layer], parts: list[tuple[dict[str, Arrays], History]], drafted: dict[str, Arrays],
    combined: Tail | None, onset: float,
) -> Tails:  # fmt: skip
    """Writes into `drafted` how rare it is what layers with own limits say between these; answers the tails."""
    measured: Tails = {}
    for layer in layers:
        if layer.OWN_LIMITS and layer.TAIL is not None:
            raw = _raw_of_a_life(parts, layer.NAME)
            drafted[layer.NAME], own = calibrating.between_limits(
                layer.NAME, drafted[layer.NAME], raw, layer.TAIL, combined, onset
            )
            measured |= own
    return measured


def _raw_of_a_life(parts: list[tuple[dict[str, Arrays], History]], name: str) -> Floats:
    """What a layer that learns as it goes measures of motes that begin, and once more when they have long begun.

    Of the others it hears only what is usual.
    """
    first, last = (pick(int(pick(rows.at)) for _, rows in parts) for pick in (min, max))
    later_us = ((last - first) // DAY_US + 1) * DAY_US
    state, said = EngineState(parts[0][1].values.shape[1]), []
    for shift_us in (0, later_us):
        for arrays, rows in parts:
            heard = {layer: arrays[layer] | _silenced(arrays[layer]) for layer in arrays.keys() & {*HEARD, name}}
            said.append(_raw(heard, replace(rows, at=rows.at + shift_us), state)[name])
    return np.concatenate(said)


def _raw(arrays: dict[str, Arrays], rows: History, state: EngineState | None = None) -> dict[str, Floats]:
    """The same of one stretch, in the order of time."""
    rows = rows.take(np.lexsort((rows.mote, rows.at)))
    draft = FittedEngine(rows.profile, arrays, [], rows.bends)
    state = draft.start() if state is None else state
    on_time, no_flags = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64)
    _, said = draft.listen(state, rows.mote, rows.at, rows.local_s, rows.whole, on_time, no_flags)
    return {layer.NAME: one.raw for layer, one in zip(LAYERS, said, strict=True)}


def _silenced(own: Arrays) -> Arrays:
    silent = {"surprise": np.zeros_like(own["surprise"])} if "surprise" in own else {}
    return silent | ({"limit": np.full_like(own["limit"], np.inf)} if "limit" in own else {})


def _anew(name: str, own: Arrays, rest: History) -> Arrays:
    layer = LAYERS[VOTES.index(name)]
    learnt = layer.fit(rest) if layer.BY_HEART else {}
    if "doubt" in learnt:  # as it will live, not as much as the stretch is missing
        place = np.searchsorted(own["motes"], learnt["motes"])
        learnt |= {"shown": own["shown"], "doubt": own["doubt"][np.append(0, place + 1)]}
    return learnt


def _features(profile: Profile, of_forest: Arrays) -> list[str]:
    waves = ["hour_sin", "hour_cos", "week_sin", "week_cos"]
    return [*profile.names, *waves][: len(of_forest.get("mean", profile.names))]


def _or_nobody(part: Array | None) -> Array:
    return NOBODY if part is None else part


def _exact(array: Any, dtype: Any) -> Any:
    """As the loops were compiled for: another layout or a read-only array would compile them once more."""
    return np.require(array, dtype=dtype, requirements=["C", "W"])
