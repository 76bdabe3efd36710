"""What decides: the fleet and the engines that judge it. It changes between two batches only, at a saved offset."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from ingestion import assignment, stored
from ingestion.pipeline import Existing, Pipeline
from ingestion.wire import Wire
from mlops.detection import FittedEngine
from mlops.models import ModelVersion
from mlops.scoped import own_numbers
from sensors.fleet import Fleet
from sensors.lake import Lake
from sensors.readings import Profile
from sensors.stores import HotStore

MANY = 1_000  # motes


class Serves(assignment.Serves, Protocol):
    """What the reading path asks of mlops.serving."""

    def engine_for(self, profile: Profile) -> FittedEngine: ...

    def version_for(self, profile: Profile) -> ModelVersion | None: ...

    def refresh(self, now: datetime) -> Sequence[object]: ...


class Configuration:
    """One revision of the fleet with its engines, in force from `build` to `build`."""

    def __init__(
        self,
        *,
        serving: Serves,
        read_fleet: Callable[[], Fleet],
        revision: Callable[[], int],
        hot: HotStore,
        lake: Lake,
        future_s: float,
        is_history: bool,
        clock: Callable[[], float],
    ) -> None:
        self.serving, self.read_fleet, self.revision = serving, read_fleet, revision
        self.hot, self.lake = hot, lake
        self.future_s, self.is_history, self.clock = future_s, is_history, clock
        self.is_built = False
        self.may_swap = False  # a newer version waits until what a crash left unsaved has been judged again

    def build(self, asking: Callable[[Existing], Existing]) -> None:
        """Takes the fleet and the engines of now; `asking` stands between the pipeline and what is stored."""
        fleet = self.read_fleet()
        engines = {code: self.serving.engine_for(profile) for code, profile in fleet.profiles.items()}
        wire = Wire(fleet, future_s=self.future_s)
        if self.is_history:  # its motes may have readings that came live, or longer ago than the hot store keeps
            self.pipeline = Pipeline(
                wire, engines, asking(stored.anywhere(self.hot, self.lake)), self.clock,
                stored_until=stored.newest(self.hot, fleet),
            )  # fmt: skip
        else:
            self.pipeline = Pipeline(wire, engines, asking(self.hot.existing), self.clock)
        self.fleet, self.is_built = fleet, True
        if len(fleet.by_id) >= MANY:  # each full collection would look through all of them again
            gc.collect()
            gc.freeze()

    def refresh(self, now: datetime) -> None:
        """Lets serving take a newer version, where it may."""
        if self.may_swap and not self.is_history:
            self.serving.refresh(now)

    @property
    def is_outdated(self) -> bool:
        return self.revision() != self.fleet.revision or self.has_other_engines

    @property
    def has_other_engines(self) -> bool:
        """Whether other engines serve than the pipeline has; asked of both, for a swap may have been cut short."""
        engines = self.pipeline.engines
        return any(self.serving.engine_for(one) is not engines[code] for code, one in self.fleet.profiles.items())

    def described(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        engines = self.pipeline.engines
        return {
            "fleet": self.fleet.revision,
            "models": {code: engine.number for code, engine in engines.items()},
            "own": {code: own for code, engine in engines.items() if (own := own_numbers(engine))},
            "profiles": {code: profile.version for code, profile in self.fleet.profiles.items()},
        }

    def serving_names(self) -> dict[str, str]:
        versions = {code: self.serving.version_for(profile) for code, profile in self.fleet.profiles.items()}
        return {code: version.name if version else "the pack's normal bands" for code, version in versions.items()}
