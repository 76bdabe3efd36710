"""Changes to what is out there. Each raises the fleet's revision and leaves an audit entry, in one transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import polars as pl
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from sensors import audit
from sensors.lake import Lake, NoSuchTable
from sensors.models import Mote, Profile, Site, Zone
from sensors.registry import profiles, touch_fleet
from sensors.stores import HotStore

FleetPart = Site | Zone | Mote
# Name of a field with what it was and what it became.
Changes = Mapping[str, tuple[Any, Any]]
CODE = re.compile(r"(?!\.{1,2}$)[^\s/\x00-\x1f](?:[^/\x00-\x1f]*[^\s/\x00-\x1f])?")


class FollowsState(Protocol):
    """Does what else must happen when a mote has come into another state, in the same transaction."""

    def __call__(self, mote: Mote, *, who: User | None, now: datetime) -> object: ...


# Filled by the apps above when they start (alerts/apps.py): whichever door a state is changed by, none forgets them.
state_followers: list[FollowsState] = []


def register_mote(*, site: Site, code: str, profile: Profile, who: User | None, now: datetime, **values: Any) -> Mote:
    """A mote that reports from now on; ValidationError says what of it cannot be."""
    code = code.strip()
    if not CODE.fullmatch(code):
        raise ValidationError({"mote": f"“{code}” cannot stand in an address: expected a code without a slash."})
    if Mote.objects.filter(site=site, code=code).exists():
        raise ValidationError({"mote": f"The site {site} has a mote “{code}” already; codes are unique in a site."})
    mote = Mote(site=site, code=code, profile=profile, **values)
    _refuse_strange_zone(mote)
    mote.full_clean()
    keep_fleet_part(mote, changes={"profile": (None, profile), "state": (None, mote.state)}, who=who, now=now)
    return mote


def _refuse_strange_zone(mote: Mote) -> None:
    if mote.zone is not None and mote.zone.site_id != mote.site_id:
        raise ValidationError({"zone": f"The zone {mote.zone} is not of the site {mote.site}."})


def has_readings(mote: Mote, *, store: HotStore, lake: Lake) -> bool:
    """Whether anything of it was ever stored, hot or cold."""
    profile = profiles()[mote.profile.code]
    if mote.last_seen_at is not None or not store.latest(profile, [mote.pk]).is_empty():
        return True
    try:
        silver = lake.scan(f"silver/{profile.code}")
    except NoSuchTable:
        return False
    return not silver.filter(pl.col("mote") == mote.pk).select("mote").head(1).collect().is_empty()


@transaction.atomic
def change_motes(motes: Sequence[Mote], *, who: User | None, now: datetime, **values: Any) -> int:
    """The same for several, all or none; answers how many of them changed."""
    n = sum(any(getattr(mote, name) != value for name, value in values.items()) for mote in motes)
    for mote in motes:
        change_mote(mote, who=who, now=now, **values)
    return n


def change_mote(mote: Mote, *, who: User | None, now: datetime, **values: Any) -> Mote:
    """Sets fields of the mote; ValidationError says where a value is wrong. Where none is new, nothing happens."""
    changes = {name: (getattr(mote, name), value) for name, value in values.items() if getattr(mote, name) != value}
    if changes:
        for name, (_, value) in changes.items():
            setattr(mote, name, value)
        _refuse_strange_zone(mote)
        mote.full_clean()
        keep_fleet_part(mote, changes=changes, who=who, now=now)
    return mote


@transaction.atomic
def keep_fleet_part(part: FleetPart, *, changes: Changes, who: User | None, now: datetime) -> None:
    """Saves a site, zone or mote as it stands, new or changed."""
    verb = "add" if part.pk is None else "change"
    # Of what stands only what changed: the reading path writes beside us when the mote was last seen.
    part.save(update_fields=None if part.pk is None else list(changes))
    touch_fleet()
    told = {name: [_told(before), _told(after)] for name, (before, after) in changes.items()}
    audit.record(deed=f"{verb}_{_kind(part)}", subject=_subject(part), detail=told, who=who, now=now)
    if isinstance(part, Mote) and "state" in changes:
        for follow in state_followers:
            follow(part, who=who, now=now)


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
