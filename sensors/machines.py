"""Which motes are machines: those of a profile whose pack names stages of wear."""

from __future__ import annotations

from dataclasses import dataclass

from sensors.fleet import Fleet
from sensors.models import ProfileVersion
from sensors.readings import Profile
from sensors.wear import Limits, limits


@dataclass(frozen=True, slots=True)
class Kind:
    """A profile whose motes are machines."""

    profile: Profile
    limits: tuple[Limits, ...]
    names: tuple[str, ...]  # of the stages: healthy, and as the pack calls the others


def kinds(fleet: Fleet) -> dict[str, Kind]:
    """The profiles of which a pack says where wear shows."""
    current = ProfileVersion.objects.filter(is_current=True).values_list("profile__code", "settings")
    found = {}
    for code, settings in current:
        profile = fleet.profiles.get(code)
        if profile and (of := limits(profile, settings)):
            found[code] = Kind(profile, of, ("healthy", *settings["simulator"]["stages"][:2]))
    return {code: kind for code, kind in found.items() if len(kind.names) == 1 + 2}
