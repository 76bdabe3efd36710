"""The public stream: what has just been stored, as server-sent events for programs.

Django lets a program in, with everything that holds for any request; then this keeps it, holding neither a thread nor
a connection to the database meanwhile. Each minute Django is asked again, so that a revoked token ends its streams.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import structlog

from sensors import live
from sensors.hub import Client, FarBehind, Message, hub

log = structlog.get_logger()

PATH = "/api/v1/stream"
OPENING = "sieis.opening"  # where in a request's scope the view leaves what it has allowed
KINDS = {"readings": live.READINGS, "alerts": "alert"}
MOST, MOST_OF_ONE = 1000, 20  # streams of a process, and of one person in it
FAREWELL_S = 1.0

Scope = MutableMapping[str, Any]
Told = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Told]]
Send = Callable[[Told], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]  # Django and channels type the three each in their own way


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a program asked to hear; None and empty are everything."""

    kinds: frozenset[str] = frozenset(KINDS.values())
    places: frozenset[tuple[str, str]] | None = None
    channels: frozenset[str] = frozenset()

    @property
    def is_all(self) -> bool:
        return self.places is None and not self.channels


class _Spoken(msgspec.Struct):
    readings: list[dict[str, Any]]


class _Place(msgspec.Struct):
    site: str | None
    mote: str | None


class _Alert(msgspec.Struct):
    alert: _Place


def event(message: Message, wanted: Wanted) -> bytes | None:
    """The message as an event, made once for all who want the same; None where nothing of it is wanted."""
    if wanted not in message.made:
        text = _text(message, wanted)
        message.made[wanted] = None if text is None else f"event: {message.kind}\ndata: {text}\n\n".encode()
    return message.made[wanted]


def _text(message: Message, wanted: Wanted) -> str | None:
    if message.kind == "hello":
        return message.text
    if message.kind not in wanted.kinds:
        return None
    if message.kind == live.READINGS and not wanted.is_all:
        return _readings(message, wanted)
    if wanted.places is not None and message.kind == "alert":
        about = msgspec.json.decode(message.body, type=_Alert).alert
        return message.text if (about.site, about.mote) in wanted.places else None
    return message.text


def _readings(message: Message, wanted: Wanted) -> str | None:
    pieces = [raw for place, raw in message.pieces().items() if wanted.places is None or place in wanted.places]
    if wanted.channels:
        pieces = [cut for raw in pieces if (cut := _only(raw, wanted.channels)) is not None]
    if not pieces:
        return None
    body = b'{"readings":[' + b",".join(bytes(raw) for raw in pieces) + b"]}"
    return Message(message.seq, message.kind, body.decode(), message.skipped).text


def _only(raw: msgspec.Raw, channels: frozenset[str]) -> msgspec.Raw | None:
    """The reading with these channels; None where it has none of them."""
    told = msgspec.json.decode(raw, type=dict[str, Any])
    values = {name: value for name, value in told["values"].items() if name in channels}
    if not values:
        return None
    suspect = [name for name in told.get("suspect", []) if name in channels]
    return msgspec.Raw(msgspec.json.encode({**told, "values": values, "suspect": suspect}))


class Full(Exception):
    """Nobody more may listen; `is_yours` where it is this person's own streams that are too many."""

    def __init__(self, words: str, *, is_yours: bool) -> None:
        super().__init__(words)
        self.is_yours = is_yours


class Listeners:
    """How many streams this process keeps, by person."""

    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self.most, self.most_of_one = most, most_of_one
        self.n: Counter[int] = Counter()
        self._lock = threading.Lock()

    def enter(self, who: int) -> None:
        with self._lock:
            if self.n[who] >= self.most_of_one:
                raise Full(f"You have {self.n[who]} streams open; at most {self.most_of_one} a person.", is_yours=True)
            if self.n.total() >= self.most:
                raise Full(f"{self.most:,} streams are open here already. Try again later.", is_yours=False)
            self.n[who] += 1

    def leave(self, who: int) -> None:
        with self._lock:
            self.n[who] -= 1
            self.n += Counter()  # drops those at zero


listeners = Listeners()


@dataclass(slots=True)
class Opening:
    """What the view allows a stream that is being opened, or asked about again."""

    is_new: bool = True
    who: int | None = None
    wanted: Wanted | None = None

    def admit(self, who: int, wanted: Wanted) -> None:
        if self.is_new:
            listeners.enter(who)
        self.who, self.wanted = who, wanted


class EventStream:
    """Stands before the site at one address; everything else goes through."""

    def __init__(
        self, site: Application, *, heartbeat_s: float = 15.0, recheck_s: float = 60.0, patience_s: float = 60.0
    ) -> None:
        self.site = site
        self.heartbeat_s, self.recheck_s, self.patience_s = heartbeat_s, recheck_s, patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self.site(scope, receive, send)
            return
        opening = Opening()
        try:
            start, body = await self._ask(scope, opening)
            if opening.wanted is None:
                await send(start)
                await send({"type": "http.response.body", "body": body})
                return
            kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            await send({**start, "headers": kept})
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await self._keep(scope, opening, receive, send)
        finally:
            if opening.who is not None:
                listeners.leave(opening.who)

    async def _ask(self, scope: Scope, opening: Opening) -> tuple[Told, bytes]:
        """What the site answers to this request."""
        told: list[Told] = []
        asked: list[Told] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Told:
            return asked.pop() if asked else await asyncio.Future()

        async def send(message: Told) -> None:
            told.append(message)

        await self.site({**scope, OPENING: opening}, receive, send)
        return told[0], b"".join(part.get("body", b"") for part in told[1:])

    async def _keep(self, scope: Scope, opening: Opening, receive: Receive, send: Send) -> None:
        """Until the program goes, may no longer listen, or does not read."""

        async def say(text: bytes) -> None:
            async with asyncio.timeout(self.patience_s):
                await send({"type": "http.response.body", "body": text, "more_body": True})

        client = Client(say, told=lambda message: event(message, opening.wanted or Wanted()))
        deeds = (client.run(), self._beat(say), self._recheck(scope, opening), _gone(receive))
        tasks = [asyncio.create_task(deed) for deed in deeds]
        hub().join(client)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            farewell = _farewell(done.pop())
        finally:
            for task in tasks:
                task.cancel()
            await hub().leave(client)
        with_end = partial(send, {"type": "http.response.body", "body": farewell, "more_body": False})
        try:
            async with asyncio.timeout(FAREWELL_S):
                await with_end()
        except TimeoutError:
            log.info("stream_reader_does_not_read")

    async def _beat(self, say: Callable[[bytes], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_s)
            await say(b": alive\n\n")

    async def _recheck(self, scope: Scope, opening: Opening) -> bytes:
        """What the site answers when it lets this program in no more; motes that came meanwhile are told of as well."""
        while True:
            await asyncio.sleep(self.recheck_s)
            again = Opening(is_new=False)
            start, body = await self._ask(scope, again)
            if again.wanted is not None:
                opening.wanted = again.wanted
            elif start["status"] in (400, 401, 403):
                return body
            else:  # the database is away, or this person asks too often: neither is a reason to go
                log.warning("stream_not_rechecked", status=start["status"])


async def _gone(receive: Receive) -> bytes:
    while (await receive())["type"] != "http.disconnect":
        pass
    return b""


def _farewell(task: asyncio.Task[Any]) -> bytes:
    """The last event: why the stream ends, where there is something to say."""
    error = task.exception()
    if isinstance(error, FarBehind):
        return b"event: end\ndata: " + msgspec.json.encode({"type": "end", "detail": str(error)}) + b"\n\n"
    if error is not None:
        log.info("stream_ended", error=str(error) or type(error).__name__)
        return b""
    problem = task.result()
    return b"event: end\ndata: " + problem.replace(b"\n", b" ") + b"\n\n" if problem else b""
