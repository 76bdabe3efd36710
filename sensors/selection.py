"""Which readings are meant: motes of one profile, channels, a range of whole hours. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sensors.fleet import Fleet, MoteRef, there_is_no
from sensors.readings import Channel, Profile

HOUR = timedelta(hours=1)
MOST_SPAN = timedelta(days=3660)


class NoSuch(ValueError):
    """What was asked for is not there; `field` says which part of the question it was."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, slots=True)
class Selection:
    profile: Profile
    motes: tuple[MoteRef, ...]
    channels: tuple[Channel, ...]
    start: datetime
    end: datetime

    @property
    def ids(self) -> list[int]:
        return [mote.id for mote in self.motes]

    @property
    def zones(self) -> Mapping[int, str]:
        return {mote.id: mote.time_zone for mote in self.motes}

    def hours_until(self, now: datetime) -> float:
        """How many hours of the range are over, or running; at least one."""
        return max((min(self.end, now) - self.start) / HOUR, 1.0)


def selection(
    fleet: Fleet,
    *,
    start: datetime,
    end: datetime,
    profile: str = "",
    site: str = "",
    motes: Sequence[str] = (),
    channels: Sequence[str] = (),
) -> Selection:
    """Whole hours that hold the range; without motes all of the profile, without a profile that of the motes."""
    if start >= end:
        raise NoSuch("start", f"“{start.isoformat()}” is not before the end, “{end.isoformat()}”.")
    if end - start > MOST_SPAN:
        raise NoSuch("start", f"{(end - start).days:,} days are more than can be looked at at once; at most 3,660.")
    chosen = [known_mote(fleet, code, site) for code in motes]
    kind = _profile(fleet, profile, chosen)
    strange = [mote.code for mote in chosen if mote.profile != kind.code]
    if strange:
        raise NoSuch("mote_id", f"Mote {strange[0]} is not of profile {kind.code}; ask for one profile at a time.")
    members = chosen or [
        mote for mote in (*fleet.motes, *fleet.retired) if mote.profile == kind.code and site in ("", mote.site)
    ]
    return Selection(kind, tuple(members), _channels(kind, channels), floor_hour(start), ceil_hour(end))


def floor_hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def ceil_hour(at: datetime) -> datetime:
    floor = floor_hour(at)
    return floor if floor == at else floor + HOUR


def known_mote(fleet: Fleet, code: str, site: str = "") -> MoteRef:
    """The mote that people mean by a code, retired or not."""
    found = fleet.find(code, site or None)
    if found is not None and found.profile in fleet.profiles:
        return found
    sites = sorted(mote.site for mote in fleet.motes if mote.code == code)
    if not site and len(sites) > 1:
        raise NoSuch("mote_id", f"The sites {', '.join(sites)} all have a mote “{code}”; say which with ?site=.")
    raise NoSuch(
        "mote_id", f"There is no mote “{code}”{f' at site “{site}”' if site else ''}; /api/v1/motes lists them."
    )


def _profile(fleet: Fleet, asked: str, motes: Sequence[MoteRef]) -> Profile:
    if asked in fleet.profiles:
        return fleet.profiles[asked]
    if asked:
        raise NoSuch("profile", there_is_no("profile", asked, fleet.profiles))
    if motes:
        return fleet.profiles[motes[0].profile]
    inhabited = _by_size(fleet)
    if not inhabited:
        raise NoSuch("profile", "There is no mote yet, so there is nothing to look at.")
    return fleet.profiles[inhabited[0]]


def _by_size(fleet: Fleet) -> list[str]:
    """The codes of profiles that have motes, that of most motes first."""
    n = dict.fromkeys(fleet.profiles, 0)
    for mote in fleet.motes:
        n[mote.profile] = n.get(mote.profile, 0) + 1
    return sorted((code for code in fleet.profiles if n[code]), key=lambda code: (-n[code], code))


def _channels(profile: Profile, codes: Collection[str]) -> tuple[Channel, ...]:
    for code in codes:
        if code not in profile.names:
            raise NoSuch(
                "channel", f"Profile {profile.code} has no channel “{code}”; expected {', '.join(profile.names)}."
            )
    return tuple(one for one in profile.channels if not codes or one.code in codes)
