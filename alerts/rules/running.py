"""Judges what has come since the last pass, off the reading path: a rule may be slow, readings never wait for it.

Alerts and the state that they come from are kept in one transaction, so that a pass that dies is repeated whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import structlog
from django.db import DatabaseError, close_old_connections, models, transaction
from django.utils import timezone

from alerts import services
from alerts.models import Alert
from alerts.rules.judging import Change, Standing, judge
from alerts.rules.models import Rule, RuleState
from alerts.rules.saying import ALERTING, KEEP, span
from sensors import live
from sensors.fleet import Fleet, MoteRef
from sensors.models import ProcessHeartbeat
from sensors.readings import Profile, micros
from sensors.registry import current_fleet
from sensors.stores import HotStore, StoreUnavailable, hot

log = structlog.get_logger(__name__)
NAME, KIND = "rules", "rules"
PASS_S = 5.0
LEASE = timedelta(seconds=60)
AT_ONCE = timedelta(hours=6)  # of readings, where a pass has much to catch up with
MARGIN = timedelta(hours=1)  # a clock that is ahead
WATCH = "watch"  # the heartbeat of the look at the flow, which knows whether the path brings what motes say


def judge_all(*, store: HotStore, fleet: Fleet, now: datetime) -> int:
    """One pass over all rules that are on; answers how many changes there were."""
    n = 0
    for rule in Rule.objects.standing().filter(is_on=True):
        state = _claimed(rule, now)
        if state is None:
            continue
        try:
            n += judge_rule(rule, state, store=store, fleet=fleet, now=now)
        except StoreUnavailable as away:
            log.info("rules_without_hot_store", reason=str(away))
            RuleState.objects.filter(pk=state.pk).update(leased_until=None)
            return n
        except Exception as error:
            log.exception("rule_failed", rule=rule.name)
            trouble = f"{type(error).__name__}: {error}"[:400]
            RuleState.objects.filter(pk=state.pk).update(leased_until=None, trouble=trouble)
    return n


def _claimed(rule: Rule, now: datetime) -> RuleState | None:
    """The rule's state, nobody else's for a while; None where another has it."""
    fresh = {"version": rule.version, "since_at": rule.changed_at}
    state, _ = RuleState.objects.get_or_create(rule=rule, defaults=fresh)
    free = RuleState.objects.filter(pk=state.pk).filter(
        models.Q(leased_until=None) | models.Q(leased_until__lt=now)
    )  # fmt: skip
    if not free.update(leased_until=now + LEASE):
        return None
    state.refresh_from_db()
    if state.version != rule.version:
        state.version, state.motes, state.since_at = rule.version, {}, rule.changed_at
    return state


def judge_rule(rule: Rule, state: RuleState, *, store: HotStore, fleet: Fleet, now: datetime) -> int:
    """Judges the news of its motes; answers how many changes there were."""
    told = rule.parsed()
    standing = {int(mote): Standing.of_json(kept) for mote, kept in state.motes.items()}
    since = state.since_at - timedelta(seconds=told.for_s)
    changes: list[Change] = []
    is_well = told.no_data != KEEP and path_is_well()
    for profile, motes in scope(rule, fleet):
        keys = [mote.id for mote in motes]
        table = news(store, profile, keys, standing, since, told.look_back_s, now)
        # Who has news is judged by them; whether it is silent since, the next pass sees.
        heard = set(table["mote"].unique().to_list())
        until = {key: micros(now) for key in keys if key in standing and key not in heard} if is_well else {}
        own = {key: one for key, one in standing.items() if key in keys}
        after, some = judge(
            told, table, own, onset=fleet.onsets_of(profile, table["model_version"].to_numpy()), until=until
        )
        standing |= after
        changes += some
    with transaction.atomic():
        alerts = [alert for change in changes for alert in _tell(rule, change, fleet, now)]
        state.motes = {str(mote): one.as_json() for mote, one in standing.items()}
        state.judged_at, state.leased_until, state.trouble = now, None, ""
        state.save()
        _keep_fresh(rule, standing)
    for alert in alerts:
        live.announce_alert(alert)
    return len(changes)


def scope(rule: Rule, fleet: Fleet) -> list[tuple[Profile, list[MoteRef]]]:
    """Its motes by profile; those that are not active are not judged."""

    def is_meant(mote: MoteRef) -> bool:
        return (
            mote.state == "active"
            and (rule.mote_id is None or rule.mote_id == mote.id)
            and (rule.zone is None or str(rule.zone) == f"{mote.site}/{mote.zone}")
            and (rule.site is None or rule.site.code == mote.site)
        )

    codes = [rule.profile.code] if rule.profile else sorted(fleet.profiles)
    found = [(code, [mote for mote in fleet.motes if mote.profile == code and is_meant(mote)]) for code in codes]
    return [(fleet.profiles[code], motes) for code, motes in found if motes and code in fleet.profiles]


def news(
    store: HotStore, profile: Profile, motes: Sequence[int], states: Mapping[int, Standing], since: datetime,
    look_back_s: float, now: datetime,
) -> pl.DataFrame:  # fmt: skip
    """What has come since each mote was judged last, led by as much of its past as the rule looks at."""
    newest = store.latest(profile, motes).select("mote", pl.col("at").cast(pl.Int64))
    from_us = {mote: states[mote].last_at if mote in states else micros(since) - 1 for mote in motes}
    fresh = {mote: from_us[mote] for mote, at in newest.iter_rows() if at > from_us[mote]}
    if not fresh:
        return store.between(profile, [], now, now)
    first = datetime.fromtimestamp(min(fresh.values()) / 1e6, UTC)
    end = min(now + MARGIN, max(first + AT_ONCE, first + timedelta(microseconds=1)))
    rows = store.between(profile, list(fresh), first - timedelta(seconds=look_back_s), end)
    if rows.filter(pl.col("at") > first).is_empty():  # nothing for hours: what comes next is all there is
        rows = store.between(profile, list(fresh), first - timedelta(seconds=look_back_s), now + MARGIN)
    if not states:
        return rows.filter(pl.col("at") >= since)
    new = {mote for mote in fresh if mote not in states}
    return rows.filter(~pl.col("mote").is_in(list(new)) | (pl.col("at") >= since)) if new else rows


def path_is_well() -> bool:
    """Whether motes can be blamed for a silence, as the look of every minute found."""
    seen = ProcessHeartbeat.objects.filter(kind=WATCH).values_list("detail__well_since", flat=True).first()
    return bool(seen)


# ---- alerts ---------------------------------------------------------------------------------------------------


def _tell(rule: Rule, change: Change, fleet: Fleet, now: datetime) -> list[Alert]:
    """The alert of a change, raised or ended; one that came and went between two passes is both."""
    mote = fleet.by_id[change.mote]
    told = rule.parsed()
    kind = rule.silence_kind if change.is_silence and told.no_data != ALERTING else rule.kind
    active = Alert.objects.active().filter(subject=mote.subject, kind=kind)
    found = []
    if change.ended_at is None or not active.exists():
        units = {one.code: one.unit for one in fleet.profiles[mote.profile].channels}
        found.append(
            services.raise_system_alert(
                subject=mote.subject, kind=kind, words=words(rule, change, units), severity=rule.severity,
                now=_instant(change.noticed_at), mote=mote.id,
            )
        )  # fmt: skip
    if change.ended_at is not None:
        found = services.clear_system_alert(subject=mote.subject, kind=kind, now=_instant(change.ended_at))
    return found


def words(rule: Rule, change: Change, units: Mapping[str, str]) -> str:
    told = rule.parsed()
    name = f"(rule “{rule.name}”, version {rule.version})"
    if change.is_silence:
        return f"No reading for {span(told.no_data_s)} {name}"
    parts = [
        f"{one.words(units)}{f': {value:.4g}' if np.isfinite(value) else ''}"
        for one, value in zip(told.conditions, change.values, strict=False)
    ]
    text = (" and " if told.is_all else " or ").join(parts) or told.sentence(units)
    lasted = f" for {span(told.for_s)}" if told.for_s else ""
    return f"{text[0].upper()}{text[1:]}{lasted} {name}"


def _keep_fresh(rule: Rule, standing: Mapping[int, Standing]) -> None:
    """An alert that still fires was last seen with its mote's last reading."""
    for mote, one in standing.items():
        if one.fires is not None:
            seen = _instant(max(one.last_at, one.fires))
            Alert.objects.active().filter(kind=rule.kind, mote=mote, last_seen_at__lt=seen).update(last_seen_at=seen)


def end_alerts(rule: Rule, now: datetime) -> list[Alert]:
    """Ends what stands of a rule that judges no more, or judges otherwise."""
    standing = Alert.objects.active().filter(kind__in=(rule.kind, rule.silence_kind))
    return [
        over
        for alert in list(standing)
        for over in services.clear_system_alert(subject=alert.subject, kind=alert.kind, now=now)
    ]


def _instant(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)


def keep_judging(stop: threading.Event, *, now: Callable[[], datetime] = timezone.now) -> None:
    """A pass every few seconds until `stop`, whatever goes wrong; several processes share the rules."""
    while not stop.is_set():
        try:
            judge_all(store=hot(), fleet=current_fleet(), now=now())
            ProcessHeartbeat.objects.update_or_create(
                name=NAME, defaults={"kind": KIND, "beat_at": now(), "detail": {}}
            )  # fmt: skip
        except DatabaseError as error:
            log.warning("rules_without_database", reason=str(error))
        except Exception:
            log.exception("rules_failed", again_in_s=PASS_S)
        finally:
            close_old_connections()
        stop.wait(PASS_S)
    ProcessHeartbeat.objects.filter(name=NAME).delete()


def announce(alerts: Iterable[Alert]) -> None:
    for alert in alerts:
        live.announce_alert(alert)
