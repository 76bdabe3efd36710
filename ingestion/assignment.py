"""The partitions that a runner holds: taken with their saved state, begun where nobody read before, saved, let go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from django.core.files.storage import Storage

from ingestion import checkpoints, stored
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

    def take(
        self, partitions: Sequence[int], *, patiently: Patience, fleet: Fleet, configuration: Mapping[str, Any]
    ) -> None:
        """Fences whoever had them, and restores what was saved of them."""
        taken = [self._restored(partition, patiently) for partition in partitions]
        self.claims |= {held.partition: held for held in taken}
        fresh = {held.partition: held for held in taken if held.next_offset is None}
        if fresh:
            self._begin(fresh, patiently, fleet, configuration)

    def _restored(self, partition: int, patiently: Patience) -> checkpoints.Claim:
        held = patiently("database", partial(self._claim, partition))
        patiently("artefacts", partial(checkpoints.restore, held, self.storage))
        patiently("lake", partial(self._look_at_lake, held))
        return held

    def _claim(self, partition: int) -> checkpoints.Claim:
        return checkpoints.claim(self.stream.topic, partition, owner=self.owner, identity=self.identity)

    def _look_at_lake(self, held: checkpoints.Claim) -> None:
        """Sees what an earlier owner has committed, so that our first commit is not taken for its rival's."""
        for table in self.lake.tables():
            self.lake.recorded(table, held.app_id)

    def _begin(self, fresh: Claims, patiently: Patience, fleet: Fleet, configuration: Mapping[str, Any]) -> None:
        """Live partitions without a past start from what the hot store knows, saved before the first message."""
        newest = {} if self.is_history else patiently("hot_store", partial(stored.newest, self.hot, fleet))
        bounds = patiently("stream", self.stream.bounds)
        states = {}
        for partition, held in fresh.items():
            held.state.newest = dict(newest)
            states[partition] = bounds.get(partition, (0, 0))[0], held.state.parts()
        write = partial(checkpoints.write_snapshots, fresh, states, storage=self.storage, now=self.now())
        snapshots = patiently("artefacts", write)
        self.save(fresh, snapshots, {}, {}, patiently=patiently, configuration=configuration)

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
