"""Where a consumer begins: what its checkpoint asks for, held against what the stream still has."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from ingestion.streams import StreamClosed

log = structlog.get_logger(__name__)


def starting_offsets(
    topic: str, wanted: Mapping[int, int | None], bounds: Mapping[int, tuple[int, int]]
) -> dict[int, int]:
    """An offset for each partition of `bounds`: the wanted one where it is there, else the first one kept."""
    return {
        partition: starting_offset(f"{topic}/{partition}", wanted.get(partition), first, end)
        for partition, (first, end) in bounds.items()
    }


def starting_offset(where: str, wanted: int | None, first: int, end: int) -> int:
    if wanted is None:
        return first
    if wanted > end:
        raise StreamClosed(
            f"{where} ends at offset {end}, but its checkpoint says {wanted}: the stream was wiped or restored from an "
            "older copy. Bring its data back, or delete the checkpoints of this topic (Admin, Checkpoints) to read "
            "what is there from the start"
        )
    if wanted < first:
        log.warning("messages expired unread", stream=where, lost=first - wanted, wanted=wanted, first_kept=first)
        return first
    return wanted
