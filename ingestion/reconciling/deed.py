"""Reconciliations: asked for, made by one deed through every door, kept with what differed and what was healed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from alerts.services import clear_system_alert, raise_system_alert
from ingestion.models import HourDifference, Reconciliation
from ingestion.reconciling import comparison, evidence, healing, reading
from ingestion.reconciling.comparison import HOUR, Hour
from ingestion.reconciling.reading import Look, Scope
from sensors import audit, errands, models
from sensors.fleet import Fleet, there_is_no
from sensors.lake import Lake, LakeFenced
from sensors.stores import HotStore, StoreUnavailable

LEASE = timedelta(minutes=10)  # one day of a whole fleet is counted or mended in less
KIND = "books_differ"
State = Reconciliation.State
Kind = TypeVar("Kind", models.Profile, models.Site)
UNFINISHED = (State.QUEUED, State.RUNNING)


class CannotReconcile(Exception):
    """What was asked for is not there or makes no sense; the text says what there is."""


class AlreadyReconciling(Exception):
    """One of the same kind is unfinished; `reconciliation` is that one."""

    def __init__(self, other: Reconciliation) -> None:
        kind = "healing" if other.heals else "comparison"
        super().__init__(f"A {kind} is {other.state} already, asked for at {other.asked_at:%Y-%m-%d %H:%M} UTC.")
        self.reconciliation = other


@dataclass(frozen=True, slots=True)
class Request:
    """What shall be compared; None: all. Instants are widened to full hours."""

    profile: str | None = None
    site: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    heals: bool = False


@dataclass(slots=True)
class Found:
    """What a scope came to."""

    scope: Scope
    n_readings: int = 0
    n_hours: int = 0
    differed: list[Hour] = field(default_factory=list)
    left: list[Hour] = field(default_factory=list)
    did: list[str] = field(default_factory=list)


# ---- asking -------------------------------------------------------------------------------------------------


def ask(request: Request, *, trigger: str, who: User | None, now: datetime) -> Reconciliation:
    """Queues it; AlreadyReconciling while another of its kind is unfinished."""
    expire(now)
    kinds, places = _named(models.Profile, request.profile), _named(models.Site, request.site)
    start, end = _full_hours(request.start, request.end)
    try:
        with transaction.atomic():
            made = Reconciliation.objects.create(
                profile=kinds, site=places, starts_at=start, ends_at=end, heals=request.heals, trigger=trigger, who=who,
                asked_at=now,
            )  # fmt: skip
            if request.heals:
                _audit(made, "ask_healing", {"trigger": trigger}, now)
    except IntegrityError:
        other = Reconciliation.objects.filter(heals=request.heals, state__in=UNFINISHED).first()
        if other is None:
            raise
        raise AlreadyReconciling(other) from None
    return made


def _named(kind: type[Kind], code: str | None) -> Kind | None:
    if not code:
        return None
    known = kind.objects.in_bulk(field_name="code")
    if code not in known:
        raise CannotReconcile(there_is_no(str(kind._meta.verbose_name), code, known))
    return known[code]


def _full_hours(start: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None]:
    if start and end and start >= end:
        raise CannotReconcile(f"The start, {start.isoformat()}, is not before the end, {end.isoformat()}.")
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0) if start else None
    last = end.astimezone(UTC) if end else None
    if last and (floor := last.replace(minute=0, second=0, microsecond=0)) != last:
        last = floor + HOUR
    return first, last


def dispatch(made: Reconciliation) -> None:
    errands.send("ingestion.tasks.reconcile", made)


def expire(now: datetime) -> list[Reconciliation]:
    return errands.expire(Reconciliation, "what made it was killed. Ask for it again.", lease=LEASE, now=now)


# ---- doing --------------------------------------------------------------------------------------------------


def reconcile(made: Reconciliation, *, lake: Lake, hot: HotStore, fleet: Fleet, now: datetime) -> list[Found]:
    """Does a queued reconciliation; one that is not queued any more is left as it is. `now` is when it begins.

    Whatever goes wrong is kept as the reason and raised.
    """
    if not Reconciliation.objects.filter(pk=made.pk, state=State.QUEUED).update(state=State.RUNNING, heartbeat_at=now):
        return []
    began = time.monotonic()

    def current() -> datetime:
        return now + timedelta(seconds=time.monotonic() - began)

    def tell() -> None:
        Reconciliation.objects.filter(pk=made.pk, state=State.RUNNING).update(heartbeat_at=current())

    try:
        found = []
        for scope in scopes(made, fleet):
            found.append(_one(scope, made, lake, hot, fleet, tell))
            tell()
        _keep(made, found, current())
    except BaseException as error:
        words = str(error) or type(error).__name__
        _finish(made, current(), began, state=State.FAILED, error=words)
        raise
    _finish(
        made, current(), began, state=State.DONE, n_readings=sum(one.n_readings for one in found),
        n_hours=sum(one.n_hours for one in found), n_differing=sum(len(one.differed) for one in found),
        n_left=sum(len(one.left) for one in found), did=[words for one in found for words in one.did],
    )  # fmt: skip
    return found


def _finish(made: Reconciliation, now: datetime, began: float, **outcome: object) -> None:
    seconds = round(time.monotonic() - began, 3)
    Reconciliation.objects.filter(pk=made.pk).update(**outcome, done_at=now, seconds=seconds)
    made.refresh_from_db()


def scopes(made: Reconciliation, fleet: Fleet) -> Iterator[Scope]:
    """Each profile and site with motes that is asked for."""
    kinds, places = models.Profile.objects.in_bulk(field_name="code"), models.Site.objects.in_bulk(field_name="code")
    motes: dict[tuple[str, str], dict[int, str]] = {}
    for mote in (*fleet.motes, *fleet.retired):
        motes.setdefault((mote.profile, mote.site), {})[mote.id] = mote.code
    for (profile, site), codes in sorted(motes.items()):
        if made.profile in (None, kinds[profile]) and made.site in (None, places[site]):
            yield Scope(fleet.profiles[profile], kinds[profile], places[site], codes, made.starts_at, made.ends_at)


def _one(
    scope: Scope, made: Reconciliation, lake: Lake, hot: HotStore, fleet: Fleet, tell: Callable[[], None]
) -> Found:
    keep = timedelta(days=settings.SIEIS_HOT_DAYS)
    seen = reading.look(scope, lake=lake, hot=hot, keep=keep)
    found = Found(scope, n_readings=int(seen.lines["cold"].sum()), n_hours=seen.lines["hour"].n_unique())
    found.differed = found.left = list(comparison.hours(seen.lines, scope.codes))
    if made.heals and found.differed:
        part = scope.within(found.differed[0].hour, found.differed[-1].hour + HOUR)
        found.did = [f"{_place(scope)}: {words}." for words in _heal(part, seen, made, lake, hot, fleet, tell)]
        after = reading.look(part, lake=lake, hot=hot, keep=keep)
        found.left = list(comparison.hours(after.lines, scope.codes))
    return found


def _heal(
    scope: Scope, seen: Look, made: Reconciliation, lake: Lake, hot: HotStore, fleet: Fleet, tell: Callable[[], None]
) -> list[str]:
    """The stores first, then the books by what both stores say."""
    try:
        told, n = healing.mend_stores(scope, seen, lake=lake, hot=hot, tell=tell)
    except LakeFenced as other:
        raise StoreUnavailable(f"{other}; ask again") from other
    did = list(told)
    after = reading.look(scope, lake=lake, hot=hot, keep=timedelta(days=settings.SIEIS_HOT_DAYS))
    said, corrected = evidence.correct_books(
        scope, after, lake=lake, fleet=fleet, future=timedelta(seconds=settings.SIEIS_FUTURE_S)
    )
    did += said
    if n or corrected:
        hours = [f"{hour.isoformat()} {scope.codes[mote]}" for hour, mote in corrected]
        _audit(made, "heal_books", {"scope": _place(scope), "did": did, "books": hours[:500]}, made.asked_at)
    return did


def _place(scope: Scope) -> str:
    return f"{scope.profile.code} at {scope.site.code}"


def _audit(made: Reconciliation, deed: str, detail: dict[str, object], now: datetime) -> None:
    detail = {"reconciliation": made.pk, **detail}
    audit.record(
        deed=deed, subject=f"books:{made.profile.code if made.profile else 'all'}", who=made.who, now=now, detail=detail
    )


# ---- keeping ------------------------------------------------------------------------------------------------


@transaction.atomic
def _keep(made: Reconciliation, found: Sequence[Found], now: datetime) -> None:
    """The hours that differ still, those that are equal again, and an alert about what is left."""
    for one in found:
        _keep_hours(made, one, now)
    for profile in {one.scope.kind for one in found}:
        _alert(profile, now)


def _keep_hours(made: Reconciliation, one: Found, now: datetime) -> None:
    left = {hour.hour for hour in one.left}
    for hour in one.differed + [hour for hour in one.left if hour not in one.differed]:
        HourDifference.objects.update_or_create(
            profile=one.scope.kind, site=one.scope.site, hour=hour.hour,
            defaults={
                **{name: getattr(hour, name) for name in (*comparison.COUNTS, "motes")}, "seen_at": now,
                "equal_at": None, "equal_by": None,
            },
            create_defaults={
                **{name: getattr(hour, name) for name in (*comparison.COUNTS, "motes")}, "seen_at": now,
                "found_at": now, "found_by": made,
            },
        )  # fmt: skip
    open_ = HourDifference.objects.filter(profile=one.scope.kind, site=one.scope.site, equal_at=None)
    if one.scope.start:
        open_ = open_.filter(hour__gte=one.scope.start)
    if one.scope.end:
        open_ = open_.filter(hour__lt=one.scope.end)
    open_.exclude(hour__in=left).update(equal_at=now, equal_by=made)


def _alert(profile: models.Profile, now: datetime) -> None:
    subject = f"books:{profile.code}"
    there = HourDifference.objects.filter(profile=profile, equal_at=None)
    worst = there.first()
    if worst is None:
        clear_system_alert(subject=subject, kind=KIND, now=now)
        return
    n = there.count()
    where = "one hour, that of" if n == 1 else f"{n:,} hours; in that of"
    words = (
        f"Books and stores of {profile.label} differ in {where} "
        f"{worst.hour:%Y-%m-%d %H}:00 UTC: {comparison.words(worst.booked, worst.cold, worst.due, worst.hot)}"
        " See Data quality."
    )
    raise_system_alert(subject=subject, kind=KIND, words=words, severity="high", now=now)
