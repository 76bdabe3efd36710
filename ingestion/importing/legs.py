"""What became of an import's messages, however often it was interrupted.

An import sends in legs. A leg remembers where stream and books stood when it began and how far sending is known to
have come; it is settled when its messages are through the path, by whoever imports next if its own process died.
Imports run one at a time, so what the books gained meanwhile is the leg's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl
import structlog
from django.db.models import Count, Q, Sum

from ingestion.models import Checkpoint, ImportJob, LedgerHour, Quarantined
from ingestion.streams import Stream
from sensors.lake import Lake, NoSuchTable

log = structlog.get_logger(__name__)
BOOKED = ("stored", "duplicate", "held", "quarantined")
SAVED = ("leg", "tail", "became", "n_sent", "n_through", "n_waiting")


def begin(job: ImportJob, history: Stream) -> None:
    """Before the first message of a turn is sent; everything sent before is settled."""
    ends = _ends(history)
    job.leg = {"topic_id": history.identity(), "starts": ends, "ends": ends, "books": _books(history.topic)}
    job.save(update_fields=["leg"])


def note_sent(job: ImportJob, n: int, history: Stream) -> None:
    """So many more rows are in the stream."""
    job.n_sent += n
    job.leg["ends"], job.tail = _ends(history), {}
    job.save(update_fields=["leg", "tail", "n_sent"])


def settle(job: ImportJob, history: Stream) -> None:
    """Takes over what the books say of the messages that are through; what still waits stays for the next time."""
    if not job.leg:
        return
    leg, job.leg = job.leg, {}
    if leg["topic_id"] != history.identity():
        log.warning("import_begins_anew", job=job.pk, reason=f"{history.topic} was deleted and made anew meanwhile")
        job.n_sent, job.n_waiting, job.tail = 0, 0, {}
        job.save(update_fields=SAVED)
        return
    ends, reached = _ends(history), _reached(history)
    if ends != leg["ends"]:
        job.tail = {"topic_id": leg["topic_id"], "from": job.tail.get("from", leg["ends"]), "to": ends}
    gained = _gained(history.topic, leg, reached)
    n_through = sum(reached[partition] - leg["starts"].get(partition, 0) for partition in reached)
    job.n_waiting = sum(ends[partition] - reached[partition] for partition in ends)
    job.n_through += n_through
    job.became = dict(Counter(job.became) + Counter(gained))
    if sum(gained.values()) < n_through:
        # They expired unread, or the checkpoint was moved: sent again, what is stored is known as a duplicate.
        log.warning("import_begins_anew", job=job.pk, unknown_to_the_books=n_through - sum(gained.values()))
        job.n_sent, job.tail, job.n_through = 0, {}, sum(job.became.values())
    elif job.n_waiting:
        job.leg = {**leg, "starts": reached, "ends": ends, "books": _books(history.topic)}
    job.save(update_fields=SAVED)


def arrived(job: ImportJob, history: Stream, lake: Lake) -> Counter[bytes]:
    """The messages in the stream that were sent when the process died and that n_sent does not count."""
    tail = job.tail
    if not tail or tail["topic_id"] != history.identity():
        return Counter()
    stretches = [
        (pl.col("partition") == int(partition)) & pl.col("offset").is_between(tail["from"].get(partition, 0), end - 1)
        for partition, end in tail["to"].items()
    ]
    try:
        bronze = lake.scan("bronze").filter(pl.col("topic") == history.topic, pl.any_horizontal(stretches))
        table = bronze.select("partition", "offset", "received_at", "payload").collect()
    except NoSuchTable:
        return Counter()
    # A topic made anew counts from 0 again: of two messages at one place the later one is of the topic of now.
    newest = table.sort("received_at").unique(["partition", "offset"], keep="last")
    return Counter(newest["payload"].to_list())


def waiting(history: Stream) -> int:
    """Messages beyond the checkpoints; the broker's own lag may be out of date."""
    reached = _reached(history)
    return sum(end - reached[partition] for partition, end in _ends(history).items())


def _ends(history: Stream) -> dict[str, int]:
    """By partition, as JSON keeps it."""
    return {str(partition): end for partition, (_, end) in history.bounds().items()}


def _reached(history: Stream) -> dict[str, int]:
    """Until where the path is; a topic made anew is read from its start."""
    rows = Checkpoint.objects.filter(topic=history.topic, topic_id=history.identity())
    done = dict(rows.values_list("partition", "next_offset"))
    return {str(one): min(max(done.get(one, first), first), end) for one, (first, end) in history.bounds().items()}


def _books(topic: str) -> dict[str, int]:
    sums = LedgerHour.objects.filter(topic=topic).aggregate(**{name: Sum(name) for name in BOOKED})
    return {name: n or 0 for name, n in sums.items()}


def _gained(topic: str, leg: Mapping[str, Any], reached: Mapping[str, int]) -> dict[str, int]:
    """What the books gained; quarantined ones by the reason that each was put aside for."""
    gained = {name: n - leg["books"][name] for name, n in _books(topic).items()}
    n_quarantined = gained.pop("quarantined")
    ours = Q()
    for partition, end in reached.items():
        ours |= Q(partition=int(partition), offset__gte=leg["starts"].get(partition, 0), offset__lt=end)
    aside = Quarantined.objects.filter(ours, topic=topic, topic_id=leg["topic_id"]).exclude(reason="unknown_mote")
    reasons = dict(aside.order_by().values_list("reason").annotate(n=Count("pk")).values_list("reason", "n"))
    unnamed = n_quarantined - sum(reasons.values())
    return {name: n for name, n in {**gained, **reasons, "other reasons": unnamed}.items() if n > 0}
