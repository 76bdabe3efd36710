"""What the Live page shows at its first paint; from then on the live channel keeps it up (static/js/pages/live.js)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.db.models import Max, QuerySet

from alerts.models import Alert
from ingestion import words
from ingestion.pages.floor_plan import Plan, Spot, lay_out
from mlops.models import ModelVersion
from sensors import corrections, quality, registry
from sensors.fleet import Fleet
from sensors.live import spoken_alert
from sensors.models import Mote
from sensors.presence import patience
from sensors.readings import Channel, Profile
from sensors.spoken import Spoken, spoken_table
from sensors.stores import HotStore, StoreUnavailable
from sensors.tiers import Tiers

SHOWN_ALERTS = 100
RATE_S = 10
TOLD = ("at", "values", "quality", "flags", "suspect", "score", "is_anomaly")
TRAIL_S, TRAIL_STEPS = 600, 40
TRAIL_READINGS = (
    60_000  # what a sparkline request may read from the store; a fleet that is larger sees less of the past
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A channel of a mote as the table shows it."""

    channel: Channel
    text: str
    is_suspect: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A mote with the last that was heard of it."""

    key: str
    mote: Mote
    reading: Spoken | None
    cells: Sequence[Cell]
    age_s: float | None
    is_silent: bool
    x: float
    y: float

    @property
    def grade(self) -> str:
        """That of its worst channel, A to F; empty before the first was given."""
        return getattr(self.mote, "worst_grade", None) or ""

    @property
    def is_anomalous(self) -> bool:
        return self.reading is not None and bool(self.reading["is_anomaly"])

    @property
    def severity(self) -> str:
        return (self.reading and self.reading["severity"]) or "none"

    @property
    def score_text(self) -> str:
        return words.number(self.reading["score"] if self.reading else None, 2)

    @property
    def score_px(self) -> float:
        return round(48 * ((self.reading and self.reading["score"]) or 0.0), 1)

    @property
    def quality_text(self) -> str:
        return words.percent(self.reading["quality"] if self.reading else None)

    @property
    def seen_text(self) -> str:
        return words.ago(self.age_s)


@dataclass(frozen=True, slots=True)
class Group:
    """The motes of one profile: one table."""

    profile: Profile
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class SitePlan:
    code: str
    label: str
    plan: Plan
    rows: Sequence[Row]


def context(*, tiers: Tiers, now: datetime, may_act: bool) -> dict[str, Any]:
    """All the page needs; where the hot store is away the lake tells the last known values, and the page says so."""
    fleet = registry.current_fleet()
    motes = list(Mote.objects.on_page().annotate(worst_grade=Max("grades__grade")))
    latest, rate, fault = _heard(tiers, fleet, now)
    plans = {site: lay_out([_spot(mote) for mote in motes if mote.site.code == site]) for site in _sites(motes)}
    rows = [_row(mote, fleet, latest.get(mote.pk), plans[mote.site.code], now) for mote in motes]
    active = Alert.objects.active().with_grades().select_related("mote__site", "acknowledged_by")
    alerts = list(active.newest_first()[:SHOWN_ALERTS])
    return {
        "groups": _groups(rows, fleet),
        "plans": [_site_plan(site, label, plans[site], rows) for site, label in _sites(motes).items()],
        "alerts": sorted(alerts, key=_urgency),
        "tiles": _tiles(rows, rate, fleet),
        "colours": _colours(fleet, rows),
        "store_fault": fault,
        "has_readings": bool(latest),
        "may_act": may_act,
        "now": now,
        "data": _data(rows, alerts, fleet, now, may_act),
    }


def _heard(tiers: Tiers, fleet: Fleet, now: datetime) -> tuple[dict[int, Spoken], float | None, StoreUnavailable | str]:
    """Each mote's last reading, the readings a second just now, and what could not be asked."""
    latest: dict[int, Spoken] = {}
    count = 0
    fault: StoreUnavailable | str = ""
    try:
        for code, members in _members(fleet).items():
            found = tiers.latest(fleet.profiles[code], members, now=now)
            latest |= zip(found.table["mote"].to_list(), spoken_table(found.table, code, fleet), strict=True)
            fault = fault or found.fault
            count += 0 if fault else tiers.hot.count(fleet.profiles[code], now - timedelta(seconds=RATE_S), now)
    except StoreUnavailable as error:
        return latest, None, error
    return latest, None if fault else count / RATE_S, fault


def _members(fleet: Fleet) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for mote in fleet.motes:
        if mote.profile in fleet.profiles:
            members[mote.profile].append(mote.id)
    return members


def _sites(motes: Sequence[Mote]) -> dict[str, str]:
    return {mote.site.code: mote.site.label for mote in motes}


def _key(mote: Mote) -> str:
    return f"{mote.site.code}/{mote.code}"


def _spot(mote: Mote) -> Spot:
    return Spot(_key(mote), mote.x, mote.y)


def _row(mote: Mote, fleet: Fleet, reading: Spoken | None, plan: Plan, now: datetime) -> Row:
    profile = fleet.profiles.get(mote.profile.code)
    age_s = (now - datetime.fromisoformat(reading["at"])).total_seconds() if reading else None
    x, y = plan.places[_key(mote)]
    return Row(
        key=_key(mote),
        mote=mote,
        reading=reading,
        cells=[_cell(channel, reading) for channel in profile.channels] if profile else [],
        age_s=age_s,
        is_silent=age_s is None or profile is None or age_s > silent_after_s(profile),
        x=x,
        y=y,
    )


def _cell(channel: Channel, reading: Spoken | None) -> Cell:
    value = reading["values"].get(channel.code) if reading else None
    is_suspect = reading is not None and channel.code in reading["suspect"]
    return Cell(channel, words.number(value, words.decimals_of(channel.resolution)), is_suspect)


def silent_after_s(profile: Profile) -> float:
    """From which age of its last reading a page calls a mote silent."""
    return patience(profile.interval_s).total_seconds()


def _groups(rows: Sequence[Row], fleet: Fleet) -> list[Group]:
    """The profile with the most motes first."""
    groups = [
        Group(profile, [row for row in rows if row.mote.profile.code == code])
        for code, profile in fleet.profiles.items()
    ]
    return sorted((group for group in groups if group.rows), key=lambda group: -len(group.rows))


def _site_plan(site: str, label: str, plan: Plan, rows: Sequence[Row]) -> SitePlan:
    return SitePlan(site, label, plan, [row for row in rows if row.mote.site.code == site])


SEVERITIES = ("high", "medium", "low")


def _urgency(alert: Alert) -> tuple[bool, int]:
    """What nobody has in hand first, then by severity; the sort keeps the newest first among equals."""
    return alert.status != Alert.Status.OPEN, SEVERITIES.index(alert.severity)


def _tiles(rows: Sequence[Row], rate: float | None, fleet: Fleet) -> dict[str, Any]:
    watched = [row for row in rows if row.mote.state == Mote.State.ACTIVE]
    speaking = [row for row in watched if not row.is_silent]
    qualities = [row.reading["quality"] for row in speaking if row.reading]
    active = Alert.objects.active()
    return {
        "n_watched": len(watched),
        "n_speaking": len(speaking),
        "n_silent": len(watched) - len(speaking),
        "rate": words.number(rate, 1 if rate is not None and rate < 100 else 0),
        "n_alerts": active.count(),
        "n_high": active.filter(severity="high").count(),
        "quality": words.percent(sum(qualities) / len(qualities) if qualities else None),
        "serving": list(_serving(fleet)),
    }


def _serving(fleet: Fleet) -> QuerySet[ModelVersion]:
    return ModelVersion.objects.filter(
        stage=ModelVersion.Stage.PRODUCTION, mote=None, profile__code__in=list(fleet.profiles)
    ).select_related("profile")


def _colours(fleet: Fleet, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What the floor map can be coloured by, beside the score."""
    used = [profile for code, profile in fleet.profiles.items() if any(row.mote.profile.code == code for row in rows)]
    prefix = len(used) > 1
    return [
        (f"{profile.code}:{channel.code}", f"{profile.label}: {channel.label}" if prefix else channel.label)
        for profile in used
        for channel in profile.channels
    ]


def _data(rows: Sequence[Row], alerts: Sequence[Alert], fleet: Fleet, now: datetime, may_act: bool) -> dict[str, Any]:
    """The same for the page's module, by json_script."""
    return {
        "now": now.isoformat(),
        "mayAct": may_act,
        "profiles": [_told(profile) for profile in fleet.profiles.values()],
        "motes": [_mote(row) for row in rows],
        "alerts": [spoken_alert(alert) for alert in alerts],
    }


def _told(profile: Profile) -> dict[str, Any]:
    return {
        "code": profile.code,
        "label": profile.label,
        "intervalS": profile.interval_s,
        "silentAfterS": silent_after_s(profile),
        "gapAfterS": profile.silent_after_s,
        "channels": [
            {
                "code": channel.code,
                "label": channel.label,
                "unit": channel.unit,
                "normal": channel.normal,
                "physical": channel.physical,
                "resolution": channel.resolution,
            }
            for channel in profile.channels
        ],
    }


def _mote(row: Row) -> dict[str, Any]:
    reading = row.reading or {}
    return {
        "key": row.key,
        "code": row.mote.code,
        "site": row.mote.site.code,
        "label": row.mote.label,
        "zone": row.mote.zone.label if row.mote.zone else "",
        "profile": row.mote.profile.code,
        "state": row.mote.state,
        "grade": row.grade or None,
        "x": row.x,
        "y": row.y,
        **{name: reading.get(name) for name in TOLD},
    }


# ---- sparklines: asked for after the first paint --------------------------------------------------------------


def trails(*, store: HotStore, now: datetime) -> dict[str, Any]:
    """The last minutes of every mote in a few dozen steps; `first` is the first step's number, counted from 1970."""
    fleet = registry.current_fleet()
    step_s = max(1, int(min(TRAIL_S, TRAIL_READINGS / max(1, len(fleet.motes))) // TRAIL_STEPS))
    first = int(now.timestamp()) // step_s - TRAIL_STEPS + 1
    found: dict[str, dict[str, list[float | None]]] = {}
    for code, members in _members(fleet).items():
        start = datetime.fromtimestamp(first * step_s, UTC)
        table = corrections.between(store, fleet.profiles[code], members, start, now + timedelta(seconds=1))
        found |= _stepped(table, fleet, fleet.profiles[code], first, step_s)
    return {"stepS": step_s, "first": first, "n": TRAIL_STEPS, "motes": found}


def _stepped(
    table: pl.DataFrame, fleet: Fleet, profile: Profile, first: int, step_s: int
) -> dict[str, dict[str, list[float | None]]]:
    """Each mote's channels as means a step of what is clean, None where nothing was."""
    is_suspect = quality.suspects(table["flags"].to_numpy(), len(profile.names))
    table = table.with_columns(
        pl.when(pl.Series(is_suspect[:, place])).then(None).otherwise(pl.col(name)).alias(name)
        for place, name in enumerate(profile.names)
    )
    step = (pl.col("at").cast(pl.Int64) // (step_s * 1_000_000) - first).alias("step")
    means = table.group_by("mote", step).agg(pl.col(profile.names).mean()).filter(pl.col("step") < TRAIL_STEPS)
    motes = means["mote"].unique().sort()
    values = np.full((len(motes), TRAIL_STEPS, len(profile.names)), np.nan)
    values[motes.search_sorted(means["mote"]).to_numpy(), means["step"].to_numpy()] = means.select(
        pl.col(profile.names).fill_null(float("nan"))
    ).to_numpy()
    return {_name(fleet, mote): _lines(values[i], profile) for i, mote in enumerate(motes.to_list())}


def _name(fleet: Fleet, mote: int) -> str:
    return f"{fleet.by_id[mote].site}/{fleet.by_id[mote].code}"


def _lines(values: Any, profile: Profile) -> dict[str, list[float | None]]:
    return {
        channel.code: [None if value != value else value for value in column]
        for channel, column in zip(profile.channels, np.round(values, 3).T.tolist(), strict=True)
    }
