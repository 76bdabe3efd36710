"""Makes messages of what waits in the outbox: who is to hear of it, at once or in a digest, together with what else.

A message gathers alerts until it is due: a storm is one message. A silence holds a notice back at every step, also
at those of escalation; when it ends and the alert still stands, the notice goes its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import structlog
from django.db import models, transaction

from alerts.grouping.joining import Joining, end_incidents
from alerts.grouping.models import Incident
from alerts.models import Alert, AlertChange
from alerts.notifying.models import SEVERITIES, Delivery, Mention, Notice, Route, Target
from alerts.places import is_of_kind, place_of
from alerts.silencing.matching import is_in_force, silence_of, standing
from alerts.silencing.models import Silence, Suppression
from alerts.weekly import Weekly
from sensors import live

log = structlog.get_logger(__name__)
Deed, Outcome = AlertChange.Deed, Notice.Outcome
UNANSWERED = "unanswered"
AT_ONCE = 50  # notices of one transaction: the reading path writes alerts beside it
ROUNDS = 20  # of one pass, so that messages go out in between
GATHER = timedelta(seconds=10)  # how long a message waits for others of its incident
AGAIN = timedelta(minutes=5)  # until the next message of an incident to the same target
DIGEST = timedelta(hours=1)
LOOK_AGAIN = timedelta(seconds=30)  # a silence may be lifted before its time


class Step(NamedTuple):
    """Where a route stands with an alert: what it is to be told."""

    route: Route
    what: str


def plan(now: datetime) -> int:
    """One pass over the outbox; answers how many notices were dealt with. Where nothing waits, nothing is locked."""
    waits = Notice.objects.filter(planned_at=None).filter(models.Q(due_at=None) | models.Q(due_at__lte=now))
    n = 0
    for _ in range(ROUNDS):
        if not waits.exists():
            break
        n += _plan_some(waits, now)
    begin_suppressions(now)
    end_suppressions(now)
    end_incidents(now)
    return n


@transaction.atomic
def _plan_some(waits: models.QuerySet[Notice], now: datetime) -> int:
    rows = waits.select_for_update(skip_locked=True, of=("self",)).select_related(
        "alert__mote__site", "alert__mote__zone", "route"
    )
    notices = list(rows.order_by("pk")[:AT_ONCE])
    by_alert: dict[int, list[Notice]] = {}
    for notice in notices:
        by_alert.setdefault(notice.alert_id, []).append(notice)
    if notices:
        silences = [one for one in standing(now, now) if is_in_force(one, now)]
        joining = Joining({one.alert_id: one.alert for one in notices}.values())
        routes = list(
            Route.objects.filter(is_on=True, target__removed_at=None).select_related("target", "site", "zone__site")
        )
        for some in by_alert.values():
            _plan_alert(some, silences, joining, routes, now)
        joining.finish(now)
        log.info("notices_planned", n=len(notices))
    return len(notices)


def _plan_alert(
    notices: Sequence[Notice], silences: Iterable[Silence], joining: Joining, routes: Sequence[Route], now: datetime
) -> None:
    alert = notices[0].alert
    incident = joining.join(alert, now)
    silence = silence_of(alert, silences, now)
    if silence is not None:
        _suppress(alert, silence, now)
    is_asleep = alert.snoozed_until is not None and alert.snoozed_until > now
    if alert.is_active and (silence is not None or is_asleep):
        Notice.objects.filter(pk__in=[one.pk for one in notices]).update(is_held=True, due_at=now + LOOK_AGAIN)
        return
    for notice in notices:
        notice.outcome, notice.planned_at = _plan_notice(notice, alert, incident, routes, now), now
    Notice.objects.bulk_update(notices, ["outcome", "planned_at"])


def _suppress(alert: Alert, silence: Silence, now: datetime) -> None:
    """Written down, so that pages and evidence tell it; open pages hear of it."""
    _, is_new = Suppression.objects.get_or_create(
        alert=alert, silence=silence, ended_at=None, defaults={"since_at": now}
    )
    if is_new:
        told = Alert.objects.with_grades().get(pk=alert.pk)
        transaction.on_commit(partial(live.announce_alert, told))


def _plan_notice(notice: Notice, alert: Alert, incident: Incident, routes: Sequence[Route], now: datetime) -> str:
    if notice.what == UNANSWERED:
        if alert.status != Alert.Status.OPEN:
            return Outcome.ANSWERED
        steps = [Step(one, UNANSWERED) for one in routes if one.pk == notice.route_id and wants(one, alert, now)]
    elif notice.what == Deed.RESOLVE:
        if alert.is_active:
            return Outcome.ANSWERED
        steps = _recoveries(alert, routes)
    elif notice.is_held and not alert.is_active:
        return Outcome.SILENCED
    else:
        _plan_escalation(notice, alert, routes, now)
        steps = [Step(one, notice.what) for one in routes if not one.after_s and wants(one, alert, now)]
    for target, what, is_digest in _once_a_target(steps, alert):
        _mention(target, alert, what, incident, now, is_digest=is_digest)
    return Outcome.TOLD if steps else Outcome.NOBODY


def _once_a_target(steps: Iterable[Step], alert: Alert) -> list[tuple[Target, str, bool]]:
    """Two routes to one target are one message; where one of them says at once, it is at once."""
    found: dict[int, tuple[Target, str, bool]] = {}
    for route, what in steps:
        is_digest = in_digest(route, alert) and what != UNANSWERED
        known = found.get(route.target_id)
        found[route.target_id] = (route.target, what, is_digest and (known is None or known[2]))
    return list(found.values())


def wants(route: Route, alert: Alert, now: datetime) -> bool:
    """Whether the route is for such an alert at this hour."""
    is_severe = SEVERITIES.index(alert.severity) >= SEVERITIES.index(route.least_severity)
    is_kind = not route.kinds or any(is_of_kind(alert.kind, kind) for kind in route.kinds)
    zone, site = str(route.zone) if route.zone else "", route.site.code if route.site else ""
    is_hour = not route.hours or Weekly.parse(route.hours).covers(now)
    return is_severe and is_kind and is_hour and place_of(alert).is_in(site=site, zone=zone)


def in_digest(route: Route, alert: Alert) -> bool:
    return route.mode == Route.Mode.DIGEST or (route.mode == Route.Mode.AUTO and alert.severity == "low")


def _plan_escalation(notice: Notice, alert: Alert, routes: Sequence[Route], now: datetime) -> None:
    """A notice of its own for each step, due when nobody has acknowledged by then."""
    steps = [one for one in routes if one.after_s]
    waits = set(Notice.objects.filter(alert=alert, what=UNANSWERED, planned_at=None).values_list("route", flat=True))
    Notice.objects.bulk_create(
        Notice(alert=alert, what=UNANSWERED, route=one, at=now, due_at=now + timedelta(seconds=one.after_s))
        for one in steps
        if one.pk not in waits and notice.what in (Deed.OPEN, Deed.REOPEN)
    )


def _recoveries(alert: Alert, routes: Iterable[Route]) -> list[Step]:
    """Only who heard that it came hears that it went."""
    told = set(alert.mentions.exclude(what=Deed.RESOLVE).values_list("delivery__target", flat=True))
    return [Step(one, Deed.RESOLVE) for one in routes if one.tells_recovery and one.target_id in told]


def _mention(
    target: Target, alert: Alert, what: str, incident: Incident, now: datetime, *, is_digest: bool
) -> None:  # fmt: skip
    delivery = _digest(target, now) if is_digest else _message(target, what, incident, now)
    Mention.objects.get_or_create(delivery=delivery, alert=alert, what=what)


def _digest(target: Target, now: datetime) -> Delivery:
    """The one that goes out at the next full hour."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + DIGEST
    return _open(Delivery.objects.filter(target=target, group="digest"), target, "digest", "digest", hour, now)


def _message(target: Target, what: str, incident: Incident, now: datetime) -> Delivery:
    """The one of this incident that still waits, or the next, not too soon after the last."""
    kin = "resolve" if what == Deed.RESOLVE else "open"
    group = f"incident:{incident.pk}"
    before = Delivery.objects.filter(target=target, group=group, what=kin)
    last = before.aggregate(last=models.Max("due_at"))["last"]
    due_at = max(filter(None, (now + GATHER, last and last + AGAIN)))
    return _open(before, target, group, kin, due_at, now)


def _open(
    before: models.QuerySet[Delivery], target: Target, group: str, what: str, due_at: datetime, now: datetime
) -> Delivery:
    """The message that still takes more, held open until this transaction ends; a new one where there is none."""
    waiting = Delivery.objects.open_to_more().filter(pk__in=before.values("pk")).order_by("-pk").first()
    # A conditional update: a worker that takes it at this moment either waits for us or has it, and we begin another.
    if waiting is not None and Delivery.objects.open_to_more().filter(pk=waiting.pk).update(n_tries=0):
        return waiting
    key = f"{group}:{what}:{target.pk}:{before.count() + 1}"
    return Delivery.objects.create(key=key, target=target, group=group, what=what, made_at=now, due_at=due_at)


def begin_suppressions(now: datetime) -> None:
    """Marks what stood already when a silence began."""
    silences = [one for one in standing(now, now) if is_in_force(one, now)]
    if not silences:
        return
    quiet = Suppression.objects.filter(alert=models.OuterRef("pk"), ended_at=None)
    loud = Alert.objects.active().exclude(models.Exists(quiet)).select_related("mote__site", "mote__zone")
    for alert in loud:
        silence = silence_of(alert, silences, now)
        if silence is not None:
            _suppress(alert, silence, now)


def end_suppressions(now: datetime) -> None:
    """Closes what no silence keeps quiet any more, so that pages say until when."""
    running = Suppression.objects.filter(ended_at=None, alert__status__in=Alert.ACTIVE).select_related("silence")
    over = [one for one in running if not is_in_force(one.silence, now)]
    if over:
        Suppression.objects.filter(pk__in=[one.pk for one in over]).update(ended_at=now)
        for alert in Alert.objects.with_grades().filter(pk__in=[one.alert_id for one in over]):
            live.announce_alert(alert)
