"""The live channel's socket: who may listen, and what a client may say."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import msgspec
import structlog
from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.http import HttpRequest

from sensors.hub import Client, FarBehind, hub
from sensors.roles import VIEW, may

log = structlog.get_logger()

BAD_MESSAGE, NO_SESSION, NO_ROLE, TOO_FAR_BEHIND = 4400, 4401, 4403, 4408
GATHER_S = 0.25  # sockets that want to know within it are looked at together


class Ack(msgspec.Struct, tag="ack"):
    seq: int


class LiveConsumer(AsyncWebsocketConsumer):
    """/ws/live/, with ?ack=1 for a client that acknowledges what it has handled."""

    channel_layer_alias = ""  # none for the socket itself: the hub's one subscription serves them all

    def __init__(self, recheck_s: float = 60.0) -> None:
        super().__init__()
        self.recheck_s = recheck_s
        self.client: Client | None = None
        self.tasks: list[asyncio.Task[None]] = []

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without Channels' own look for old connections before every message: acknowledgements touch no database."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        refusal = await _refusal(self.scope["user"])
        if refusal is not None:
            await self.close(refusal)
            return
        await self.accept()
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        self.client = Client(self.send, acknowledges=query.get("ack") == ["1"])
        self.tasks = [asyncio.create_task(self._tell(self.client)), asyncio.create_task(self._recheck())]
        hub().join(self.client)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            ack = msgspec.json.decode(text_data or bytes_data or b"", type=Ack)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            await self.close(BAD_MESSAGE, 'expected {"type":"ack","seq":n}')
            return
        if self.client is not None:
            self.client.acknowledge(ack.seq)

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
        if self.client is not None:
            await hub().leave(self.client)

    async def _tell(self, client: Client) -> None:
        try:
            await client.run()
        except FarBehind as behind:
            await self.close(TOO_FAR_BEHIND, str(behind))
        except Exception as error:
            # The server says so by `disconnect` as well, or will: the socket is gone, the others are not concerned.
            log.info("live_socket_failed", error=str(error) or type(error).__name__)

    async def _recheck(self) -> None:
        """A socket outlives its request: a logout or a lost role ends it."""
        refusal = None
        while refusal is None:
            await asyncio.sleep(self.recheck_s)
            refusal = await _now_refused(self.scope["session"].session_key)
        await self.close(refusal)


class _Look:
    """At sessions, all with one connection to the database; one for each would take most of it for 5,000 sockets."""

    going: WeakKeyDictionary[asyncio.AbstractEventLoop, _Look] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.refusals = asyncio.create_task(self._ask())

    async def _ask(self) -> dict[str, int | None]:
        await asyncio.sleep(GATHER_S)
        del self.going[asyncio.get_running_loop()]
        try:
            return await _refusals(self.sessions)
        except DatabaseError as error:
            log.warning("live_socket_not_rechecked", error=str(error))
            return dict.fromkeys(self.sessions)


async def _now_refused(session: str) -> int | None:
    loop = asyncio.get_running_loop()
    look = _Look.going.get(loop) or _Look.going.setdefault(loop, _Look())
    look.sessions.add(session)
    return (await asyncio.shield(look.refusals))[session]  # who leaves takes the answer from nobody


@database_sync_to_async
def _refusals(keys: Collection[str]) -> dict[str, int | None]:
    return {key: _refuses(_person(key)) for key in keys}


def _person(session: str) -> Any:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session)
    return get_user(request)


@database_sync_to_async
def _refusal(user: Any) -> int | None:
    return _refuses(user)


def _refuses(user: Any) -> int | None:
    """The close code for somebody who may not listen."""
    if not user.is_authenticated:
        return NO_SESSION
    return None if may(user, VIEW) else NO_ROLE
