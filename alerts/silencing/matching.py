"""Which silence keeps an alert quiet at an instant, and which stretches are maintenance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from alerts.models import Alert, MaintenanceWindow
from alerts.places import Place, is_of_kind, place_of
from alerts.silencing.models import Silence, Suppression


@dataclass(frozen=True, slots=True)
class Stretch:
    """Maintenance from one instant to another, of a mote, a zone (site/zone), a site, or everything."""

    starts_at: datetime
    ends_at: datetime
    mote: int | None = None
    zone: str = ""
    site: str = ""

    def holds(self, place: Place) -> bool:
        return place.is_in(site=self.site, zone=self.zone, mote=self.mote)


def standing(start: datetime, end: datetime) -> QuerySet[Silence]:
    """Silences that may be in force somewhere in the span; one that was lifted counts until then."""
    found = Silence.objects.filter(starts_at__lte=end).filter(Q(ends_at=None) | Q(ends_at__gt=start))
    found = found.filter(Q(lifted_at=None) | Q(lifted_at__gt=start))
    return found.select_related("site", "zone__site", "mote__site", "made_by")


def spans(silence: Silence, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """When it is in force within the span."""
    last = min(filter(None, (silence.ends_at, silence.lifted_at, end)))
    first = max(silence.starts_at, start)
    hours = silence.hours
    for begins, ends in hours.spans(first, last) if hours else [(first, last)]:
        if max(begins, first) < min(ends, last):
            yield max(begins, first), min(ends, last)


def is_in_force(silence: Silence, at: datetime) -> bool:
    if not silence.starts_at <= at or (silence.ends_at and at >= silence.ends_at):
        return False
    if silence.lifted_at and at >= silence.lifted_at:
        return False
    return silence.hours is None or silence.hours.covers(at)


def is_meant(silence: Silence, alert: Alert) -> bool:
    """Whether the alert lies in its scope, whenever."""
    return (not silence.kind or is_of_kind(alert.kind, silence.kind)) and place_of(alert).is_in(
        site=silence.site.code if silence.site else "",
        zone=str(silence.zone) if silence.zone else "",
        mote=silence.mote_id,
    )


def silence_of(alert: Alert, silences: Iterable[Silence], at: datetime) -> Silence | None:
    return next((one for one in silences if is_meant(one, alert) and is_in_force(one, at)), None)


def suppressed(alerts: Collection[Alert], now: datetime) -> dict[int, Silence]:
    """By alert the silence that keeps it quiet now; for one that is over, that kept it quiet to its end."""
    silences = [one for one in standing(now, now) if is_in_force(one, now)] if alerts else []
    found = {
        alert.pk: silence
        for alert in alerts
        if alert.status in Alert.ACTIVE and (silence := silence_of(alert, silences, now)) is not None
    }
    over = [alert.pk for alert in alerts if alert.status not in Alert.ACTIVE]
    rows = Suppression.objects.filter(alert__in=over, ended_at=None).select_related(
        "silence__site", "silence__zone__site", "silence__mote__site"
    )
    return found | {row.alert_id: row.silence for row in rows if over}


def maintenance(start: datetime, end: datetime) -> list[Stretch]:
    """All maintenance that touches the span: single windows and silences that are maintenance, each time they come."""
    windows = MaintenanceWindow.objects.filter(starts_at__lt=end, ends_at__gt=start).select_related("zone__site")
    found = [
        Stretch(one.starts_at, one.ends_at, one.mote_id, str(one.zone) if one.zone and not one.mote_id else "")
        for one in windows
    ]
    for silence in standing(start, end).filter(is_maintenance=True, kind=""):
        scope = (silence.mote_id, str(silence.zone) if silence.zone else "", silence.site.code if silence.site else "")
        found += [Stretch(begins, ends, *scope) for begins, ends in spans(silence, start, end)]
    return found
