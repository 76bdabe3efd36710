"""The engine: learnt from history, stepped over a stream, the same however the stream is cut."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from alerts.events import EventChange
from mlops.detection import calibration as calibrating
from mlops.detection import kernels
from mlops.detection.history import Arrays, History
from mlops.detection.kernels import Model, Rows, Verdicts
from mlops.detection.layers import LAYERS, VOTES, forest, level
from mlops.detection.state import EngineState
from sensors import quality
from sensors.readings import Batch, Bools, Floats, Ints, Profile, concat

SCHEMA = 1
CLOSED_AT_ONCE = 256  # events that may close before the loop hands them over


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


@dataclass(frozen=True, eq=False)
class FittedEngine:
    """An immutable model of one profile; pickles as plain arrays. `number` 0 is the pack's fallback."""

    profile: Profile
    arrays: Arrays
    features: list[str]
    number: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("schema") != SCHEMA:
            raise ValueError(f"model of schema {state.get('schema')}, this version loads {SCHEMA}: train it again")
        self.__dict__.update(state)

    def numbered(self, number: int) -> FittedEngine:
        return replace(self, number=number)

    def start(self) -> EngineState:
        return EngineState(len(self.profile.channels))

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
        out, changes = self.run(state, batch.mote, batch.at, local_s, batch.values, is_late, flags)
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
        out, _ = self.run(self.start(), mote, at, local_s, values, late, flags, with_detail=True)
        heard = out.votes[:, None] >> (8 * np.arange(len(VOTES))) & 255
        by_channel = out.detail[:, :, kernels.CHANNEL_SURPRISE]
        loudest = np.argmax(np.nan_to_num(by_channel, nan=-1.0), axis=1)
        return Judgement(
            surprise=out.surprise,
            votes=out.votes,
            layer=[VOTES[k] for k in np.argmax(heard, axis=1)],
            channel=[self.profile.names[c] for c in loudest],
            channel_surprise=by_channel,
            expected_low=out.detail[:, :, kernels.BAND_LOW],
            expected_high=out.detail[:, :, kernels.BAND_HIGH],
        )

    def forest_scores(self, values: Floats, local_s: Ints) -> Floats:
        """scikit-learn's score_samples of the forest alone; NaN where it may not vote."""
        return -(2.0 ** self.forest_raw(values, local_s))

    @cached_property
    def model(self) -> Model:
        """The arrays as the kernel takes them: writable and contiguous, else it would be compiled once more."""
        exact = {name: self.arrays[name] for name in Model._fields if name in self.arrays}
        exact = {name: _exact(array, array.dtype) for name, array in exact.items()}
        return Model(step_us=int(self.profile.step_s * 1e6), onset=float(self.profile.onset), **exact)

    @property
    def has_forest(self) -> bool:
        return len(self.arrays["split_at"]) > 0

    def forest_raw(self, values: Floats, local_s: Ints) -> Floats:
        if not self.has_forest:
            return np.full(len(values), np.nan)
        low, high = self.model.physical_low, self.model.physical_high
        n_waves = len(self.arrays["forest_mean"]) - values.shape[1]
        features = forest.feature_table(self.arrays, values, local_s, low, high, n_waves)
        return forest.raw_scores(self.arrays, features)

    def run(
        self, state: EngineState, mote: Ints, at: Ints, local_s: Ints, values: Floats, is_late: Bools, flags: Ints,
        *, with_detail: bool = False, forest_raw: Floats | None = None,
    ) -> tuple[Verdicts, list[EventChange]]:  # fmt: skip
        """One pass over rows in their order."""
        n, n_channels = len(mote), len(self.profile.channels)
        values, local_s = _exact(values, np.float64), _exact(local_s, np.int64)
        state.widen(n_channels)  # the kernel checks no bounds
        slots = state.slots(mote, is_late)
        rows = Rows(
            slot=slots,
            level_row=self._level_rows(mote),
            at=_exact(at, np.int64),
            local_s=local_s,
            values=values,
            is_late=_exact(is_late, np.bool_),
            forest=self.forest_raw(values, local_s) if forest_raw is None else forest_raw,
        )
        out = Verdicts(
            surprise=np.full(n, np.nan),
            votes=np.zeros(n, dtype=np.int64),
            is_anomaly=np.zeros(n, dtype=np.bool_),
            event_id=np.zeros(n, dtype=np.int64),
            flags=flags,
            detail=np.full((n, n_channels, kernels.N_DETAILS) if with_detail else (0, 0, 0), np.nan),
        )
        dirty = np.zeros(len(state.arrays.mote_ints), dtype=np.uint8)
        closed_ints = np.empty((CLOSED_AT_ONCE, kernels.N_MOTE_INTS + 1), dtype=np.int64)
        closed_floats = np.empty((CLOSED_AT_ONCE, kernels.N_MOTE_FLOATS + n_channels))
        changes: list[EventChange] = []
        row = 0
        while row < n:
            row, n_closed = kernels.advance(row, rows, self.model, state.arrays, out, dirty, closed_ints, closed_floats)
            changes += [self._change(closed_ints[k], closed_floats[k], has_ended=True) for k in range(n_closed)]
        mote_ints, mote_floats = state.arrays.mote_ints, state.arrays.mote_floats
        for slot in np.flatnonzero(dirty).tolist():
            if mote_ints[slot, kernels.NOTICED_AT] != 0:
                changes.append(self._change(mote_ints[slot], mote_floats[slot], has_ended=False))
        return out, changes

    def _level_rows(self, mote: Ints) -> Ints:
        """Row of each mote in the level layer's tables; 0, the fleet, for motes that were not in the history."""
        known = self.arrays["level_motes"]
        if len(known) == 0:
            return np.zeros(len(mote), dtype=np.int64)
        place = np.minimum(np.searchsorted(known, mote), len(known) - 1)
        return np.where(known[place] == mote, place + 1, 0)

    def _change(self, ints: Ints, floats: Floats, *, has_ended: bool) -> EventChange:
        shares = floats[kernels.N_MOTE_FLOATS :]
        total = float(shares.sum())
        names = self.profile.names
        return EventChange(
            mote=int(ints[kernels.MOTE]),
            profile=self.profile.code,
            started_at=int(ints[kernels.STARTED_AT]),
            noticed_at=int(ints[kernels.NOTICED_AT]),
            last_at=int(ints[kernels.LAST_AT]),
            ended_at=int(ints[kernels.ENDED_AT]) if has_ended else None,
            n_readings=int(ints[kernels.N_READINGS]),
            peak_surprise=float(floats[kernels.PEAK]),
            peak_at=int(ints[kernels.PEAK_AT]),
            peak_channel=names[ints[kernels.PEAK_CHANNEL]],
            peak_value=float(floats[kernels.PEAK_VALUE]),
            expected=(float(floats[kernels.PEAK_LOW]), float(floats[kernels.PEAK_HIGH])),
            layer=VOTES[ints[kernels.PEAK_LAYER]],
            contributions={
                name: float(share / total) if total > 0 else 1.0 / len(names)
                for name, share in zip(names, shares, strict=True)
            },
            model_version=self.number,
        )


class Engine:
    """Learns a profile from normal readings.

    Tails come from stretches of time that the level layer has not seen when it judges them. Readings handed in as
    `calibration`, normal and later, join the history and are among these stretches: a week's end alone would calibrate
    on a weekend what has to judge Monday morning.
    """

    def __init__(self, *, seed: int = 42, forest: bool = True) -> None:
        self.seed = seed
        self.forest = forest

    def fit(self, history: Batch, *, calibration: Batch | None = None) -> FittedEngine:
        """A model of `history`: one profile's readings of many motes, in any order, already cleaned."""
        if len(history) == 0:
            raise ValueError("nothing to learn from: the history has no readings")
        whole = History.of(history if calibration is None else concat([history, calibration]))
        learnt = np.asarray(np.isfinite(whole.values).any(axis=0))
        arrays: Arrays = {}
        for layer in LAYERS:
            arrays |= layer.prior(whole.profile)
            if layer is not forest:
                arrays |= layer.fit(whole)
            elif self.forest:
                arrays |= forest.fit(whole, seed=self.seed)
        is_young = int(np.ptp(whole.at)) < level.YOUNG_S * 1e6
        raw = _raw_by_folds(whole.profile, arrays, calibrating.sample(whole))
        tables, card = calibrating.calibrated(whole.profile, *raw, learnt, is_young=is_young)
        return FittedEngine(
            profile=whole.profile,
            arrays=arrays | tables,
            features=_features(whole.profile, arrays),
            parameters={
                "seed": self.seed, "forest": self.forest, "n_trees": forest.N_TREES, "max_samples": forest.MAX_SAMPLES,
                "step_s": whole.profile.step_s, "onset": whole.profile.onset,
            },
            calibration={"folds": calibrating.FOLDS, "rows": len(raw[1]), **card},
        )  # fmt: skip


def fallback(profile: Profile) -> FittedEngine:
    """The engine of a profile that has no model yet: the pack's ranges, rates, durations and bands; number 0."""
    arrays: Arrays = {}
    for layer in LAYERS:
        arrays |= layer.prior(profile)
    return FittedEngine(profile, arrays, list(profile.names), calibration={"folds": 0, "rows": 0})


def _raw(profile: Profile, arrays: Arrays, rows: History) -> tuple[Floats, Floats]:
    """What the layers, still without tails, measure on held-out rows: (rows, channels, details) and the forest's."""
    silent = {name: np.zeros_like(array) for name, array in arrays.items() if name.endswith("_surprise")}
    draft = FittedEngine(profile, arrays | silent, [])
    on_time, no_flags = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), dtype=np.int64)
    forest_raw = draft.forest_raw(rows.values, rows.local_s)
    out, _ = draft.run(
        draft.start(), rows.mote, rows.at, rows.local_s, rows.values, on_time, no_flags,
        with_detail=True, forest_raw=forest_raw,
    )  # fmt: skip
    return out.detail, forest_raw


def _raw_by_folds(profile: Profile, arrays: Arrays, rows: History) -> tuple[Floats, Floats]:
    """The same on the history itself. Only the level knows single days by heart, so only it is learnt anew."""
    parts = [_raw(profile, arrays | level.fit(rest), inside) for inside, rest in calibrating.folds(rows)]
    if not parts:
        return _raw(profile, arrays, rows)
    return np.concatenate([detail for detail, _ in parts]), np.concatenate([raw for _, raw in parts])


def _features(profile: Profile, arrays: Arrays) -> list[str]:
    waves = ["hour_sin", "hour_cos", "week_sin", "week_cos"]
    return [*profile.names, *waves][: len(arrays.get("forest_mean", profile.names))]


def _exact(array: Any, dtype: Any) -> Any:
    """As the kernel was compiled for: another layout or a read-only array would compile it once more."""
    return np.require(array, dtype=dtype, requirements=["C", "W"])
