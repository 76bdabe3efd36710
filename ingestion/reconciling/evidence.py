"""Corrects the books where both stores agree against them and bronze, which has every message, bears them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl
from django.db import transaction

from alerts.services import instant
from ingestion.ledger import balance
from ingestion.models import Booked, LedgerHour, Quarantined
from ingestion.reconciling import comparison, reading
from ingestion.reconciling.reading import ORIGIN, Look, Scope
from ingestion.records import Records
from ingestion.wire import Wire
from sensors.fleet import Fleet
from sensors.lake import Lake, NoSuchTable

CHUNK = 50_000
Line = tuple[datetime, int]  # hour and mote
Place = tuple[str, int]  # topic and partition
Origin = tuple[int, int, datetime]  # partition, offset, arrival: a topic made anew counts its offsets anew


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits in quarantine for its mote."""

    key: int
    place: Place
    origin: Origin


def correct_books(
    scope: Scope, look: Look, *, lake: Lake, fleet: Fleet, future: timedelta
) -> tuple[list[str], list[tuple[datetime, int]]]:
    """Answers what was done in sentences, and the hours and motes whose books were corrected."""
    wrong = comparison.differing(look.lines).filter(pl.col("due") == pl.col("hot"))
    if not len(wrong):
        return [], []
    lines = {(row["hour"], row["mote"]): row for row in wrong.iter_rows(named=True)}
    first = min(hour for hour, _ in lines)
    sent, held = _messages(scope, set(lines), look.marks, lake, fleet, since=first, future=future)
    adopted = _stored_now(scope, wrong, lake, held)
    done, told = [], []
    for line, row in lines.items():
        still_held = Counter(one.place for one in held.get(line, ()) if one not in adopted)
        if _correct(scope, line, row["cold"], sent.get(line, Counter()) - still_held, adopted & held.get(line, set())):
            done.append(line)
        else:
            told.append(
                f"The books of mote {scope.codes[line[1]]} stay in the hour {line[0]:%Y-%m-%d %H}:00 UTC: they call "
                f"{row['booked']:,} stored, both stores have {row['cold']:,}, and the lake keeps "
                f"{sum(sent.get(line, Counter()).values()):,} messages of that hour"
            )
    if done:
        told.insert(0, f"The books of {len(done):,} hours of a mote were corrected, as both stores and bronze say")
    return told, done


def _messages(
    scope: Scope,
    wanted: set[Line],
    marks: Sequence[Booked],
    lake: Lake,
    fleet: Fleet,
    *,
    since: datetime,
    future: timedelta,
) -> tuple[dict[Line, Counter[Place]], dict[Line, set[Held]]]:
    """The booked messages of these hours and motes, as bronze says: how many came where, and which wait as held."""
    try:
        bronze = lake.scan("bronze")
    except NoSuchTable:
        return {}, {}
    since -= future  # nothing is measured longer than that after it came
    known = bronze.filter(pl.col("date") >= since.date(), pl.col("received_at") >= since, reading.is_booked(marks))
    wire = Wire(_all_active(fleet), future_s=future.total_seconds())
    sent: dict[Line, Counter[Place]] = {}
    held: dict[Line, set[Held]] = {}
    for topic, date in reading.collected(known.select("topic", "date").unique()).sort("date").iter_rows():
        day = known.filter(pl.col("topic") == topic, pl.col("date") == date).select(*ORIGIN, "payload")
        unknown = Quarantined.objects.filter(topic=topic, reason="unknown_mote")
        rows = unknown.values_list("pk", "partition", "offset", "received_at")
        waiting = {(one, at, came): Held(key, (topic, one), (one, at, came)) for key, one, at, came in rows}
        for part in reading.collected(day).iter_slices(CHUNK):
            _take(topic, _records(part), wire, scope, wanted, waiting, sent, held)
    return sent, held


def _take(
    topic: str,
    records: Records,
    wire: Wire,
    scope: Scope,
    wanted: set[Line],
    waiting: Mapping[Origin, Held],
    sent: dict[Line, Counter[Place]],
    held: dict[Line, set[Held]],
) -> None:
    decoded = wire.decode(records)
    batches = [batch for batch, _ in decoded.batches if batch.profile.code == scope.profile.code]
    for entry, counts in balance(records, batches, decoded.rejects, ()).items():
        for motes in (counts.of["stored"], counts.of["quarantined"]):
            for mote, n in motes.items():
                line = _hour(entry.hour_us), int(mote or 0)
                if line in wanted and entry.profile == scope.profile.code:
                    sent.setdefault(line, Counter())[topic, entry.partition] += n
    if waiting:
        for batch in batches:
            columns = (batch.mote, batch.at, batch.partition, batch.offset, batch.received_at)
            for mote, at, partition, offset, received in zip(*(each.tolist() for each in columns), strict=True):
                line = _hour(at // 3_600_000_000 * 3_600_000_000), mote
                if (one := waiting.get((partition, offset, instant(received)))) and line in wanted:
                    held.setdefault(line, set()).add(one)


def _all_active(fleet: Fleet) -> Fleet:
    """A mote that is retired now may have been heard then."""
    motes = tuple(replace(mote, state="active") for mote in (*fleet.retired, *fleet.motes))
    return replace(fleet, motes=motes, retired=())


def _records(part: pl.DataFrame) -> Records:
    received = part["received_at"].cast(pl.Int64).to_numpy()
    return Records(part["payload"].to_list(), part["partition"].to_numpy(), part["offset"].to_numpy(), received)


def _hour(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC)


def _stored_now(scope: Scope, wrong: pl.DataFrame, lake: Lake, held: Mapping[Line, set[Held]]) -> set[Held]:
    """Of the held messages those whose readings are stored all the same: they were read again with their mote."""
    if not held:
        return set()
    rows = pl.concat(reading.cold_rows(scope, day, lake).select(ORIGIN) for day in reading.by_day(wrong))
    there = set(rows.iter_rows())
    return {one for some in held.values() for one in some if one.origin in there}


@transaction.atomic
def _correct(scope: Scope, line: Line, n: int, sent: Counter[Place], adopted: set[Held]) -> bool:
    """Sets what the books of a mote's hour call stored to `n`, if the messages that came leave exactly that."""
    hour, key = line[0], str(line[1])
    rows = LedgerHour.objects.select_for_update().filter(hour=hour, profile=scope.profile.code)
    there = {(row.topic, row.partition): row for row in rows}
    stored = {place: sent[place] - _put_aside(there.get(place), key) for place in {*sent, *there}}
    if sum(stored.values()) != n or any(value < 0 for value in stored.values()):
        return False
    for (topic, partition), value in stored.items():
        row = there.get((topic, partition)) or LedgerHour(
            hour=hour, profile=scope.profile.code, topic=topic, partition=partition
        )
        change = value - row.motes.get(key, 0)
        if change:
            row.motes[key] = value
            row.stored += change
            row.received += change
            row.save()
    for one in adopted:
        _was_held(hour, one)
    return True


def _put_aside(row: LedgerHour | None, key: str) -> int:
    return sum(row.others.get(fate, {}).get(key, 0) for fate in ("duplicate", "quarantined")) if row else 0


def _was_held(hour: datetime, one: Held) -> None:
    """A message that waited and is stored by now is no longer held, in the books as in quarantine."""
    topic, partition = one.place
    message = Quarantined.objects.filter(pk=one.key, status="held").first()
    row = LedgerHour.objects.select_for_update().filter(hour=hour, profile="", topic=topic, partition=partition).first()
    if message is None or row is None or not row.held:
        return
    Quarantined.objects.filter(pk=message.pk).update(status=Quarantined.Status.REPLAYED)
    row.held -= 1
    row.received -= 1
    codes = row.others.get("held", {})
    if codes.get(message.mote_code):
        codes[message.mote_code] -= 1
    row.save()
