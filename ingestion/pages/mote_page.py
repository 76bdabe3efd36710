"""One mote: how it stands, what it measured over a stretch, what people said and did about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from django.db.models import Q
from rest_framework.exceptions import ValidationError

from alerts.events import concerned
from alerts.models import Alert, Event
from ingestion import words
from ingestion.flow.skew import direction
from ingestion.pages.floor_plan import Plan, Spot, lay_out
from ingestion.pages.forecast_page import drawn
from ingestion.pages.mote_battery import Power, powers
from ingestion.pages.mote_series import Point, Series, imputed_lines, series
from ingestion.pages.motes_page import own_label
from mlops.forecasts.fleet_risks import newest
from mlops.models import Label
from sensors import corrections, imputing, quality, registry
from sensors.models import AuditEntry, Correction, Mote, Profile, SensorGrade
from sensors.packs.changes import span
from sensors.presence import presence
from sensors.readings import Profile as ProfileValue
from sensors.readings import micros
from sensors.roles import ENGINEERING, OPERATE, may
from sensors.serializers import Instant
from sensors.stores import HotStore, StoreUnavailable
from sensors.tiers import Tiers

PRESETS = (("1 h", 1), ("6 h", 6), ("1 d", 24), ("7 d", 168), ("30 d", 720))
DEFAULT_SPAN = timedelta(hours=6)
YEARS = range(1971, 2100)
LEAST_SPAN, MOST_SPAN = timedelta(minutes=1), timedelta(days=400)
MOST_READINGS = 500_000  # a mote that reports every second sends so many in six days
LISTED_EVENTS = 50
SHOWN_EVENTS, SHOWN_CORRECTIONS, SHOWN_DEEDS, SHOWN_LABELS, SHOWN_ALERTS = 300, 50, 30, 30, 20

# What a change of state means, for the person who is about to make it.
STATES: Mapping[str, tuple[str, str]] = {
    "commissioning": (
        "Into commissioning",
        "Its readings are stored, scored and shown. It opens no alert, and no model learns from it.",
    ),
    "active": ("Set active", "Its readings are judged: they may open alerts, and models learn from them."),
    "maintenance": (
        "Into maintenance",
        "Its readings are stored, scored and shown. It opens no new alert, and no model learns from it. "
        "An alert that is open stays and hears how its event ends.",
    ),
    "retired": (
        "Retire",
        "Its messages are put aside from now on, its open alerts are resolved, and lists leave it out. "
        "What it measured stays readable here and by the API.",
    ),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the page looks at, and the addresses of its neighbours."""

    start: datetime
    end: datetime
    newest: datetime | None
    kept: str = ""  # what the address says beside the range

    @property
    def span(self) -> timedelta:
        return self.end - self.start

    @property
    def before(self) -> str:
        return self._to(self.start - self.span, self.start)

    @property
    def after(self) -> str:
        return self._to(self.end, self.end + self.span)

    @property
    def wider(self) -> str:
        return self._to(self.start - self.span / 2, self.end + self.span / 2)

    @property
    def presets(self) -> list[tuple[str, str, bool]]:
        """Label, address and whether it is the one shown; each ends where this one ends."""
        spans = [(label, timedelta(hours=hours)) for label, hours in PRESETS]
        here = self.end
        return [(label, self._to(here - span, here), abs(self.span - span) < LEAST_SPAN) for label, span in spans]

    @property
    def own(self) -> str:
        """The same stretch, with nothing beside it."""
        return f"?from={_iso(self.start)}&to={_iso(self.end)}"

    def _to(self, start: datetime, end: datetime) -> str:
        return f"?from={_iso(start)}&to={_iso(end)}{self.kept}"


def stretch(asked: Mapping[str, str], newest: datetime | None, now: datetime) -> Stretch:
    """From the address; without one the last hours up to the mote's newest reading, however long ago that was."""
    end = _instant(asked.get("to")) or (newest + timedelta(seconds=1) if newest else now)
    start = _instant(asked.get("from")) or end - DEFAULT_SPAN
    if start > end:
        start, end = end, start
    kept = "&impute=1" if asked.get("impute") == "1" else ""
    return Stretch(start, start + min(max(end - start, LEAST_SPAN), MOST_SPAN), newest, kept)


def _instant(text: str | None) -> datetime | None:
    """None for what is no instant of ours: a page shows its default rather than an error."""
    try:
        at = Instant().to_internal_value(text) if text else None
    except ValidationError:
        return None
    return at if at is not None and at.year in YEARS else None


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Chart:
    """A channel's series with its figures in words."""

    series: Series
    grade: SensorGrade | None

    @property
    def normal(self) -> str:
        return span(self.series.channel.normal)

    @property
    def figures(self) -> list[tuple[str, str]]:
        decimals = words.decimals_of(self.series.channel.resolution)
        found = (("min", self.series.low), ("mean", self.series.mean), ("max", self.series.high))
        return [(name, words.number(value, decimals)) for name, value in found]

    @property
    def coverage(self) -> str:
        return words.percent(self.series.coverage)

    @property
    def left_out(self) -> str:
        """How many readings the figures leave out, and why."""
        kinds = [f"{words.count(n)} {name.replace('_', ' ')}" for name, n in self.series.left_out.items()]
        return f"{words.count(self.series.n_left_out)} left out" + (f": {', '.join(kinds)}" if kinds else "")


@dataclass(frozen=True, slots=True)
class Read:
    """What the stores told of a stretch; `fault` is what could not be asked."""

    series: list[Series]
    imputed: Mapping[str, list[Point]]
    is_cut: bool
    fault: StoreUnavailable | str

    @property
    def is_empty(self) -> bool:
        return not any(one.n for one in self.series)


NOTHING = Read([], {}, False, "")


def context(mote: Mote, asked: Mapping[str, str], *, tiers: Tiers, now: datetime, user: Any) -> dict[str, Any]:
    """All that the page shows; what a store that is away would have told comes from the lake, and it is said so."""
    profile = registry.current_fleet().profiles[mote.profile.code]
    newest, power, fault = _newest(tiers.hot, profile, mote)
    shown = stretch(asked, newest, now)
    read = _read(mote, profile, shown, tiers=tiers, now=now, is_imputed=asked.get("impute") == "1")
    events = _events(mote, shown)
    return {
        "mote": mote,
        "label": own_label(mote),
        "profile": profile,
        "skew": direction(mote.clock_skew_s) if mote.clock_skew_s is not None else "",
        "power": power,
        "stretch": shown,
        "plan": _plan(mote),
        "n_events": len(events),
        "events": events[:LISTED_EVENTS],
        "store_fault": fault or read.fault,
        "data": _data(mote, profile, shown, read, events) | _foretold(mote, shown),
        **_presence(mote, profile, newest, now),
        **_charts(mote, profile, read),
        **_imputation(profile, asked),
        **_beside(mote),
        **_said(mote),
        **_changes(mote, user, is_unheard=newest is None),
    }


def _presence(mote: Mote, profile: ProfileValue, newest: datetime | None, now: datetime) -> dict[str, Any]:
    heard_at = max(filter(None, (mote.last_seen_at, newest)), default=None)
    return {"presence": presence(mote.state, heard_at, profile.interval_s, now=now), "seen_at": heard_at}


def _charts(mote: Mote, profile: ProfileValue, read: Read) -> dict[str, Any]:
    grades = {one.channel: one for one in mote.grades.all()}
    return {
        "worst": max((one.grade for one in grades.values()), default=""),
        "grades": [grades[name] for name in profile.names if name in grades],
        "charts": [Chart(one, grades.get(one.channel.code)) for one in read.series],
        "is_empty": read.is_empty,
        "is_cut": read.is_cut,
        "most_readings": MOST_READINGS,
    }


def _imputation(profile: ProfileValue, asked: Mapping[str, str]) -> dict[str, bool]:
    return {"may_impute": bool(imputing.methods(profile)), "is_imputed": asked.get("impute") == "1"}


def _said(mote: Mote) -> dict[str, Any]:
    """What people and rules said of it."""
    active = Alert.objects.active().filter(mote=mote).select_related("mote__site", "acknowledged_by")
    return {
        "alerts": active[:SHOWN_ALERTS],
        "labels": Label.objects.filter(mote=mote)[:SHOWN_LABELS],
        "corrections": _corrections(mote),
        "deeds": _deeds(mote),
    }


def _changes(mote: Mote, user: Any, *, is_unheard: bool) -> dict[str, Any]:
    """What whoever looks may change of it; its profile only before its first reading."""
    return {
        "states": [(code, *STATES[code]) for code in STATES if code != mote.state],
        "state_words": STATES[mote.state][1],
        "zones": mote.site.zones.all(),
        "other_profiles": Profile.objects.exclude(pk=mote.profile_id) if is_unheard else (),
        "may_act": may(user, OPERATE),
        "may_register": may(user, ENGINEERING),
    }


def _read(mote: Mote, profile: ProfileValue, shown: Stretch, *, tiers: Tiers, now: datetime, is_imputed: bool) -> Read:
    try:
        read = tiers.between(profile, [mote.pk], shown.start, shown.end, now=now, limit=MOST_READINGS + 1)
    except StoreUnavailable as error:
        return replace(NOTHING, fault=error)
    is_cut = len(read.table) > MOST_READINGS
    found = _series(profile, read.table.head(MOST_READINGS), shown, now, is_cut=is_cut)
    known = Read(found, {}, is_cut, read.fault)
    if not is_imputed or is_cut or read.fault:
        return known
    try:
        return replace(known, imputed=_imputed(mote, profile, read.table, shown, tiers.hot))
    except StoreUnavailable as error:
        return replace(known, fault=error)


def _imputed(
    mote: Mote, profile: ProfileValue, table: pl.DataFrame, shown: Stretch, store: HotStore
) -> dict[str, list[Point]]:
    fleet = registry.current_fleet()
    return imputed_lines(profile, table, imputing.between(store, fleet, fleet.by_id[mote.pk], shown.start, shown.end))


def _newest(
    store: HotStore, profile: ProfileValue, mote: Mote
) -> tuple[datetime | None, Power | None, StoreUnavailable | str]:
    """Its newest reading and its battery; where the store is away the mote's row knows when, and why it is away."""
    try:
        latest = corrections.latest(store, profile, [mote.pk])
        if latest.is_empty():
            return None, None, ""
        at = latest["at"].item()
        volts = latest[profile.battery.channel].item() if profile.battery else None
        return at, powers(store, profile, {mote.pk: (at, volts)}).get(mote.pk), ""
    except StoreUnavailable as error:
        return mote.last_seen_at, None, error


def _series(profile: ProfileValue, table: pl.DataFrame, shown: Stretch, now: datetime, *, is_cut: bool) -> list[Series]:
    """Of all channels; what lies ahead, or beyond what is read at once, is no gap."""
    last: Any = table["at"].max() if is_cut else min(shown.end, max(now, shown.start + LEAST_SPAN))
    return series(profile, table, micros(shown.start), micros(last))


def _events(mote: Mote, shown: Stretch) -> list[Event]:
    within = Q(started_at__lt=shown.end) & (Q(last_at__gte=shown.start) | Q(ended_at=None))
    return list(Event.objects.filter(within, mote=mote).select_related("alert")[:SHOWN_EVENTS])


def _beside(mote: Mote) -> dict[str, str]:
    """The codes of the motes before and after it at its site, as people count them; empty at either end."""
    codes = sorted(Mote.objects.on_page().filter(site=mote.site).values_list("code", flat=True), key=words.natural)
    if mote.code not in codes:  # a retired one stands on no list
        return {"mote_before": "", "mote_after": ""}
    place = codes.index(mote.code)
    return {
        "mote_before": codes[place - 1] if place else "",
        "mote_after": codes[place + 1] if place + 1 < len(codes) else "",
    }


def _corrections(mote: Mote) -> Sequence[Correction]:
    """Those that stand first."""
    made = list(mote.corrections.select_related("made_by", "undone_by")[:SHOWN_CORRECTIONS])
    return sorted(made, key=lambda one: one.undone_at is not None)


def _deeds(mote: Mote) -> list[dict[str, Any]]:
    """Who changed what of it, the newest first."""
    entries = AuditEntry.objects.filter(subject=mote.subject).select_related("who")[:SHOWN_DEEDS]
    return [
        {"at": one.at, "who": one.who.username if one.who else "SIEIS", "words": deed_words(one.deed, one.detail)}
        for one in entries
    ]


def deed_words(deed: str, detail: Mapping[str, Any]) -> str:
    """
    >>> deed_words("change_mote", {"state": ["active", "retired"], "label": ["", "by the door"]})
    'change mote: state active → retired, label – → by the door'
    """
    parts = [
        f"{name} {value[0] or '–'} → {value[1] or '–'}" if isinstance(value, list) else f"{name} {value}"
        for name, value in detail.items()
        if value not in ("", None)
    ]
    words = f"{deed}: {', '.join(parts)}" if parts else deed
    return words.replace("_", " ")


def _plan(mote: Mote) -> dict[str, Any] | None:
    """Where it stands among the others of its site."""
    if mote.x is None or mote.y is None:
        return None
    others = Mote.objects.filter(site=mote.site, x__isnull=False, y__isnull=False).exclude(state=Mote.State.RETIRED)
    places = {code: (x, y) for code, x, y in others.values_list("code", "x", "y")} | {mote.code: (mote.x, mote.y)}
    plan: Plan = lay_out([Spot(code, x, y) for code, (x, y) in places.items()])
    here = plan.places[mote.code]
    return {"plan": plan, "here": here, "others": [place for code, place in plan.places.items() if code != mote.code]}


def _foretold(mote: Mote, shown: Stretch) -> dict[str, Any]:
    """The newest forecasts, if they begin within what is shown; the charts go on by half of it at most."""
    rows = list(newest().filter(mote=mote, origin_at__gte=shown.start, origin_at__lte=shown.end))
    ahead = max((row.ends_at for row in rows), default=shown.end)
    until = min(ahead, shown.end + shown.span / 2)
    return {"until": micros(max(until, shown.end)) / 1000, "forecasts": {row.channel: drawn(row) for row in rows}}


def _data(mote: Mote, profile: ProfileValue, shown: Stretch, read: Read, events: Sequence[Event]) -> dict[str, Any]:
    """The same for the page's module, by json_script; instants are milliseconds."""
    return {
        "mote": mote.code,
        "site": mote.site.code,
        "start": micros(shown.start) / 1000,
        "end": micros(shown.end) / 1000,
        "gapMs": profile.silent_after_s * 1000,
        "kinds": {str(bit): name for bit, name in quality.NAMES.items()},
        "events": [
            {
                "start": micros(event.started_at) / 1000,
                "end": micros(event.last_at) / 1000,
                "words": event.words,
                "channels": concerned(event.contributions),
            }
            for event in events
        ],
        "channels": [_told(one, read.imputed.get(one.channel.code, [])) for one in read.series],
    }


def _told(one: Series, imputed: Sequence[Point]) -> dict[str, Any]:
    return {
        "code": one.channel.code,
        "label": one.channel.label,
        "unit": one.channel.unit,
        "normal": one.channel.normal,
        "physical": one.channel.physical,
        "resolution": one.channel.resolution,
        "line": one.line,
        "flagged": one.flagged,
        "imputed": imputed,
    }
