"""What moves: a poll's messages on their way through engine, stores and telling, until they are gathered for a save.

Large batches overlap: while the engine works on one, the two before are stored, and those before are told. No more are
at each of these places, and each leaves them in order. Small ones pass one by one, for the delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import polars as pl

from alerts import services as alert_services
from ingestion import storing
from ingestion.assignment import Assignment
from ingestion.configuring import Configuration
from ingestion.membership import Membership
from ingestion.patience import Patience
from ingestion.pipeline import Existing, Outcome, Parts
from ingestion.records import Records
from ingestion.slow_cycle import SlowCycle
from ingestion.steps import Steps
from ingestion.storing import Storing, Written
from ingestion.telling import Telling
from sensors.readings import KEYS, Profile


@dataclass(frozen=True, slots=True)
class Judging:
    """A poll's messages that the engine works on."""

    records: Records
    outcome: Future[Outcome]
    generation: int
    began: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A poll's messages, judged: being stored, not yet known to be."""

    records: Records
    outcome: Outcome
    written: list[Written | None]  # each batch's first writing, where it is under way
    states: Mapping[int, Parts] | None  # those right after it, where it is the last of a save
    generation: int
    began: float

    def has_any(self, profile: Profile, keys: pl.DataFrame) -> bool:
        """Whether a reading at one of these keys is on its way to the store."""
        found = (
            pl.DataFrame({"mote": batch.mote, "at": batch.at}).cast(keys.schema).join(keys, on=KEYS, how="semi")
            for batch in self.outcome.batches
            if batch.profile.code == profile.code
        )
        return any(map(len, found))


class Passage:
    """Takes polls' messages one after the other; what belongs to partitions that went meanwhile is dropped."""

    def __init__(
        self,
        *,
        assignment: Assignment,
        configuration: Configuration,
        membership: Membership,
        cycle: SlowCycle,
        storing: Storing,
        telling: Telling,
        patiently: Patience,
        steps: Steps,
        large: float,
    ) -> None:
        """Batches overlap from `large` messages on."""
        self.assignment, self.configuration, self.membership = assignment, configuration, membership
        self.cycle, self.storing, self.telling = cycle, storing, telling
        self.patiently, self.steps, self.large = patiently, steps, large
        self.n_readings = 0
        self._judging: Judging | None = None
        self._taken: deque[Taken] = deque()
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @property
    def is_empty(self) -> bool:
        return self._judging is None and not self._taken

    def shutdown(self) -> None:
        for thread in (self._engine, self.storing):
            thread.shutdown()

    def take(self, records: Records) -> None:
        """What is judged is stored, told and gathered in order, one by one; a small batch at once, for the delay."""
        pipeline, generation, began = self.configuration.pipeline, self.assignment.generation, self.steps.clock()
        decoded = pipeline.decode(records)
        self._advance()
        with self.membership.busy():
            states = {partition: held.state for partition, held in self.assignment.claims.items()}
            judged = self.patiently("hot_store", lambda: pipeline.judge(decoded, states))
        outcome = self._engine.submit(pipeline.detect, judged, states)
        self._judging = Judging(records, outcome, generation, began)
        self._finish(but=storing.AT_ONCE - 1)
        if not self._is_large(records):
            self.drain()

    def drain(self) -> None:
        """Until nothing is between a poll and the gathered."""
        self._advance()
        self._finish()
        with self.steps.timed("alert"):
            self.telling.tell([], [], self.configuration.fleet, is_more_at_hand=False)

    def when_stored(self, existing: Existing) -> Existing:
        """Asks what is stored, and waits for what was taken before only where that has one of the readings."""

        def asked(profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
            if any(taken.has_any(profile, keys) for taken in self._taken):
                self._finish()
            return existing(profile, keys)

        return asked

    def _is_large(self, records: Records) -> bool:
        return len(records) >= self.large

    def _advance(self) -> None:
        """Takes what the engine has done, and has it stored; the states are now those right after it."""
        judging, self._judging = self._judging, None
        if judging is None:
            return
        with self.steps.timed("wait for the engine"):
            outcome = judging.outcome.result()
        if judging.generation != self.assignment.generation:
            return
        is_large = self._is_large(judging.records)
        written = [self.storing.begin(batch) if is_large else None for batch in outcome.batches]
        states = self.cycle.states() if self._is_due(len(judging.records)) else None
        self._taken.append(Taken(judging.records, outcome, written, states, judging.generation, judging.began))

    def _is_due(self, n_more: int) -> bool:
        if any(taken.states is not None for taken in self._taken):
            return False  # its save begins once it is stored
        return self.cycle.is_due(sum(len(taken.records) for taken in self._taken) + n_more)

    def _finish(self, *, but: int = 0) -> None:
        """Has all that was taken stored, tells and gathers it, but for so many of the newest."""
        while len(self._taken) > but:
            self._keep(self._taken.popleft())

    def _keep(self, taken: Taken) -> None:
        """Unless its partitions are gone: then it is replayed there."""
        if taken.generation != self.assignment.generation:
            return
        with self.membership.busy(), self.steps.timed("store"):
            kept = self.storing.keep(
                taken.records, taken.outcome, taken.written,
                fleet=self.configuration.fleet, identity=self.assignment.identity, patiently=self.patiently,
            )  # fmt: skip
        if taken.generation == self.assignment.generation:
            with self.membership.busy(), self.steps.timed("alert"):
                self._tell(kept.outcome, is_more_at_hand=self._is_large(taken.records))
        if taken.generation == self.assignment.generation:
            with self.steps.timed("gather"):
                self._gather(taken.records, kept)
            if taken.states is not None:
                self.cycle.begin(taken.states)
        storing.measure(kept.outcome, self.steps.clock() - taken.began)

    def _tell(self, outcome: Outcome, *, is_more_at_hand: bool) -> None:
        fleet = self.configuration.fleet
        told = storing.told(outcome, fleet, self.storing.topic)
        deed = partial(alert_services.record_events, told, fleet=fleet, is_history=self.assignment.is_history)
        alerts = self.patiently("database", deed) if told else []
        self.telling.tell(outcome.batches, alerts, fleet, is_more_at_hand=is_more_at_hand)

    def _gather(self, records: Records, kept: storing.Kept) -> None:
        booked = {partition: held.booked_until for partition, held in self.assignment.claims.items()}
        topic = self.storing.topic
        self.cycle.gathered.add(records, kept.outcome, kept.tables, topic=topic, booked=booked)
        self.n_readings += len(records)
