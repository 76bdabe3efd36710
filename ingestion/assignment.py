"""The partitions that a runner holds: taken with their saved state, begun where nobody read before, saved, let go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import polars as pl
from django.core.files.storage import Storage

from ingestion import checkpoints
from ingestion.ledger import Books
from ingestion.models import StateSnapshot
from ingestion.patience import Patience
from ingestion.streams import Stream
from mlops.models import ModelVersion
from mlops.serving import record_serving, served
from sensors.fleet import Fleet
from sensors.lake import Lake
from sensors.readings import Profile
from sensors.stores import HotStore

Claims = Mapping[int, checkpoints.Claim]


class Serves(Protocol):
    """Who knows which versions serve, and can go back to earlier ones (mlops.serving)."""

    def versions_for(self, profile: Profile) -> Iterable[ModelVersion]: ...

    def go_back_to(self, profile: Profile, number: int, own: Mapping[str, int] | None = None) -> None: ...


class Assignment:
    """What the group has given this process. `generation` counts losses: what was in hand at one is not gathered."""

    def __init__(
        self,
        *,
        stream: Stream,
        hot: HotStore,
        lake: Lake,
        storage: Storage,
        owner: str,
        is_history: bool,
        now: Callable[[], datetime],
    ) -> None:
        self.stream, self.hot, self.lake, self.storage = stream, hot, lake, storage
        self.owner, self.is_history, self.now = owner, is_history, now
        self.claims: dict[int, checkpoints.Claim] = {}
        self.generation = 0
        self.identity = ""  # of the topic, as it was when the group was joined

    def take(self, partition: int, *, patiently: Patience, fleet: Fleet, configuration: Mapping[str, Any]) -> None:
        """Fences whoever had it, and restores what was saved of it."""
        held = patiently("database", partial(self._claim, partition))
        patiently("artefacts", partial(checkpoints.restore, held, self.storage))
        patiently("lake", partial(self._look_at_lake, held))
        self.claims[partition] = held
        if held.next_offset is None:
            self._begin(held, patiently, fleet, configuration)

    def _claim(self, partition: int) -> checkpoints.Claim:
        return checkpoints.claim(self.stream.topic, partition, owner=self.owner, identity=self.identity)

    def _look_at_lake(self, held: checkpoints.Claim) -> None:
        """Sees what an earlier owner has committed, so that our first commit is not taken for its rival's."""
        for table in self.lake.tables():
            self.lake.recorded(table, held.app_id)

    def _begin(
        self, held: checkpoints.Claim, patiently: Patience, fleet: Fleet, configuration: Mapping[str, Any]
    ) -> None:
        """A live partition without a past starts from what the hot store knows, saved before the first message."""
        for profile in () if self.is_history else fleet.profiles.values():
            motes = [mote.id for mote in fleet.motes if mote.profile == profile.code]
            latest = patiently("hot_store", partial(self.hot.latest, profile, motes))
            for mote, at in latest.select("mote", pl.col("at").cast(pl.Int64)).iter_rows():
                held.state.newest[mote] = at
        first = patiently("stream", self.stream.bounds).get(held.partition, (0, 0))[0]
        states = {held.partition: (first, held.state.parts())}
        write = partial(checkpoints.write_snapshots, {held.partition: held}, states, storage=self.storage)
        snapshots = patiently("artefacts", partial(write, now=self.now()))
        self.save({held.partition: held}, snapshots, {}, {}, patiently=patiently, configuration=configuration)

    def save(
        self,
        claims: Claims,
        snapshots: Mapping[int, StateSnapshot],
        books: Books,
        received: Mapping[int, int],
        *,
        patiently: Patience,
        configuration: Mapping[str, Any],
    ) -> None:
        """Books, offsets and the row of the state, which the storage has, in one transaction."""
        now = self.now()
        patiently(
            "database",
            lambda: checkpoints.save(claims, snapshots, books, received, configuration=configuration, now=now),
        )
        checkpoints.prune(claims, snapshots, self.storage)

    def go_back(self, serving: Serves, fleet: Fleet) -> None:
        """To the models of the checkpoints: what a crash left unsaved is judged by those of its time."""
        for held in self.claims.values():
            for code, number in held.configuration.get("models", {}).items():
                if code in fleet.profiles:
                    serving.go_back_to(fleet.profiles[code], number, held.configuration.get("own", {}).get(code))

    def record_serving(self, serving: Serves, fleet: Fleet) -> None:
        """From which message on which version judges each partition, where that is not known yet."""
        topic = self.stream.topic
        versions = [(one, version) for one in fleet.profiles.values() for version in serving.versions_for(one)]
        for profile, version in versions:
            for partition, held in self.claims.items():
                first, place = held.next_offset or 0, {"topic_id": held.identity}
                known = served(topic, partition, first, profile=profile.code, mote=version.mote_id, **place)
                if known != version:
                    record_serving(
                        version, topic=topic, partition=partition, from_offset=first, who=self.owner,
                        why="in production here from this message on", now=self.now(), **place,
                    )  # fmt: skip

    def forget(self, partitions: Iterable[int]) -> None:
        """Lets go without saving: whoever has them now replays them from their checkpoints."""
        for partition in partitions:
            self.claims.pop(partition, None)
        self.generation += 1
