"""Puts each alert into its incident; called by the planner of messages, never on the reading path."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from django.db import models

from alerts.grouping.gathering import CLOSE, Member, Sign, first_mover, incident_of
from alerts.grouping.models import Incident, Membership
from alerts.models import Alert, Event
from alerts.places import place_of

RECENT = 500  # members that are looked at: in a storm the last ones tell as much as all
FEW = 5
EARLIEST = 50  # members among which the first mover is told


class Joining:
    """One pass: knows the members of late, and learns those that it adds."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        alerts = list(alerts)
        self._channels = _channels(alerts)
        began = [alert.first_seen_at for alert in alerts]
        near = Membership.objects.filter(began_at__gte=min(began) - CLOSE, began_at__lte=max(began) + CLOSE)
        near = near.select_related("alert__mote__site", "alert__mote__zone", "incident").order_by("-pk")[:RECENT]
        known = list(reversed(near))
        self._channels |= _channels([one.alert for one in known])
        self._grown: dict[int, tuple[str, str]] = {}
        self._by_tie: dict[tuple[str, str], deque[Member]] = {}
        for one in known:
            self._learn(Member(self._sign(one.alert), one.incident_id, one.incident.opened_at))

    def join(self, alert: Alert, now: datetime) -> Incident:
        """The incident of the alert: the one it is in, one that it joins, or one of its own."""
        known = Membership.objects.filter(alert=alert).select_related("incident").first()
        if known is not None:
            return known.incident
        sign = self._sign(alert)
        found = incident_of(sign, [one for tie in sign.ties() for one in self._by_tie.get(tie, ())])
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
        self._learn(Member(sign, incident.pk, incident.opened_at))
        if found is not None:
            self._grown.setdefault(incident.pk, found[1:])
        return incident

    def _learn(self, member: Member) -> None:
        """The last few of each tie are enough to find an incident by."""
        for tie in member.sign.ties():
            self._by_tie.setdefault(tie, deque(maxlen=FEW)).append(member)

    def finish(self, now: datetime) -> None:
        """Writes down what the incidents are now, once each however many alerts came to them."""
        for incident in Incident.objects.filter(pk__in=self._grown):
            self._tell(incident, *self._grown[incident.pk], now)
        self._grown.clear()

    def _tell(self, incident: Incident, cause: str, shared: str, now: datetime) -> None:
        earliest = incident.memberships.order_by("began_at", "alert")[:EARLIEST]
        rows = earliest.select_related("alert__mote__site", "alert__mote__zone")
        first, why = first_mover([self._sign(row.alert) for row in rows])
        incident.cause, incident.shared = incident.cause or cause, incident.shared or shared
        incident.first_mover_id, incident.why_first = first.alert, why
        incident.n_alerts = incident.memberships.count()
        incident.joined_at, incident.ended_at = now, None
        incident.opened_at = first.began_at
        incident.save()

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
