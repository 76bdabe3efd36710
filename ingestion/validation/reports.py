"""Quality reports: asked for once a scope, made by one deed through every door, kept, and compared with the last.

A report moves queued → running → done or failed by conditional update; one whose maker is gone fails by its lease.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from ingestion.models import QualityReport
from ingestion.validation import checks, failing, tables
from ingestion.validation.gathering import Lake, gather, scope_of
from ingestion.validation.limits import Limits
from sensors import audit, errands
from sensors.fleet import Fleet
from sensors.lake import NoSuchTable
from sensors.models import Mote, Profile, Site
from sensors.stores import HotStore

LEASE = timedelta(seconds=120)
State = QualityReport.State
UNFINISHED = (State.QUEUED, State.RUNNING)


class CannotValidate(Exception):
    """There is no such scope, or it is not clear which; the text says what there is."""


class AlreadyValidating(Exception):
    """The scope has an unfinished report; `report` is that one."""

    def __init__(self, report: QualityReport) -> None:
        super().__init__(
            f"A report of {scope_words(report)} is {report.state} already, asked for at "
            f"{report.asked_at:%Y-%m-%d %H:%M} UTC: report {report.pk}. Wait for it."
        )
        self.report = report


class GivenUp(Exception):
    """Somebody has failed the report while it was being made: its lease ran out."""


def limits() -> Limits:
    """Those of the settings and of the mission."""
    return Limits(hot_days=settings.SIEIS_HOT_DAYS, future_s=settings.SIEIS_FUTURE_S)


# ---- asking -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """What a report may be asked to look at, and by which interval to judge; None: all there is."""

    start: datetime | None = None
    end: datetime | None = None
    interval_s: float | None = None

    def __post_init__(self) -> None:
        if self.start and self.end and self.start >= self.end:
            raise CannotValidate(f"The start, {self.start.isoformat()}, is not before the end, {self.end.isoformat()}.")
        if self.interval_s is not None and not 0 < self.interval_s < 1e9:
            raise CannotValidate(f"An interval of {self.interval_s:g} s cannot be expected; give seconds above 0.")


def scopes(profile: str | None = None, site: str | None = None) -> list[tuple[Profile, Site]]:
    """Each profile and site with motes that are not retired, narrowed to those named; CannotValidate for none."""
    motes = Mote.objects.exclude(state=Mote.State.RETIRED).exclude(is_probe=True)
    there = motes.order_by("profile__code", "site__code").values_list("profile__code", "site__code").distinct()
    pairs = [(p, s) for p, s in there if profile in (None, "", p) and site in (None, "", s)]
    if not pairs:
        named = " ".join([f"of profile “{profile}”"] * bool(profile) + [f"at site “{site}”"] * bool(site))
        known = "; ".join(f"{p} at {s}" for p, s in there) or "none yet: load a pack first"
        raise CannotValidate(f"There are no motes {named or 'at all'}. There are: {known}.")
    profiles, sites = Profile.objects.in_bulk(field_name="code"), Site.objects.in_bulk(field_name="code")
    return [(profiles[p], sites[s]) for p, s in pairs]


def one_scope(profile: str | None, site: str | None) -> tuple[Profile, Site]:
    """The scope that is meant; CannotValidate where it could be several."""
    found = scopes(profile, site)
    if len(found) > 1:
        named = "; ".join(f"{one.code} at {place.code}" for one, place in found)
        raise CannotValidate(f"Say which profile and site; there are: {named}.")
    return found[0]


def ask(scope: tuple[Profile, Site], span: Span, *, trigger: str, who: User | None, now: datetime) -> QualityReport:
    """Queues a report; AlreadyValidating where the scope has an unfinished one."""
    profile, site = scope
    expire(now)
    try:
        with transaction.atomic():
            report = QualityReport.objects.create(
                profile=profile, site=site, starts_at=span.start, ends_at=span.end, interval_s=span.interval_s,
                trigger=trigger, who=who, asked_at=now,
            )  # fmt: skip
            detail = {"report": report.pk, "trigger": trigger}
            audit.record(deed="ask_quality_report", subject=f"site:{site.code}", who=who, now=now, detail=detail)
    except IntegrityError:
        other = QualityReport.objects.filter(profile=profile, site=site, state__in=UNFINISHED).first()
        if other is None:
            raise
        raise AlreadyValidating(other) from None
    return report


def dispatch(report: QualityReport) -> None:
    errands.send("ingestion.tasks.make_report", report)


def expire(now: datetime) -> list[QualityReport]:
    return errands.expire(QualityReport, "what made the report was killed. Ask for it again.", lease=LEASE, now=now)


def scope_words(report: QualityReport) -> str:
    return f"{report.profile.label} at {report.site.code if report.site else 'all sites'}"


# ---- making -------------------------------------------------------------------------------------------------


def make_report(
    report: QualityReport, *, lake: Lake, hot: HotStore, fleet: Fleet, now: datetime, limits: Limits
) -> QualityReport:
    """Makes a queued report and keeps what it found; one that is not queued any more stays as it is.

    Whatever goes wrong is kept as the reason and raised. `now` is when it begins.
    """
    claimed = QualityReport.objects.filter(pk=report.pk, state=State.QUEUED)
    if not claimed.update(state=State.RUNNING, heartbeat_at=now):
        report.refresh_from_db()
        return report
    began = time.monotonic()

    def since() -> timedelta:
        return timedelta(seconds=time.monotonic() - began)

    def tell(share: float) -> None:
        going = QualityReport.objects.filter(pk=report.pk, state=State.RUNNING)
        if not going.update(progress=share, heartbeat_at=now + since()):
            raise GivenUp(f"Report {report.pk} was given up while it was being made.")

    try:
        evidence = gather(report, lake=lake, hot=hot, fleet=fleet, now=now, limits=limits, tell=tell)
        judged = checks.judge(evidence)
        outcome = {
            "state": State.DONE,
            "profile_version": evidence.scope.profile.version,
            "n_readings": evidence.found.n if evidence.found else 0,
            "quality_percent": round(checks.quality_percent(evidence), 2),
            "has_passed": checks.has_passed(judged),
            "checks": [check.to_json() for check in judged],
            "detail": tables.detail(evidence),
        }
    except BaseException as error:
        _finish(report, {"state": State.FAILED, "error": str(error) or type(error).__name__}, now + since(), since())
        raise
    _finish(report, {**outcome, "progress": 1.0}, now + since(), since())
    return report


def _finish(report: QualityReport, outcome: Mapping[str, Any], now: datetime, took: timedelta) -> None:
    running = QualityReport.objects.filter(pk=report.pk, state=State.RUNNING)
    running.update(**outcome, done_at=now, seconds=round(took.total_seconds(), 3))
    report.refresh_from_db()


# ---- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a check since the last report: points of a percent more or less that speak against it."""

    points: float | None
    had_passed: bool | None

    @property
    def is_better(self) -> bool | None:
        return None if self.points is None or abs(self.points) < 0.005 else self.points < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A report beside the last one that it can be compared with."""

    report: QualityReport
    quality: float | None
    checks: Mapping[str, Change]


def last_before(report: QualityReport) -> QualityReport | None:
    """The one before it of the same profile and site, judged by the same interval."""
    earlier = QualityReport.objects.filter(
        profile=report.profile, site=report.site, interval_s=report.interval_s, state=State.DONE, pk__lt=report.pk
    )
    return earlier.first()


def compared(report: QualityReport) -> Comparison | None:
    """With the last report of the same scope; None for the first, and while there is nothing to compare."""
    before = last_before(report) if report.state == State.DONE else None
    if before is None:
        return None
    past = {check["name"]: check for check in before.checks}
    changes = {check["name"]: _change(check, past.get(check["name"])) for check in report.checks}
    quality = None
    if report.quality_percent is not None and before.quality_percent is not None:
        quality = round(report.quality_percent - before.quality_percent, 2)
    return Comparison(before, quality, changes)


def _change(check: Mapping[str, Any], before: Mapping[str, Any] | None) -> Change:
    if before is None:
        return Change(None, None)
    known = check["share"] is not None and before["share"] is not None
    points = round(100 * (check["share"] - before["share"]), 2) if known else None
    return Change(points, before["has_passed"])


def failing_readings(
    report: QualityReport, asked: failing.Asked, *, mote: str = "", lake: Lake, hot: HotStore, fleet: Fleet
) -> failing.Page:
    """A page of the readings behind a check, out of the range that the report found; NoReadings where there is none."""
    check = next((one for one in report.checks if one["name"] == asked.check), None)
    if check is None or not check["lists"]:
        names = ", ".join(one["name"] for one in report.checks if one["lists"]) or "none"
        raise failing.NoReadings(f"Report {report.pk} has no list of readings for “{asked.check}”; it has: {names}.")
    scope, codes = scope_of(report, fleet)
    keys = tuple(key for key, code in codes.items() if mote in ("", code))
    if not keys:
        raise failing.NoReadings(f"Mote “{mote}” is none of the report's motes.")
    start = report.detail["hot_from" if asked.check == "hot" else "first_at"]
    until = datetime.fromisoformat(report.detail["last_at"]) + timedelta(microseconds=1)
    scope = replace(scope, motes=keys, start=datetime.fromisoformat(start), end=until)
    table = f"silver/{scope.profile.code}"
    try:
        source = lake.scan(table, lake.version(table))
    except NoSuchTable as error:
        raise failing.NoReadings(str(error)) from error
    by_code = {one["mote"]: one["interval_s"] for one in report.detail["motes"] if "interval_s" in one}
    expected = {key: by_code[codes[key]] for key in keys if codes[key] in by_code}
    limits = Limits(**report.detail["limits"])
    return failing.page(source, scope, asked, limits=limits, expected_s=expected, hot=hot)
