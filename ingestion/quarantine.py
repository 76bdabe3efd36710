"""What is put aside: kept once by its place in the stream, with the reason and the bytes."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.services import instant
from ingestion.models import Quarantined
from ingestion.records import Records
from ingestion.wire import KEPT_BYTES, Reject


def keep(rejects: Sequence[Reject], records: Records, topic: str, identity: str) -> None:
    """Puts the messages aside; the same message twice changes nothing."""
    Quarantined.objects.bulk_create(
        [_row(reject, records, topic, identity) for reject in rejects], ignore_conflicts=True, batch_size=1000
    )


def _row(reject: Reject, records: Records, topic: str, identity: str) -> Quarantined:
    raw = records.values[reject.row]
    return Quarantined(
        topic=topic,
        topic_id=identity,
        partition=int(records.partition[reject.row]),
        offset=int(records.offset[reject.row]),
        received_at=instant(int(records.received_at[reject.row])),
        reason=reject.reason,
        detail=reject.detail[:300].replace("\x00", "␀"),  # PostgreSQL's text holds no NUL
        mote_code=reject.mote_code[:64].replace("\x00", "␀"),
        payload=raw[:KEPT_BYTES],
        size=len(raw),
        status=Quarantined.Status.HELD if reject.is_held else Quarantined.Status.QUARANTINED,
    )
