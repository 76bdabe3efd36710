"""An engine of a profile in which some motes have one of their own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from alerts.events import EventChange
from mlops.detection import EngineState, FittedEngine, Judgement
from sensors.readings import Batch, Floats, Ints, concat


@dataclass(frozen=True, eq=False)
class ScopedEngine(FittedEngine):
    """The profile's engine for all but the motes in `own`. A mote's memory is its own, so no cut of a batch shows."""

    own: Mapping[int, FittedEngine] = field(default_factory=dict)

    def step(self, state: EngineState, batch: Batch) -> tuple[EngineState, Batch, list[EventChange]]:
        places, judged, changes = [], [], []
        for mote, rows in self._shares(batch.mote):
            share = batch.take(rows)
            if mote is None:
                state, done, changed = super().step(state, share)
            else:
                state, done, changed = self.own[mote].step(state, share)
            places.append(rows)
            judged.append(done)
            changes += changed
        if not judged:
            return super().step(state, batch)
        return state, concat(judged).take(np.argsort(np.concatenate(places))), changes

    def score_stateless(self, values: Floats, mote: Ints, at: Ints, utc_offset_s: Ints) -> Judgement:
        parts: list[tuple[Ints, Judgement]] = []
        for one, rows in self._shares(mote):
            given = values[rows], mote[rows], at[rows], utc_offset_s[rows]
            said = super().score_stateless(*given) if one is None else self.own[one].score_stateless(*given)
            parts.append((rows, said))
        if not parts:
            return super().score_stateless(values, mote, at, utc_offset_s)
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        told = {one.name: _joined([getattr(said, one.name) for _, said in parts], order) for one in fields(Judgement)}
        return Judgement(**told)

    def number_for(self, mote: int) -> int:
        """The version that judges this mote."""
        return self.own[mote].number if mote in self.own else self.number

    def _shares(self, mote: Ints) -> Iterator[tuple[int | None, Ints]]:
        """The rows of each engine that is asked; None is the profile's own."""
        is_own = np.isin(mote, list(self.own))
        if not is_own.all():
            yield None, np.flatnonzero(~is_own)
        for one in np.unique(mote[is_own]).tolist():
            yield one, np.flatnonzero(mote == one)


def _joined(parts: list[Any], order: Ints) -> Any:
    if isinstance(parts[0], list):
        joined = [item for part in parts for item in part]
        return [joined[place] for place in order]
    return np.concatenate(parts)[order]


def scoped(engine: FittedEngine, own: Mapping[int, FittedEngine]) -> FittedEngine:
    """The engine with these motes' own ones; itself where there are none."""
    if not own:
        return engine
    given = {one.name: getattr(engine, one.name) for one in fields(FittedEngine)}
    return ScopedEngine(**given, own=dict(own))


def own_numbers(engine: FittedEngine) -> dict[str, int]:
    """The versions of motes that have their own, by mote as text, for a checkpoint."""
    own = engine.own if isinstance(engine, ScopedEngine) else {}
    return {str(mote): one.number for mote, one in own.items()}
