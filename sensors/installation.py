"""Installing a pack: its profile, site, zones and motes come to stand in the database, and nothing twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from sensors import audit
from sensors.models import Channel, Mote, Profile, ProfileVersion, Site, Zone, valid_time_zone
from sensors.packs import Pack
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


def _install_profile(pack: Pack, done: Installed, now: datetime, keeps_it: bool = False) -> ProfileVersion:
    code, label = pack.profile.code, pack.profile.label
    profile, is_new = Profile.objects.get_or_create(code=code, defaults={"label": label})
    current = profile.versions.select_for_update().filter(is_current=True).first()
    if current and (keeps_it or current.content_hash == pack.content_hash):
        done.unchanged.append(f"profile {code}, version {current.number}")
        return current
    if current:
        _refuse_moved_channels(pack, current)
    number = (profile.versions.values_list("number", flat=True).first() or 0) + 1
    profile.versions.filter(is_current=True).update(is_current=False)
    version = _add_version(pack, profile, number, now)
    if is_new:
        done.created.append(f"profile {code}, version {number}: {', '.join(pack.profile.names)}")
    else:
        Profile.objects.filter(pk=profile.pk).update(label=label)
        done.updated.append(f"profile {code}: version {number} follows version {number - 1}")
    return version


def _refuse_moved_channels(pack: Pack, current: ProfileVersion) -> None:
    """Quality flags and detection state know a channel by its place: places are never given to others."""
    before = list(current.channels.values_list("code", flat=True))
    now = list(pack.profile.names)
    if now[: len(before)] != before:
        raise CannotInstall(
            f"{pack.source}: channels are {', '.join(now)}, but profile {pack.profile.code} has had "
            f"{', '.join(before)}. Channels keep their order: add new ones at the end and leave the others in place, "
            "or give the profile another code."
        )


def _add_version(pack: Pack, profile: Profile, number: int, now: datetime) -> ProfileVersion:
    version = ProfileVersion.objects.create(
        profile=profile,
        number=number,
        step_s=pack.profile.step_s,
        interval_s=pack.profile.interval_s,
        content_hash=pack.content_hash,
        settings=pack.settings,
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
        )
        for position, channel in enumerate(pack.profile.channels)
    )
    return version


def _install_site(code: str, time_zone: str, done: Installed) -> Site:
    site = Site.objects.filter(code=code).first()
    if site is None:
        valid_time_zone(time_zone)
        site = Site(code=code, label=code.replace("-", " ").capitalize(), time_zone=time_zone)
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
            "install this pack at another site with --site"
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
