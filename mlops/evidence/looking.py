"""What is gathered around an event: readings, neighbours, what people changed, what came before like it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from django.db.models import Q

from alerts.models import Alert, AlertChange, Event, Judgement, MaintenanceWindow
from mlops.evidence.verdict import Neighbour, Signs, deviations
from sensors.fleet import Fleet, MoteRef
from sensors.models import AuditEntry, Mote, SensorGrade
from sensors.readings import Channel, Floats, Profile
from sensors.stores import HotStore

AROUND = timedelta(hours=2)
LONGEST_EVENT = timedelta(hours=6)  # of a longer one its beginning and its peak are told
CAUSES_WITHIN = timedelta(hours=24)
MOST_NEIGHBOURS, MOST_SIMILAR, MOST_CHANGES = 8, 5, 20
SHORTEST = timedelta(minutes=2)  # a spike's neighbours are looked at for as long


def window(event: Event, newest: datetime) -> tuple[datetime, datetime]:
    """Two hours before it and two after, as far as there are readings."""
    last = min(event.last_at, event.started_at + LONGEST_EVENT)
    return event.started_at - AROUND, min(max(last, event.peak_at) + AROUND, newest + timedelta(microseconds=1))


def stretch(event: Event) -> tuple[datetime, datetime]:
    """When the event was, or a little around its peak where it was shorter."""
    end = min(event.last_at, event.started_at + LONGEST_EVENT)
    middle = event.started_at + (end - event.started_at) / 2
    half = max((end - event.started_at) / 2, SHORTEST / 2)
    return middle - half, middle + half


# ---- neighbours ----------------------------------------------------------------------------------------------


def nearest(mote: Mote, fleet: Fleet) -> list[MoteRef]:
    """The motes of its profile that stand next to it: of its zone, else of its site; nearest first."""
    own = fleet.by_id[mote.pk]
    here = None if mote.x is None or mote.y is None else (mote.x, mote.y)
    alike = [one for one in fleet.motes if one.profile == own.profile and one.id != own.id and one.site == own.site]
    peers = [one for one in alike if one.zone == own.zone and own.zone] or alike
    known = Mote.objects.filter(pk__in=[one.id for one in peers], x__isnull=False, y__isnull=False)
    places: dict[int, tuple[Any, Any]] = {pk: (x, y) for pk, x, y in known.values_list("pk", "x", "y")}

    def away(one: MoteRef) -> float:
        return math.inf if one.id not in places or here is None else math.dist(places[one.id], here)

    return sorted(peers, key=lambda one: (away(one), one.code))[:MOST_NEIGHBOURS]


def neighbours(
    event: Event, channel: Channel, profile: Profile, *, mote: Mote, fleet: Fleet, store: HotStore
) -> list[Neighbour]:
    """How far each neighbour moved in the event's stretch, against its own two hours before."""
    start, end = stretch(event)
    beside = nearest(mote, fleet)
    table = store.between(profile, [one.id for one in beside], start - AROUND, end) if beside else None
    found = []
    for one in beside:
        own = table.filter(pl.col("mote") == one.id) if table is not None else pl.DataFrame()
        before, during = parted(own, channel.code, start)
        found.append(Neighbour(one.code, len(during), _middle(before), _middle(during), moved(before, during, channel)))
    return found


def parted(table: pl.DataFrame, channel: str, at: datetime) -> tuple[Floats, Floats]:
    """A channel's values before the instant and from it on."""
    values = table.select("at", pl.col(channel).fill_null(float("nan")).alias("value"))
    before, during = values.filter(pl.col("at") < at), values.filter(pl.col("at") >= at)
    return before["value"].to_numpy(), during["value"].to_numpy()


def moved(before: Floats, during: Floats, channel: Channel) -> float | None:
    width = channel.normal[1] - channel.normal[0]
    return deviations(before, during, max(2 * channel.resolution, width / 100))


def _middle(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


# ---- the mote itself -------------------------------------------------------------------------------------------


def signs(
    event: Event,
    channel: Channel,
    profile: Profile,
    *,
    readings: pl.DataFrame,
    beside: Sequence[Neighbour],
    grade: str,
) -> Signs:
    start, end = stretch(event)
    before, during = parted(readings.filter(pl.col("at") < end), channel.code, start)
    near = readings.filter(pl.col("at").is_between(start - timedelta(minutes=10), end))
    volts, low = None, None
    if profile.battery and profile.battery.channel != channel.code:
        there = near.filter(pl.col("at") <= event.peak_at)[profile.battery.channel].drop_nulls()
        volts, low = (float(there[-1]) if len(there) else None), profile.battery.low
    return Signs(
        channel=channel,
        layer=event.layer,
        value=event.peak_value,
        deviations=moved(before, during, channel),
        fastest_per_s=_fastest(near, channel.code),
        flat_s=_flat(near, channel.code),
        volts=volts,
        volts_low=low,
        grade=grade,
        shares=event.contributions,
        neighbours=beside,
    )


def _fastest(table: pl.DataFrame, channel: str) -> float | None:
    known = table.select("at", channel).drop_nulls()
    if len(known) < 2:
        return None
    seconds = known["at"].diff().dt.total_microseconds() / 1e6
    rates = (known[channel].diff().abs() / seconds).drop_nulls()
    return float(rates.max())  # type: ignore[arg-type]  # polars' max of floats


def _flat(table: pl.DataFrame, channel: str) -> float | None:
    """The longest time for which the very same value was said."""
    known = table.select("at", channel).drop_nulls()
    if len(known) < 3:
        return None
    runs = known.with_columns(pl.col(channel).rle_id().alias("run")).group_by("run").agg(
        (pl.col("at").max() - pl.col("at").min()).dt.total_microseconds().alias("us"), pl.len().alias("n")
    )  # fmt: skip
    longest = runs.filter(pl.col("n") > 2)["us"].max()
    return float(longest) / 1e6 if longest is not None else 0.0  # type: ignore[arg-type]


def grade_of(mote: Mote, channel: str) -> dict[str, Any] | None:
    row = SensorGrade.objects.filter(mote=mote, channel=channel).first()
    return {"channel": channel, "grade": row.grade, "reasons": row.reasons} if row else None


# ---- did we cause it? ------------------------------------------------------------------------------------------


def timeline(event: Event, mote: Mote) -> list[dict[str, Any]]:
    """What people and SIEIS changed about the mote, its profile and its model in the day before; the newest first."""
    start, end = event.started_at - CAUSES_WITHIN, event.last_at
    profile = mote.profile.code
    about = Q(subject=mote.subject) | Q(subject=f"profile:{profile}") | Q(subject__startswith=f"model:{profile}/")
    deeds = AuditEntry.objects.filter(about, at__gte=start, at__lte=end).exclude(deed__endswith="_alert")
    found = [
        {"at": _iso(one.at), "what": one.deed.replace("_", " "), "who": one.who.username if one.who else "SIEIS",
         "subject": one.subject, "detail": one.detail}
        for one in deeds.select_related("who").order_by("-at")[:MOST_CHANGES]
    ]  # fmt: skip
    scope = Q(mote=mote) | Q(zone=mote.zone_id, zone__isnull=False)
    found += [
        {"at": _iso(one.starts_at), "what": "maintenance window", "who": str(one.created_by or "SIEIS"),
         "subject": str(one.mote or one.zone), "detail": {"reason": one.reason, "until": _iso(one.ends_at)}}
        for one in MaintenanceWindow.objects.filter(scope, starts_at__lte=end, ends_at__gte=start)
    ]  # fmt: skip
    return sorted(found, key=lambda one: one["at"], reverse=True)


# ---- what came before like it ----------------------------------------------------------------------------------


def similar(event: Event, alert: Alert) -> list[dict[str, Any]]:
    """Past alerts whose worst event deviated in the same way: the nearest first, with what was done."""
    past = (
        Event.objects.filter(peak_channel=event.peak_channel, alert__isnull=False, noticed_at__lt=event.noticed_at)
        .filter(Q(mote=event.mote_id) | Q(layer=event.layer))
        .exclude(alert=alert)
        .select_related("alert", "mote")
        .order_by("-noticed_at")[:200]
    )
    ranked = sorted(past, key=lambda one: -_likeness(event, one))
    nearest_by_alert = {one.alert_id: one for one in reversed(ranked)}
    chosen = sorted(nearest_by_alert.values(), key=lambda one: -_likeness(event, one))[:MOST_SIMILAR]
    return [_past(one, _likeness(event, one)) for one in chosen]


def _likeness(one: Event, other: Event) -> float:
    """The cosine of their contributions; the same mote and the same layer make two alike."""
    names = sorted({*one.contributions, *other.contributions})
    a, b = (np.array([each.contributions.get(name, 0.0) for name in names]) for each in (one, other))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    cosine = float(a @ b) / norm if norm else 0.0
    return round(0.6 * cosine + 0.2 * (one.mote_id == other.mote_id) + 0.2 * (one.layer == other.layer), 3)


def _past(event: Event, likeness: float) -> dict[str, Any]:
    assert event.alert is not None
    said = Judgement.objects.filter(alert=event.alert).first()
    notes = AlertChange.objects.filter(alert=event.alert).exclude(who=None).exclude(note="").order_by("-at")
    return {
        "alert": event.alert_id,
        "at": _iso(event.noticed_at),
        "mote": event.mote.code,
        "words": event.words,
        "likeness": likeness,
        "ended": "by " + event.alert.resolved_by.username if event.alert.resolved_by else "by itself",
        "verdict": said.get_verdict_display() if said else None,
        "done": [one.note for one in notes[:3]],
    }


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def as_json(one: Neighbour) -> Mapping[str, Any]:
    return {
        "mote": one.mote, "n": one.n, "before": one.before, "during": one.during, "deviations": one.deviations,
    }  # fmt: skip
