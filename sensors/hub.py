"""The hub: one subscription a process, which hands each message, encoded once, to the process's own sockets.

A client that is slow or dead delays nobody: everyone has a queue of their own, readings in it are merged (the newest
of a mote wins), alerts are kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import structlog
from channels.layers import get_channel_layer

from sensors import live

log = structlog.get_logger()

PROTOCOL = 1  # raised when a message changes so that an open page must be loaded anew
WINDOW = 2  # messages that a client which acknowledges may owe an answer
WAITING_READINGS = 32
WAITING_ALERTS = 1000
LEAVE_S = 2.0
RENEW_S = 600.0  # the in-memory layer forgets a group's members after a day
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0


class FarBehind(Exception):
    """The client lets so many alerts wait that it had better connect again and ask for them."""


class _Place(msgspec.Struct):
    mote: str
    site: str


class _Readings(msgspec.Struct):
    readings: list[msgspec.Raw]


class Message:
    """One message as the hub heard it; its text is built once for all clients."""

    def __init__(self, seq: int, kind: str, body: str, skipped: int = 0) -> None:
        self.seq, self.kind, self.body, self.skipped = seq, kind, body, skipped
        self._text: str | None = None
        self._pieces: dict[tuple[str, str], msgspec.Raw] | None = None
        self.made: dict[Any, bytes | None] = {}  # what was made of it for those who want only a part

    @property
    def text(self) -> str:
        if self._text is None:
            skipped = f',"skipped":{self.skipped}' if self.skipped else ""
            rest = "}" if self.body == "{}" else f",{self.body[1:]}"
            self._text = f'{{"type":"{self.kind}","seq":{self.seq}{skipped}{rest}'
        return self._text

    def pieces(self) -> dict[tuple[str, str], msgspec.Raw]:
        """The readings by mote, each still encoded."""
        if self._pieces is None:
            self._pieces = {}
            for raw in msgspec.json.decode(self.body, type=_Readings).readings:
                place = msgspec.json.decode(raw, type=_Place)
                self._pieces[place.site, place.mote] = raw
        return self._pieces


def merged(messages: Iterable[Message]) -> Message:
    """One message with the newest reading of each mote, which says how many readings it leaves out."""
    newest: dict[tuple[str, str], msgspec.Raw] = {}
    n, skipped, seq = 0, 0, 0
    for message in messages:
        newest |= message.pieces()
        n += len(message.pieces())
        skipped += message.skipped
        seq = message.seq
    body = msgspec.json.encode(_Readings(list(newest.values()))).decode()
    return Message(seq, live.READINGS, body, skipped + n - len(newest))


class Client:
    """What one socket still has to be told, and how much it may be told before it answers."""

    def __init__(
        self,
        send: Callable[[Any], Awaitable[None]],
        *,
        acknowledges: bool = False,
        told: Callable[[Message], str | bytes | None] = attrgetter("text"),
    ) -> None:
        self._send = send
        self._told = told
        self._acknowledges = acknowledges
        self._readings: deque[Message] = deque()
        self._kept: deque[Message] = deque()
        self._unanswered: deque[int] = deque()
        self._wake = asyncio.Event()

    def offer(self, message: Message) -> None:
        """Takes a message in turn; never waits."""
        if message.kind == live.READINGS:
            self._readings.append(message)
            if len(self._readings) > WAITING_READINGS:
                self._readings = deque([merged(self._readings)])
        else:
            self._kept.append(message)
        self._wake.set()

    def acknowledge(self, seq: int) -> None:
        """The client has handled everything up to this number."""
        while self._unanswered and self._unanswered[0] <= seq:
            self._unanswered.popleft()
        self._wake.set()

    async def run(self) -> None:
        """Sends, for as long as the socket lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (message := self._next()) is not None:
                if (told := self._told(message)) is not None:
                    await self._send(told)

    def _next(self) -> Message | None:
        """What may be sent now, in the order of its numbers."""
        if len(self._kept) > WAITING_ALERTS:
            raise FarBehind(f"{len(self._kept)} messages wait for an acknowledgement")
        if self._acknowledges and len(self._unanswered) >= WINDOW:
            return None
        if self._acknowledges and len(self._readings) > 1:
            self._readings = deque([merged(self._readings)])
        heads = [queue for queue in (self._kept, self._readings) if queue]
        if not heads:
            return None
        message = min(heads, key=lambda queue: (queue[0].seq, queue[0].kind == "hello")).popleft()
        if self._acknowledges and message.kind != "hello":
            self._unanswered.append(message.seq)
        return message


class Hub:
    """All sockets of one event loop. It listens while there is anybody to tell."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.seq = 0
        self._is_listening = False
        self._task: asyncio.Task[None] | None = None
        self._heard: dict[str, int] = {}

    def join(self, client: Client) -> None:
        """From its hello on, the client is told everything."""
        self.clients.add(client)
        if self._is_listening:
            client.offer(self._hello())
        elif self._task is None:
            live.bind_loop(asyncio.get_running_loop())
            self._task = asyncio.create_task(self._listen())

    async def leave(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients and self._task is not None:
            task, self._task, self._is_listening = self._task, None, False
            task.cancel()
            await asyncio.wait({task}, timeout=LEAVE_S)

    def hear(self, envelope: dict[str, Any]) -> None:
        """Numbers a message and offers it to everyone; before it a hello, if one of its source got lost on the way."""
        source, n = envelope["source"], envelope["n"]
        if n > self._heard.get(source, n) + 1:
            self._tell(self._hello())
        self._heard[source] = n
        self.seq += 1
        self._tell(Message(self.seq, envelope["kind"], envelope["body"], envelope["skipped"]))

    def _tell(self, message: Message) -> None:
        for client in self.clients:
            client.offer(message)

    def _hello(self) -> Message:
        return Message(self.seq, "hello", f'{{"version":{PROTOCOL}}}')

    async def _listen(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    channel = await self._subscribe()
                    pause_s = FIRST_PAUSE_S
                    tasks.create_task(self._renew(channel))
                    tasks.create_task(self._receive(channel))
            except Exception as error:
                self._is_listening = False
                log.warning("live_channel_lost", error=_words(error), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _subscribe(self) -> str:
        layer = get_channel_layer()
        channel: str = await layer.new_channel("live.")
        await layer.group_add(live.GROUP, channel)
        self._is_listening = True
        self._heard.clear()  # whatever was missed while nobody listened, this hello says it
        self._tell(self._hello())
        return channel

    async def _receive(self, channel: str) -> None:
        layer = get_channel_layer()
        try:
            while True:
                self.hear(await layer.receive(channel))
        finally:
            await _unsubscribe(channel)

    async def _renew(self, channel: str) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await get_channel_layer().group_add(live.GROUP, channel)


def _words(error: Exception) -> str:
    """Of a task group's error, what its first task said."""
    cause = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    return str(cause) or type(cause).__name__


async def _unsubscribe(channel: str) -> None:
    try:
        async with asyncio.timeout(LEAVE_S):
            await get_channel_layer().group_discard(live.GROUP, channel)
    except Exception as error:
        # Mostly the layer is lost, which is why we leave; an error from here would hide that we were told to stop.
        log.info("live_channel_not_left", error=str(error) or type(error).__name__)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The running loop's hub; a process has one loop that has sockets."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())
