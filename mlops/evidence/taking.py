"""Taking evidence of an alert: after the fact, off the reading path; what is taken stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import polars as pl
import structlog
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery

from alerts.models import Alert, Event, Evidence
from mlops import registry
from mlops.detection import VOTES, FittedEngine, decode_votes
from mlops.detection.standin import stand_in
from mlops.evidence import looking, rescoring
from mlops.evidence.bundle import Bundle
from mlops.evidence.rescoring import CannotLoad
from mlops.evidence.verdict import judge
from mlops.models import ModelVersion
from sensors.fleet import Fleet
from sensors.readings import Channel, Profile, from_table
from sensors.stores import HotStore

log = structlog.get_logger(__name__)
Occasion = Evidence.Occasion
AT_ONCE = 10
GROWN = 0.5  # surprise by which a peak must have grown to be worth another snapshot
MOST_OF_ONE = 6
OVER_FOR = timedelta(minutes=30)
MOST_POINTS = 600
SLACK = timedelta(hours=1)
SKEW = timedelta(minutes=1)  # between the clocks of two that send to one stream


@dataclass(frozen=True, slots=True)
class Before:
    """What the engine remembered of a mote before a message of a partition."""

    state: bytes
    next_offset: int
    taken_at: datetime


# Asked with topic, partition, offset, profile and mote; None where no such state is kept any more.
StateBefore = Callable[[str, int, int, str, int], Before | None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What taking evidence reads from and writes to."""

    store: HotStore
    fleet: Fleet
    storage: Storage
    state_before: StateBefore


# ---- when ------------------------------------------------------------------------------------------------------


def due(now: datetime, limit: int = AT_ONCE) -> list[tuple[Alert, str]]:
    """The alerts of which evidence is to be taken now: raised, grown well beyond the last time, or over for a while."""
    last = Evidence.objects.filter(alert=OuterRef("pk")).order_by("-pk")
    alerts = Alert.objects.filter(events__isnull=False, mote__isnull=False).distinct().annotate(
        shown=Subquery(last.values("peak_surprise")[:1]), shown_for=Subquery(last.values("occasion")[:1])
    )  # fmt: skip
    wanted = [
        (Occasion.RAISED, alerts.filter(shown=None)),
        (Occasion.PEAK, alerts.filter(peak_surprise__gt=F("shown") + GROWN).exclude(shown_for=Occasion.OVER)),
        (Occasion.OVER, alerts.filter(_is_over(now), shown__isnull=False).exclude(shown_for=Occasion.OVER)),
    ]
    found: list[tuple[Alert, str]] = []
    for occasion, those in wanted:
        known = {alert.pk for alert, _ in found}
        found += [(one, occasion) for one in those.order_by("-pk")[:limit] if one.pk not in known]
    return [(one, occasion) for one, occasion in found if _may_take(one, occasion)][:limit]


def _is_over(now: datetime) -> Q:
    return Q(status__in=(Alert.Status.RESOLVED, Alert.Status.CLOSED), last_seen_at__lt=now - OVER_FOR)


def is_still_due(alert: Alert, occasion: str) -> bool:
    """Whether nobody else has taken it since: a look that lasts long is overtaken by the next one."""
    last = _last(alert)
    if occasion == Occasion.RAISED:
        return last is None
    if last is None or last.occasion == Occasion.OVER:
        return False
    return occasion == Occasion.OVER or alert.peak_surprise > last.peak_surprise + GROWN


def _may_take(alert: Alert, occasion: str) -> bool:
    return occasion != Occasion.PEAK or alert.evidence.count() < MOST_OF_ONE


# ---- what ------------------------------------------------------------------------------------------------------


def take(alert: Alert, occasion: str, *, parts: Parts, now: datetime) -> Evidence:
    """Gathers all that is known, scores the readings once more, and keeps both as a file that nobody changes.

    Of two that take it at once one is kept: who comes second answers the other's.
    """
    last = _last(alert)
    event = alert.events.select_related("mote__site", "mote__profile", "mote__zone").order_by("-peak_surprise")[0]
    bundle = gather(alert, event, occasion, parts=parts, now=now)
    content = bundle.to_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    name = parts.storage.save(f"evidence/{alert.pk}/{occasion}-{sha256[:12]}.zip", ContentFile(content))
    with transaction.atomic():
        Alert.objects.select_for_update().get(pk=alert.pk)  # only from here on: what was gathered took its time
        newer = _last(alert)
        if newer is None or newer == last:
            kept = Evidence.objects.create(
                alert=alert, event=event, occasion=occasion, taken_at=now, peak_surprise=alert.peak_surprise,
                name=name, sha256=sha256, size=len(content), verdict=bundle.told["verdict"]["what"],
                is_reproduced=bundle.told["scoring"]["is_same"],
            )  # fmt: skip
            log.info(
                "evidence_taken", alert=alert.pk, occasion=str(occasion), verdict=kept.verdict, same=kept.is_reproduced
            )
            return kept
    parts.storage.delete(name)
    return newer


def _last(alert: Alert) -> Evidence | None:
    return alert.evidence.order_by("-pk").first()


def gather(alert: Alert, event: Event, occasion: str, *, parts: Parts, now: datetime) -> Bundle:
    mote, profile = event.mote, parts.fleet.profiles[event.mote.profile.code]
    channel = next(one for one in profile.channels if one.code == event.peak_channel)
    latest = parts.store.latest(profile, [mote.pk])
    start, end = looking.window(event, latest["at"].item() if len(latest) else event.last_at)
    readings = parts.store.between(profile, [mote.pk], start, end)
    beside = looking.neighbours(event, channel, profile, mote=mote, fleet=parts.fleet, store=parts.store)
    grade = looking.grade_of(mote, channel.code)
    signs = looking.signs(
        event, channel, profile, readings=readings, beside=beside, grade=grade["grade"] if grade else ""
    )
    again = _score_again(event, profile, start, end, readings, parts)
    told = {
        "taken_at": _iso(now),
        "occasion": str(occasion),
        "alert": _alert(alert),
        "event": _event(event, parts.fleet.onset(profile, event.model_version)),
        "mote": {
            "site": mote.site.code,
            "code": mote.code,
            "id": mote.pk,
            "zone": mote.zone.code if mote.zone else None,
        },
        "profile": msgspec.to_builtins(profile),
        "scoring": again.told,
        "votes": _votes(readings, event),
        "chart": _chart(readings, profile, again.engine, parts.fleet, event),
        "neighbours": [looking.as_json(one) for one in beside],
        "grade": grade,
        "timeline": looking.timeline(event, mote),
        "similar": looking.similar(event, alert),
        "verdict": judge(signs).as_json(),
    }
    return Bundle(told, again.readings, again.state)


# ---- scoring once more -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Again:
    """The readings that are to be scored again, with what it takes; `told` says how that went here and now."""

    told: dict[str, Any]
    readings: pl.DataFrame
    state: bytes
    engine: FittedEngine | None


def _score_again(
    event: Event, profile: Profile, start: datetime, end: datetime, readings: pl.DataFrame, parts: Parts
) -> Again:
    engines = Engines(profile)
    engine = engines.get(event.model_version)
    before = _before(event, readings, profile, parts)
    if before is None:
        why = "the engine's memory of that time is not kept any more, or the event came by no message"
        return Again({"is_same": None, "why": why}, readings, b"", engine)
    reach = min(start, before.taken_at - SLACK)
    place = _place(event)
    assert place is not None
    rows = of_stream(parts.store.between(profile, [event.mote_id], reach, end), place[1], place[2])
    rows = rows.filter(pl.col("offset") >= before.next_offset).sort("offset")
    told: dict[str, Any] = {"n_readings": len(rows), "from_offset": before.next_offset, "partition": place[1]}
    offsets = parts.fleet.utc_offsets(rows["mote"].to_numpy(), rows["at"].cast(pl.Int64).to_numpy())
    rows = rows.with_columns(pl.Series("utc_offset_s", offsets))
    try:
        told["versions"] = engines.described(rows["model_version"].unique().sort().to_list())
        done = rescoring.rescore(before.state, from_table(profile, rows, offsets), engines)
    except (CannotLoad, ValueError) as error:
        return Again({**told, "is_same": None, "why": str(error)}, rows, before.state, engine)
    told |= {
        "is_same": done.is_same, "worst_difference": done.worst if np.isfinite(done.worst) else None,
        "n_by_neighbours": int(done.by_neighbours.sum()),
    }  # fmt: skip
    return Again(told, rows, before.state, engine)


def of_stream(rows: pl.DataFrame, partition: int, offset: int) -> pl.DataFrame:
    """Those that came by the same stream as the message at that place.

    Imported history counts its offsets for itself. In one stream what stands later came later, so that a reading which
    stands later and came earlier, or the other way round, is another's.
    """
    rows = rows.filter(pl.col("partition") == partition)
    came = rows.filter(pl.col("offset") == offset)["received_at"].max()
    if came is None:
        return rows
    apart = pl.col("received_at") - came
    came_later, came_earlier = apart > SKEW, apart < -SKEW
    stands_later, stands_earlier = pl.col("offset") > offset, pl.col("offset") < offset
    return rows.filter(~(stands_later & came_earlier), ~(stands_earlier & came_later))


def _place(event: Event) -> tuple[str, int, int] | None:
    """Topic, partition and offset of the message that showed the event."""
    place, _, offset = event.message.rpartition("@")
    topic, _, partition = place.rpartition("/")
    return (topic, int(partition), int(offset)) if topic and partition.isdecimal() and offset.isdecimal() else None


def _before(event: Event, readings: pl.DataFrame, profile: Profile, parts: Parts) -> Before | None:
    if (place := _place(event)) is None:
        return None
    topic, partition, offset = place
    there = readings.filter(pl.col("partition") == partition, pl.col("at") >= event.started_at)
    first = min(offset, there["offset"].min()) if len(there) else offset  # type: ignore[type-var]
    return parts.state_before(topic, partition, int(first), profile.code, event.mote_id)  # type: ignore[arg-type]


class Engines:
    """The engines that judged a profile's readings, by number; each is loaded once.

    `threshold` is that of the time, by which version 0 judged: the one set today where nothing else is known.
    """

    def __init__(self, profile: Profile, *, threshold: float | None = None) -> None:
        self.profile = profile
        self.threshold = settings.SIEIS_FALLBACK_THRESHOLD if threshold is None else threshold
        self._loaded: dict[int, FittedEngine] = {}

    def __call__(self, number: int) -> FittedEngine:
        if number not in self._loaded:
            self._loaded[number] = self._load(number)
        return self._loaded[number]

    def get(self, number: int) -> FittedEngine | None:
        try:
            return self(number)
        except CannotLoad:
            return None

    def described(self, numbers: list[int]) -> list[dict[str, Any]]:
        known = ModelVersion.objects.filter(profile__code=self.profile.code, number__in=numbers)
        versions = {one.number: one for one in known}
        return [
            {"number": n, "name": versions[n].name, "sha256": versions[n].sha256} if n in versions
            else {"number": n, "name": "without a model", "sha256": None, "threshold": self.threshold}
            for n in numbers
        ]  # fmt: skip

    def _load(self, number: int) -> FittedEngine:
        if number == 0:
            return stand_in(self.profile, threshold=self.threshold)
        version = ModelVersion.objects.filter(profile__code=self.profile.code, number=number).first()
        if version is None:
            raise CannotLoad(f"Version {number} of {self.profile.code} is not in the registry.")
        try:
            return registry.load(version)
        except (registry.ModelUnloadable, registry.ArtefactUnavailable) as error:
            raise CannotLoad(str(error)) from error


# ---- in words and figures --------------------------------------------------------------------------------------


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.pk, "subject": alert.subject, "kind": alert.kind, "severity": str(alert.severity),
        "words": alert.words, "score": alert.score, "peak_surprise": alert.peak_surprise, "n_events": alert.n_events,
        "first_seen_at": _iso(alert.first_seen_at), "last_seen_at": _iso(alert.last_seen_at),
    }  # fmt: skip


def _event(event: Event, onset: float) -> dict[str, Any]:
    return {
        "started_at": _iso(event.started_at), "noticed_at": _iso(event.noticed_at), "last_at": _iso(event.last_at),
        "ended_at": _iso(event.ended_at) if event.ended_at else None, "peak_at": _iso(event.peak_at),
        "n_readings": event.n_readings, "peak_surprise": event.peak_surprise, "peak_channel": event.peak_channel,
        "peak_value": event.peak_value, "expected": [event.expected_low, event.expected_high], "layer": event.layer,
        "contributions": event.contributions, "words": event.words, "message": event.message,
        "model_version": event.model_version, "onset": onset,
    }  # fmt: skip


def _votes(readings: pl.DataFrame, event: Event) -> dict[str, float]:
    """What each layer said at the peak."""
    at_peak = readings.filter(pl.col("at") == event.peak_at)
    return decode_votes(at_peak["votes"][0]) if len(at_peak) else dict.fromkeys(VOTES, 0.0)


def _chart(
    readings: pl.DataFrame, profile: Profile, engine: FittedEngine | None, fleet: Fleet, event: Event
) -> dict[str, Any]:
    """The readings with the band that was expected, thinned to what a chart can show; the peak always stays."""
    step = max(1, -(-len(readings) // MOST_POINTS))
    kept = readings.with_row_index("row").filter((pl.col("row") % step == 0) | (pl.col("at") == event.peak_at))
    batch = from_table(profile, kept, fleet.utc_offsets(kept["mote"].to_numpy(), kept["at"].cast(pl.Int64).to_numpy()))
    band: Mapping[str, Any] = {}
    if engine is not None and len(batch):
        said = engine.score_stateless(batch.values, batch.mote, batch.at, batch.utc_offset_s)
        band = {"low": said.expected_low, "high": said.expected_high}
    return {
        "at": (batch.at // 1000).tolist(),
        "surprise": _numbers(batch.surprise),
        "is_anomaly": batch.is_anomaly.tolist(),
        "channels": [_line(one, place, batch.values, band) for place, one in enumerate(profile.channels)],
        "start": int(event.started_at.timestamp() * 1000),
        "end": int(event.last_at.timestamp() * 1000),
        "is_thinned": step > 1,
        "n_readings": len(readings),
    }


def _line(channel: Channel, place: int, values: Any, band: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "code": channel.code, "label": channel.label, "unit": channel.unit, "normal": channel.normal,
        "physical": channel.physical, "resolution": channel.resolution, "values": _numbers(values[:, place]),
        **{name: _numbers(edge[:, place]) for name, edge in band.items()},
    }  # fmt: skip


def _numbers(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values.tolist()]


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
