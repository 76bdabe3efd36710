"""An engine of a profile in which some motes have one of their own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np

from alerts.events import EventChange
from mlops.detection import EngineState, FittedEngine, Judgement
from sensors.readings import Batch, Floats, Ints, concat

NOBODYS = -1  # no mote has this key


@dataclass(frozen=True, eq=False)
class ScopedEngine(FittedEngine):
    """The profile's engine for all but the motes in `own`. A mote's memory is its own, so no cut of a batch shows."""

    own: Mapping[int, FittedEngine] = field(default_factory=dict)

    def step(self, state: EngineState, batch: Batch) -> tuple[EngineState, Batch, list[EventChange]]:
        # In the order of the rows: layers may compare motes with each other, so that no share may run ahead.
        judged, changes = [], []
        is_own = np.where(np.isin(batch.mote, list(self.own)), batch.mote, NOBODYS)
        begins = [0, *(np.flatnonzero(np.diff(is_own)) + 1).tolist(), len(batch)]
        for begin, end in pairwise(begins):
            share = batch if end - begin == len(batch) else batch.take(slice(begin, end))
            one = self.own.get(int(is_own[begin])) if end > begin else None
            state, done, changed = one.step(state, share) if one else super().step(state, share)
            judged.append(done)
            changes += changed
        return state, concat(judged), changes

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
