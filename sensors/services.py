"""Changes to what is out there. Each raises the fleet's revision and leaves an audit entry, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from sensors import audit
from sensors.models import Mote, Site, Zone
from sensors.registry import touch_fleet

FleetPart = Site | Zone | Mote
# Name of a field with what it was and what it became.
Changes = Mapping[str, tuple[Any, Any]]


def change_mote(mote: Mote, *, who: User | None, now: datetime, **values: Any) -> Mote:
    """Sets fields of the mote; ValidationError says where a value is wrong. Where none is new, nothing happens."""
    changes = {name: (getattr(mote, name), value) for name, value in values.items() if getattr(mote, name) != value}
    if changes:
        for name, (_, value) in changes.items():
            setattr(mote, name, value)
        mote.full_clean()
        keep_fleet_part(mote, changes=changes, who=who, now=now)
    return mote


@transaction.atomic
def keep_fleet_part(part: FleetPart, *, changes: Changes, who: User | None, now: datetime) -> None:
    """Saves a site, zone or mote as it stands, new or changed."""
    verb = "add" if part.pk is None else "change"
    part.save()
    touch_fleet()
    told = {name: [_told(before), _told(after)] for name, (before, after) in changes.items()}
    audit.record(deed=f"{verb}_{_kind(part)}", subject=_subject(part), detail=told, who=who, now=now)


@transaction.atomic
def remove_zone(zone: Zone, *, who: User | None, now: datetime) -> None:
    """Its motes stay, without a zone. Sites and motes are never removed: their readings would lose their names."""
    subject = _subject(zone)
    zone.delete()
    touch_fleet()
    audit.record(deed="remove_zone", subject=subject, who=who, now=now)


def _kind(part: FleetPart) -> str:
    return type(part).__name__.lower()


def _subject(part: FleetPart) -> str:
    return part.subject if isinstance(part, Mote) else f"{_kind(part)}:{part}"


def _told(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)
