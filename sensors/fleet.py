"""The fleet as the reading path sees it: a frozen picture of motes, profiles and time zones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from sensors.overlay import Overlay
from sensors.readings import Floats, Ints, Profile

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class MoteRef:
    """What the reading path must know of a mote."""

    id: int
    code: str
    site: str
    zone: str
    profile: str
    time_zone: str
    state: str
    is_probe: bool = False

    @property
    def subject(self) -> str:
        return f"mote:{self.site}/{self.code}"

    @property
    def is_retired(self) -> bool:
        return self.state == "retired"

    @property
    def group_key(self) -> str:
        """The stream key that keeps peers together: site/zone, else the site."""
        return f"{self.site}/{self.zone}" if self.zone else self.site


@dataclass(frozen=True, slots=True)
class Fleet:
    """All motes and profiles at one numbered revision. The retired stand apart: only their past is still read.

    So do our own probes, whose readings are followed through the path and are in no statistic.
    """

    revision: int
    motes: tuple[MoteRef, ...]
    profiles: Mapping[str, Profile]
    default_site: str
    retired: tuple[MoteRef, ...] = ()
    probes: tuple[MoteRef, ...] = ()
    corrections: tuple[Overlay, ...] = ()  # that hold for readings to come
    onsets: Mapping[tuple[str, int], float] = field(default_factory=dict)  # of model versions with one of their own
    by_code: Mapping[tuple[str, str], MoteRef] = field(init=False)
    by_id: Mapping[int, MoteRef] = field(init=False)

    def __post_init__(self) -> None:
        known = (*self.retired, *self.probes, *self.motes)
        object.__setattr__(self, "by_code", {(mote.site, mote.code): mote for mote in known})
        object.__setattr__(self, "by_id", {mote.id: mote for mote in known})

    def find(self, code: str, site: str | None = None) -> MoteRef | None:
        """The mote that a message names, retired or not.

        Without a site: the default site's, else the only one of that code; a retired one makes no name ambiguous.
        """
        found = self.by_code.get((site or self.default_site, code))
        if found is not None or site is not None:
            return found
        for group in (self.motes, self.retired):
            namesakes = [mote for mote in group if mote.code == code]
            if namesakes:
                return namesakes[0] if len(namesakes) == 1 else None
        return None

    def onset(self, profile: Profile, model_version: int) -> float:
        """Surprise from which that version told anomalies."""
        return self.onsets.get((profile.code, model_version), profile.onset)

    def onsets_of(self, profile: Profile, model_version: Ints) -> Floats:
        """Each reading's onset: that of the version which judged it."""
        onsets = np.full(len(model_version), profile.onset)
        for number in np.unique(model_version).tolist():
            onsets[model_version == number] = self.onset(profile, number)
        return onsets

    def utc_offsets(self, mote: Ints, at: Ints) -> Ints:
        """Each reading's offset of local time from UTC, in seconds."""
        offsets = np.zeros(len(mote), dtype=np.int64)
        zones = {key: self.by_id[key].time_zone for key in np.unique(mote).tolist()}
        for zone in set(zones.values()):
            members = [key for key, value in zones.items() if value == zone]
            rows = np.ones(len(mote), dtype=bool) if len(members) == len(zones) else np.isin(mote, members)
            hour = at[rows] // HOUR_US
            hours = np.unique(hour)
            known = np.array([offset_s(zone, one) for one in hours.tolist()], dtype=np.int64)
            offsets[rows] = known[np.searchsorted(hours, hour)]
        return offsets


@lru_cache(maxsize=65536)
def offset_s(zone: str, hour: int) -> int:
    offset = datetime.fromtimestamp(hour * 3600, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def there_is_no(kind: str, code: str, known: Iterable[str]) -> str:
    """What everybody is told who names a profile, site or zone that is not there.

    >>> there_is_no("profile", "indor", ["machine", "indoor"])
    'There is no profile “indor”; there are: indoor, machine.'
    """
    there = ", ".join(sorted(known)[:20])
    return f"There is no {kind} “{code}”; there are: {there or 'none yet; load a pack first (manage.py load_pack)'}."
