"""Installing a pack: its profile, site, zones and motes come to stand in the database, and nothing twice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction

from sensors import audit, readings
from sensors.models import Channel, Mote, Profile, ProfileVersion, Site, Zone, valid_time_zone
from sensors.packs import Pack
from sensors.packs.changes import CannotFollow, changes, described, in_place, setting_changes
from sensors.registry import touch_fleet


class CannotInstall(Exception):
    """The pack contradicts what is there; the text says what and how to go on."""


@dataclass(slots=True)
class Installed:
    """What an installation did, in words for the person who asked for it."""

    profile_version: int = 0
    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    is_new_version: bool = False  # of a profile that there was

    @property
    def is_changed(self) -> bool:
        return bool(self.created or self.updated)

    def lines(self) -> list[str]:
        parts = (("+", self.created), ("~", self.updated), ("=", self.unchanged))
        return [f"{sign} {what}" for sign, names in parts for what in names]


@transaction.atomic
def install_pack(
    pack: Pack,
    *,
    site_code: str,
    time_zone: str,
    who: User | None,
    now: datetime,
    is_rehearsal: bool = False,
    keeps_profile: bool = False,
) -> Installed:
    """Brings in what the pack has and the database has not; what people changed on site and motes stays theirs.

    A rehearsal does it all and takes it back. keeps_profile leaves a profile that is installed at its version.
    """
    done = Installed()
    version = _install_profile(pack, done, now, keeps_profile)
    if pack.motes:
        site = _install_site(site_code, time_zone, done)
        zones = _install_zones(pack, site, done)
        _install_motes(pack, site, zones, version.profile, done)
    done.profile_version = version.number
    if done.is_changed:
        touch_fleet()
        audit.record(
            who=who, deed="load_pack", subject=f"profile:{pack.profile.code}", now=now,
            detail={
                "site": site_code, "file": pack.source, "version": version.number,
                "created": done.created, "updated": done.updated,
            },
        )  # fmt: skip
    if is_rehearsal:
        transaction.set_rollback(True)
    return done


def _install_profile(pack: Pack, done: Installed, now: datetime, keeps_profile: bool) -> ProfileVersion:
    code, label = pack.profile.code, pack.profile.label
    profile, _ = Profile.objects.get_or_create(code=code, defaults={"label": label})
    current = profile.versions.select_for_update().filter(is_current=True).first()
    if current is None:
        version = _add_version(pack, pack.profile, profile, _next_number(profile), now)
        done.created.append(f"profile {code}, version {version.number}")
        done.created.extend(f"channel {one.code}: {described(one)}" for one in pack.profile.channels)
        return version
    if keeps_profile:
        done.unchanged.append(f"profile {code}, version {current.number}")
        return current
    version = _follow(pack, profile, current, done, now)
    _keep_settings(pack, version, current.settings, done)
    if profile.label != label:
        Profile.objects.filter(pk=profile.pk).update(label=label)
        done.updated.append(f"profile {code}: label “{profile.label}” → “{label}”")
    if not done.is_changed:
        done.unchanged.append(f"profile {code}, version {current.number}")
    return version


def _follow(pack: Pack, profile: Profile, current: ProfileVersion, done: Installed, now: datetime) -> ProfileVersion:
    """The version that the pack asks for: the current one while it says the same. A new label is no new version."""
    before = replace(current.as_profile(), label=pack.profile.label)
    try:
        wanted = in_place(pack.profile, before)
    except CannotFollow as error:
        raise CannotInstall(f"{pack.source}: {error}.") from None
    found = changes(before, wanted)
    if not found:
        return current
    number = _next_number(profile)
    done.is_new_version = True
    done.updated.append(f"profile {profile.code}: version {number} follows version {current.number}")
    done.created.extend(change.words for change in found if change.sign == "+")
    done.updated.extend(change.words for change in found if change.sign != "+")
    profile.versions.filter(is_current=True).update(is_current=False)
    return _add_version(pack, wanted, profile, number, now)


def _keep_settings(pack: Pack, version: ProfileVersion, before: dict[str, Any], done: Installed) -> None:
    """How a profile is simulated, trained and when judges no reading: it changes without a new version."""
    after = json.loads(json.dumps(pack.settings))
    found = setting_changes(before, after)
    if found:
        ProfileVersion.objects.filter(pk=version.pk).update(settings=after)
        done.updated.extend(change.words for change in found)


def _next_number(profile: Profile) -> int:
    return (profile.versions.values_list("number", flat=True).first() or 0) + 1


def _add_version(pack: Pack, wanted: readings.Profile, profile: Profile, number: int, now: datetime) -> ProfileVersion:
    version = ProfileVersion.objects.create(
        profile=profile,
        number=number,
        step_s=wanted.step_s,
        interval_s=wanted.interval_s,
        content_hash=pack.content_hash,
        settings=pack.settings,
        battery=asdict(wanted.battery) if wanted.battery else None,
        is_current=True,
        created_at=now,
    )
    Channel.objects.bulk_create(
        Channel(
            version=version,
            position=position,
            code=channel.code,
            label=channel.label,
            unit=channel.unit,
            physical_min=channel.physical[0],
            physical_max=channel.physical[1],
            normal_min=channel.normal[0],
            normal_max=channel.normal[1],
            resolution=channel.resolution,
            max_rate_per_s=channel.max_rate_per_s,
            flat_after_s=channel.flat_after_s,
            aliases=list(channel.aliases),
            formula=asdict(channel.formula) if channel.formula else None,
            is_detected=channel.is_detected,
            imputation=channel.imputation.method,
            imputation_limit_s=channel.imputation.limit_s,
        )
        for position, channel in enumerate(wanted.channels)
    )
    return version


def refuse_bad_site(code: str) -> None:
    try:
        validate_slug(code)
    except ValidationError:
        raise CannotInstall(f"“{code}” is no code of a site; expected letters, digits, - and _, such as main") from None


def _install_site(code: str, time_zone: str, done: Installed) -> Site:
    site = Site.objects.filter(code=code).first()
    if site is None:
        valid_time_zone(time_zone)
        site = Site(code=code, label=code.replace("-", " ").capitalize(), time_zone=time_zone)
        refuse_bad_site(code)
        site.full_clean()
        site.save()
        done.created.append(f"site {code} in {time_zone}")
    else:
        kept = f"; it keeps its time zone {site.time_zone}" if site.time_zone != time_zone else ""
        done.unchanged.append(f"site {code}{kept}")
    return site


def _install_zones(pack: Pack, site: Site, done: Installed) -> dict[str, Zone]:
    zones = {zone.code: zone for zone in site.zones.all()}
    for wanted in pack.zones:
        if wanted.code in zones:
            done.unchanged.append(f"zone {zones[wanted.code]}")
        else:
            zones[wanted.code] = Zone.objects.create(site=site, code=wanted.code, label=wanted.label)
            done.created.append(f"zone {zones[wanted.code]}")
    return zones


def _install_motes(pack: Pack, site: Site, zones: dict[str, Zone], profile: Profile, done: Installed) -> None:
    existing = dict(site.motes.values_list("code", "profile__code"))
    strangers = [mote.code for mote in pack.motes if existing.get(mote.code, profile.code) != profile.code]
    if strangers:
        raise CannotInstall(
            f"site {site.code} has motes of another profile with the same codes ({', '.join(strangers[:5])}); "
            "install this pack at another site with --site (page and API: site)"
        )
    missing = [mote for mote in pack.motes if mote.code not in existing]
    Mote.objects.bulk_create(
        Mote(
            site=site, zone=zones.get(mote.zone), code=mote.code, label=mote.label, profile=profile, x=mote.x, y=mote.y
        )
        for mote in missing
    )  # fmt: skip
    if missing:
        done.created.append(f"{len(missing)} motes at {site.code}: {_shortly([mote.code for mote in missing])}")
    if len(missing) < len(pack.motes):
        done.unchanged.append(f"{len(pack.motes) - len(missing)} motes at {site.code}")


def _shortly(codes: list[str]) -> str:
    return ", ".join(codes) if len(codes) <= 6 else f"{', '.join(codes[:3])} … {codes[-1]}"
