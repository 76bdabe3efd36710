"""All that a SIEIS holds of its stream, as tables that can be compared: runs in its environment.

    python -m bench._contents FOLDER

What only says when or by whom something was done, or in which order rows were made, is left out.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

LONG_AGO, FAR = datetime(1990, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


def main() -> None:
    import django

    django.setup()
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables():
        table.write_parquet(folder / f"{name}.parquet")


def read(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.stem: pl.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}


def tables() -> Iterator[tuple[str, pl.DataFrame]]:
    from sensors import registry
    from sensors.lake import NoSuchTable, lake
    from sensors.models import Mote
    from sensors.stores import hot

    motes = list(Mote.objects.values_list("pk", flat=True))
    for profile in registry.profiles().values():
        # Mote by mote: all of half a million readings at once is more than InfluxDB answers within a query's time.
        parts = [hot().between(profile, [mote], LONG_AGO, FAR) for mote in motes]
        yield f"hot {profile.code}", pl.concat(parts).sort("mote", "at")
    for name in ("bronze", *(f"silver/{code}" for code in registry.profiles())):
        try:
            table = lake().scan(name).collect()
        except NoSuchTable:
            continue
        yield name.replace("/", " "), table.select(sorted(table.columns)).sort("partition", "offset")
    for name, rows in kept():
        yield name, pl.DataFrame(rows, infer_schema_length=None)


def kept() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    from alerts.models import Alert, Event
    from ingestion.models import LedgerHour, NotKept, Quarantined
    from mlops.models import Label
    from sensors.models import Mote

    yield "quarantine", _rows(Quarantined.objects.order_by("partition", "offset"), "taken_until", "came_from_id")
    yield "not kept", _rows(NotKept.objects.order_by("partition", "hour", "reason"))
    yield "books", _rows(LedgerHour.objects.order_by("hour", "profile", "partition"))
    events = Event.objects.select_related("alert").order_by("mote", "noticed_at")
    yield (
        "events",
        [
            {**row, "alert": event.alert and f"{event.alert.subject} {event.alert.first_seen_at}"}
            for row, event in zip(_rows(events, "alert_id"), events, strict=True)
        ],
    )
    # Alerts of the system's own tell of the run, not of the messages.
    yield "alerts", _rows(Alert.objects.exclude(mote=None).order_by("subject", "first_seen_at", "last_seen_at"))
    yield "labels", _rows(Label.objects.order_by("mote", "channel", "kind", "starts_at"), "told_at")
    yield "last seen", [{"mote": mote.pk, "at": mote.last_seen_at} for mote in Mote.objects.order_by("pk")]
    yield "states", list(_states())


def _rows(query: Any, *but: str) -> list[dict[str, Any]]:
    names = [field.attname for field in query.model._meta.concrete_fields if field.attname not in ("id", *but)]
    return [{name: _plain(value) for name, value in row.items()} for row in query.values(*names)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return bytes(value) if isinstance(value, memoryview) else value


def _states() -> Iterator[dict[str, Any]]:
    """What the next message of each partition will be judged by."""
    from django.conf import settings
    from django.core.files.storage import default_storage

    from ingestion.models import Checkpoint
    from ingestion.pipeline import PartitionState

    rows = Checkpoint.objects.filter(topic=settings.SIEIS_TOPICS["readings"]).select_related("snapshot")
    for row in rows.order_by("partition"):
        assert row.snapshot is not None
        with default_storage.open(row.snapshot.blob) as file:
            state = PartitionState.from_bytes(file.read())
        parts: dict[str, Any] = {**state.engines, **{f"before {code}": one for code, one in state.before.items()}}
        yield {
            "partition": row.partition, "next_offset": row.next_offset,
            "models": json.dumps(row.configuration["models"]), "newest": json.dumps(sorted(state.newest.items())),
            **{name: hashlib.sha256(part.to_bytes()).hexdigest() for name, part in parts.items()},
        }  # fmt: skip


if __name__ == "__main__":
    main()
