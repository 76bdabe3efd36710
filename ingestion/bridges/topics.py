"""MQTT topics by a template: which site, mote and channel a message speaks of, and the reading it becomes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

PLACES = ("site", "mote", "channel")
SHOWN = 200


class BadTemplate(Exception):
    """The template cannot be listened to; says why and what is expected."""


@dataclass(frozen=True, slots=True)
class Template:
    """Such as `sites/{site}/motes/{mote}/{channel}`; + and # stand for levels that say nothing."""

    text: str
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, text: str) -> Template:
        levels = text.split("/")
        names = [level[1:-1] for level in levels if level.startswith("{") and level.endswith("}")]
        if not text or any(("{" in level or "}" in level) and level[1:-1] not in PLACES for level in levels):
            raise BadTemplate(
                f"“{text}” is no topic template; its levels are words, + or one of {{site}}, {{mote}}, {{channel}}, as "
                "in sites/{site}/motes/{mote}/{channel}"
            )
        if len(set(names)) < len(names):
            raise BadTemplate(f"“{text}” names {max(names, key=names.count)} twice")
        if any("#" in level for level in levels[:-1]) or any(
            len(level) > 1 and set(level) & {"+", "#"} for level in levels
        ):
            raise BadTemplate(f"“{text}”: + and # stand alone in a level, # in the last one only")
        return cls(text, re.compile("/".join(map(_level, levels)), re.DOTALL))

    @property
    def subscription(self) -> str:
        """What the broker is asked for.

        >>> Template.of("sites/{site}/motes/{mote}/{channel}").subscription
        'sites/+/motes/+/+'
        """
        return re.sub(r"\{\w+\}", "+", self.text)

    def places(self, topic: str) -> dict[str, str]:
        """What a topic names; nothing where it does not fit.

        >>> Template.of("motes/{mote}/{channel}").places("motes/7/temperature")
        {'mote': '7', 'channel': 'temperature'}
        """
        found = self.pattern.fullmatch(topic)
        return found.groupdict() if found else {}


def _level(level: str) -> str:
    if level.startswith("{"):
        return f"(?P<{level[1:-1]}>[^/]+)"
    return {"+": "[^/]*", "#": ".*"}.get(level, re.escape(level))


def reading(places: Mapping[str, str], payload: bytes, arrived_at: datetime) -> bytes:
    """The message of the wire that an MQTT message is; what cannot be read goes on as it is, and is put aside there.

    A payload is an object of channels, an object with `value` (and `timestamp`), or one value where the topic names the
    channel. Without a timestamp it was measured when it arrived.
    """
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        if "channel" not in places:
            return payload
        said = payload.decode(errors="replace")[:SHOWN]
    if "channel" not in places and not isinstance(said, dict):
        return payload
    return json.dumps({**_head(places, arrived_at), **_body(said, places.get("channel"))}).encode()


def _head(places: Mapping[str, str], arrived_at: datetime) -> dict[str, Any]:
    named = {"site": places.get("site"), "mote_id": places.get("mote")}
    stamp = arrived_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {**{name: value for name, value in named.items() if value is not None}, "timestamp": stamp}


def _body(said: Any, channel: str | None) -> dict[str, Any]:
    if channel is None:
        return dict(said)  # its own mote, site and timestamp count more than the topic's
    if isinstance(said, dict):
        rest = {name: value for name, value in said.items() if name != "value"}
        return {**rest, channel: said["value"]} if "value" in said else rest
    return {channel: said}
