"""The reading path as a running process: poll, judge, detect, store, alert, announce; now and then a save.

Store, then announce; checkpoint and acknowledge last. Whatever dies in between is replayed from the checkpoint into
sinks that take the repeat without effect.

Here is the loop, and what comes from outside: partitions, a changed configuration, a word to stop. What decides is in
`configuring`, what moves in `passage`, what keeps in `slow_cycle`, what tells of it in `vital_signs`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from django.core.files.storage import Storage
from django.db import close_old_connections

from ingestion import checkpoints
from ingestion.assignment import Assignment
from ingestion.configuring import Configuration, Serves
from ingestion.membership import Membership
from ingestion.passage import Passage
from ingestion.patience import AWAY, DATABASE_AWAY, Announces, Patience, Stopped
from ingestion.saving import Saver
from ingestion.slow_cycle import SlowCycle
from ingestion.steps import Steps
from ingestion.storing import Storing
from ingestion.streams import Stream, StreamUnavailable
from ingestion.telling import Telling
from ingestion.vital_signs import VitalSigns
from sensors.fleet import Fleet
from sensors.lake import Lake, LakeFenced
from sensors.stores import HotStore

log = structlog.get_logger(__name__)

LARGE = 4  # from this part of the largest batch on batches overlap: throughput before delay
LARGE_FLEET = 5_000  # motes; for each so many of them one more batch is taken at once
MOST_AT_ONCE = 8  # batches
# The engine's loops come to the interpreter and leave it hundreds of times a batch; each time its other threads would
# keep it for 5 ms.
SWITCH_S = 0.0005
STEPS = (
    "poll", "wait for the engine", "store", "alert", "gather", "lake", "snapshot", "wait for the lake", "checkpoint",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pace:
    """How the runner trades delay against throughput."""

    batch_max: int = 20_000
    batch_wait_s: float = 0.05
    slow_cycle_s: float = 15.0
    slow_cycle_readings: int = 100_000
    look_s: float = 2.0
    retry_s: float = 0.5
    retry_max_s: float = 10.0
    future_s: float = 300.0

    def at_once(self, n_motes: int) -> int:
        """Readings of one poll at most. What a batch costs by its motes, here and in a store that keeps a series of
        each, is divided by the readings that each of them has in it."""
        return self.batch_max * min(max(n_motes // LARGE_FLEET, 1), MOST_AT_ONCE)


class Runner:
    """Moves the partitions that its group gives it, until it is told to stop."""

    def __init__(
        self,
        *,
        stream: Stream,
        hot: HotStore,
        lake: Lake,
        storage: Storage,
        serving: Serves,
        fleet: Callable[[], Fleet],
        fleet_revision: Callable[[], int],
        announce: Announces | None,
        group: str,
        owner: str,
        now: Callable[[], datetime],
        pace: Pace | None = None,
        is_history: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream, self.serving, self.group, self.owner, self.now = stream, serving, group, owner, now
        self.pace = pace = pace or Pace()
        self.steps = Steps(clock, *STEPS)
        self.membership = Membership()
        self.patiently = Patience(
            stop=threading.Event(), now=now, announce=announce, meanwhile=self._keep_membership,
            retry_s=pace.retry_s, retry_max_s=pace.retry_max_s,
        )  # fmt: skip
        self.assignment = Assignment(
            stream=stream, hot=hot, lake=lake, storage=storage, owner=owner, is_history=is_history, now=now
        )
        self.configuration = Configuration(
            serving=serving, read_fleet=fleet, revision=fleet_revision, hot=hot, lake=lake, future_s=pace.future_s,
            is_history=is_history, clock=clock,
        )  # fmt: skip
        self.saver = Saver(lake, storage, self.steps)
        self.cycle = SlowCycle(
            assignment=self.assignment, configuration=self.configuration, membership=self.membership, saver=self.saver,
            patiently=self.patiently, steps=self.steps, now=now, every_s=pace.slow_cycle_s,
            every_readings=pace.slow_cycle_readings,
        )  # fmt: skip
        self.passage = Passage(
            assignment=self.assignment, configuration=self.configuration, membership=self.membership, cycle=self.cycle,
            storing=Storing(hot, stream.topic), telling=Telling(announce, clock), patiently=self.patiently,
            steps=self.steps, large=pace.batch_max / LARGE,
        )  # fmt: skip
        self._looked_at = 0.0
        self._rest_s = 0.0
        self._signs = VitalSigns(owner, stream.topic, since=now())

    @property
    def claims(self) -> dict[int, checkpoints.Claim]:
        return self.assignment.claims

    @property
    def n_readings(self) -> int:
        """Messages that were taken, by now gathered or saved."""
        return self.passage.n_readings

    @property
    def seconds(self) -> dict[str, float]:
        """By step."""
        return self.steps.seconds | self.configuration.pipeline.seconds

    # ---- the loop -----------------------------------------------------------------------------------------

    def run(
        self, stop: threading.Event, *, until_end: bool = False, progress: Callable[[int], None] | None = None
    ) -> None:
        """Until `stop` is set (or, with until_end, all there is has been read), then saves what it holds."""
        self.patiently.stop = stop
        sys.setswitchinterval(SWITCH_S)
        try:
            self._join()
            ends = self.patiently("stream", self.stream.bounds) if until_end else None
            while not stop.is_set():
                self._turn()
                if progress:
                    progress(self.n_readings)
                if ends is not None and self._is_done(ends):
                    break
            self._save_all()
        except Stopped:
            unsaved = self.cycle.gathered.n_messages
            log.info("stopped_while_waiting", sink=self.patiently.stuck.get("sink"), unsaved=unsaved)
        except BaseException:
            # The state may know messages that were not gathered: leaving the group must not save it.
            self.cycle.forget(list(self.claims))
            raise
        finally:
            if self.membership.leave():
                self._beat(is_last=True)
            self.passage.shutdown()
            self.saver.shutdown()
            close_old_connections()

    def _join(self) -> None:
        self.patiently("database", self._configure)
        self.patiently("stream", self.stream.ensure)
        self.assignment.identity = self.patiently("stream", self.stream.identity)
        self.membership.join(self.stream.consumer(self.group, on_assign=self._on_assign, on_revoke=self._on_revoke))

    def _turn(self) -> None:
        n_at_once = self.pace.at_once(len(self.configuration.fleet.by_id))
        poll = partial(self.membership.poll, n_at_once, self.pace.batch_wait_s)
        n_before = self.n_readings
        with self.steps.timed("poll"):
            self.patiently.stop.wait(self._rest_s)
            records = self.patiently("stream", poll)
        began, self._rest_s = self.steps.clock(), 0.0
        if len(records):
            self.passage.take(records)
            if len(records) < self.passage.large:
                # Many small batches would take a whole core; as long a rest halves that, and the next one is larger.
                self._rest_s = min(self.steps.clock() - began, self.pace.batch_wait_s)
        else:
            self.passage.drain()
            self.configuration.may_swap |= bool(self.claims)  # what a crash left unsaved was replayed by now
            if self.cycle.is_due():
                self.cycle.begin(self.cycle.states())
        if self.cycle.is_written:
            self.cycle.end()
        if self.n_readings > n_before:
            self._signs.last_batch_at = self.now()
        clock = self.steps.clock()
        if clock - self._looked_at >= self.pace.look_s:
            self._looked_at = clock
            self._look_around()

    def _is_done(self, ends: Mapping[int, tuple[int, int]]) -> bool:
        return all(
            first == end or (self.cycle.position(partition) or 0) >= end for partition, (first, end) in ends.items()
        ) and (bool(self.claims) or not any(end > first for first, end in ends.values()))

    def _save_all(self) -> None:
        """Saves all that was taken, and waits for it."""
        self.passage.drain()  # the state knows what was taken, so the books and the lake must, too
        self.cycle.begin(self.cycle.states())
        self.cycle.end()

    # ---- what judges changes --------------------------------------------------------------------------------

    def _configure(self) -> None:
        self.configuration.build(self.passage.when_stored)

    def _look_around(self) -> None:
        """A changed fleet or a promoted version takes effect here, between two batches, at a saved offset."""
        try:
            self.configuration.refresh(self.now())
            if self.configuration.is_outdated:
                self._save_all()
                self.patiently("database", self._configure)
                self.patiently("database", self._record_serving)
                told = self.configuration.described()
                log.info("reconfigured", fleet=told["fleet"], models=told["models"])
            self._beat()
        except DATABASE_AWAY as error:
            log.warning("database_away", error=str(error))
            close_old_connections()

    def _record_serving(self) -> None:
        self.assignment.record_serving(self.serving, self.configuration.fleet)

    # ---- partitions come and go -----------------------------------------------------------------------------

    def _on_assign(self, partitions: Sequence[int]) -> Mapping[int, int | None]:
        self.assignment.take(
            partitions, patiently=self.patiently, fleet=self.configuration.fleet,
            configuration=self.configuration.described(),
        )  # fmt: skip
        self.patiently("database", self._go_back)
        self.patiently("database", self._record_serving)
        log.info("assigned", topic=self.stream.topic, partitions=list(partitions), owner=self.owner)
        return {partition: self.claims[partition].next_offset for partition in partitions}

    def _go_back(self) -> None:
        """A newer version waits until what a crash left unsaved has been judged again."""
        self.configuration.may_swap = False
        self.assignment.go_back(self.serving, self.configuration.fleet)
        if self.configuration.has_other_engines:
            self._configure()

    def _on_revoke(self, partitions: Sequence[int]) -> None:
        log.info("revoked", topic=self.stream.topic, partitions=list(partitions), owner=self.owner)
        is_idle = not self.membership.is_busy and self.passage.is_empty
        if is_idle and not self.patiently.stop.is_set():
            try:
                with self.patiently.not_now():
                    self._save_all()
            except (checkpoints.Fenced, LakeFenced):
                return
            except AWAY as error:  # nobody may be kept waiting for the partition: it is replayed where it goes
                log.warning("revoked_unsaved", partitions=list(partitions), error=str(error))
        self.cycle.forget(partitions)

    # ---- what is told of it ---------------------------------------------------------------------------------

    def _keep_membership(self) -> None:
        self._beat()
        self.membership.keep()

    def _beat(self, *, is_last: bool = False) -> None:
        if not self.configuration.is_built:  # the database has been away from the start, also for this
            return
        self._signs.beat(
            now=self.now(), clock=self.steps.clock(), n_readings=self.n_readings, is_last=is_last,
            stuck=self.patiently.stuck,
            detail={
                "fleet": self.configuration.fleet.revision,
                "lag": {} if is_last else self._lag(),
                "serving": self.configuration.serving_names(),
                "seconds": {step: round(value, 3) for step, value in self.seconds.items()},
            },
        )  # fmt: skip

    def _lag(self) -> dict[str, int]:
        try:
            ends = self.stream.bounds()
        except StreamUnavailable:
            return {}
        return {
            held.place: max(ends.get(partition, (0, 0))[1] - (self.cycle.position(partition) or 0), 0)
            for partition, held in self.claims.items()
        }
