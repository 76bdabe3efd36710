"""What people correct: a stretch left out or recalibrated, who said so and why, and the way back."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime

import polars as pl
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from sensors import audit, overlay
from sensors.models import Correction, Mote
from sensors.overlay import Overlay
from sensors.readings import Profile
from sensors.registry import profiles, touch_fleet
from sensors.stores import HotStore


class AlreadyUndone(Exception):
    """Somebody else took the correction back first; says when."""


@transaction.atomic
def correct(
    mote: Mote, *, kind: str, channel: str, starts_at: datetime, ends_at: datetime, why: str,
    who: User | None, now: datetime, offset: float = 0.0,
) -> Correction:  # fmt: skip
    """Lays a correction over a stretch of a mote; ValidationError says which part of it cannot be."""
    made = Correction(
        mote=mote, kind=kind, channel=channel, offset=offset, starts_at=starts_at, ends_at=ends_at, why=why.strip(),
        made_at=now, made_by=who,
    )  # fmt: skip
    _refuse_nonsense(made)
    made.full_clean()
    made.save()
    _tell_the_path(made)
    detail = {"correction": made.pk, "kind": kind, "channel": channel, "offset": offset, "why": made.why}
    span = {"starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}
    audit.record(deed="correct_readings", subject=mote.subject, who=who, now=now, detail=detail | span)
    return made


def _tell_the_path(made: Correction) -> None:
    """What holds for readings to come, the reading path must know before it tells them to open pages."""
    if made.ends_at > made.made_at:
        touch_fleet()


def _refuse_nonsense(made: Correction) -> None:
    profile = profiles()[made.mote.profile.code]
    known = [channel.code for channel in profile.channels if channel.formula is None]
    if made.starts_at >= made.ends_at:
        raise ValidationError({"ends_at": f"The stretch ends at {made.ends_at}, which is not after its start."})
    if made.kind == Correction.Kind.OFFSET and made.channel not in known:
        raise ValidationError(
            {"channel": f"“{made.channel}” cannot be recalibrated; expected one of {', '.join(known)}."}
        )
    if made.channel and made.channel not in profile.names:
        raise ValidationError(
            {"channel": f"“{made.channel}” is no channel of {profile.label}; leave it empty for all."}
        )
    if made.kind == Correction.Kind.OFFSET and (made.offset == 0.0 or not math.isfinite(made.offset)):
        raise ValidationError({"offset": f"An offset of {made.offset:g} corrects nothing; expected a number."})
    if made.kind == Correction.Kind.EXCLUDE and made.offset:
        raise ValidationError({"offset": "What is left out has no offset."})


@transaction.atomic
def undo_correction(made: Correction, *, who: User | None, now: datetime) -> Correction:
    """Takes it back: the stored readings show again as they are."""
    if not Correction.objects.standing().filter(pk=made.pk).update(undone_at=now, undone_by=who):
        made.refresh_from_db()
        raise AlreadyUndone(f"The correction was already taken back at {made.undone_at:%Y-%m-%d %H:%M} UTC.")
    _tell_the_path(made)
    audit.record(deed="undo_correction", subject=made.mote.subject, who=who, now=now, detail={"correction": made.pk})
    made.refresh_from_db()
    return made


def standing(
    motes: Collection[int] | None = None, start: datetime | None = None, end: datetime | None = None
) -> list[Overlay]:
    """The corrections that touch these motes and this range, in the order in which they were made."""
    found = Correction.objects.standing()
    if motes is not None:
        found = found.filter(mote__in=motes)
    if start is not None:
        found = found.filter(ends_at__gt=start)
    if end is not None:
        found = found.filter(starts_at__lt=end)
    return [one.as_overlay() for one in found]


def n_touched(store: HotStore, made: Correction) -> int:
    """How many readings of the hot store it concerns: those that have a value there."""
    profile = profiles()[made.mote.profile.code]
    found = store.between(profile, [made.mote_id], made.starts_at, made.ends_at)
    names = [made.channel] if made.channel else list(profile.names)
    return found.select(pl.any_horizontal(pl.col(names).is_not_null()).sum()).item()


def latest(store: HotStore, profile: Profile, motes: Sequence[int]) -> pl.DataFrame:
    """The hot store's newest readings, as they are to be read."""
    return overlay.corrected(profile, store.latest(profile, motes), standing(motes))


def between(
    store: HotStore, profile: Profile, motes: Sequence[int], start: datetime, end: datetime, *, limit: int | None = None
) -> pl.DataFrame:
    """The hot store's readings of a range, as they are to be read."""
    found = store.between(profile, motes, start, end, limit=limit)
    return overlay.corrected(profile, found, standing(motes, start, end))
