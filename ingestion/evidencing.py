"""Evidence of alerts, taken off the reading path from what it has stored, and read back for the page."""

from __future__ import annotations

import hashlib
from datetime import datetime

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import Storage, default_storage

from alerts.models import Alert, Evidence
from ingestion.models import StateSnapshot
from ingestion.pipeline import PartitionState
from mlops.evidence import taking
from mlops.evidence.bundle import BadBundle, Bundle
from mlops.evidence.rescoring import only
from mlops.evidence.taking import Before, Parts
from sensors import registry
from sensors.stores import StoreUnavailable, hot

log = structlog.get_logger(__name__)
STORAGE_AWAY = (BotoCoreError, ClientError, OSError)


class EvidenceAway(Exception):
    """The file cannot be read now, or is not what was written; says which."""


def parts(storage: Storage = default_storage) -> Parts:
    """What this installation has."""

    def before(topic: str, partition: int, offset: int, profile: str, mote: int) -> Before | None:
        return state_before(topic, partition, offset, profile, mote, storage=storage)

    return Parts(hot(), registry.current_fleet(), storage, before)


def state_before(
    topic: str, partition: int, offset: int, profile: str, mote: int, *, storage: Storage
) -> Before | None:
    """The last saved state of a partition from which that message was still to come, cut to the mote."""
    kept = StateSnapshot.objects.filter(topic=topic, partition=partition, next_offset__lte=offset)
    snapshot = kept.order_by("-pk").first()  # a topic made anew counts its offsets anew: the last written is meant
    if snapshot is None:
        return None
    try:
        with storage.open(snapshot.blob) as file:
            blob = file.read()
    except FileNotFoundError:
        return None
    if hashlib.sha256(blob).hexdigest() != snapshot.sha256:
        log.warning("snapshot_changed", snapshot=str(snapshot))
        return None
    engine = PartitionState.from_bytes(blob).engines.get(profile)
    state = only(engine, mote).to_bytes() if engine is not None else b""
    return Before(state, snapshot.next_offset, snapshot.taken_at)


def take_due(now: datetime) -> int:
    """Takes what is due; one alert of which it cannot be taken leaves the others alone. Answers how many."""
    those = taking.due(now)
    if not those:
        return 0
    with_what, n = parts(), 0
    for alert, occasion in those:
        if not taking.is_still_due(alert, occasion):
            continue
        try:
            taking.take(alert, occasion, parts=with_what, now=now)
            n += 1
        except (StoreUnavailable, *STORAGE_AWAY) as away:  # the next look tries again
            log.warning("evidence_waits", alert=alert.pk, reason=str(away))
            break
    return n


class NothingToTake(Exception):
    """The alert is not about readings that were judged."""


def take_now(alert: Alert, now: datetime) -> Evidence:
    """Takes what is known at this moment, for somebody who will not wait for the next look."""
    if alert.mote is None or not alert.events.exists():
        raise NothingToTake("Evidence is taken of alerts about judged readings; this one is not.")
    is_first = not alert.evidence.exists()
    occasion = Evidence.Occasion.RAISED if is_first else Evidence.Occasion.PEAK
    return taking.take(alert, occasion, parts=parts(), now=now)


def read(evidence: Evidence, storage: Storage = default_storage) -> bytes:
    """The file as it was written; EvidenceAway where it is not that any more."""
    try:
        with storage.open(evidence.name) as file:
            content: bytes = file.read()
    except FileNotFoundError:
        raise EvidenceAway(f"The file {evidence.name} is not in the artefact storage any more.") from None
    except STORAGE_AWAY as error:
        raise EvidenceAway(f"The artefact storage does not answer: {error}") from error
    if hashlib.sha256(content).hexdigest() != evidence.sha256:
        raise EvidenceAway(f"The file {evidence.name} is not what was written: its SHA-256 differs.")
    return content


def opened(evidence: Evidence) -> Bundle:
    try:
        return Bundle.from_bytes(read(evidence))
    except BadBundle as bad:
        raise EvidenceAway(str(bad)) from bad
