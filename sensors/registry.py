"""The fleet as it stands in the database, at one numbered revision."""

from __future__ import annotations

from itertools import starmap

from django.conf import settings
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce

from sensors.fleet import Fleet, MoteRef
from sensors.models import Correction, FleetRevision, Mote, Onset, ProfileVersion
from sensors.readings import Profile

# A mote's row as `MoteRef` takes it: of a large fleet, models would take five times as long to be made.
REF = (
    "id", "code", "site__code", Coalesce("zone__code", Value("")), "profile__code", "site__time_zone", "state",
    "is_probe",
)  # fmt: skip


def revision() -> int:
    """The number of the fleet's last change; one cheap query."""
    return FleetRevision.objects.filter(pk=1).values_list("number", flat=True).first() or 0


def touch_fleet() -> None:
    """Raises the revision, so that every process reads the fleet anew. Call it where motes or profiles change."""
    if not FleetRevision.objects.filter(pk=1).update(number=F("number") + 1):
        FleetRevision.objects.get_or_create(pk=1)


def profiles() -> dict[str, Profile]:
    """The current version of every profile, by code."""
    current = ProfileVersion.objects.filter(is_current=True).select_related("profile").prefetch_related("channels")
    return {version.profile.code: version.as_profile() for version in current}


@transaction.atomic
def current_fleet() -> Fleet:
    """All motes with their profiles, read in one transaction."""
    motes = list(starmap(MoteRef, Mote.objects.order_by("id").values_list(*REF)))
    return Fleet(
        revision=revision(),
        motes=tuple(mote for mote in motes if not mote.is_retired and not mote.is_probe),
        probes=tuple(mote for mote in motes if not mote.is_retired and mote.is_probe),
        retired=tuple(mote for mote in motes if mote.is_retired),
        profiles=profiles(),
        default_site=settings.SIEIS_DEFAULT_SITE,
        corrections=tuple(one.as_overlay() for one in Correction.objects.reaching_on()),
        onsets={(code, number): surprise for code, number, surprise in
                Onset.objects.values_list("profile__code", "model_version", "surprise")},
    )  # fmt: skip
