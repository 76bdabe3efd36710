"""What keeps: when what was gathered is saved, and the transaction that makes it true, after rows and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog

from ingestion import checkpoints, saving
from ingestion.assignment import Assignment
from ingestion.configuring import Configuration
from ingestion.gathering import Gathered
from ingestion.membership import Membership
from ingestion.patience import Patience
from ingestion.pipeline import Parts
from ingestion.saving import Saver, Saving
from ingestion.steps import Steps
from sensors.lake import LakeFenced

log = structlog.get_logger(__name__)
RARELY = 4  # times as long as a save took, at least, from its beginning to the next one's


class SlowCycle:
    """Saves what is gathered, one save after the other, each under way while the path goes on."""

    def __init__(
        self,
        *,
        assignment: Assignment,
        configuration: Configuration,
        membership: Membership,
        saver: Saver,
        patiently: Patience,
        steps: Steps,
        now: Callable[[], datetime],
        every_s: float,
        every_readings: int,
    ) -> None:
        self.assignment, self.configuration, self.membership = assignment, configuration, membership
        self.saver, self.patiently, self.steps, self.now = saver, patiently, steps, now
        self.every_s, self.every_readings = every_s, every_readings
        self.gathered = Gathered()
        self._saving: Saving | None = None
        self._began_at = 0.0
        self._took_s = 0.0  # from its beginning to its end, the last time

    def is_due(self, n_in_hand: int = 0) -> bool:
        """Whether what is gathered, with so many messages more, is to be saved."""
        n_unsaved = self.gathered.n_messages + n_in_hand
        passed = self.steps.clock() - self._began_at
        is_wanted = n_unsaved >= (1 if passed >= self.every_s else self.every_readings)
        # A large fleet's states take seconds to save: not more often than leaves the path most of its time. A save that
        # took long because a sink was away must not put off the next one for as long.
        return is_wanted and passed >= min(RARELY * self._took_s, 2 * self.every_s)

    @property
    def is_written(self) -> bool:
        """Whether a save waits for nothing but its transaction."""
        return self._saving is not None and self._saving.snapshots.done()

    def states(self) -> dict[int, Parts]:
        return {partition: held.state.parts() for partition, held in self.assignment.claims.items()}

    def position(self, partition: int) -> int | None:
        held, saved = self.assignment.claims.get(partition), self._saving.gathered.next_offsets if self._saving else {}
        first = held.next_offset if held else None
        return self.gathered.next_offsets.get(partition, saved.get(partition, first))

    def begin(self, states: Mapping[int, Parts]) -> None:
        """What is gathered goes to the lake, and these states to the storage, while the path goes on."""
        self.end()
        self._began_at = self.steps.clock()
        if not self.gathered.next_offsets:
            return
        # The claims of now: while a sink is away a partition may go and come again, with another state.
        claims, gathered, self.gathered = dict(self.assignment.claims), self.gathered, Gathered()
        generation = self.assignment.generation
        self._saving = self.saver.begin(gathered, claims, states, generation=generation, now=self.now())

    def end(self) -> None:
        """One transaction (books, offsets, states), then the broker."""
        under_way = self._saving
        if under_way is None:
            return
        try:
            with self.membership.busy(), self.steps.timed("checkpoint"):
                self._save(under_way)
        except (checkpoints.Fenced, LakeFenced) as lost:
            if under_way.generation != self.assignment.generation:
                return
            log.warning("fenced", owner=self.assignment.owner, error=str(lost))
            self.forget(list(self.assignment.claims))
            raise
        finally:
            self._saving = None
        if under_way.generation != self.assignment.generation:
            return
        self._took_s = self.steps.clock() - self._began_at
        self.membership.acknowledge(under_way.gathered.next_offsets)
        self.configuration.may_swap = True

    def _save(self, under_way: Saving) -> None:
        """Unless the partitions went meanwhile: whoever has them now replays."""
        gathered = under_way.gathered
        with self.steps.timed("wait for the lake"):
            snapshots = self.saver.finished(under_way, self.patiently, self.now())
        if under_way.generation != self.assignment.generation:
            return
        if not self.assignment.is_history:
            self.patiently("database", partial(saving.note_seen, gathered.last_seen))
        self.assignment.save(
            under_way.claims, snapshots, gathered.books, gathered.received,
            patiently=self.patiently, configuration=self.configuration.described(),
        )  # fmt: skip

    def forget(self, partitions: Sequence[int]) -> None:
        """Lets go without saving: whoever has the partition now replays it from its checkpoint."""
        self.assignment.forget(partitions)
        self.gathered = Gathered()
