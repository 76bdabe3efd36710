"""Daphne, which waits for slow readers: a send ends when what is written has found room, not before.

Without it whatever a reader does not take piles up in memory, be it a download or the live channel.
"""

from __future__ import annotations

import asyncio
from typing import Any

from daphne.server import Server
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Valve:
    """Closed by the transport while more than 64 KiB wait to be read."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()

    def pauseProducing(self) -> None:
        self.is_open.clear()

    def resumeProducing(self) -> None:
        self.is_open.set()

    def stopProducing(self) -> None:
        """The reader is gone: nobody waits for him."""
        self.is_open.set()


class PatientServer(Server):
    _told: tuple[str, Any] = ("", None)  # the last text that went to a websocket, and its frame

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send" and message.get("text"):
            await self._tell(protocol, message["text"])
            return
        details = self.connections.get(protocol, {})
        valve: Valve | None = details.get("valve")
        if valve is None and message["type"] in ("http.response.start", "websocket.accept"):
            valve = details["valve"] = _fit(protocol, is_socket=message["type"] == "websocket.accept")
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and valve is not None and protocol.channel is not None:
            protocol.unregisterProducer()  # the connection may carry another request
        await super().handle_reply(protocol, message)
        if valve is not None and not is_last:
            await valve.is_open.wait()

    async def _tell(self, protocol: Any, text: str) -> None:
        """The live channel says the same text to everybody: its frame is built once."""
        details = self.connections.get(protocol)
        if not details or details.get("disconnected"):
            return
        if self._told[0] is not text:
            self._told = text, self.ws_factory.prepareMessage(text.encode())
        if protocol.state == protocol.STATE_OPEN:
            # Not by sendPreparedMessage: it formats a line of debug log for each.
            _write(protocol.transport, self._told[1].payloadHybi)
        if not details["valve"].is_open.is_set():
            await details["valve"].is_open.wait()


def _write(transport: Any, frame: bytes) -> None:
    """At once where nothing waits: a turn of the event loop for each frame costs as much as the rest."""
    sent = 0
    if not (transport.dataBuffer or transport._tempDataBuffer or transport.disconnecting):
        taken = transport.writeSomeData(frame)
        sent = taken if isinstance(taken, int) else 0  # else the connection is lost, as the next write finds out
    if sent < len(frame):
        transport.write(frame[sent:])


def _fit(protocol: Any, *, is_socket: bool) -> Valve | None:
    valve = Valve()
    if is_socket:
        protocol.transport.unregisterProducer()  # that of HTTP, which has handed the connection over
        protocol.transport.registerProducer(valve, True)
    elif protocol.channel is not None:
        protocol.registerProducer(valve, True)
    else:
        return None
    return valve
