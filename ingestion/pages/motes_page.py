"""The list of motes: everybody's state, presence, battery, grade and delivery, filtered and sorted by the address."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from django import forms
from django.db.models import Q

from ingestion import words
from ingestion.models import LedgerHour
from ingestion.pages.mote_battery import Power, powers
from sensors import corrections, delivery, registry
from sensors.models import Mote, Profile, Site, Zone
from sensors.presence import presence
from sensors.readings import Profile as ProfileValue
from sensors.stores import HotStore, StoreUnavailable

DAY_H = 24
HOUR = timedelta(hours=1)
NO_LESS = 0.98  # of the promise: who delivers more keeps no slower rhythm
RHYTHM_SILENCES = 12  # a rhythm is looked for in so many times the longest interval that is no silence
GRADES = (("", "any"), ("C", "C or worse"), ("D", "D or worse"), ("F", "F"), ("none", "not graded"))
SORTS = ("code", "state", "battery", "grade", "delivery", "seen", "profile", "zone")
Heard = Mapping[int, tuple[datetime, float | None]]


class MoteFilter(forms.Form):
    """What the address asks for; what makes no sense is as if it were not there."""

    q = forms.CharField(required=False, max_length=100)
    site = forms.ChoiceField(required=False)
    zone = forms.ChoiceField(required=False)
    profile = forms.ChoiceField(required=False)
    state = forms.ChoiceField(
        required=False, choices=[("", "all but retired"), ("all", "all"), *((s, s) for s in Mote.State.values)]
    )
    grade = forms.ChoiceField(required=False, choices=GRADES)
    sort = forms.ChoiceField(required=False, choices=[(f"{sign}{name}", name) for name in SORTS for sign in ("", "-")])

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        zones = Zone.objects.select_related("site").values_list("code", "label").distinct()
        for name, rows in (("site", Site.objects.values_list("code", "label")), ("zone", zones),
                           ("profile", Profile.objects.values_list("code", "label"))):  # fmt: skip
            self.fields[name].choices = [("", "any"), *dict(rows).items()]  # type: ignore[attr-defined]

    def asked(self) -> dict[str, str]:
        self.is_valid()
        return {name: self.cleaned_data.get(name, "") for name in self.fields}


def own_label(mote: Mote) -> str:
    """Its label, unless that says no more than the code does."""
    return "" if mote.label.endswith(mote.code) else mote.label


@dataclass(frozen=True, slots=True)
class Row:
    """A mote as the list shows it."""

    mote: Mote
    presence: str
    seen_at: datetime | None
    power: Power | None
    grade: str
    delivery: float | None

    @property
    def label(self) -> str:
        return own_label(self.mote)

    @property
    def volts(self) -> str:
        return words.number(self.power.volts, 2) if self.power and self.power.volts is not None else ""

    @property
    def delivered(self) -> str:
        return words.percent(self.delivery)


def context(asked: Mapping[str, str], *, store: HotStore, now: datetime) -> dict[str, Any]:
    """The rows that fit, sorted; a store that is away leaves out what it knows and is said so."""
    found = list(_fitting(asked))
    profiles = registry.profiles()
    fault: StoreUnavailable | None = None
    heard: Heard = {}
    power: dict[int, Power] = {}
    delivered: dict[int, float] = {}
    try:
        heard, power = _heard(found, profiles, store)
        delivered = deliveries(found, profiles, heard, store=store, now=now)
    except StoreUnavailable as error:
        fault = error
    rows = [
        _row(mote, profiles.get(mote.profile.code), heard.get(mote.pk), power.get(mote.pk), delivered.get(mote.pk), now)
        for mote in found
    ]
    return {
        "rows": _sorted(rows, asked["sort"] or "code"),
        "n_all": Mote.objects.filter(is_probe=False).count(),
        "n_retired": Mote.objects.filter(state=Mote.State.RETIRED).count(),
        "store_fault": fault,
    }


def _fitting(asked: Mapping[str, str]) -> Any:
    names = ("q", "site", "zone", "profile", "state")
    found: Any = Mote.objects.with_grade().narrowed(**{name: asked[name] for name in names})
    if asked["grade"] == "none":
        return found.filter(worst_grade=None)
    return found.filter(worst_grade__gte=asked["grade"]) if asked["grade"] else found


def _heard(
    motes: Sequence[Mote], profiles: Mapping[str, ProfileValue], store: HotStore
) -> tuple[Heard, dict[int, Power]]:
    """When each mote was heard last, and how its battery stands: a few queries a profile."""
    heard: dict[int, tuple[datetime, float | None]] = {}
    power: dict[int, Power] = {}
    for code, profile in profiles.items():
        members = [mote.pk for mote in motes if mote.profile.code == code]
        if not members:
            continue
        latest = corrections.latest(store, profile, members)
        volts = pl.col(profile.battery.channel) if profile.battery else pl.lit(None, pl.Float64)
        own = {mote: (at, value) for mote, at, value in latest.select("mote", "at", volts.alias("volts")).iter_rows()}
        power |= powers(store, profile, own)
        heard |= own
    return heard, power


def deliveries(
    motes: Sequence[Mote], profiles: Mapping[str, ProfileValue], heard: Heard, *, store: HotStore, now: datetime
) -> dict[int, float]:
    """The share of what it owed that each mote delivered in the last day, from its first reading in it to the end.

    The day ends now; at a site whose data ended before it, with the site's newest reading. The hot store is asked for
    single readings only where the books do not suffice: of motes that began in that day, or fell short of the promise.
    """
    ends = _ends(motes, heard, now)
    counts = _booked(ends)
    found: dict[int, float] = {}
    for code, profile in profiles.items():
        days: dict[int, Day] = {}
        for mote in motes:
            if mote.profile.code != code or mote.pk not in heard:
                continue
            day = Day.of(counts.get(mote.pk, {}), ends[mote.site_id])
            if day.hours:
                days[mote.pk] = day
            elif heard[mote.pk][0] < day.first:
                found[mote.pk] = 0.0
        days = _begun(store, profile, days)
        short = [key for key, day in days.items() if day.share(profile.interval_s) < NO_LESS]
        own_s = _own_s(store, profile, {key: heard[key][0] for key in short})
        for key, day in days.items():
            found[key] = day.share(delivery.expected_interval_s(profile, own_s.get(key)))
    return found


@dataclass(frozen=True, slots=True)
class Day:
    """A mote's last day: from where it is counted, and the readings that the books have of its hours."""

    first: datetime
    end: datetime
    hours: Mapping[datetime, int]

    @classmethod
    def of(cls, counts: Mapping[datetime, int], end: datetime) -> Day:
        start = end - timedelta(hours=DAY_H)
        return cls(start, end, {hour: n for hour, n in counts.items() if hour + HOUR > start and hour <= end})

    def share(self, interval_s: float) -> float:
        """What is not due yet is not owed."""
        due = (self.end - self.first).total_seconds() // interval_s
        expected = delivery.owed(due * interval_s, interval_s)
        lengths = [(n, min(self.end, hour + HOUR) - max(self.first, hour)) for hour, n in self.hours.items()]
        within = [(n, 1, length.total_seconds()) for n, length in lengths if length >= timedelta(0)]
        return delivery.delivered(expected, within, interval_s) / expected


def _booked(ends: Mapping[int, datetime]) -> dict[int, dict[datetime, int]]:
    """What the books say of each mote in the hours of these days."""
    counts: dict[int, dict[datetime, int]] = defaultdict(dict)
    within = Q()
    for end in set(ends.values()):
        within |= Q(hour__gt=end - timedelta(hours=DAY_H) - HOUR, hour__lte=end)
    if not within:
        return {}
    for hour, motes_of_hour in LedgerHour.objects.filter(within).values_list("hour", "motes"):
        for key, n in motes_of_hour.items():
            own = counts[int(key)]
            own[hour] = own.get(hour, 0) + n
    return counts


def _begun(store: HotStore, profile: ProfileValue, days: Mapping[int, Day]) -> dict[int, Day]:
    """The days of motes that said nothing in the hour with which theirs begins count from their first reading."""
    begun: dict[datetime, list[int]] = defaultdict(list)
    for mote, day in days.items():
        if min(day.hours) > day.first:
            begun[min(day.hours)].append(mote)
    found = dict(days)
    for hour, motes in begun.items():
        rows = store.between(profile, motes, hour, hour + HOUR)
        at = dict(rows.group_by("mote").agg(pl.col("at").min()).iter_rows())
        for mote in motes:
            found[mote] = replace(days[mote], first=min(at.get(mote, hour), days[mote].end))
    return found


def _own_s(store: HotStore, profile: ProfileValue, newest: Mapping[int, datetime]) -> dict[int, float]:
    """The rhythm that motes kept before they were heard last; those heard at about the same time in one query."""
    stretch_s = RHYTHM_SILENCES * profile.silent_after_s
    groups: dict[int, list[int]] = defaultdict(list)
    for mote, at in newest.items():
        groups[int(at.timestamp() // stretch_s)].append(mote)
    found: dict[int, float] = {}
    for motes in groups.values():
        start = min(newest[mote] for mote in motes) - timedelta(seconds=stretch_s)
        end = max(newest[mote] for mote in motes) + timedelta(microseconds=1)
        rows = store.between(profile, motes, start, end).select("mote", "at").sort("mote", "at")
        waited = pl.col("at").diff().over("mote").dt.total_microseconds() / 1e6
        found |= delivery.own_intervals(delivery.rhythm(rows.with_columns(waited_s=waited), profile))
    return found


def _ends(motes: Sequence[Mote], heard: Heard, now: datetime) -> dict[int, datetime]:
    newest: dict[int, datetime] = {}
    for mote in motes:
        if mote.pk in heard:
            newest[mote.site_id] = max(heard[mote.pk][0], newest.get(mote.site_id, heard[mote.pk][0]))
    return {site: now if now - at < timedelta(hours=DAY_H) else at for site, at in newest.items()}


def _row(
    mote: Mote, profile: ProfileValue | None, heard: tuple[datetime, float | None] | None, power: Power | None,
    delivery: float | None, now: datetime,
) -> Row:  # fmt: skip
    seen_at = max(filter(None, (mote.last_seen_at, heard[0] if heard else None)), default=None)
    return Row(
        mote=mote,
        presence=presence(mote.state, seen_at, profile.interval_s if profile else 0.0, now=now),
        seen_at=seen_at,
        power=power,
        grade=getattr(mote, "worst_grade", None) or "",
        delivery=delivery,
    )


# What each column is sorted by; None comes last either way.
KEYS: Mapping[str, Callable[[Row], Any]] = {
    "code": lambda row: words.natural(f"{row.mote.site.code}/{row.mote.code}"),
    "state": lambda row: row.mote.state,
    "battery": lambda row: row.power.volts if row.power else None,
    "grade": lambda row: row.grade or None,
    "delivery": lambda row: row.delivery,
    "seen": lambda row: row.seen_at,
    "profile": lambda row: row.mote.profile.label,
    "zone": lambda row: row.mote.zone.label if row.mote.zone else None,
}


def _sorted(rows: Sequence[Row], sort: str) -> list[Row]:
    key = KEYS[sort.lstrip("-")]
    in_order = sorted(rows, key=KEYS["code"])
    known = sorted((row for row in in_order if key(row) is not None), key=key, reverse=sort.startswith("-"))
    return [*known, *(row for row in in_order if key(row) is None)]
