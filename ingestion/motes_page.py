"""The list of motes: everybody's state, presence, battery, grade and delivery, filtered and sorted by the address."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from django import forms
from django.db.models import Q

from ingestion import words
from ingestion.models import LedgerHour
from ingestion.mote_battery import Power, powers
from sensors import corrections, registry
from sensors.models import Mote, Profile, Site, Zone
from sensors.presence import presence
from sensors.readings import Profile as ProfileValue
from sensors.stores import HotStore, StoreUnavailable

DAY_H = 24
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
    try:
        heard, power = _heard(found, profiles, store)
    except StoreUnavailable as error:
        fault = error
    delivered = deliveries(found, profiles, heard, now)
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
    motes: Sequence[Mote], profiles: Mapping[str, ProfileValue], heard: Heard, now: datetime
) -> dict[int, float]:
    """The share of the expected readings that the last day brought, from the books.

    The day ends now; at a site whose data ended before it, with the site's newest reading.
    """
    ends = _ends(motes, heard, now)
    counts: dict[int, dict[datetime, int]] = defaultdict(dict)
    spans = [(end - timedelta(hours=DAY_H), end) for end in set(ends.values())]
    if not spans:
        return {}
    within = Q()
    for start, end in spans:
        within |= Q(hour__gt=start - timedelta(hours=1), hour__lte=end)
    for hour, motes_of_hour in LedgerHour.objects.filter(within).values_list("hour", "motes"):
        for key, n in motes_of_hour.items():
            own = counts[int(key)]
            own[hour] = own.get(hour, 0) + n
    return {
        mote.pk: _share(counts.get(mote.pk, {}), profiles[mote.profile.code].interval_s, ends[mote.site_id])
        for mote in motes
        if mote.profile.code in profiles and mote.pk in heard
    }


def _ends(motes: Sequence[Mote], heard: Heard, now: datetime) -> dict[int, datetime]:
    newest: dict[int, datetime] = {}
    for mote in motes:
        if mote.pk in heard:
            newest[mote.site_id] = max(heard[mote.pk][0], newest.get(mote.site_id, heard[mote.pk][0]))
    return {site: now if now - at < timedelta(hours=DAY_H) else at for site, at in newest.items()}


def _share(counts: Mapping[datetime, int], interval_s: float, end: datetime) -> float:
    """Each hour counts up to what is expected of it, so that a busy hour makes up for no silent one."""
    start = end - timedelta(hours=DAY_H)
    came = 0.0
    for hour, n in counts.items():
        length = (min(end, hour + timedelta(hours=1)) - max(start, hour)).total_seconds()
        if length > 0:
            came += min(float(n), length / interval_s)
    return came * interval_s / (DAY_H * 3600)


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
