"""Looks once a minute at how readings flow, and says what it finds: alerts, marks on motes, figures for the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import structlog
from django.core.cache import cache
from django.db.models import Max

from alerts import services
from alerts.models import Alert, MaintenanceWindow
from ingestion.flow import skew, watch
from ingestion.flow.watch import Found, Path, Spoken, Standing, Trouble
from ingestion.models import Quarantined
from ingestion.patience import KIND as SINK_DOWN
from ingestion.records import Records
from ingestion.wire import Wire
from mlops.detection.compiled import SILENT_STEPS
from sensors import live
from sensors.fleet import Fleet
from sensors.models import Mote, ProcessHeartbeat
from sensors.presence import patience
from sensors.readings import Profile, micros
from sensors.stores import HotStore, StoreUnavailable

log = structlog.get_logger(__name__)
NAME, KIND = "flow", "watch"
PATH_KINDS = (watch.AWAY, watch.BEHIND, SINK_DOWN)
SAMPLES = "flow:samples"
KEPT_S = 3600
WINDOW, INTERVALS = timedelta(minutes=10), 6  # a rate is that of the last ten minutes, or of so many intervals
SLOW, LEAST_OWED = 0.8, 5  # of the readings that it owes, of which there must be some
SHOWN = 20
TOLD_EACH = 500  # motes; of a larger fleet /metrics tells the sums only
REFUSED_S = 600
MOST_REFUSED = 2000
NEAR = timedelta(days=1)
BACK, MOST_BACK = timedelta(hours=2), 20  # how far a clock may have gone back, and of how many motes that is looked at


@dataclass(frozen=True, slots=True)
class Rate:
    """What a mote delivered of what it owed in the window."""

    mote: int
    n: int
    owed: float

    @property
    def share(self) -> float:
        return self.n / self.owed


@dataclass(slots=True)
class Heard:
    """What the hot store says of the active motes."""

    newest: dict[int, tuple[datetime, datetime]] = field(default_factory=dict)  # measured, arrived
    last: dict[int, tuple[datetime, datetime]] = field(default_factory=dict)  # to arrive, where that is another one
    rates: dict[int, Rate] = field(default_factory=dict)


def look(*, store: HotStore, fleet: Fleet, topic: str, now: datetime) -> dict[str, Any]:
    """One look: raises and ends alerts, marks motes with wrong clocks, and answers what the pages show."""
    path = path_seen(topic, now)
    standing = standing_alerts()
    faults = watch.path_troubles(path, now=now)
    is_over = {one.kind for one in standing} - {one.kind for one in faults}
    tell(faults, [one for one in standing if one.kind in {watch.AWAY, watch.BEHIND} & is_over], now=now)
    well = None if faults else watch.well_since(path, _last_trouble())
    active = active_motes()
    resting = resting_motes(now)
    heard = heard_of(store, fleet, active, well, now)
    refused = refused_from_future(fleet, now)
    seen = spoken(active, heard, refused, fleet)
    found = watch.silences(
        [one for one in seen.values() if one.mote not in resting], now=now, well=well,
        standing=[one for one in standing if one.kind == watch.SILENT],
        resting={seen[mote].subject for mote in resting if mote in seen},
    )  # fmt: skip
    answered = _answered(watch.SILENT)
    news = [one for one in found.troubles if not _is_answered(one, answered, seen)]
    tell(news, found.over, now=now)
    announce(services.end_by_silence(_mute(found.silent, fleet, heard, now)))
    skewed = judge_clocks(seen, active, heard, refused, standing, now=now)
    summary = _summary(seen, heard, found, skewed, well, now)
    ProcessHeartbeat.objects.update_or_create(name=NAME, defaults={"kind": KIND, "beat_at": now, "detail": summary})
    return summary


# ---- reading ------------------------------------------------------------------------------------------------


def path_seen(topic: str, now: datetime) -> Path:
    """The consumers of a topic, by their heartbeats."""
    beats = list(ProcessHeartbeat.objects.filter(kind="consumer", detail__topic=topic))
    alive = [one for one in beats if now - one.beat_at <= watch.AWAY_AFTER and one.detail.get("state") == "running"]
    since = [datetime.fromisoformat(one.detail["running_since"]) for one in alive if "running_since" in one.detail]
    return Path(
        topic=topic,
        beat_at=max((one.beat_at for one in beats), default=None),
        running_since=max(since, default=None),
        stuck_at=next((one.detail["stuck_at"] for one in alive if one.detail.get("stuck_at")), None),
        readings_per_s=sum(one.detail.get("newest_per_s", one.detail.get("readings_per_s", 0.0)) for one in alive),
        lag={place: n for one in alive for place, n in one.detail.get("lag", {}).items()},
    )


def standing_alerts() -> list[Standing]:
    """The alerts that a look may end, each with when the one before it was over."""
    active = list(Alert.objects.active().filter(kind__in=(watch.SILENT, skew.KIND, watch.AWAY, watch.BEHIND)))
    before = (
        Alert.objects.filter(subject__in={one.subject for one in active})
        .exclude(status__in=Alert.ACTIVE)
        .order_by()
        .values_list("subject", "kind")
        .annotate(last=Max("last_seen_at"))
    )
    was_back = {(subject, kind): last for subject, kind, last in before}
    return [
        Standing(one.subject, one.kind, one.first_seen_at, one.last_seen_at, was_back.get((one.subject, one.kind)))
        for one in active
    ]


def _answered(kind: str) -> dict[str, datetime]:
    """When a person last resolved the alert of a subject: what it told is known, and not to be told again."""
    resolved = Alert.objects.filter(kind=kind).exclude(resolved_by=None).order_by()
    return dict(resolved.values_list("subject").annotate(last=Max("resolved_at")))


def _is_answered(one: Trouble, answered: Mapping[str, datetime], seen: Mapping[int, Spoken]) -> bool:
    at = answered.get(one.subject)
    return at is not None and all(seen[mote].heard_at < at for mote in one.motes)


def _mute(silent: Iterable[int], fleet: Fleet, heard: Heard, now: datetime) -> list[int]:
    """Of the silent those that the engine, too, will call so when they speak again: it counts in steps."""
    found = []
    for mote in silent:
        profile = fleet.profiles[fleet.by_id[mote].profile]
        newest = heard.newest.get(mote)
        if newest is not None and now - newest[0] > timedelta(seconds=SILENT_STEPS * profile.step_s):
            found.append(mote)
    return found


def _last_trouble() -> datetime | None:
    """When the path was last in trouble, as far as alerts tell."""
    return Alert.objects.filter(kind__in=PATH_KINDS).aggregate(last=Max("resolved_at"))["last"]


def active_motes() -> dict[int, Mote]:
    """Those of which readings are expected: active, and heard at least once."""
    found = Mote.objects.filter(state=Mote.State.ACTIVE, is_probe=False, last_seen_at__isnull=False)
    return {one.pk: one for one in found.only("pk", "last_seen_at", "clock_skew_s").order_by()}


def resting_motes(now: datetime) -> set[int]:
    """Motes in a maintenance window of theirs or of their zone."""
    windows = MaintenanceWindow.objects.filter(starts_at__lte=now, ends_at__gt=now)
    own = set(windows.exclude(mote=None).values_list("mote", flat=True))
    return own | set(Mote.objects.filter(zone__maintenance_windows__in=windows).values_list("pk", flat=True))


def heard_of(store: HotStore, fleet: Fleet, active: Mapping[int, Mote], well: datetime | None, now: datetime) -> Heard:
    """Newest readings and rates; a store that is away leaves them out, and has an alert of its own."""
    heard = Heard()
    try:
        for profile in fleet.profiles.values():
            keys = [one.id for one in fleet.motes if one.profile == profile.code and one.id in active]
            if keys:
                newest = store.latest(profile, keys).select("mote", "at", "received_at")
                heard.newest |= {mote: (at, arrived) for mote, at, arrived in newest.iter_rows()}
                since = max(now - max(WINDOW, timedelta(seconds=INTERVALS * profile.interval_s)), well or now)
                owed = (now - since).total_seconds() / profile.interval_s
                if owed >= 1:
                    counts = store.counts(profile, keys, since, now).group_by("mote").agg(pl.col("n").sum())
                    n = dict(counts.iter_rows())
                    heard.rates |= {mote: Rate(mote, n.get(mote, 0), owed) for mote in keys}
                heard.last |= _last_to_arrive(store, profile, heard, keys, now)
    except StoreUnavailable as away:
        log.info("flow_without_hot_store", reason=str(away))
    return heard


def _last_to_arrive(
    store: HotStore, profile: Profile, heard: Heard, keys: Iterable[int], now: datetime
) -> dict[int, tuple[datetime, datetime]]:
    """Of motes that look silent what came last: after one reading from the future, or with a clock that went back,
    it is not the newest measured."""
    waited = now - patience(profile.interval_s)
    quiet = [mote for mote in keys if mote in heard.newest and heard.newest[mote][1] <= waited]
    quiet = sorted(quiet, key=lambda mote: heard.newest[mote][1], reverse=True)[:MOST_BACK]
    if not quiet:
        return {}
    rows = store.between(profile, quiet, now - BACK, now).select("mote", "at", "received_at")
    last = rows.sort("received_at").unique("mote", keep="last").filter(pl.col("received_at") > waited)
    return {mote: (at, arrived) for mote, at, arrived in last.iter_rows()}


def refused_from_future(fleet: Fleet, now: datetime) -> dict[int, list[tuple[float, datetime]]]:
    """What was put aside of late as from the future, by mote: by how many seconds, and when it came."""
    rows = Quarantined.objects.filter(reason="future_timestamp", received_at__gt=now - timedelta(seconds=REFUSED_S))
    kept = list(rows.order_by("-received_at").values_list("payload", "received_at")[:MOST_REFUSED])
    records = Records(
        values=[bytes(payload) for payload, _ in kept],
        partition=np.zeros(len(kept), dtype=np.int64),
        offset=np.arange(len(kept), dtype=np.int64),
        received_at=np.array([micros(at) for _, at in kept], dtype=np.int64),
    )
    found: dict[int, list[tuple[float, datetime]]] = {}
    for batch, rows_of in Wire(fleet, future_s=1e9).decode(records).batches if kept else ():
        ahead = (batch.at - batch.received_at) / 1e6
        for mote, seconds, row in zip(batch.mote.tolist(), ahead.tolist(), rows_of.tolist(), strict=True):
            found.setdefault(mote, []).append((seconds, kept[row][1]))
    return found


def spoken(
    active: Mapping[int, Mote], heard: Heard, refused: Mapping[int, Sequence[tuple[float, datetime]]], fleet: Fleet
) -> dict[int, Spoken]:
    """The active motes with when they were heard last by our clock, whatever theirs says."""
    found = {}
    for one in fleet.motes:
        profile = fleet.profiles.get(one.profile)
        if profile is None or one.id not in active:
            continue
        newest = heard.last.get(one.id) or heard.newest.get(one.id)
        heard_at = _heard_at(active[one.id], newest, refused.get(one.id, ()))
        found[one.id] = Spoken(one.id, one.site, one.zone, one.code, profile.interval_s, heard_at)
    return found


def _heard_at(
    mote: Mote, newest: tuple[datetime, datetime] | None, refused: Sequence[tuple[float, datetime]]
) -> datetime:
    """When its newest reading arrived. One of long ago came by an import, and is no sign of life."""
    assert mote.last_seen_at is not None
    arrived = newest[1] if newest and newest[1] - newest[0] < NEAR else mote.last_seen_at
    return max([arrived, *(at for _, at in refused)])


# ---- clocks -------------------------------------------------------------------------------------------------


def judge_clocks(
    seen: Mapping[int, Spoken], active: Mapping[int, Mote], heard: Heard,
    refused: Mapping[int, Sequence[tuple[float, datetime]]], standing: Sequence[Standing], *, now: datetime,
) -> dict[int, float]:  # fmt: skip
    """Seconds by mote whose clock is wrong: told as alerts, and marked on the mote."""
    kept: dict[int, list[skew.Sample]] = cache.get(SAMPLES, {})
    newest = heard.newest | heard.last
    samples = {mote: _sampled(kept.get(mote, []), newest.get(mote), refused.get(mote, ())) for mote in seen}
    cache.set(SAMPLES, {mote: some for mote, some in samples.items() if some}, KEPT_S)
    found = {}
    for mote, one in seen.items():
        before = active[mote].clock_skew_s
        told = skew.skew_s(samples[mote], one.interval_s, was_wrong=before is not None)
        if told is None and len(samples[mote]) < skew.LEAST:
            told = before  # after a restart nothing is known yet
        if told is not None:
            found[mote] = told
    n_refused = {mote: len(some) for mote, some in refused.items()}
    own = [one for one in standing if one.kind == skew.KIND]
    judged = skew.skews(list(seen.values()), found, n_refused, now=now, standing=own)
    answered, known = _answered(skew.KIND), {mote for mote in found if active[mote].clock_skew_s is not None}
    news = [one for one in judged.troubles if one.subject not in answered or not known.issuperset(one.motes)]
    tell(news, judged.over, now=now)
    _mark({mote: active[mote].clock_skew_s for mote in seen}, found)
    return found


def _sampled(
    samples: list[skew.Sample], newest: tuple[datetime, datetime] | None, refused: Sequence[tuple[float, datetime]]
) -> list[skew.Sample]:
    """The newest reading as a sample, or the newest of those that were refused, if it came later."""
    last = max(refused, key=lambda one: one[1], default=None)
    if last is not None and (newest is None or last[1] > newest[1]):
        return skew.with_sample(samples, micros(last[1]), -last[0])
    if newest is None or newest[1] - newest[0] >= NEAR:
        return samples
    return skew.with_sample(samples, micros(newest[0]), (newest[1] - newest[0]).total_seconds())


def _mark(before: Mapping[int, float | None], found: Mapping[int, float]) -> None:
    """Writes what changed by more than a tenth; a second more or less is no news."""
    changed = [
        Mote(pk=mote, clock_skew_s=told)
        for mote, told in found.items()
        if (was := before[mote]) is None or abs(told - was) > 0.1 * abs(was)
    ]
    Mote.objects.bulk_update(changed, ["clock_skew_s"], batch_size=500)
    Mote.objects.exclude(clock_skew_s=None).exclude(pk__in=found).update(clock_skew_s=None)


# ---- saying -------------------------------------------------------------------------------------------------


def tell(troubles: Iterable[Trouble], over: Iterable[Standing], *, now: datetime) -> None:
    """Raises what stands and ends what is over; the live channel hears what changed."""
    for one in troubles:
        alert = services.raise_system_alert(
            subject=one.subject, kind=one.kind, words=one.words, severity=one.severity, mote=one.mote, now=now
        )
        if alert.first_seen_at == now:
            log.info("flow_trouble", subject=one.subject, kind=one.kind, words=one.words)
            announce([alert])
    for gone in over:
        announce(services.clear_system_alert(subject=gone.subject, kind=gone.kind, now=now))


def announce(alerts: Iterable[Alert]) -> None:
    for alert in alerts:
        live.announce_alert(alert)


def _summary(
    seen: Mapping[int, Spoken], heard: Heard, found: Found, skewed: Mapping[int, float], well: datetime | None,
    now: datetime,
) -> dict[str, Any]:  # fmt: skip
    """What the Health page and /metrics tell until the next look."""
    silent = sorted((seen[mote] for mote in found.silent), key=lambda one: one.heard_at)
    judged = {mote: rate for mote, rate in heard.rates.items() if mote in seen and mote not in skewed}
    slow = sorted(
        (
            rate
            for mote, rate in judged.items()
            if rate.share < SLOW and rate.owed >= LEAST_OWED and mote not in found.silent
        ),
        key=lambda rate: rate.share,
    )
    return {
        "well_since": well.isoformat() if well else None,
        "n_motes": len(seen),
        "n_silent": len(silent),
        "n_slow": len(slow),
        "n_skewed": len(skewed),
        "silent": [_named(one, since=one.heard_at.isoformat()) for one in silent[:SHOWN]],
        "slow": [
            _named(seen[one.mote], n=one.n, owed=round(one.owed, 1), share=round(one.share, 3)) for one in slow[:SHOWN]
        ],
        "skewed": [
            _named(seen[mote], seconds=seconds, words=skew.direction(seconds))
            for mote, seconds in sorted(skewed.items(), key=lambda one: -abs(one[1]))[:SHOWN]
        ],
        "shares": {f"{seen[mote].site}/{seen[mote].code}": round(rate.share, 3) for mote, rate in judged.items()}
        if len(seen) <= TOLD_EACH
        else {},
    }


def _named(one: Spoken, **more: Any) -> dict[str, Any]:
    return {"mote": one.code, "site": one.site, "expected_s": one.interval_s, **more}
