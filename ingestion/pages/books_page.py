"""The books as people read them: hours beside what the last comparison with both stores found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import F, Min, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from ingestion.models import HourDifference, LedgerHour, Reconciliation
from ingestion.reconciling import comparison, deed
from ingestion.reconciling.comparison import HOUR
from sensors.models import Mote, Profile
from sensors.roles import OPERATE, demand, may, person, role_required

FATES = ("received", "stored", "quarantined", "duplicate", "held")
LAST = timedelta(days=7)
DAYS_SHOWN = 7
RECENT = 200  # reconciliations that are asked whether they covered an hour
LISTED = 10
AT = "%Y-%m-%dT%HZ"
# Of each state its word, its look and the sign that tells it without colour.
STATES = {
    "equal": ("equal", "ok", "✓"),
    "differs": ("differs", "bad", "!"),
    "unbalanced": ("does not add up", "bad", "!"),
    "waiting": ("not compared yet", "", "·"),
}


@dataclass(frozen=True, slots=True)
class HourLine:
    """An hour of a profile."""

    hour: datetime
    profile: str
    received: int = 0
    stored: int = 0
    quarantined: int = 0
    duplicate: int = 0
    held: int = 0
    label: str = ""
    is_compared: bool = False
    differences: Sequence[HourDifference] = ()

    @property
    def state(self) -> str:
        if self.received != self.stored + self.quarantined + self.duplicate + self.held:
            return "unbalanced"
        if self.differences:
            return "differs"
        return "equal" if self.is_compared else "waiting"

    @property
    def word(self) -> str:
        return STATES[self.state][0]

    @property
    def look(self) -> str:
        return STATES[self.state][1]

    @property
    def sign(self) -> str:
        return STATES[self.state][2]

    @property
    def address(self) -> str:
        return reverse("books-hour", args=[self.profile, self.hour.astimezone(UTC).strftime(AT)])

    @property
    def words(self) -> str:
        return " ".join(told(one) for one in self.differences)


def hours(
    now: datetime, *, start: datetime | None = None, end: datetime | None = None, profile: str | None = None
) -> list[HourLine]:
    """The hours that the books or a difference know, the newest first; the last week's unless told otherwise."""
    within = Q(hour__gte=start or (end or now) - LAST) & (Q(hour__lt=end) if end else Q())
    rows = LedgerHour.objects.filter(within)
    different = HourDifference.objects.filter(within, equal_at=None).select_related("profile", "site")
    if profile is not None:
        rows, different = rows.filter(profile=profile), different.filter(profile__code=profile)
    by_hour: dict[tuple[datetime, str], list[HourDifference]] = {}
    for one in different:
        by_hour.setdefault((one.hour, one.profile.code), []).append(one)
    grouped: Iterable[Any] = rows.order_by().values("hour", "profile").annotate(**{name: Sum(name) for name in FATES})
    sums = {(row["hour"], row["profile"]): row for row in grouped}
    labels = dict(Profile.objects.values_list("code", "label"))
    covers = list(Reconciliation.objects.filter(state="done", site=None).select_related("profile")[:RECENT])
    return [
        HourLine(
            hour, code, **{name: sums[hour, code][name] for name in FATES if (hour, code) in sums},
            label=labels.get(code, code), is_compared=not code or any(_covers(one, hour, code) for one in covers),
            differences=by_hour.get((hour, code), ()),
        )
        for hour, code in sorted({*sums, *by_hour}, key=lambda key: (-key[0].timestamp(), key[1]))
    ]  # fmt: skip


def _covers(one: Reconciliation, hour: datetime, profile: str) -> bool:
    """Whether it looked at the hour after it had ended."""
    return (
        (one.profile is None or one.profile.code == profile)
        and (one.starts_at is None or one.starts_at <= hour)
        and (one.ends_at or one.asked_at) >= hour + HOUR
        and one.asked_at >= hour + HOUR
    )


def told(one: HourDifference) -> str:
    return comparison.words(one.booked, one.cold, one.due, one.hot)


def differences_of(made: Reconciliation) -> QuerySet[HourDifference]:
    mine = Q(found_by=made) | Q(equal_by=made)
    return HourDifference.objects.filter(mine).select_related("profile", "site")


# ---- the strip ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    cells: list[HourLine | None]


@dataclass(frozen=True, slots=True)
class Strip:
    """The last days of a profile that have readings, hour by hour."""

    profile: Profile
    days: list[Day]
    n_differing: int = field(default=0)


def strips(now: datetime) -> list[Strip]:
    return [strip for profile in Profile.objects.all() if (strip := _strip(profile, now)).days]


def _strip(profile: Profile, now: datetime) -> Strip:
    of_profile = LedgerHour.objects.filter(profile=profile.code)
    dates = list(
        of_profile.order_by().annotate(day=TruncDate("hour")).values_list("day", flat=True).distinct()
        .order_by("-day")[:DAYS_SHOWN]
    )  # fmt: skip
    if not dates:
        return Strip(profile, [])
    first, last = _midnight(dates[-1]), _midnight(dates[0] + timedelta(days=1))
    there = {line.hour: line for line in hours(now, start=first, end=last, profile=profile.code)}
    days = [Day(one, [there.get(hour) for hour in _hours_of(one)]) for one in dates]
    open_ = HourDifference.objects.filter(profile=profile, equal_at=None)
    return Strip(profile, days, open_.count())


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()))


def _hours_of(day: date) -> Iterable[datetime]:
    """23 to 25 of them, where clocks change."""
    hour, end = _midnight(day).astimezone(UTC), _midnight(day + timedelta(days=1))
    while hour < end:
        yield hour
        hour += HOUR


def context(request: HttpRequest) -> dict[str, Any]:
    """What the books' part of Data quality shows."""
    made = Reconciliation.objects.select_related("profile", "site", "who")
    unfinished = made.filter(state__in=deed.UNFINISHED).first()
    return {
        "strips": strips(timezone.now()), "last": made.filter(state__in=("done", "failed")).first(),
        "unfinished": unfinished, "may_heal": may(request.user, OPERATE),
        "n_differing": HourDifference.objects.filter(equal_at=None).count(),
    }  # fmt: skip


# ---- the pages ------------------------------------------------------------------------------------------------


@require_safe
@role_required()
def all_hours(request: HttpRequest) -> HttpResponse:
    """Every hour of a week as a table, and the last reconciliations."""
    profile = request.GET.get("profile") or None
    end = _instant(request.GET.get("to", ""))
    now = timezone.now()
    if request.GET.get("only") == "differing":
        # However old: whoever asks for them shall not have to look through the weeks.
        lines = hours(now, start=_oldest_differing(now, profile), profile=profile)
        lines = [line for line in lines if line.state in ("differs", "unbalanced")]
    else:
        lines = hours(now, end=end, profile=profile)
    earlier = (end or now) - LAST
    asked = request.GET.dict()
    shown = {
        "lines": lines, "profiles": Profile.objects.all(), "asked": request.GET,
        "earlier": urlencode({**asked, "to": earlier.astimezone(UTC).strftime(AT)}),
        "newest": urlencode({**asked, "to": ""}) if end else "",
        "made": Reconciliation.objects.select_related("profile", "site", "who")[:LISTED],
    }  # fmt: skip
    return render(request, "books/list.html", {**shown, **context(request)})


def _oldest_differing(now: datetime, profile: str | None) -> datetime:
    """From here on lies every hour that differs or does not add up; a week back where there is none older."""
    wrong = HourDifference.objects.filter(equal_at=None)
    fates = F("stored") + F("quarantined") + F("duplicate") + F("held")
    rows = LedgerHour.objects.exclude(received=fates)
    if profile is not None:
        wrong, rows = wrong.filter(profile__code=profile), rows.filter(profile=profile)
    oldest = (found.aggregate(first=Min("hour"))["first"] for found in (wrong, rows))
    return min(now - LAST, *filter(None, oldest))


@require_safe
@role_required()
def hour(request: HttpRequest, profile: str, at: str) -> HttpResponse:
    """What differs in an hour, mote by mote, beside its lines in the books."""
    start, kind = _instant(at), get_object_or_404(Profile, code=profile)
    if start is None:
        raise Http404(f"“{at}” is no hour; expected one such as 2026-03-02T12Z.")
    found = hours(timezone.now(), start=start, end=start + HOUR, profile=profile)
    shown = {
        "profile": kind, "line": found[0] if found else HourLine(start, profile),
        "booked": LedgerHour.objects.filter(hour=start, profile=profile), "motes": _motes(profile, start),
        "past": HourDifference.objects.filter(profile=kind, hour=start).exclude(equal_at=None).select_related("site"),
    }  # fmt: skip
    return render(request, "books/hour.html", {**shown, **context(request)})


def _motes(profile: str, start: datetime) -> list[dict[str, Any]]:
    """Each mote of the hour: its fates as booked, and what differs."""
    wrong: dict[int, dict[str, Any]] = {}
    for one in HourDifference.objects.filter(profile__code=profile, hour=start, equal_at=None):
        wrong |= {mote["mote"]: mote for mote in one.motes}
    fates: dict[int, dict[str, int]] = {}
    for row in LedgerHour.objects.filter(hour=start, profile=profile):
        for fate, motes in {"stored": row.motes, **row.others}.items():
            for key, n in motes.items():
                if key.isdigit() and fate != "held":
                    counts = fates.setdefault(int(key), {})
                    counts[fate] = counts.get(fate, 0) + n
    known = Mote.objects.select_related("site").in_bulk([*wrong, *fates])
    lines = [
        {
            "mote": known.get(key), "key": key, "fates": fates.get(key, {}), "wrong": wrong.get(key),
            "words": _words(wrong.get(key)),
        }
        for key in {*wrong, *fates}
    ]  # fmt: skip
    return sorted(lines, key=lambda one: (one["wrong"] is None, len(str(one["mote"])), str(one["mote"])))


def _words(counts: dict[str, Any] | None) -> str:
    return comparison.words(**{name: counts[name] for name in comparison.COUNTS}) if counts else ""


def _instant(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, AT).replace(tzinfo=UTC)
    except ValueError:
        return None


@role_required()
@require_POST
def reconcile(request: HttpRequest) -> HttpResponse:
    """Asks for a comparison, or (operator and up) for a healing, and leads back."""
    heals = request.POST.get("heal") == "1"
    if heals:
        demand(request.user, OPERATE)
    asked = deed.Request(profile=request.POST.get("profile") or None, heals=heals)
    try:
        deed.dispatch(deed.ask(asked, trigger="person", who=person(request), now=timezone.now()))
    except (deed.CannotReconcile, deed.AlreadyReconciling) as refusal:
        messages.info(request, str(refusal))
    return redirect(reverse("quality") + "#stores-title")
