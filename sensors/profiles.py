"""Profiles as people keep them: a pack that somebody uploads, and what each version changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import User

from sensors import readings
from sensors.installation import CannotInstall, Installed, install_pack
from sensors.models import AuditEntry, Profile, ProfileVersion
from sensors.packs import BadPack, Pack, parse_pack
from sensors.packs.changes import Change, changes
from sensors.packs.written import pack_text

MAX_BYTES = 256 * 1024


class ChangedMeanwhile(CannotInstall):
    """Somebody installed another version after the changes were shown."""


@dataclass(frozen=True, slots=True)
class VersionTold:
    """A version of a profile, what it changed of the one before, and who brought it."""

    version: ProfileVersion
    profile: readings.Profile
    changes: list[Change]
    by: str


def read_upload(data: bytes, source: str) -> Pack:
    """The pack in a file that somebody sent. Raises BadPack."""
    if len(data) > MAX_BYTES:
        raise BadPack(f"{source} has {len(data):,} bytes; a pack has {MAX_BYTES:,} at most")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadPack(f"{source}:{line}: this is not UTF-8 text; save the file as UTF-8", line) from None
    return parse_pack(text.replace("\r\n", "\n"), source=source)


def preview(pack: Pack, *, site_code: str = "", who: User | None, now: datetime) -> Installed:
    """What an installation would change; nothing is."""
    return _install(pack, site_code, who, now, is_rehearsal=True)


def install(pack: Pack, *, site_code: str = "", who: User | None, now: datetime, seen: int | None = None) -> Installed:
    """Installs the pack. `seen` is the version that stood when its changes were shown: another one is refused."""
    if seen is not None and seen != (there := current_number(pack.profile.code)):
        raise ChangedMeanwhile(
            f"Profile {pack.profile.code} is at version {there} by now; the changes were shown against "
            f"{f'version {seen}' if seen else 'none'}. Look at them again."
        )
    return _install(pack, site_code, who, now, is_rehearsal=False)


def _install(pack: Pack, site_code: str, who: User | None, now: datetime, *, is_rehearsal: bool) -> Installed:
    return install_pack(
        pack,
        site_code=site_code or settings.SIEIS_DEFAULT_SITE,
        time_zone=settings.SIEIS_TIME_ZONE,
        who=who,
        now=now,
        is_rehearsal=is_rehearsal,
    )


def current_number(code: str) -> int:
    """0 where there is no such profile yet."""
    found = ProfileVersion.objects.filter(profile__code=code, is_current=True)
    return found.values_list("number", flat=True).first() or 0


def versions(profile: Profile) -> list[VersionTold]:
    """All versions of a profile, the newest first, each with its changes to the one before."""
    rows = list(profile.versions.prefetch_related("channels").select_related("profile").order_by("number"))
    told = [row.as_profile() for row in rows]
    by = _installers(profile.code)
    found = [
        VersionTold(row, after, changes(before, after) if before else [], by.get(row.number, ""))
        for row, before, after in zip(rows, [None, *told], told, strict=False)
    ]
    return found[::-1]


def _installers(code: str) -> dict[int, str]:
    """Who brought which version; the first installation of a version is the one that made it."""
    entries = AuditEntry.objects.filter(deed="load_pack", subject=f"profile:{code}").order_by("at", "id")
    found: dict[int, str] = {}
    for version, name in entries.values_list("detail__version", "who__username"):
        found.setdefault(version, name or "")
    return found


def current_text(profile: Profile) -> str:
    """The current version as the TOML file that brings it, without where its motes stand."""
    version = profile.versions.get(is_current=True)
    return pack_text(Pack(f"{profile.code}.toml", version.as_profile(), **version.settings))
