"""What becomes of a judged batch: the hot store takes it, or quarantine what that refuses; events become alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import polars as pl
import structlog

from alerts import services as alert_services
from ingestion import metrics, quarantine
from ingestion.patience import Patience
from ingestion.pipeline import Outcome
from ingestion.records import Records
from ingestion.wire import Reject
from mlops.detection.standin import marked
from mlops.detection.words import words
from sensors.fleet import Fleet
from sensors.readings import Batch, concat
from sensors.stores import HotStore, StoreRefused

log = structlog.get_logger(__name__)
AT_ONCE = 2  # batches being written: while a store takes one, the lines of the next are made
MOST_REFUSALS = 64  # of one batch; a store that refuses everything must not be asked row by row

Written = Future[pl.DataFrame]  # the table that was written


@dataclass(frozen=True, slots=True)
class Kept:
    """What was stored, also as the tables that the lake will take."""

    outcome: Outcome
    tables: list[pl.DataFrame]


class Storing:
    """The hot store and quarantine of one stream. What was begun behind and failed is done again, patiently."""

    def __init__(self, hot: HotStore, topic: str) -> None:
        self.hot, self.topic = hot, topic
        self._writer = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hot-write")

    def shutdown(self) -> None:
        self._writer.shutdown()

    def begin(self, batch: Batch) -> Written:
        """Writes behind the caller's back."""
        return self._writer.submit(self._written, batch)

    def _written(self, batch: Batch) -> pl.DataFrame:
        table = batch.to_table()
        self.hot.write(batch.profile, table)
        return table

    def keep(
        self,
        records: Records,
        outcome: Outcome,
        written: Sequence[Written | None],
        *,
        fleet: Fleet,
        identity: str,
        patiently: Patience,
    ) -> Kept:
        """What the hot store refuses goes to quarantine too, and the path goes on."""
        batches, tables, rejects = [], [], list(outcome.rejects)
        for batch, begun in zip(outcome.batches, written, strict=True):
            kept, refused = self._write(batch, begun, patiently)
            if kept:
                batches.append(concat([part for part, _ in kept]))
                tables.append(pl.concat([table for _, table in kept]))
            for part, why in refused:
                log.error("hot_store_refused", profile=part.profile.code, readings=len(part), error=why)
                rejects.extend(_refused(part, records, fleet, why))
        if rejects:
            patiently("database", lambda: quarantine.keep(rejects, records, self.topic, identity))
            first = rejects[0].row
            place = f"{self.topic}/{int(records.partition[first])}@{int(records.offset[first])}"
            reasons = dict(Counter(reject.reason for reject in rejects))
            log.info("messages_put_aside", correlation_id=place, n=len(rejects), reasons=reasons)
        return Kept(replace(outcome, batches=batches, rejects=rejects), tables)

    def _write(
        self, batch: Batch, begun: Written | None, patiently: Patience
    ) -> tuple[list[tuple[Batch, pl.DataFrame]], list[tuple[Batch, str]]]:
        """What the hot store took, with its table, and what it refused, with its words.

        One bad row makes a store refuse its whole batch: it is halved until the bad rows stand alone.
        """
        taken, refused, waiting, n_refusals = [], [], [batch], 0
        if begun is not None and begun.exception() is None:
            patiently.is_well("hot_store")
            return [(batch, begun.result())], []
        while waiting:
            part = waiting.pop()
            table = part.to_table()
            try:
                patiently("hot_store", partial(self.hot.write, part.profile, table))
            except StoreRefused as refusal:
                n_refusals += 1
                if len(part) == 1 or n_refusals > MOST_REFUSALS:
                    refused.append((part, str(refusal)))
                else:
                    waiting += [part.take(slice(len(part) // 2, None)), part.take(slice(0, len(part) // 2))]
            else:
                taken.append((part, table))
        return taken, refused


def _refused(batch: Batch, records: Records, fleet: Fleet, why: str) -> list[Reject]:
    """The batch's readings as rejects, found again in the records by partition and offset."""
    places = {
        place: row for row, place in enumerate(zip(records.partition.tolist(), records.offset.tolist(), strict=True))
    }
    origin = zip(batch.partition.tolist(), batch.offset.tolist(), strict=True)
    return [
        Reject(
            places[place],
            "refused",
            why[:300],
            fleet.by_id[mote].code,
            batch.profile.code,
            at,
            mote,
            fleet.by_id[mote].site,
        )
        for place, mote, at in zip(origin, batch.mote.tolist(), batch.at.tolist(), strict=True)
    ]


# ---- what is told of it -----------------------------------------------------------------------------------------


def told(outcome: Outcome, fleet: Fleet, topic: str) -> list[alert_services.Told]:
    """The event changes in words; of a probe's nobody hears."""
    changes = [change for change in outcome.changes if not fleet.by_id[change.mote].is_probe]
    shown_by = _shown_by(outcome, topic) if changes else {}
    return [
        alert_services.Told(
            change,
            marked(words(change, fleet.profiles[change.profile]), change.model_version),
            shown_by.get((change.mote, change.noticed_at), ""),
        )
        for change in changes
    ]


def _shown_by(outcome: Outcome, topic: str) -> dict[tuple[int, int], str]:
    """The messages in which events were noticed; their place in the stream is the id that logs carry on."""
    found = {}
    for batch in outcome.batches:
        for row in (batch.event_id == batch.at).nonzero()[0].tolist():
            key = int(batch.mote[row]), int(batch.at[row])
            found[key] = f"{topic}/{int(batch.partition[row])}@{int(batch.offset[row])}"
    return found


def measure(outcome: Outcome, seconds: float) -> None:
    """For /metrics."""
    metrics.BATCH_SECONDS.observe(seconds)
    for batch in outcome.batches:
        metrics.READINGS.labels(batch.profile.code).inc(len(batch))
    for reject in outcome.rejects:
        metrics.QUARANTINED.labels(reject.reason).inc()
    for one in outcome.duplicates:
        metrics.DUPLICATES.labels(one.entry.profile).inc()
