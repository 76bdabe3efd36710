"""The stream: where every message comes from. A port; which adapter serves it is named in settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ingestion.records import Records


class StreamUnavailable(Exception):
    """The broker cannot be reached now: wait and try again."""


class StreamClosed(Exception):
    """The stream cannot go on as it is (a recreated topic, a closed consumer); says what to do."""


class StreamRefused(Exception):
    """A message that the broker will never take (too large): trying again does not help."""


# Called with the partitions that a consumer gets; answers where to start each (None: the earliest there is).
# It may be called again with the same ones when a poll failed meanwhile. A start that has expired becomes the first
# offset still kept (logged with the count lost); one beyond the end is a stream that was wiped: StreamClosed.
OnAssign = Callable[[Sequence[int]], Mapping[int, int | None]]
# Called before another consumer may get them: what is held of them can still be saved.
OnRevoke = Callable[[Sequence[int]], None]


class Consumer(Protocol):
    """Reads the partitions that the group gives it, in offset order within each. Not thread-safe."""

    def poll(self, max_records: int, wait_s: float) -> Records:
        """Up to max_records, waiting no longer than wait_s for the first; calls on_assign / on_revoke from within.

        The first poll joins the group; a message without a value comes as b"". Raises StreamUnavailable as long as the
        broker is away (poll again later, nothing is lost) and StreamClosed when polling again cannot help.
        """
        ...

    def pause(self) -> None:
        """Until `resume`, polls bring nothing but keep the membership alive."""
        ...

    def resume(self) -> None: ...

    def acknowledge(self, next_offsets: Mapping[int, int]) -> None:
        """Tells the broker how far all is safe; for its lag figures only. Never raises for a broker that is away."""
        ...

    def close(self) -> None:
        """Leaves the group, after on_revoke for what this consumer held."""
        ...


class Stream(Protocol):
    """Keeps messages in order by partition; a key decides the partition (murmur2, as Kafka's Java client does).

    Any thread may use it, and any number of processes. Nothing is connected before the first use.
    """

    topic: str

    def ensure(self) -> None:
        """Creates the topic if it is not there, with append time as its messages' time. Appending does it too."""
        ...

    def identity(self) -> str:
        """The topic's id: another one when it was deleted and created again, so that old offsets mean nothing."""
        ...

    def append(self, values: Sequence[bytes], keys: Sequence[bytes | None]) -> None:
        """Appends in order; on return everything is durable, or StreamUnavailable was raised.

        After StreamUnavailable a part may have been appended: append all again, the duplicates are known as such.
        """
        ...

    def consumer(self, group: str, *, on_assign: OnAssign, on_revoke: OnRevoke) -> Consumer: ...

    def bounds(self) -> dict[int, tuple[int, int]]:
        """For each partition the first offset still there and the next one to be written."""
        ...

    def lag(self, group: str) -> dict[int, int]:
        """For each partition how many messages the group has not acknowledged."""
        ...

    def ping(self) -> None:
        """Raises StreamUnavailable, within 3 seconds, when the stream cannot be reached."""
        ...

    def close(self) -> None: ...


_streams: dict[str, Stream] = {}


def stream(name: str = "readings") -> Stream:
    """The configured stream of that name ("readings", "history" or "labels"), one a process, built at first use."""
    if name not in _streams:
        chosen = settings.SIEIS_STREAM
        options = {**chosen["OPTIONS"], "topic": settings.SIEIS_TOPICS[name]}
        _streams[name] = import_string(chosen["BACKEND"])(**options)
    return _streams[name]


def _forget_streams(*, setting: str, **kwargs: object) -> None:
    if setting in ("SIEIS_STREAM", "SIEIS_TOPICS"):
        for built in _streams.values():
            built.close()
        _streams.clear()


setting_changed.connect(_forget_streams)
