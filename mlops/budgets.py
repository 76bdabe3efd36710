"""Alert budgets: what “at most N events a week” would have told, and making it so.

A budget is kept by a copy of the serving version with an onset of its own, promoted like any other version. So what
serves changes at a recorded message, every process swaps within seconds, each reading says by its version's number
which onset judged it, and undoing it is serving the version from before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet

from alerts.models import Event, Judgement
from mlops import feedback, registry
from mlops.budget import Choice, Events, Judged, NoHistory, Point, Truth, choose, merged
from mlops.history import Lake
from mlops.models import ForecastWarning, Label, ModelVersion
from mlops.training_jobs import find_mote
from sensors import audit, quality
from sensors.fleet import Fleet, there_is_no
from sensors.lake import NoSuchTable
from sensors.models import AuditEntry, Mote
from sensors.models import Profile as ProfileRow
from sensors.readings import LEAST_ONSET, Profile, micros

DAYS = 28
MOST_DAYS = 366
SHOWN = 20
Verdict = Judgement.Verdict
APPLIED, UNDONE = "apply_alert_budget", "undo_alert_budget"
# Of a layer or a job's own, what a copy with another onset can claim as well; the rest hangs on the onset.
KEPT_METRICS = ("n_readings", "n_motes", "mote_weeks", "share_surprise_3", "forest_anomaly_ratio")


class BadBudget(ValueError):
    """Something that cannot be a budget; the text is for the person who asked."""


class NothingServes(Exception):
    """No learnt model judges the scope, so there is no onset to set."""


class NoBudget(Exception):
    """The scope has no budget that could be undone."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A profile, or one mote of it."""

    profile: Profile
    mote: Mote | None = None

    @property
    def subject(self) -> str:
        """What audit entries are filed under."""
        return f"mote:{self.mote}" if self.mote else f"profile:{self.profile.code}"

    @property
    def words(self) -> str:
        return f"mote {self.mote}" if self.mote else f"profile {self.profile.code}"


def scope(fleet: Fleet, profile: str, mote: str = "") -> Scope:
    """By the names that people give."""
    if profile not in fleet.profiles:
        raise BadBudget(there_is_no("profile", profile, fleet.profiles))
    return Scope(fleet.profiles[profile], find_mote(profile, mote) if mote else None)


def serving(of: Scope) -> ModelVersion | None:
    return registry.serving(of.profile.code, of.mote)


def onset_of(version: ModelVersion | None, profile: Profile) -> float:
    """Surprise from which the version tells anomalies."""
    own = version.parameters.get("own_onset") if version else None
    return profile.onset if own is None else float(own)


# ---- looking --------------------------------------------------------------------------------------------------


def preview(of: Scope, at_most: float, *, lake: Lake, fleet: Fleet, now: datetime, days: float = DAYS) -> Choice:
    """What that budget would have told of the last days."""
    if not 0 < at_most < float("inf"):
        raise BadBudget(f"At most {at_most:g} events a week is no budget; expected a number above 0.")
    if not 1 <= days <= MOST_DAYS:
        raise BadBudget(f"{days:g} days are no history; expected 1 to {MOST_DAYS}.")
    start = now - timedelta(days=days)
    judged = past(of, start, now, lake=lake, fleet=fleet)
    motes = set(np.unique(judged.mote).tolist())
    return choose(judged, at_most, in_force=onset_of(serving(of), of.profile), truths=truths(motes, start, now))


def past(of: Scope, start: datetime, end: datetime, *, lake: Lake, fleet: Fleet) -> Judged:
    """The judged readings of the active motes, a day at a time."""
    active = [mote.id for mote in fleet.motes if mote.profile == of.profile.code and mote.state == "active"]
    motes = [of.mote.pk] if of.mote else active
    try:
        source = lake.scan(f"silver/{of.profile.code}")
    except NoSuchTable as none:
        raise NoHistory(f"No reading of {of.words} has reached the lake yet.") from none
    days, begin = [], start
    while begin < end:
        until = min(begin.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1), end)
        days.append(_day(source, of.profile, motes, begin, until))
        begin = until
    rows = pl.concat(days).sort("mote", "at")
    rows = rows.filter((pl.struct("mote", "at") != pl.struct("mote", "at").shift(1)).fill_null(True))
    return Judged(of.profile, *(rows[name].to_numpy() for name in ("mote", "at", "surprise", "votes")))


def _day(source: pl.LazyFrame, profile: Profile, motes: list[int], begin: datetime, until: datetime) -> pl.DataFrame:
    """What bears on events: all that may be odd, and of the rest one reading a mote and half a step."""
    here = (pl.col("date") == begin.astimezone(UTC).date()) & (pl.col("at") >= begin) & (pl.col("at") < until)
    in_order = pl.col("mote").is_in(motes) & (pl.col("flags") & quality.LATE == 0)
    rows = source.filter(here & in_order).select(
        "mote", pl.col("at").cast(pl.Int64), pl.col("surprise").fill_null(float("nan")), "votes"
    )
    half = (pl.col("at") // int(profile.step_s * 5e5)).alias("half")
    is_first = pl.col("at") == pl.col("at").min().over("mote", "half")
    kept = rows.with_columns(half).filter((pl.col("surprise") >= 0.5 * LEAST_ONSET) | is_first)
    return kept.drop("half").collect()


def truths(motes: set[int], start: datetime, end: datetime) -> list[Truth]:
    """What is known of the days: labelled faults, alerts judged real, and those judged false or expected."""
    labels = Label.objects.filter(mote__in=motes, starts_at__lt=end, ends_at__gt=start).exclude(
        kind__in=(feedback.NORMAL, feedback.NEW_NORMAL)
    )
    found = [Truth(one.mote_id, micros(one.starts_at), micros(one.ends_at), one.kind) for one in labels]
    for verdict in (Verdict.REAL, Verdict.FALSE, Verdict.EXPECTED):
        alerts = Judgement.objects.standing().filter(verdict=verdict).values("alert")
        said = Event.objects.filter(alert__in=alerts, mote__in=motes, started_at__lt=end, last_at__gt=start)
        found += [
            Truth(
                one.mote_id, micros(one.started_at), micros(one.last_at), f"judged {verdict}", verdict == Verdict.REAL
            )
            for one in said
        ]
    return merged(found)


def warnings_a_week(of: Scope, found: Choice) -> float:
    """Forecast warnings of the same days, which people look at beside the events."""
    scope = {"mote": of.mote} if of.mote else {"mote__profile__code": of.profile.code}
    first, last = (datetime.fromtimestamp(at / 1e6, UTC) for at in (found.first_at, found.last_at))
    n = ForecastWarning.objects.filter(origin_at__gte=first, origin_at__lte=last, **scope).count()
    return n / found.weeks if found.weeks else 0.0


# ---- making it so ---------------------------------------------------------------------------------------------


def apply(of: Scope, found: Choice, *, who: User | None, now: datetime) -> ModelVersion:
    """Lets a copy of what serves the scope serve it with the chosen onset."""
    version = serving(of)
    if version is None:
        raise NothingServes(
            f"No model serves {of.words} yet, and the pack's normal bands have no threshold to set. Train a model: "
            f"manage.py train --profile {of.profile.code}"
        )
    told = {
        "at_most": found.at_most, "onset": found.chosen.onset, "before": onset_of(version, of.profile),
        "events_a_week": round(found.chosen.a_week, 2), "busiest_week": found.chosen.busiest,
        "weeks": round(found.weeks, 2), "missed": found.chosen.n_missed, "newly_missed": len(found.newly_missed),
        "of_faults": found.n_faults, "from": version.name,
    }  # fmt: skip
    why = f"alert budget: at most {found.at_most:g} events a week"
    return _serve_copy(of, version, found.chosen.onset, told, deed=APPLIED, why=why, who=who, now=now)


def _serve_copy(
    of: Scope, version: ModelVersion, onset: float | None, told: dict[str, Any], *, deed: str, why: str,
    who: User | None, now: datetime,
) -> ModelVersion:  # fmt: skip
    profile = ProfileRow.objects.get(code=of.profile.code)
    engine = registry.load(version).with_onset(onset)
    metrics = {name: version.metrics[name] for name in KEPT_METRICS if name in version.metrics}
    copy = registry.register(
        engine, profile=profile, mote=of.mote, data={**version.data, "copy_of": version.name},
        metrics={**metrics, "budget": told}, job=None, now=now,
    )  # fmt: skip
    with transaction.atomic():
        registry.promote(copy, who=who, why=why, now=now)
        audit.record(deed=deed, subject=of.subject, who=who, now=now, detail={**told, "to": copy.name})
    return copy


def undo(of: Scope, *, who: User | None, now: datetime) -> ModelVersion:
    """Takes the scope's last budget back; answers what serves it then.

    The version of which the budget's is a copy serves again; where a model was trained since, it serves on as a copy
    with the onset from before the budget.
    """
    here, last = registry.production(of.profile.code, of.mote), in_force(of)
    if here is None or last is None:
        raise NoBudget(f"No alert budget is in force for {of.words}, so there is nothing to undo.")
    why = f"undo of the alert budget of {last.at:%Y-%m-%d %H:%M} UTC"
    if here.name != last.detail["to"]:
        before = float(last.detail["before"])
        told = {"onset": before, "from": here.name, "undoes": last.pk}
        own = None if before == of.profile.onset else before
        return _serve_copy(of, here, own, told, deed=UNDONE, why=why, who=who, now=now)
    source = ModelVersion.objects.select_related("profile", "mote__site").get(name=last.detail["from"])
    with transaction.atomic():
        if source.mote_id == (of.mote.pk if of.mote else None):
            registry.promote(source, who=who, why=why, now=now)
        else:
            registry.withdraw(here, who=who, why=why, now=now)
        detail = {"onset": last.detail["before"], "from": here.name, "to": source.name, "undoes": last.pk}
        audit.record(deed=UNDONE, subject=of.subject, who=who, now=now, detail=detail)
    return source


def story(profile: Profile) -> QuerySet[AuditEntry]:
    """Who set and took back which budgets of the profile and its motes; the newest first."""
    motes = Mote.objects.filter(profile__code=profile.code).select_related("site")
    subjects = [f"profile:{profile.code}", *(f"mote:{mote}" for mote in motes)]
    return AuditEntry.objects.filter(deed__in=(APPLIED, UNDONE), subject__in=subjects).select_related("who")


def in_force(of: Scope) -> AuditEntry | None:
    """The scope's last budget that was not taken back, if what serves judges by one."""
    here = registry.production(of.profile.code, of.mote)
    if here is None or here.parameters.get("own_onset") is None:
        return None
    told = AuditEntry.objects.filter(subject=of.subject)
    undone = set(told.filter(deed=UNDONE).values_list("detail__undoes", flat=True))
    return told.filter(deed=APPLIED).exclude(Q(pk__in=undone)).first()


# ---- telling --------------------------------------------------------------------------------------------------


def spoken(found: Choice, fleet: Fleet) -> dict[str, Any]:
    """A preview as JSON."""
    return {
        "at_most": found.at_most, "weeks": round(found.weeks, 3), "n_readings": found.n_readings,
        "n_motes": found.n_motes, "first_at": _iso(found.first_at), "last_at": _iso(found.last_at),
        "n_faults": found.n_faults, "n_needless": found.n_needless,
        "now": _point(found.now), "chosen": _point(found.chosen), "curve": [_point(one) for one in found.curve],
        "missed": [_truth(one, fleet) for one in found.missed[:SHOWN]],
        "newly_missed": [_truth(one, fleet) for one in found.newly_missed[:SHOWN]],
        "n_newly_missed": len(found.newly_missed),
        "gained": _events(found.gained, fleet), "lost": _events(found.lost, fleet),
    }  # fmt: skip


def _point(one: Point) -> dict[str, Any]:
    return {
        "onset": round(one.onset, 4), "n_events": one.n_events, "a_week": round(one.a_week, 3),
        "busiest_week": round(one.busiest, 3), "missed": one.n_missed, "needless": one.n_needless,
    }  # fmt: skip


def _truth(one: Truth, fleet: Fleet) -> dict[str, Any]:
    return {
        "mote": _name(one.mote, fleet), "what": one.what, "starts_at": _iso(one.first_at), "ends_at": _iso(one.last_at)
    }  # fmt: skip


def _events(told: Events, fleet: Fleet) -> dict[str, Any]:
    """How many, and the loudest of them."""
    loudest = np.argsort(-told.peak, kind="stable")[:SHOWN].tolist()
    first = [
        {"mote": _name(int(told.mote[k]), fleet), "started_at": _iso(int(told.started_at[k])),
         "noticed_at": _iso(int(told.noticed_at[k])), "surprise": round(float(told.peak[k]), 2)}
        for k in loudest
    ]  # fmt: skip
    return {"n": len(told.mote), "first": first}


def _name(mote: int, fleet: Fleet) -> str:
    known = fleet.by_id.get(mote)
    return f"{known.site}/{known.code}" if known else str(mote)


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
