"""This process's place in the consumer group, kept while what it has in hand waits for a sink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from ingestion.records import Records
from ingestion.streams import Consumer, StreamUnavailable

log = structlog.get_logger(__name__)


class Membership:
    """Nobody until `join`; then a consumer that is paused between the attempts at a sink that is away."""

    def __init__(self) -> None:
        self._consumer: Consumer | None = None
        self._is_paused = False
        self.is_busy = False  # between polls with something in hand, when a poll may only keep the membership

    def join(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def leave(self) -> bool:
        """Whether there was anything to leave."""
        if self._consumer is not None:
            self._consumer.close()
        return self._consumer is not None

    @contextmanager
    def busy(self) -> Iterator[None]:
        was, self.is_busy = self.is_busy, True
        try:
            yield
        finally:
            self.is_busy = was

    def poll(self, max_records: int, wait_s: float) -> Records:
        assert self._consumer is not None, "it has not joined"
        if self._is_paused:
            self._consumer.resume()
            self._is_paused = False
        return self._consumer.poll(max_records, wait_s)

    def keep(self) -> None:
        """A paused poll tells the broker that this consumer lives while what it has in hand waits for a sink.

        It stays paused until the next poll: between two attempts the driver would fetch all that it has room for.
        """
        if self._consumer is None or not self.is_busy:
            return
        self._consumer.pause()
        self._is_paused = True
        try:
            self._consumer.poll(1, 0.0)
        except StreamUnavailable as error:
            log.warning("stream_away", error=str(error))

    def acknowledge(self, next_offsets: Mapping[int, int]) -> None:
        if self._consumer is not None:
            self._consumer.acknowledge(next_offsets)
