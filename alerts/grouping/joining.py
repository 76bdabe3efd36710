"""Puts each alert into its incident; called by the planner of messages, never on the reading path."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import models

from alerts.grouping.gathering import CLOSE, Member, Sign, first_mover, incident_of
from alerts.grouping.models import Incident, Membership
from alerts.models import Alert, Event
from alerts.places import place_of


class Joining:
    """One pass: knows the members of late, and learns those that it adds."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        alerts = list(alerts)
        self._channels = _channels(alerts)
        began = [alert.first_seen_at for alert in alerts]
        near = Membership.objects.filter(began_at__gte=min(began) - CLOSE, began_at__lte=max(began) + CLOSE)
        near = near.select_related("alert__mote__site", "alert__mote__zone", "incident").order_by("pk")
        self._channels |= _channels([one.alert for one in near])
        self._grown: dict[int, tuple[str, str]] = {}
        self._members = [Member(self._sign(one.alert), one.incident_id, one.incident.opened_at) for one in near]

    def join(self, alert: Alert, now: datetime) -> Incident:
        """The incident of the alert: the one it is in, one that it joins, or one of its own."""
        known = Membership.objects.filter(alert=alert).select_related("incident").first()
        if known is not None:
            return known.incident
        sign = self._sign(alert)
        found = incident_of(sign, self._members)
        if found is None:
            incident = Incident.objects.create(
                cause="",
                site=alert.mote.site if alert.mote else None,
                first_mover=alert,
                opened_at=sign.began_at,
                joined_at=now,
                n_alerts=1,
            )
        else:
            incident = Incident.objects.get(pk=found[0].incident)
        Membership.objects.create(incident=incident, alert=alert, began_at=sign.began_at, joined_at=now)
        self._members.append(Member(sign, incident.pk, incident.opened_at))
        if found is not None:
            self._grown.setdefault(incident.pk, found[1:])
        return incident

    def finish(self, now: datetime) -> None:
        """Writes down what the incidents are now, once each however many alerts came to them."""
        for incident in Incident.objects.filter(pk__in=self._grown):
            self._tell(incident, *self._grown[incident.pk], now)
        self._grown.clear()

    def _tell(self, incident: Incident, cause: str, shared: str, now: datetime) -> None:
        signs = [one.sign for one in self._of(incident)]
        first, why = first_mover(signs)
        incident.cause, incident.shared = incident.cause or cause, incident.shared or shared
        incident.first_mover_id, incident.why_first, incident.n_alerts = first.alert, why, len(signs)
        incident.joined_at, incident.ended_at = now, None
        incident.opened_at = first.began_at
        incident.save()

    def _of(self, incident: Incident) -> list[Member]:
        """Its members: those of late are known, the others are asked for."""
        known = {one.sign.alert: one for one in self._members if one.incident == incident.pk}
        rows = incident.memberships.exclude(alert__in=known).select_related("alert__mote__site", "alert__mote__zone")
        return [*known.values(), *(Member(self._sign(row.alert), incident.pk, incident.opened_at) for row in rows)]

    def _sign(self, alert: Alert) -> Sign:
        place = place_of(alert)
        return Sign(alert.pk, alert.kind, place.site, place.zone, self._channels.get(alert.pk, ""), alert.first_seen_at)


def _channels(alerts: Iterable[Alert]) -> dict[int, str]:
    """Each alert's channel: that of its worst event."""
    events = Event.objects.filter(alert__in=[one.pk for one in alerts]).order_by("peak_surprise")
    return dict(events.values_list("alert_id", "peak_channel"))


def end_incidents(now: datetime) -> int:
    """Ends those of which no alert is active any more."""
    active = Membership.objects.filter(incident=models.OuterRef("pk"), alert__status__in=Alert.ACTIVE)
    over = list(Incident.objects.running().exclude(models.Exists(active)).values_list("pk", flat=True))
    return Incident.objects.filter(pk__in=over).update(ended_at=now) if over else 0
