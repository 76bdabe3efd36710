"""The MQTT bridge: a broker's messages, appended to the stream, acknowledged only when they are durable there."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import structlog
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ingestion.bridges.topics import Template, reading
from ingestion.simulating.simulation import patiently

log = structlog.get_logger(__name__)

SCHEMES = {"mqtt": 1883, "mqtts": 8883}
AT_LEAST_ONCE = 1
KEEPALIVE_S = 30
MOST_AT_ONCE = 1000
QUIET_S = 0.02  # how long an append waits for more; the broker sends on only after what it sent is acknowledged
MOST_WAITING = 10_000  # in memory; beyond it the broker keeps what we have not acknowledged
LONGEST_WAIT_S = 30
SOON_S, MOST_CUTS = 5.0, 3  # so often cut off so soon: somebody else has our name, or the broker throws us out


class BadAddress(Exception):
    """The broker's address cannot be used; says what is expected."""


class Takes(Protocol):
    topic: str

    def ensure(self) -> None: ...

    def append(self, values: Sequence[bytes], keys: Sequence[bytes | None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to listen."""

    host: str
    port: int
    user: str | None
    password: str | None
    is_encrypted: bool

    @classmethod
    def at(cls, address: str) -> Broker:
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in SCHEMES or not parts.hostname:
            shown = address.rpartition("@")[2] if "@" in address else address
            raise BadAddress(
                f"“{shown}” is no MQTT address; expected mqtt://host:1883 or mqtts://user:password@host:8883"
            )
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return cls(parts.hostname, port or SCHEMES[parts.scheme], user, password, parts.scheme == "mqtts")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(slots=True)
class Bridged:
    """What a run has brought over."""

    messages: int = 0


class Bridge:
    """Listens to the topics of a template. A session of the broker's own keeps what comes while the bridge is away."""

    def __init__(
        self, *, broker: Broker, template: Template, client_id: str, stream: Takes,
        key_of: Callable[[bytes], bytes | None], now: Callable[[], datetime],
        tell: Callable[[str], None] = log.warning,
    ) -> None:  # fmt: skip
        self.broker, self.template, self.stream, self.key_of = broker, template, stream, key_of
        self.now, self.tell = now, tell
        self.done = Bridged()
        self._waiting: queue.Queue[tuple[paho.MQTTMessage, datetime]] = queue.Queue(MOST_WAITING)
        self._client = self._connectable(client_id)
        self._name, self._connected_at, self._cuts = client_id, 0.0, 0

    def run(self, stop: threading.Event) -> Bridged:
        """Until told to stop; then brings over what has arrived, and leaves the session for the next start."""
        if not patiently(self.stream.ensure, stop=stop, topic=self.stream.topic, tell=self.tell):
            return self.done
        self._client.connect_async(self.broker.host, self.broker.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()
        try:
            while not stop.is_set():
                self._bring(self._gathered(wait_s=0.5), stop)
            self._bring(self._gathered(wait_s=0.0), stop)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
        return self.done

    # ---- from the broker, on paho's thread ------------------------------------------------------------------

    def _connectable(self, client_id: str) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True,
            reconnect_on_failure=True,
        )  # fmt: skip
        if self.broker.user is not None:
            client.username_pw_set(self.broker.user, self.broker.password)
        if self.broker.is_encrypted:
            client.tls_set_context(ssl.create_default_context())
        client.reconnect_delay_set(1, LONGEST_WAIT_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.tell(f"The MQTT broker {self.broker} refuses: {reason}. Trying again.")
            return
        self._connected_at = time.monotonic()
        client.subscribe(self.template.subscription, qos=AT_LEAST_ONCE)

    def _on_subscribe(self, client: paho.Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self.tell(f"The MQTT broker {self.broker} does not let us read {self.template.subscription}.")
        elif self._cuts < MOST_CUTS:
            self.tell(f"Listening at {self.broker} to {self.template.subscription}.")

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        self.tell(f"The MQTT broker {self.broker} cannot be reached. Trying again.")

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            return
        self._cuts = self._cuts + 1 if time.monotonic() - self._connected_at < SOON_S else 0
        if self._cuts < MOST_CUTS:
            client.reconnect_delay_set(1, LONGEST_WAIT_S)
            self.tell(f"The MQTT broker {self.broker} is gone: {reason}. Trying again.")
            return
        client.reconnect_delay_set(LONGEST_WAIT_S, LONGEST_WAIT_S)
        if self._cuts == MOST_CUTS:
            self.tell(
                f"The MQTT broker {self.broker} cuts us off as soon as we are there. Is there another bridge with the "
                f"name “{self._name}”? A broker keeps one connection a name: give this one another --client-id. Trying "
                f"again every {LONGEST_WAIT_S} s."
            )

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._waiting.put((message, self.now()))

    # ---- to the stream --------------------------------------------------------------------------------------

    def _gathered(self, *, wait_s: float) -> list[tuple[paho.MQTTMessage, datetime]]:
        """What has come, waiting for the first only; a burst is one append."""
        found: list[tuple[paho.MQTTMessage, datetime]] = []
        until = time.monotonic() + wait_s
        while len(found) < MOST_AT_ONCE:
            try:
                found.append(self._waiting.get(timeout=max(until - time.monotonic(), 0.0)))
            except queue.Empty:
                break
            until = time.monotonic() + QUIET_S
        return found

    def _bring(self, gathered: Sequence[tuple[paho.MQTTMessage, datetime]], stop: threading.Event) -> None:
        if not gathered:
            return
        values = [
            reading(self.template.places(message.topic), message.payload, arrived_at)
            for message, arrived_at in gathered
        ]
        keys = [self.key_of(value) for value in values]
        if patiently(
            lambda: self.stream.append(values, keys), stop=stop, topic=self.stream.topic, tell=self.tell
        ):  # else the broker keeps them, unacknowledged, for the next start
            for message, _ in gathered:
                self._client.ack(message.mid, message.qos)
            self.done.messages += len(gathered)
