"""The reading path as a running process: poll, process, store, alert, announce; now and then lake and checkpoint.

Store, then announce; checkpoint and acknowledge last. Whatever dies in between is replayed from the checkpoint into
sinks that take the repeat without effect.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import polars as pl
import structlog
from django.core.files.storage import Storage
from django.db import close_old_connections
from django.db.models import Value
from django.db.models.functions import Coalesce, Greatest

from alerts import services as alert_services
from alerts.models import Alert
from ingestion import assignment, checkpoints, metrics, quarantine, stored
from ingestion.ledger import Books, add, balance
from ingestion.patience import AWAY, DATABASE_AWAY, Announces, Patience, Stopped
from ingestion.pipeline import Existing, Outcome, Pipeline, bronze
from ingestion.records import Records
from ingestion.streams import Consumer, Stream, StreamUnavailable
from ingestion.wire import Reject, Wire
from mlops.detection import FittedEngine
from mlops.detection.standin import marked
from mlops.detection.words import words
from mlops.models import ModelVersion
from mlops.scoped import own_numbers
from sensors.fleet import Fleet
from sensors.lake import Lake, LakeFenced
from sensors.models import Mote, ProcessHeartbeat
from sensors.readings import Batch, Profile, concat
from sensors.stores import HotStore, StoreRefused

log = structlog.get_logger(__name__)


LARGE = 4  # from this part of the largest batch on the next one is judged meanwhile: throughput before delay
MOST_REFUSALS = 64  # of one batch; a store that refuses everything must not be asked row by row


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


@dataclass(slots=True)
class Gathered:
    """What waits for the next slow cycle."""

    bronze: list[pl.DataFrame] = field(default_factory=list)
    silver: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    books: Books = field(default_factory=dict)
    next_offsets: dict[int, int] = field(default_factory=dict)
    received: dict[int, int] = field(default_factory=dict)  # when each partition's newest message came
    last_seen: dict[int, int] = field(default_factory=dict)
    n_messages: int = 0


Written = Future[None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A poll's messages, judged: being stored, not yet known to be."""

    records: Records
    outcome: Outcome
    written: list[Written | None]  # each batch's first writing, where it is under way
    generation: int
    began: float


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
        self.seconds: Counter[str] = Counter()
        self.n_readings = 0
        self._is_paused = False
        self._is_busy = False  # between polls with something in hand, when a poll may only keep the membership
        self._taken: Taken | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hot-write")
        self.patiently = self._patience(threading.Event())
        self._slow_at = self._looked_at = 0.0
        self._rate = (0.0, 0)
        self._may_swap = False
        self._consumer: Consumer | None = None
        self._last_batch_at: datetime | None = None
        self._running_since = now()

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
            self._writer.shutdown()
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
        records = self.patiently("stream", lambda: consumer.poll(self.pace.batch_max, self.pace.batch_wait_s))
        if len(records):
            self._take(records)
        else:
            self._finish()
        if not len(records) and self.claims:
            self._may_swap = True  # whatever a crash left unsaved has been replayed under the version of that time
        now = self.clock()
        n_unsaved = self.gathered.n_messages + (len(self._taken.records) if self._taken else 0)
        due = now - self._slow_at >= self.pace.slow_cycle_s and n_unsaved
        if due or n_unsaved >= self.pace.slow_cycle_readings:
            self.slow_cycle()
        if now - self._looked_at >= self.pace.look_s:
            self._looked_at = now
            self._look_around()

    def _is_done(self, ends: Mapping[int, tuple[int, int]]) -> bool:
        return all(
            first == end or (self._position(partition) or 0) >= end for partition, (first, end) in ends.items()
        ) and (bool(self.claims) or not any(end > first for first, end in ends.values()))

    def _position(self, partition: int) -> int | None:
        held = self.claims.get(partition)
        return self.gathered.next_offsets.get(partition, held.next_offset if held else None)

    # ---- one poll's messages ------------------------------------------------------------------------------

    def _take(self, records: Records) -> None:
        """A large batch is stored while the next one is judged; what is judged is gathered in order, one by one."""
        generation, began = self._generation, self.clock()
        with self._busy():
            states = {partition: held.state for partition, held in self.claims.items()}
            outcome = self.patiently("hot_store", lambda: self.pipeline.process(records, states))
        self._finish()
        is_large = len(records) * LARGE >= self.pace.batch_max
        written = [self._begin_to_write(batch) if is_large else None for batch in outcome.batches]
        self._taken = Taken(records, outcome, written, generation, began)
        if not is_large:
            self._finish()

    def _begin_to_write(self, batch: Batch) -> Written:
        return self._writer.submit(lambda: self.hot.write(batch.profile, batch.to_table()))

    def _finish(self) -> None:
        """Stores, tells and gathers what was taken last, unless its partitions are gone: then it is replayed there."""
        taken, self._taken = self._taken, None
        if taken is None or taken.generation != self._generation:
            return
        began = self.clock()
        with self._busy():
            outcome, tables = self._store(taken)
            stored_at = self.clock()
            if taken.generation == self._generation:
                alerts = self._alert(outcome)
                self._announce(outcome, alerts)
        if taken.generation == self._generation:
            self._gather(taken.records, outcome, tables)
        self.seconds.update({"store": stored_at - began, "alert": self.clock() - stored_at})
        _measure(outcome, self.clock() - taken.began)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        was, self._is_busy = self._is_busy, True
        try:
            yield
        finally:
            self._is_busy = was

    def _store(self, taken: Taken) -> tuple[Outcome, list[pl.DataFrame]]:
        """Hot store and quarantine; what the hot store refuses goes to quarantine too, and the path goes on.

        Answers what was stored, also as the tables that the lake will take.
        """
        records, outcome = taken.records, taken.outcome
        batches, tables, rejects = [], [], list(outcome.rejects)
        for batch, written in zip(outcome.batches, taken.written, strict=True):
            kept, refused = self._write(batch, written)
            if kept:
                batches.append(concat([part for part, _ in kept]))
                tables.append(pl.concat([table for _, table in kept]))
            for part, why in refused:
                log.error("hot_store_refused", profile=part.profile.code, readings=len(part), error=why)
                rejects.extend(_refused(part, records, self.fleet, why))
        if rejects:
            self.patiently(
                "database", lambda: quarantine.keep(rejects, records, self.stream.topic, self.assignment.identity)
            )
            first = rejects[0].row
            place = f"{self.stream.topic}/{int(records.partition[first])}@{int(records.offset[first])}"
            reasons = dict(Counter(reject.reason for reject in rejects))
            log.info("messages_put_aside", correlation_id=place, n=len(rejects), reasons=reasons)
        return replace(outcome, batches=batches, rejects=rejects), tables

    def _write(
        self, batch: Batch, written: Written | None
    ) -> tuple[list[tuple[Batch, pl.DataFrame]], list[tuple[Batch, str]]]:
        """What the hot store took, with its table, and what it refused, with its words.

        One bad row makes a store refuse its whole batch: it is halved until the bad rows stand alone.
        """
        taken, refused, waiting, n_refusals = [], [], [batch], 0
        if written is not None and written.exception() is None:
            return [(batch, batch.to_table())], []
        while waiting:
            part = waiting.pop()
            table = part.to_table()
            try:
                self.patiently("hot_store", partial(self.hot.write, part.profile, table))
            except StoreRefused as refusal:
                n_refusals += 1
                if len(part) == 1 or n_refusals > MOST_REFUSALS:
                    refused.append((part, str(refusal)))
                else:
                    waiting += [part.take(slice(len(part) // 2, None)), part.take(slice(0, len(part) // 2))]
            else:
                taken.append((part, table))
        return taken, refused

    def _alert(self, outcome: Outcome) -> list[Alert]:
        changes = [change for change in outcome.changes if not self.fleet.by_id[change.mote].is_probe]
        if not changes:
            return []
        profiles, shown_by = self.fleet.profiles, _shown_by(outcome, self.stream.topic)
        told = [
            alert_services.Told(
                change,
                marked(words(change, profiles[change.profile]), change.model_version),
                shown_by.get((change.mote, change.noticed_at), ""),
            )
            for change in changes
        ]
        return self.patiently(
            "database",
            lambda: alert_services.record_events(told, fleet=self.fleet, is_history=self.is_history),
        )

    def _announce(self, outcome: Outcome, alerts: Sequence[Alert]) -> None:
        if self.announce is None:
            return
        for batch in outcome.batches:
            self.announce.announce_readings(batch, self.fleet)
        for alert in alerts:
            self.announce.announce_alert(alert)

    def _gather(self, records: Records, outcome: Outcome, tables: Sequence[pl.DataFrame]) -> None:
        gathered = self.gathered
        gathered.bronze.append(bronze(records, self.stream.topic))
        for batch, table in zip(outcome.batches, tables, strict=True):
            gathered.silver.setdefault(batch.profile.code, []).append(table)
            newest = table.group_by("mote").agg(pl.col("at").max().cast(pl.Int64))
            for mote, at in newest.iter_rows():
                gathered.last_seen[mote] = max(at, gathered.last_seen.get(mote, at))
        booked = {partition: held.booked_until for partition, held in self.claims.items()}
        add(gathered.books, balance(records, outcome.batches, outcome.rejects, outcome.duplicates, booked))
        for partition in self.claims:
            rows = records.partition == partition
            if rows.any():
                gathered.next_offsets[partition] = int(records.offset[rows][-1]) + 1
                gathered.received[partition] = int(records.received_at[rows].max())
        gathered.n_messages += len(records)
        self.n_readings += len(records)
        self._last_batch_at = self.now()

    # ---- the slow cycle -----------------------------------------------------------------------------------

    def slow_cycle(self) -> None:
        """Lake, then one transaction (books, offsets, state), then the broker."""
        self._finish()  # the state knows what was taken, so the books and the lake must, too
        self._slow_at = began = self.clock()
        # Those of now: while a sink is away a partition may go and come again, with another state.
        gathered, claims, generation = self.gathered, dict(self.claims), self._generation
        if not gathered.next_offsets:
            return
        apps = {partition: claims[partition].app_id for partition in gathered.next_offsets}
        try:
            with self._busy():
                self.patiently("lake", lambda: self._append("bronze", gathered, gathered.bronze, apps))
                for code, tables in gathered.silver.items():
                    self.patiently("lake", partial(self._append, f"silver/{code}", gathered, tables, apps))
                lake_s = self.clock() - began
                if generation != self._generation:
                    return  # the partitions went while a sink was away: whoever has them now replays
                self.patiently("database", partial(self._note_seen, gathered))
                self._save(claims, gathered.next_offsets, gathered.books, gathered.received)
        except (checkpoints.Fenced, LakeFenced) as lost:
            if generation != self._generation:
                return
            log.warning("fenced", owner=self.owner, error=str(lost))
            self._forget(list(self.claims))
            raise
        if generation != self._generation:
            return
        if self._consumer is not None:
            self._consumer.acknowledge(gathered.next_offsets)
        self.gathered = Gathered()
        self._may_swap = True
        self.seconds.update({"lake": lake_s, "checkpoint": self.clock() - began - lake_s})

    def _append(self, table: str, gathered: Gathered, tables: Sequence[pl.DataFrame], apps: Mapping[int, str]) -> None:
        self.lake.append(table, pl.concat(tables, how="diagonal"), app_ids=apps, next_offsets=gathered.next_offsets)

    def _save(
        self, claims: assignment.Claims, next_offsets: Mapping[int, int], books: Books, received: Mapping[int, int]
    ) -> None:
        told = self._configuration()
        self.assignment.save(claims, next_offsets, books, received, patiently=self.patiently, configuration=told)

    def _note_seen(self, gathered: Gathered) -> None:
        """Before the checkpoint, or a crash would leave it undone; never back, for a cycle may be all late."""
        if not self.is_history:
            at = {mote: Value(alert_services.instant(at)) for mote, at in sorted(gathered.last_seen.items())}
            seen = [
                Mote(pk=mote, last_seen_at=Greatest(Coalesce("last_seen_at", last), last)) for mote, last in at.items()
            ]
            Mote.objects.bulk_update(seen, ["last_seen_at"], batch_size=200)

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
        """Asks what is stored once what was taken before is."""

        def asked(profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
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
        for partition in partitions:
            self.assignment.take(
                partition, patiently=self.patiently, fleet=self.fleet, configuration=self._configuration()
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
        if not self._is_busy and self._taken is None and not self.patiently.stop.is_set():
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

    # ---- saying that it lives ------------------------------------------------------------------------------

    def _beat(self, *, is_last: bool = False) -> None:
        now, clock = self.now(), self.clock()
        since, readings = self._rate
        rate = (self.n_readings - readings) / (clock - since) if since and clock > since else 0.0
        self._rate = (clock, self.n_readings)
        detail = {
            "state": "stopped" if is_last else "running",
            "topic": self.stream.topic,
            "running_since": self._running_since.isoformat(),
            "fleet": self.fleet.revision,
            "readings_per_s": round(rate, 1),
            "last_batch_at": self._last_batch_at.isoformat() if self._last_batch_at else None,
            "lag": {} if is_last else self._lag(),
            "serving": self._serving(),
            "stuck_at": self.patiently.stuck.get("sink"),
            "since": self.patiently.stuck.get("since"),
            "error": self.patiently.stuck.get("error"),
            "seconds": {step: round(value, 3) for step, value in (self.seconds + self.pipeline.seconds).items()},
        }
        try:
            ProcessHeartbeat.objects.update_or_create(
                name=self.owner, defaults={"kind": "consumer", "beat_at": now, "detail": detail}
            )
            ProcessHeartbeat.objects.filter(kind="consumer", beat_at__lt=now - timedelta(days=1)).delete()
        except DATABASE_AWAY as error:
            log.warning("heartbeat_lost", error=str(error))

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


def _shown_by(outcome: Outcome, topic: str) -> dict[tuple[int, int], str]:
    """The messages in which events were noticed; their place in the stream is the id that logs carry on."""
    found = {}
    for batch in outcome.batches:
        for row in (batch.event_id == batch.at).nonzero()[0].tolist():
            key = int(batch.mote[row]), int(batch.at[row])
            found[key] = f"{topic}/{int(batch.partition[row])}@{int(batch.offset[row])}"
    return found


def _measure(outcome: Outcome, seconds: float) -> None:
    metrics.BATCH_SECONDS.observe(seconds)
    for batch in outcome.batches:
        metrics.READINGS.labels(batch.profile.code).inc(len(batch))
    for reject in outcome.rejects:
        metrics.QUARANTINED.labels(reject.reason).inc()
    for one in outcome.duplicates:
        metrics.DUPLICATES.labels(one.entry.profile).inc()


def _refused(batch: Batch, records: Records, fleet: Fleet, why: str) -> list[Reject]:
    """The batch's readings as rejects, found again in the records by partition and offset."""
    places = {
        place: row for row, place in enumerate(zip(records.partition.tolist(), records.offset.tolist(), strict=True))
    }
    origin = zip(batch.partition.tolist(), batch.offset.tolist(), strict=True)
    return [
        Reject(
            places[place],
            "refused",
            why[:300],
            fleet.by_id[mote].code,
            batch.profile.code,
            at,
            mote,
            fleet.by_id[mote].site,
        )
        for place, mote, at in zip(origin, batch.mote.tolist(), batch.at.tolist(), strict=True)
    ]
