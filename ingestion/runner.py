"""The reading path as a running process: poll, judge, detect, store, alert, announce; now and then a save.

Store, then announce; checkpoint and acknowledge last. Whatever dies in between is replayed from the checkpoint into
sinks that take the repeat without effect.

Large batches overlap: while the engine works on one, the two before are stored, those before are told and saved, and
the next is fetched and decoded. No more are at each of these places, and each leaves them in order.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import polars as pl
import structlog
from django.core.files.storage import Storage
from django.db import close_old_connections

from alerts import services as alert_services
from ingestion import assignment, checkpoints, saving, stored, storing
from ingestion.gathering import Gathered
from ingestion.patience import AWAY, DATABASE_AWAY, Announces, Patience, Stopped
from ingestion.pipeline import Existing, Outcome, Parts, Pipeline
from ingestion.records import Records
from ingestion.saving import Saver, Saving
from ingestion.storing import Storing, Written
from ingestion.streams import Consumer, Stream, StreamUnavailable
from ingestion.telling import Telling
from ingestion.vital_signs import VitalSigns
from ingestion.wire import Wire
from mlops.detection import FittedEngine
from mlops.models import ModelVersion
from mlops.scoped import own_numbers
from sensors.fleet import Fleet
from sensors.lake import Lake, LakeFenced
from sensors.readings import KEYS, Profile
from sensors.stores import HotStore

log = structlog.get_logger(__name__)

LARGE = 4  # from this part of the largest batch on batches overlap: throughput before delay
RARELY = 4  # times as long as a save took, at least, from its beginning to the next one's
# The engine's loops come to the interpreter and leave it hundreds of times a batch; each time its other threads would
# keep it for 5 ms.
SWITCH_S = 0.0005
STEPS = (
    "poll", "wait for the engine", "store", "alert", "gather", "lake", "snapshot", "wait for the lake", "checkpoint",
)  # fmt: skip


class Serves(assignment.Serves, Protocol):
    """What the runner asks of mlops.serving."""

    def engine_for(self, profile: Profile) -> FittedEngine: ...

    def version_for(self, profile: Profile) -> ModelVersion | None: ...

    def refresh(self, now: datetime) -> Sequence[object]: ...


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
        self.stream, self.hot, self.lake, self.storage = stream, hot, lake, storage
        self.serving, self.read_fleet, self.fleet_revision = serving, fleet, fleet_revision
        self.announce, self.group, self.owner, self.now = announce, group, owner, now
        self.pace, self.is_history, self.clock = pace or Pace(), is_history, clock
        self.assignment = assignment.Assignment(
            stream=stream, hot=hot, lake=lake, storage=storage, owner=owner, is_history=is_history, now=now
        )
        self.gathered = Gathered()
        self.seconds = dict.fromkeys(STEPS, 0.0)  # each by one thread at a time
        self.n_readings = 0
        self._is_paused = False
        self._is_busy = False  # between polls with something in hand, when a poll may only keep the membership
        self._judging: Judging | None = None
        self._taken: deque[Taken] = deque()
        self._saving: Saving | None = None
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._storing = Storing(hot, stream.topic)
        self._telling = Telling(announce, clock)
        self._saver = Saver(lake, storage, clock=clock, seconds=self.seconds)
        self.patiently = self._patience(threading.Event())
        self._slow_at = self._looked_at = 0.0
        self._save_s = 0.0  # from its beginning to its end, the last time
        self._may_swap = False
        self._consumer: Consumer | None = None
        self._signs = VitalSigns(owner, stream.topic, since=now())

    @property
    def claims(self) -> dict[int, checkpoints.Claim]:
        return self.assignment.claims

    @property
    def _generation(self) -> int:
        return self.assignment.generation

    def _patience(self, stop: threading.Event) -> Patience:
        return Patience(
            stop=stop, now=self.now, announce=self.announce, meanwhile=self._keep_membership,
            retry_s=self.pace.retry_s, retry_max_s=self.pace.retry_max_s,
        )  # fmt: skip

    # ---- the loop -----------------------------------------------------------------------------------------

    def run(
        self, stop: threading.Event, *, until_end: bool = False, progress: Callable[[int], None] | None = None
    ) -> None:
        """Until `stop` is set (or, with until_end, all there is has been read), then saves what it holds."""
        self.patiently = self._patience(stop)
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
            self.slow_cycle()
        except Stopped:
            log.info("stopped_while_waiting", sink=self.patiently.stuck.get("sink"), unsaved=self.gathered.n_messages)
        except BaseException:
            # The state may know messages that were not gathered: leaving the group must not save it.
            self._forget(list(self.claims))
            raise
        finally:
            if self._consumer is not None:
                self._consumer.close()
                self._beat(is_last=True)
            for thread in (self._engine, self._storing, self._saver):
                thread.shutdown()
            close_old_connections()

    def _join(self) -> None:
        self.patiently("database", self._configure)
        self.patiently("stream", self.stream.ensure)
        self.assignment.identity = self.patiently("stream", self.stream.identity)
        self._consumer = self.stream.consumer(self.group, on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _turn(self) -> None:
        consumer = self._consumer
        assert consumer is not None
        if self._is_paused:
            consumer.resume()
            self._is_paused = False
        with self._timed("poll"):
            records = self.patiently("stream", lambda: consumer.poll(self.pace.batch_max, self.pace.batch_wait_s))
        if len(records):
            self._take(records)
        else:
            self._drain()
            self._may_swap |= bool(self.claims)  # what a crash left unsaved was replayed under the version of that time
            if self._is_due():
                self._begin_save(self._states())
        if self._saving is not None and self._saving.snapshots.done():
            self._end_save()
        now = self.clock()
        if now - self._looked_at >= self.pace.look_s:
            self._looked_at = now
            self._look_around()

    def _is_done(self, ends: Mapping[int, tuple[int, int]]) -> bool:
        return all(
            first == end or (self._position(partition) or 0) >= end for partition, (first, end) in ends.items()
        ) and (bool(self.claims) or not any(end > first for first, end in ends.values()))

    def _position(self, partition: int) -> int | None:
        held, saved = self.claims.get(partition), self._saving.gathered.next_offsets if self._saving else {}
        first = held.next_offset if held else None
        return self.gathered.next_offsets.get(partition, saved.get(partition, first))

    # ---- one poll's messages ------------------------------------------------------------------------------

    def _take(self, records: Records) -> None:
        """What is judged is stored, told and gathered in order, one by one; a small batch at once, for the delay."""
        generation, began = self._generation, self.clock()
        decoded = self.pipeline.decode(records)
        self._advance()
        with self._busy():
            states = {partition: held.state for partition, held in self.claims.items()}
            judged = self.patiently("hot_store", lambda: self.pipeline.judge(decoded, states))
        outcome = self._engine.submit(self.pipeline.detect, judged, states)
        self._judging = Judging(records, outcome, generation, began)
        self._finish(but=storing.AT_ONCE - 1)
        if not self._is_large(records):
            self._drain()

    def _is_large(self, records: Records) -> bool:
        return len(records) * LARGE >= self.pace.batch_max

    def _advance(self) -> None:
        """Takes what the engine has done, and has it stored; the states are now those right after it."""
        judging, self._judging = self._judging, None
        if judging is None:
            return
        with self._timed("wait for the engine"):
            outcome = judging.outcome.result()
        if judging.generation != self._generation:
            return
        is_large = self._is_large(judging.records)
        written = [self._storing.begin(batch) if is_large else None for batch in outcome.batches]
        states = self._states() if self._is_due(len(judging.records)) else None
        self._taken.append(Taken(judging.records, outcome, written, states, judging.generation, judging.began))

    def _finish(self, *, but: int = 0) -> None:
        """Has all that was taken stored, tells and gathers it, but for so many of the newest."""
        while len(self._taken) > but:
            self._keep(self._taken.popleft())

    def _keep(self, taken: Taken) -> None:
        """Unless its partitions are gone: then it is replayed there."""
        if taken.generation != self._generation:
            return
        with self._busy(), self._timed("store"):
            kept = self._storing.keep(
                taken.records, taken.outcome, taken.written,
                fleet=self.fleet, identity=self.assignment.identity, patiently=self.patiently,
            )  # fmt: skip
        if taken.generation == self._generation:
            with self._busy(), self._timed("alert"):
                self._tell(kept.outcome, is_more_at_hand=self._is_large(taken.records))
        if taken.generation == self._generation:
            with self._timed("gather"):
                self._gather(taken.records, kept)
            if taken.states is not None:
                self._begin_save(taken.states)
        storing.measure(kept.outcome, self.clock() - taken.began)

    def _drain(self) -> None:
        """Until nothing is between a poll and the gathered."""
        self._advance()
        self._finish()
        with self._timed("alert"):
            self._telling.catch_up(self.fleet)

    def _tell(self, outcome: Outcome, *, is_more_at_hand: bool) -> None:
        told = storing.told(outcome, self.fleet, self.stream.topic)
        deed = partial(alert_services.record_events, told, fleet=self.fleet, is_history=self.is_history)
        alerts = self.patiently("database", deed) if told else []
        self._telling.tell(outcome.batches, alerts, self.fleet, is_more_at_hand=is_more_at_hand)

    def _gather(self, records: Records, kept: storing.Kept) -> None:
        booked = {partition: held.booked_until for partition, held in self.claims.items()}
        self.gathered.add(records, kept.outcome, kept.tables, topic=self.stream.topic, booked=booked)
        self.n_readings += len(records)
        self._signs.last_batch_at = self.now()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        was, self._is_busy = self._is_busy, True
        try:
            yield
        finally:
            self._is_busy = was

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = self.clock()
        yield
        self.seconds[step] += self.clock() - began

    # ---- saves ----------------------------------------------------------------------------------------------

    def _is_due(self, n_more: int = 0) -> bool:
        """Whether what is gathered, with so many messages more, is to be saved."""
        if any(taken.states is not None for taken in self._taken):
            return False  # its save begins once it is stored
        n_unsaved = self.gathered.n_messages + sum(len(taken.records) for taken in self._taken) + n_more
        passed = self.clock() - self._slow_at
        is_wanted = n_unsaved >= (1 if passed >= self.pace.slow_cycle_s else self.pace.slow_cycle_readings)
        # A large fleet's states take seconds to save: not more often than leaves the path most of its time. A save that
        # took long because a sink was away must not put off the next one for as long.
        return is_wanted and passed >= min(RARELY * self._save_s, 2 * self.pace.slow_cycle_s)

    def _states(self) -> dict[int, Parts]:
        return {partition: held.state.parts() for partition, held in self.claims.items()}

    def slow_cycle(self) -> None:
        """Saves all that was taken, and waits for it."""
        self._drain()  # the state knows what was taken, so the books and the lake must, too
        self._begin_save(self._states())
        self._end_save()

    def _begin_save(self, states: Mapping[int, Parts]) -> None:
        """What is gathered goes to the lake, and these states to the storage, while the path goes on."""
        self._end_save()
        self._slow_at = self.clock()
        if not self.gathered.next_offsets:
            return
        # The claims of now: while a sink is away a partition may go and come again, with another state.
        claims, gathered, self.gathered = dict(self.claims), self.gathered, Gathered()
        self._saving = self._saver.begin(gathered, claims, states, generation=self._generation, now=self.now())

    def _end_save(self) -> None:
        """One transaction (books, offsets, states), then the broker."""
        under_way = self._saving
        if under_way is None:
            return
        try:
            with self._busy(), self._timed("checkpoint"):
                self._save(under_way)
        except (checkpoints.Fenced, LakeFenced) as lost:
            if under_way.generation != self._generation:
                return
            log.warning("fenced", owner=self.owner, error=str(lost))
            self._forget(list(self.claims))
            raise
        finally:
            self._saving = None
        if under_way.generation != self._generation:
            return
        self._save_s = self.clock() - self._slow_at
        if self._consumer is not None:
            self._consumer.acknowledge(under_way.gathered.next_offsets)
        self._may_swap = True

    def _save(self, under_way: Saving) -> None:
        """Unless the partitions went meanwhile: whoever has them now replays."""
        gathered = under_way.gathered
        with self._timed("wait for the lake"):
            snapshots = self._saver.finished(under_way, self.patiently, self.now())
        if under_way.generation != self._generation:
            return
        if not self.is_history:
            self.patiently("database", partial(saving.note_seen, gathered.last_seen))
        self.assignment.save(
            under_way.claims, snapshots, gathered.books, gathered.received,
            patiently=self.patiently, configuration=self._configuration(),
        )  # fmt: skip

    def _configuration(self) -> dict[str, Any]:
        return {
            "fleet": self.fleet.revision,
            "models": {code: engine.number for code, engine in self.pipeline.engines.items()},
            "own": {code: own for code, engine in self.pipeline.engines.items() if (own := own_numbers(engine))},
            "profiles": {code: profile.version for code, profile in self.fleet.profiles.items()},
        }

    # ---- configuration: the fleet and what serves ----------------------------------------------------------

    def _configure(self) -> None:
        fleet = self.read_fleet()
        engines = {code: self.serving.engine_for(profile) for code, profile in fleet.profiles.items()}
        wire = Wire(fleet, future_s=self.pace.future_s)
        if self.is_history:  # its motes may have readings that came live, or longer ago than the hot store keeps
            self.pipeline = Pipeline(
                wire, engines, self._when_stored(stored.anywhere(self.hot, self.lake)), self.clock,
                stored_until=stored.newest(self.hot, fleet),
            )  # fmt: skip
        else:
            self.pipeline = Pipeline(wire, engines, self._when_stored(self.hot.existing), self.clock)
        self.fleet = fleet

    def _when_stored(self, existing: Existing) -> Existing:
        """Asks what is stored, and waits for what was taken before only where that has one of the readings."""

        def asked(profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
            if any(taken.has_any(profile, keys) for taken in self._taken):
                self._finish()
            return existing(profile, keys)

        return asked

    def _is_outdated(self) -> bool:
        """Whether other engines serve than the pipeline has; asked of both, for a swap may have been cut short."""
        engines = self.pipeline.engines
        return any(self.serving.engine_for(one) is not engines[code] for code, one in self.fleet.profiles.items())

    def _look_around(self) -> None:
        """A changed fleet or a promoted version takes effect here, between two batches, at a saved offset."""
        try:
            if self._may_swap and not self.is_history:
                self.serving.refresh(self.now())
            if self.fleet_revision() != self.fleet.revision or self._is_outdated():
                self.slow_cycle()
                self.patiently("database", self._configure)
                self.patiently("database", partial(self.assignment.record_serving, self.serving, self.fleet))
                log.info("reconfigured", fleet=self.fleet.revision, models=self._configuration()["models"])
            self._beat()
        except DATABASE_AWAY as error:
            log.warning("database_away", error=str(error))
            close_old_connections()

    # ---- partitions come and go -----------------------------------------------------------------------------

    def _on_assign(self, partitions: Sequence[int]) -> Mapping[int, int | None]:
        self.assignment.take(
            partitions, patiently=self.patiently, fleet=self.fleet, configuration=self._configuration()
        )
        self.patiently("database", self._go_back)
        self.patiently("database", partial(self.assignment.record_serving, self.serving, self.fleet))
        log.info("assigned", topic=self.stream.topic, partitions=list(partitions), owner=self.owner)
        return {partition: self.claims[partition].next_offset for partition in partitions}

    def _go_back(self) -> None:
        """A newer version waits until what a crash left unsaved has been judged again."""
        self._may_swap = False
        self.assignment.go_back(self.serving, self.fleet)
        if self._is_outdated():
            self._configure()

    def _on_revoke(self, partitions: Sequence[int]) -> None:
        log.info("revoked", topic=self.stream.topic, partitions=list(partitions), owner=self.owner)
        is_idle = not self._is_busy and self._judging is None and not self._taken
        if is_idle and not self.patiently.stop.is_set():
            try:
                with self.patiently.not_now():
                    self.slow_cycle()
            except (checkpoints.Fenced, LakeFenced):
                return
            except AWAY as error:  # nobody may be kept waiting for the partition: it is replayed where it goes
                log.warning("revoked_unsaved", partitions=list(partitions), error=str(error))
        self._forget(partitions)

    def _forget(self, partitions: Sequence[int]) -> None:
        """Lets go without saving: whoever has the partition now replays it from its checkpoint."""
        self.assignment.forget(partitions)
        self.gathered = Gathered()

    def _keep_membership(self) -> None:
        """A paused poll tells the broker that this consumer lives while what it has in hand waits for a sink.

        It stays paused until the next turn: between two attempts the driver would fetch all that it has room for.
        """
        self._beat()
        if self._consumer is None or not self._is_busy:
            return
        self._consumer.pause()
        self._is_paused = True
        try:
            self._consumer.poll(1, 0.0)
        except StreamUnavailable as error:
            log.warning("stream_away", error=str(error))

    def _beat(self, *, is_last: bool = False) -> None:
        self._signs.beat(
            now=self.now(), clock=self.clock(), n_readings=self.n_readings, is_last=is_last, stuck=self.patiently.stuck,
            detail={
                "fleet": self.fleet.revision,
                "lag": {} if is_last else self._lag(),
                "serving": self._serving(),
                "seconds": {step: round(value, 3) for step, value in (self.seconds | self.pipeline.seconds).items()},
            },
        )  # fmt: skip

    def _serving(self) -> dict[str, str]:
        versions = {code: self.serving.version_for(profile) for code, profile in self.fleet.profiles.items()}
        return {code: version.name if version else "the pack's normal bands" for code, version in versions.items()}

    def _lag(self) -> dict[str, int]:
        try:
            ends = self.stream.bounds()
        except StreamUnavailable:
            return {}
        return {
            held.place: max(ends.get(partition, (0, 0))[1] - (self._position(partition) or 0), 0)
            for partition, held in self.claims.items()
        }
