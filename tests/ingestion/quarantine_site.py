"""What the quarantine's tests share: sending, reading what came, and the parts that sending again needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.utils import timezone

from ingestion.models import LedgerHour, Quarantined
from ingestion.replaying import Parts
from ingestion.runner import Pace, Runner
from ingestion.running import parts as configured_parts
from ingestion.streams import stream
from mlops.serving import Serving
from sensors import registry
from sensors.lake import lake
from sensors.models import Mote
from sensors.stores import hot

START = timezone.now().replace(microsecond=0)  # one for all, so that the same reading is the same a second later
COLUMNS = ("received", "stored", "quarantined", "duplicate", "held")


def moment(minutes_ago: float = 30) -> str:
    return (START - timedelta(minutes=minutes_ago)).isoformat()


def reading(mote: str = "7", minutes_ago: float = 30, **values: Any) -> bytes:
    return json.dumps({"mote_id": mote, "timestamp": moment(minutes_ago), **({"temperature": 21.5} | values)}).encode()


def send(*messages: bytes, to: str = "readings") -> None:
    stream(to).append(list(messages), [b"main/lab"] * len(messages))


def drain() -> None:
    """Everything that waits in the stream through the reading path, as the consumer does it."""
    Runner(
        stream=stream(), hot=hot(), lake=lake(), storage=default_storage, serving=Serving(),
        fleet=registry.current_fleet, fleet_revision=registry.revision, announce=None, group="test",
        owner="runner@test", now=timezone.now,
        pace=Pace(batch_wait_s=0.0, retry_s=0.001, retry_max_s=0.002, look_s=0.0, slow_cycle_s=0.0),
    ).run(threading.Event(), until_end=True)  # fmt: skip


def parts(around: Callable[[Any], Any] = lambda found: found) -> Parts:
    """The configured ones, with something around the stream where a test wants it to fail or to be slow."""
    found = configured_parts()
    return Parts(fleet=found.fleet, hot=found.hot, lake=found.lake, stream=lambda name: around(stream(name)))


def aside(**names: Any) -> Quarantined:
    return Quarantined.objects.get(**names)


def books() -> dict[str, int]:
    found = {name: sum(getattr(line, name) for line in LedgerHour.objects.all()) for name in COLUMNS}
    assert found["received"] == sum(found[name] for name in COLUMNS[1:]), "the books do not balance"
    return found


def in_hot() -> list[tuple[str, float]]:
    """(mote's code, temperature) of all that is stored."""
    codes = dict(Mote.objects.values_list("pk", "code"))
    until = timezone.now() + timedelta(hours=1)
    table = hot().between(registry.profiles()["indoor"], list(codes), until - timedelta(days=400), until)
    return sorted((codes[row["mote"]], row["temperature"]) for row in table.iter_rows(named=True))
