"""A stream as it is in the field: simulated readings with faults, and among them what no stream should have. Pure."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bench._fleet import simulator
from ingestion.simulating.simulation import history_chunks

Messages = list[tuple[bytes, bytes]]  # value and key
CHUNK = 1_000  # of a site
LONGEST_WAIT = 5  # chunks, for what comes late
GARBAGE = (
    b"", b"null", b"42", b"[]", b"{}", b"\x00\xff\xfe", b'{"mote_id": 1', b'{"timestamp": 1}', b"{" * 2000,
    b'{"mote_id": 1, "timestamp": "yesterday", "temperature": 20}', b'{"mote_id": [], "timestamp": 1}',
    b'{"mote_id": 1, "timestamp": NaN, "temperature": 20}', '{"mote_id": "7\u0000", "timestamp": 1}'.encode(),
)  # fmt: skip


@dataclass(slots=True)
class Mixture:
    """What the sites say from `start` on, about n messages, in chunks, and how much of it is of which odd kind."""

    sites: list[str]
    n_motes: int
    start: datetime
    n: int
    seed: int = 1
    odd: float = 0.03
    anomaly_rate: float | None = None  # of its sensors; else as the pack has it
    kinds: Counter[str] = field(default_factory=Counter)

    def chunks(self) -> Iterator[Messages]:
        chance = random.Random(self.seed)
        waiting: dict[int, Messages] = {}
        for number, plain in enumerate(self._plain()):
            chunk = [each for message in plain for each in self._disturbed(message, number, chance, waiting)]
            yield chunk + waiting.pop(number, [])
        yield [message for left in waiting.values() for message in left]

    def simulator(self, site: str) -> Any:
        return simulator(site, self.n_motes, self.anomaly_rate)

    def _plain(self) -> Iterator[Messages]:
        span = timedelta(seconds=30 * self.n / (len(self.sites) * self.n_motes) * 1.2 + 3600)
        sources = [
            history_chunks(self.simulator(site), self.start, self.start + span, chunk=CHUNK) for site in self.sites
        ]
        left = self.n
        for parts in zip(*sources, strict=False):
            chunk = [message for values, keys in parts for message in zip(values, keys, strict=True)][:left]
            left -= len(chunk)
            yield chunk
            if not left:
                break

    def _disturbed(
        self, message: tuple[bytes, bytes], number: int, chance: random.Random, waiting: dict[int, Messages]
    ) -> Messages:
        if chance.random() >= self.odd:
            return [message]
        kind = chance.choice(ODD)
        self.kinds[kind] += 1
        later = waiting.setdefault(number + chance.randint(1, LONGEST_WAIT), [])
        value, key = message
        match kind:
            case "late":
                later.append(message)
                return []
            case "sent again later":
                later.append(message)
                return [message]
            case "conflict later":
                later.append((changed(value, temperature=chance.uniform(-5, 45)), key))
                return [message]
            case _:
                return [message, (ODD_KINDS[kind](value, chance), key)]


def changed(value: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(value), **fields}).encode()


ODD_KINDS: dict[str, Any] = {
    "sent twice": lambda value, chance: value,
    "conflict": lambda value, chance: changed(value, humidity=chance.uniform(0, 100)),
    "garbage": lambda value, chance: chance.choice(GARBAGE),
    "unknown mote": lambda value, chance: changed(value, mote_id=f"stranger-{chance.randrange(50)}"),
    "future": lambda value, chance: changed(value, timestamp=3_900_000_000 + chance.random()),
    "long ago": lambda value, chance: changed(value, timestamp=json.loads(value)["timestamp"] - 5 * 86_400),
    "no number": lambda value, chance: changed(
        value, timestamp=json.loads(value)["timestamp"] - 7.5, temperature=chance.choice(["hot", True, [], 1e400])
    ),
    "no value": lambda value, chance: changed(value, temperature=None, humidity="", light={}, voltage="2.7"),
    "other site": lambda value, chance: changed(value, site="nowhere"),
}
ODD = ("late", "sent again later", "conflict later", *ODD_KINDS)
